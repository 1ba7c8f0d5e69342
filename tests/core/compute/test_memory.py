"""Peaks of resident memory, in MiB."""

import pytest
import torch

from graftwork.core.compute.memory import free_bytes, peak_memory_mb, recent_peak_memory_mb, reset_peak_memory


def test_peak_memory_is_in_mebibytes():
    assert 50 < peak_memory_mb() < 100_000


@pytest.mark.skipif(not reset_peak_memory(), reason="only Linux counts peak memory anew")
def test_peak_memory_can_be_counted_anew():
    large = torch.ones(200 << 18)  # 200 MiB
    assert recent_peak_memory_mb() > 200
    before = recent_peak_memory_mb()
    del large
    assert reset_peak_memory()
    assert recent_peak_memory_mb() < before - 150


def test_processes_share_the_free_memory_of_their_machine(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 1000}))
    assert free_bytes(torch.device("cpu")) == 1000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_bytes(torch.device("cpu")) == 250
