"""Freed memory stays with the process while something is computed, and leaves it afterwards."""

import resource
import subprocess
import sys

import psutil
import pytest
import torch

from graftwork.core import allocator
from graftwork.core.allocator import freed_memory_kept, give_back_freed_memory

MIB = 2**20

needs_gnu = pytest.mark.skipif(
    allocator._is_settled() or allocator._gnu_library() is None,
    reason="another C library than GNU's, or the environment has settled how it keeps memory",
)


def fill(times: int) -> None:
    for _ in range(times):
        torch.ones(100 * MIB, dtype=torch.uint8)


def faults() -> int:
    """Pages that the system had to hand out while five blocks of 100 MiB were made and freed, after many others: the
    first ones find their places between what else there is."""
    fill(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill(5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture
def pages():
    """So many pages a block of 100 MiB has."""
    return 100 * MIB // resource.getpagesize()


@needs_gnu
def test_a_block_that_was_used_before_is_not_handed_out_anew(pages):
    with freed_memory_kept():
        assert faults() < pages / 50


@needs_gnu
def test_afterwards_blocks_are_given_back_again():
    def resident_after_four_blocks() -> int:
        blocks = [torch.ones(100 * MIB, dtype=torch.uint8) for _ in range(4)]
        del blocks
        return psutil.Process().memory_info().rss

    with freed_memory_kept():
        inside = resident_after_four_blocks()
    assert psutil.Process().memory_info().rss < inside - 300 * MIB
    with freed_memory_kept():
        inside = resident_after_four_blocks()
        give_back_freed_memory()
        assert psutil.Process().memory_info().rss < inside - 300 * MIB


@needs_gnu
def test_only_the_last_one_to_leave_gives_back(pages):
    @freed_memory_kept()
    def inner() -> None:
        assert allocator._users == 2

    with freed_memory_kept():
        inner()
        assert faults() < pages / 50
    assert allocator._users == 0


@needs_gnu
def test_an_error_inside_leaves_as_well():
    with pytest.raises(ValueError, match="broken"), freed_memory_kept():
        raise ValueError("broken")
    assert allocator._users == 0


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_stays(monkeypatch, name):
    monkeypatch.setenv(name, "")
    monkeypatch.setattr(allocator, "_gnu_library", lambda: pytest.fail("was asked for"))
    with freed_memory_kept():
        assert allocator._users == 0


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept():
        assert allocator._users == 0
    give_back_freed_memory()


@needs_gnu
def test_a_process_that_never_computes_is_not_changed():
    code = (
        "import torch, resource; from graftwork import core\n"
        "for _ in range(2): torch.ones(100 << 20, dtype=torch.uint8)\n"
        "before = resource.getrusage(0).ru_minflt\n"
        "torch.ones(100 << 20, dtype=torch.uint8)\n"
        "print(resource.getrusage(0).ru_minflt - before)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(found) > 40  # all of its pages, be they huge
