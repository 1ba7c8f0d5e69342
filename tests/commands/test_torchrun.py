"""The command line under torchrun: the numbers and files of one process, printed once."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture
def folder_of_classes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(22):
        kind = "ab"[number % 2]
        (tmp_path / "scans" / kind).mkdir(parents=True, exist_ok=True)
        pixels = (rng.integers(0, 120, (32, 32)) + 60 * (number % 2)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scans" / kind / f"{number}.png")
    return tmp_path


@pytest.mark.long(reason="starts three interpreters that import everything")
@pytest.mark.slow(reason="starts three interpreters that import everything")
def test_two_processes_write_once_what_one_writes(folder_of_classes):
    options = ["--backbone", "timm:mobilenetv2_050", "--weights", "random", "--image-size", "32", "--strategy",
               "partial:2", "--folds", "2", "--epochs", "2", "--batch-size", "6", "--device", "cpu"]  # fmt: skip
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    printed = {}
    for name, start in (("one", []), ("two", torchrun)):
        settings = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(folder_of_classes / f"cache-{name}")}
        done = subprocess.run(
            [sys.executable, *start, "-m", "graftwork.imaging", "train", "scans", *options, "--out", name],
            cwd=folder_of_classes, env=settings, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        printed[name] = done.stdout.replace(f": {name}\n", "")
    assert printed["two"].count("\nauroc  ") == 1
    files = []
    for name in printed:
        place = folder_of_classes / name
        files.append(sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file()))
    assert files[0] == files[1]
    one, two = (pd.read_csv(folder_of_classes / name / "predictions.csv") for name in printed)
    pd.testing.assert_frame_equal(one, two, atol=1e-4, rtol=1e-4)
