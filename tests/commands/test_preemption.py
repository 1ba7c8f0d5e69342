"""Runs that are ended at random moments and begun again by the same command, byte for byte.

Of domains and strategies one: `examples/benchmarks/killed_runs.py` ends runs of all of them as often as it is asked to.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "killed_runs.py"


@pytest.mark.long(reason="ends runs on their way and begins them again")
@pytest.mark.slow(reason="two runs are ended on their way, each in a process of its own")
@pytest.mark.parametrize(("domain", "strategies", "kills", "folds"), [
    ("imaging", "partial:1", 2, ("--folds", "2")),
])  # fmt: skip
def test_killed_and_preempted_runs_end_with_the_bytes_of_one_left_alone(request, domain, strategies, kills, folds):
    bench = request.getfixturevalue(f"{domain}_bench")
    backbone = ("--backbone", "tiny:cnn2d", "--image-size", "32") if domain == "imaging" else bench.backbone
    options = " ".join(
        [*backbone, *folds, "--epochs", "2", "--random-split", "off", "--batch-size", "8", "--device", "cpu"]
    )
    done = subprocess.run(
        [sys.executable, str(SCRIPT), domain, "table.csv", "--kills", str(kills), "--strategies", strategies,
         "--options", options], cwd=bench.folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{kills} ends in") == done.stdout.count("equal bytes") == len(strategies.split(","))


@pytest.fixture
def cut_short(bench, monkeypatch):
    """Begins a run that ends after its first checkpoint, as by a power cut."""
    from graftwork.core.training import loop

    save = loop.save_checkpoint

    def power_cut(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise ArithmeticError("the power goes out")

    def begin(*command: object) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "save_checkpoint", power_cut)
            with pytest.raises(ArithmeticError):
                bench.train(*command)

    return begin


def test_a_command_begun_again_goes_on_and_another_is_refused(bench, cut_short):
    command = ("--strategy", "partial:1", "--epochs", 2)
    cut_short(*command)
    other = bench.train(*command, "--learning-rate", 0.5)
    assert other.code == 2
    assert (
        "the interrupted run had another learning_rate; ask for the same, name another --out, or begin anew"
        in other.err
    )
    done = bench.train(*command, "--checkpoint-minutes", 1)
    assert done.code == 0, done.err
    assert "resuming in epoch 2 at batch 1" in done.err


@pytest.mark.long(reason="seven seconds")
def test_a_run_begun_anew_is_as_if_there_had_been_none(bench, cut_short):
    cut_short("--strategy", "partial:1", "--epochs", 2)
    assert bench.train("--restart", out="run").code == 0
    assert bench.train(out="whole").code == 0
    names = [{path.name for path in (bench.folder / name).iterdir()} for name in ("run", "whole")]
    assert names[0] == names[1]
    for name in ("run.json", "metrics.json", "adapter.safetensors"):
        one, two = ((bench.folder / place / name).read_bytes() for place in ("run", "whole"))
        assert one == two
