"""Two processes under torchrun give what one gives: weights, validation, the store, and files written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from graftwork.core.model.strategies import STRATEGIES

pytestmark = pytest.mark.xdist_group("several processes")  # one worker makes the folders that all the tests read

SCRIPT = Path(__file__).with_name("two_processes.py")
SPELLED = [record.example for record in STRATEGIES.values()]


def launch(folder, processes):
    folder.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(folder / "cache")}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = [sys.executable] if processes == 1 else torchrun
    done = subprocess.run([*start, str(SCRIPT), str(folder), *SPELLED], env=environment, capture_output=True,
                          text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Twenty updates of every strategy, by one process and by two."""
    place = tmp_path_factory.mktemp("processes")
    return launch(place / "one", 1), launch(place / "two", 2)


@pytest.mark.slow  # two interpreters start and train twenty updates of every strategy
@pytest.mark.parametrize("strategy", SPELLED)
def test_two_processes_learn_the_weights_of_one_at_the_same_global_batch(both, strategy):
    name = strategy.replace(":", "-")
    one, two = (load_file(folder / f"{name}.safetensors") for folder in both)
    assert one.keys() == two.keys()
    for tensor, value in one.items():
        torch.testing.assert_close(two[tensor], value, atol=1e-4, rtol=1e-4, msg=lambda text, t=tensor: f"{t}: {text}")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SPELLED)
def test_every_validation_row_counts_once_and_frozen_tensors_stay_in_both(both, strategy):
    name = strategy.replace(":", "-")
    one, two = (json.loads((folder / f"{name}.json").read_text()) for folder in both)
    assert one["predicted"] == two["predicted"] == 21
    assert one["frozen"] == two["frozen"]
    assert len(one["history"]) == len(two["history"])
    for before, after in zip(one["history"], two["history"], strict=True):
        assert after["val_loss"] == pytest.approx(before["val_loss"], abs=1e-4)
        assert after["train_loss"] == pytest.approx(before["train_loss"], abs=1e-4)


@pytest.mark.slow
def test_the_processes_fill_the_store_together(both):
    written = [path for path in (both[1] / "cache").glob("*/*.json") if path.name != "store.json"]
    stores = {path.parent for path in written}
    assert any(len([path for path in written if path.parent == store]) == 2 for store in stores)
    for store in stores:
        listed = [name for path in written if path.parent == store for name in json.loads(path.read_text())["entries"]]
        assert len(listed) == len(set(listed))
