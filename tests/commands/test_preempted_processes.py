"""Two processes of a run, of which one is asked to end, or ended: all leave together, and the same command goes on."""

import shutil
import time

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from graftwork.core.cli.app import PREEMPTED
from graftwork.core.training.checkpoint import NAME
from tests.commands.torchrun import ask, finish, start, wait_for, workers

pytestmark = [
    pytest.mark.long(reason="every run starts two interpreters that import everything"),
    pytest.mark.slow(reason="every run starts two interpreters that import everything"),
    pytest.mark.xdist_group("preempted processes"),
]

COMMANDS = {
    "imaging": ["graftwork.imaging", "train", "scans", "--backbone", "tiny:cnn2d", "--image-size", "32", "--strategy",
                "full", "--epochs", "20", "--patience", "99", "--batch-size", "4", "--workers", "0", "--device", "cpu"],
    "audio": ["graftwork.audio", "train", "clips", "--backbone", "tiny:wav2vec2", "--strategy", "partial:1", "--epochs",
              "20", "--patience", "99", "--batch-size", "4", "--workers", "0", "--device", "cpu"],
    "pretrain": ["graftwork.audio", "pretrain", "clips", "--backbone", "tiny:wav2vec2", "--updates", "60", "--clusters",
                 "4", "--batch-seconds", "4", "--crop-seconds", "1", "--checkpoint-minutes", "0", "--device", "cpu"],
}  # fmt: skip
LEARNT = {"imaging": "adapter.safetensors", "audio": "adapter.safetensors", "pretrain": "model.safetensors"}
KEPT = {"imaging": NAME, "audio": NAME, "pretrain": f"round1/{NAME}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Scans and clips of two classes."""
    folder, rng = tmp_path_factory.mktemp("preempted"), np.random.default_rng(0)
    for number in range(48):
        kind = "ab"[number % 2]
        for kinds in ("scans", "clips"):
            (folder / kinds / kind).mkdir(parents=True, exist_ok=True)
        pixels = (rng.integers(0, 120, (32, 32)) + 60 * (number % 2)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "scans" / kind / f"{number}.png")
        if number < 24:
            tone = 0.3 * np.sin(np.arange(16000) * (0.05 + 0.2 * (number % 2))) + 0.05 * rng.normal(size=16000)
            soundfile.write(folder / "clips" / kind / f"{number}.wav", tone, 16000)
    return folder


def begin(place, kind, out, processes=2):
    return start(place, processes, *COMMANDS[kind], "--out", out)


def whole(place, kind):
    code, said = finish(begin(place, kind, f"{kind}-whole"))
    assert code == 0, said
    return load_file(place / f"{kind}-whole" / LEARNT[kind])


def ask_in_training(place, kind, out, whom):
    """The run is asked to end once it has trained; both processes leave with the documented status."""
    process = begin(place, kind, out)
    wait_for(place / out / KEPT[kind], process)
    ask(process, whom)
    began = time.monotonic()
    _, said = finish(process)
    assert time.monotonic() - began < 20
    assert said.count(PREEMPTED) == 1
    assert "left with" not in said
    assert not (place / out / LEARNT[kind]).exists()
    if whom != "torchrun":  # which says no more once it is ended itself
        assert said.count("exitcode  : 75") == 2, said


def same_bytes(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_scans_go_on_after_one_or_all_are_asked_and_one_is_killed(place):
    uninterrupted = whole(place, "imaging")
    ask_in_training(place, "imaging", "imaging", "1")
    shutil.copytree(place / "imaging", place / "imaging-alone")
    ask_in_training(place, "imaging", "imaging", "all")
    process = begin(place, "imaging", "imaging")
    wait_for(place / "imaging" / NAME, process)
    workers(process)[0].kill()
    began = time.monotonic()
    code, said = finish(process)
    assert time.monotonic() - began < 60
    assert code != 0
    assert "another process of this run has ended, or cannot be reached" in said
    code, said = finish(begin(place, "imaging", "imaging"))
    assert code == 0, said
    assert same_bytes(load_file(place / "imaging" / LEARNT["imaging"]), uninterrupted)
    code, said = finish(begin(place, "imaging", "imaging-alone", processes=1))
    assert code == 0, said
    assert "resuming in epoch" in said
    alone = load_file(place / "imaging-alone" / LEARNT["imaging"])
    for name, value in alone.items():
        torch.testing.assert_close(value, uninterrupted[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("kind", "whom"), [("audio", "torchrun"), ("pretrain", "1")])
def test_clips_go_on_to_the_same_bytes(place, kind, whom):
    uninterrupted = whole(place, kind)
    ask_in_training(place, kind, kind, whom)
    code, said = finish(begin(place, kind, kind))
    assert code == 0, said
    assert "resuming in" in said
    assert same_bytes(load_file(place / kind / LEARNT[kind]), uninterrupted)
