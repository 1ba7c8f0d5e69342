"""Two processes under torchrun give what one gives: weights, course, predictions of text, windows and units."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.xdist_group("several processes of speech"),  # one worker makes the folders that all the tests read
    pytest.mark.slow(reason="two interpreters start and train"),
    pytest.mark.long(reason="two interpreters start and train; tests/core has the strategies"),
]

SCRIPT = Path(__file__).with_name("two_processes.py")
NAMES = ["text-full", "text-part", "windows", "pretrain"]


def launch(folder, processes):
    folder.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(folder / "cache")}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = [sys.executable] if processes == 1 else torchrun
    done = subprocess.run([*start, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True,
                          timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    place = tmp_path_factory.mktemp("processes")
    return launch(place / "one", 1), launch(place / "two", 2)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_the_weights_of_one(both, name):
    one, two = (load_file(folder / f"{name}.safetensors") for folder in both)
    assert one.keys() == two.keys()
    for tensor, value in one.items():
        torch.testing.assert_close(two[tensor], value, atol=1e-4, rtol=1e-3, msg=lambda text, t=tensor: f"{t}: {text}")


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_evaluate_as_one(both, name):
    one, two = (json.loads((folder / f"{name}.json").read_text()) for folder in both)
    assert len(one["history"]) == len(two["history"]) > 0
    for before, after in zip(one["history"], two["history"], strict=True):
        assert after == pytest.approx(before, abs=1e-3)
    if name != "pretrain":
        assert len(one["predictions"]) == 23
        torch.testing.assert_close(torch.tensor(two["predictions"]), torch.tensor(one["predictions"]), atol=1e-4,
                                   rtol=1e-4)  # fmt: skip
        assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-4)
