"""Batches made ahead and results fetched later: in order, with the errors that were raised, nothing left running."""

import threading
import time

import pytest
import torch

from graftwork.core.compute.overlap import AHEAD, each_after_the_next, made_ahead, page_locked, stacked, to_host


def test_what_is_made_ahead_comes_in_order_and_only_a_little_ahead():
    made = []

    def make(item):
        time.sleep(0.002 * (item % 3))
        made.append(item)
        return item * 10

    found = []
    for value in made_ahead(make, range(20), threads=3):
        found.append(value)
        assert len(made) <= len(found) + AHEAD + 1
    assert found == [item * 10 for item in range(20)]


def test_an_error_reaches_the_caller_in_its_place():
    def make(item):
        if item == 3:
            raise KeyError("third")
        return item

    items = made_ahead(make, range(10), threads=2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="third"):
        next(items)


def test_no_thread_outlives_a_caller_that_stops():
    before, made = threading.active_count(), []
    items = made_ahead(lambda item: time.sleep(0.05) or made.append(item), range(1000), threads=1)
    next(items)
    items.close()
    assert threading.active_count() == before
    assert len(made) <= 3, "what had not begun is not made any more"


def test_a_tensor_on_the_cpu_is_given_as_it_is():
    tensor = torch.ones(3)
    assert to_host(tensor)() is tensor


@pytest.mark.parametrize(("device", "begun_before_the_first"), [("cpu", 1), ("cuda", 2)])
def test_on_a_gpu_the_next_is_begun_before_one_is_looked_at(device, begun_before_the_first):
    begun = []

    def begin():
        for item in range(4):
            begun.append(item)
            yield item

    found = each_after_the_next(begin(), torch.device(device))
    assert next(found) == 0
    assert len(begun) == begun_before_the_first
    assert list(found) == [1, 2, 3]


@pytest.mark.gpu
def test_a_result_is_copied_while_the_device_goes_on():
    large = torch.randn(4096, 4096, device="cuda")
    wait = to_host(large[:2, :2])
    for _ in range(50):
        large = large @ large / 64
    done = torch.cuda.Event()
    done.record()
    assert wait().shape == (2, 2)
    assert not done.query(), "the copy waited for what came after it"


def test_examples_are_stacked():
    examples = [torch.full((2, 3), float(row)) for row in range(4)]
    assert torch.equal(stacked(examples), torch.stack(examples))


@pytest.mark.gpu
def test_inside_they_are_stacked_where_a_gpu_copies_by_itself():
    examples = [torch.full((2, 3), row, dtype=torch.float16) for row in range(4)]
    with page_locked():
        found = stacked(examples)
    assert found.is_pinned()
    assert torch.equal(found, torch.stack(examples))
    assert not stacked(examples).is_pinned()
