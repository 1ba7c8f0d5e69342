"""Settings that every test shares."""

import os

# Before torch and BLAS are loaded: small tensors gain nothing from threads, and two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tempfile
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

# What frozen stages give is stored here, not in the user's cache.
CACHE = tempfile.TemporaryDirectory(prefix="graftwork-cache-")
os.environ["GRAFTWORK_CACHE"] = CACHE.name

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("GRAFTWORK_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets, where there is one."""
    if not DATA.is_dir():
        pytest.skip(f"real data is not here: {DATA} (set GRAFTWORK_DATA)")
    return DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What runs longest begins first, so that no process waits for another at the end.
    items.sort(key=lambda item: "test_readme" not in item.nodeid)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
