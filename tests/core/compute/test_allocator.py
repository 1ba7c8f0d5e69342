"""Freed memory stays with the process while something is computed, and leaves it afterwards."""

import resource
import sys

import psutil
import pytest
import torch

from graftwork.core.compute import allocator
from graftwork.core.compute.allocator import freed_memory_kept, give_back_freed_memory
from graftwork.core.compute.memory import recent_peak_memory_mb, reset_peak_memory

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


@needs_gnu
def test_a_block_that_was_used_before_is_not_handed_out_anew():
    with freed_memory_kept():
        assert faults() < 100


@pytest.fixture
def library(monkeypatch):
    """What a library is asked for that keeps blocks up to `most` bytes."""

    def library(most=2**30):
        asked = []

        class Library:
            def mallopt(self, option, size):
                asked.append((option, size))
                return int(option != -3 or size <= most)

            def malloc_trim(self, _rest):
                asked.append("trim")

        monkeypatch.setattr(allocator, "_gnu_library", Library)
        monkeypatch.setattr(allocator, "_is_settled", lambda: False)
        return asked

    return library


def test_an_older_library_that_refuses_so_much_keeps_what_it_can(library):
    asked = library(most=2**25)
    with freed_memory_kept():
        assert asked == [(-3, allocator.KEPT_BYTES), (-3, 2**25), (-1, allocator.FREE_BYTES)]
    assert asked[3:] == [(-3, 2**25), (-1, 2**26), "trim"]


def resident_after_four_blocks() -> int:
    blocks = [torch.ones(100 * MIB, dtype=torch.uint8) for _ in range(4)]
    del blocks
    return psutil.Process().memory_info().rss


@needs_gnu
@pytest.mark.skipif(not reset_peak_memory(), reason="only Linux counts peak memory anew")
def test_what_lies_free_is_no_part_of_a_new_peak():
    with freed_memory_kept():
        inside = resident_after_four_blocks()
        reset_peak_memory()
        assert recent_peak_memory_mb() < inside / MIB - 300


@needs_gnu
def test_afterwards_blocks_are_given_back_again():
    with freed_memory_kept():
        inside = resident_after_four_blocks()
    assert psutil.Process().memory_info().rss < inside - 300 * MIB
    with freed_memory_kept():
        inside = resident_after_four_blocks()
        give_back_freed_memory()
        assert psutil.Process().memory_info().rss < inside - 300 * MIB


def test_the_first_one_to_enter_asks_and_the_last_one_to_leave_gives_back(library):
    asked = library()

    @freed_memory_kept()
    def inner() -> None:
        assert len(asked) == 2

    with freed_memory_kept():
        inner()
        inner()
        assert asked == [(-3, allocator.KEPT_BYTES), (-1, allocator.FREE_BYTES)]
    assert asked[2:] == [(-3, 2**25), (-1, 2**26), "trim"]


@needs_gnu
def test_an_error_inside_leaves_as_well():
    with pytest.raises(ValueError, match="broken"), freed_memory_kept():
        raise ValueError("broken")
    assert allocator._users == 0


@pytest.mark.parametrize(("name", "value"), [
    ("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1"),
])  # fmt: skip
def test_what_the_environment_says_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(allocator, "_gnu_library", lambda: pytest.fail("was asked for"))
    with freed_memory_kept():
        assert allocator._users == 0


@needs_gnu
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F")]
)
def test_what_it_says_of_other_things_does_not_matter(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with freed_memory_kept():
        assert allocator._users == 1


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept():
        assert allocator._users == 0
    give_back_freed_memory()
