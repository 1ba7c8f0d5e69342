"""Weights divided among two processes (FSDP2): what is learnt, kept and taken up is that of whole ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.xdist_group("sharded processes"),  # one worker makes the folder that all the tests read
    pytest.mark.slow(reason="two interpreters start and train"),
    pytest.mark.long(reason="two interpreters start and train"),
]

SCRIPT = Path(__file__).with_name("two_shards.py")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    settings = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(folder / "cache"),
                             "PYTHONPATH": str(SCRIPT.parents[2])}  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*torchrun, str(SCRIPT), str(folder)], env=settings, capture_output=True, text=True,
                          timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def same(folder, one, other):
    """Weights, frozen ones too, and the course of both are the same within 1e-5."""
    left, right = (load_file(folder / f"{name}.safetensors") for name in (one, other))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, atol=1e-5, rtol=0, msg=lambda text, n=name: f"{n}: {text}")
    before, after = (json.loads((folder / f"{name}.json").read_text()) for name in (one, other))
    assert after["best"] == before["best"] > 1
    assert after["frozen"] == before["frozen"]
    assert len(before["history"]) == len(after["history"])
    for row, again in zip(before["history"], after["history"], strict=True):
        assert again == pytest.approx(row, abs=1e-5)


@pytest.mark.parametrize("strategy", ["full", "lora"])
@pytest.mark.parametrize("how", ["divided", "recomputed", "resumed", "resumed-whole"])
def test_divided_weights_become_those_of_whole_ones(learnt, strategy, how):
    same(learnt, f"{strategy}-whole", f"{strategy}-{how}")


def test_a_view_that_the_next_stage_changes_in_place_keeps_its_gradient(learnt):
    same(learnt, "full-views-off", "full-views-on")


def test_weights_are_divided_and_that_is_said(learnt):
    for rank in (0, 1):
        said = (learnt / f"said-{rank}.txt").read_text()
        assert said.count("MB are divided among 2 processes, 0.0 MB are whole in each") == 11


def test_what_cannot_be_divided_is_refused_by_name(learnt):
    refusals = json.loads((learnt / "refusals.json").read_text())
    assert "--fsdp on: partial:1 does not learn in all stages at once" in refusals["partial:1"]
    assert "--fsdp on: gradual does not learn in all stages at once" in refusals["gradual"]
    assert refusals["full"] == "--fsdp on: --compile on needs whole weights"
    assert "--fsdp needs all of them: raise --batch-size" in refusals["lora"]


def test_a_process_that_has_too_little_memory_goes_in_pieces_alone(learnt):
    same(learnt, "full-plain", "full-in-pieces")
    assert "they go through the network in" not in (learnt / "said-0.txt").read_text()
    assert (learnt / "said-1.txt").read_text().count("they go through the network in 2 pieces from now on") == 1
