"""A disk that is full in the middle of a write: one sentence, nothing half-written, and what was whole stays so."""

import resource
import sys
from contextlib import contextmanager

import pytest

from graftwork.core.files import LOCK, OURS

pytestmark = [
    pytest.mark.long(reason="every verb that writes, ended at several sizes"),
    pytest.mark.reports,
    pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's"),
]

LIMITS = (0, 1500, 20_000, 150_000)
"""Bytes of the largest file that can be written."""

VERBS = {
    "train": ("train", "table.csv", "--workers", 0, "--out", "out"),
    "full": ("train", "table.csv", "--strategy", "full", "--epochs", 1, "--checkpoint-minutes", 0, "--workers", 0,
             "--out", "out"),
    "folds": ("train", "table.csv", "--folds", 3, "--keep-folds", "--out", "out"),
    "compare": ("compare", "table.csv", "--folds", 3, "--strategies", "knn,probe", "--out", "out"),
    "stages": ("stages", "table.csv", "--folds", 3, "--out", "out"),
    "embed": ("embed", "table.csv", "--out", "out"),
    "tune": ("tune", "table.csv", "--folds", 2, "--strategies", "knn,probe", "--trials", 2, "--out", "out"),
    "predict": ("predict", "run", "table.csv", "--out", "out"),
    "evaluate": ("evaluate", "run", "table.csv", "--out", "out"),
    "explain": ("explain", "run", "01.png", "--out", "out"),
    "report": ("report", "run"),
}  # fmt: skip
ON_A_RUN = ("predict", "evaluate", "explain", "report")


@contextmanager
def at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("size", LIMITS)
def test_a_full_disk_is_one_sentence(imaging_bench, verb, size):
    bench = imaging_bench
    if verb in ON_A_RUN:
        assert bench.train().code == 0
    options = () if verb in ON_A_RUN else bench.backbone
    with at_most(size):
        done = bench.run(*VERBS[verb], *options)
    assert done.code in (0, 2), done.err
    assert "Traceback" not in done.err
    if done.code == 2:
        assert "written" in done.err.splitlines()[-1]
    left = [path.name for path in bench.folder.rglob(f"{OURS}*") if path.name != LOCK]
    assert left == []
