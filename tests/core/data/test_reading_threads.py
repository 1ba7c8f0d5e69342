"""Several threads read files, but the first of every kind alone: it imports what its kind needs."""

import threading
import time

import torch

from graftwork.core.compute.cores import cores_here
from graftwork.core.data.examples import read_many
from graftwork.core.data.reading_threads import in_threads, reading_threads
from graftwork.core.example import as_examples

PATHS = [f"{number}.{('png', 'dcm', 'NII.gz', 'png#mask=a.png')[number % 4]}" for number in range(40)]


def test_results_come_in_order_and_the_first_of_every_kind_is_read_by_the_callers_own_thread():
    own, threads = threading.get_ident(), {}

    def read(example):
        time.sleep(0.002)
        threads[str(example)] = threading.get_ident()
        return str(example)

    assert list(in_threads(read, as_examples(PATHS))) == PATHS
    assert [threads[path] for path in PATHS[:4]] == [own] * 4
    assert own not in [threads[path] for path in PATHS[4:]]


def test_a_kind_that_is_first_met_later_is_read_alone_too():
    own, threads = threading.get_ident(), {}

    class Contract:
        def read(self, example):
            time.sleep(0.01)
            threads[str(example)] = threading.get_ident()
            return str(example)

    paths = [f"{number}.png" for number in range(30)] + ["a.dcm", "b.dcm", "c.dcm"]
    found = list(read_many(Contract(), as_examples(paths), "reading"))
    assert [result for _, result in found] == paths
    assert threads["a.dcm"] == own
    assert threads["b.dcm"] != own


def test_what_is_read_ahead_is_bounded_by_bytes(monkeypatch):
    """Blocks of eight at first, then of as many as fit, up to 64, and never less than four a thread: who stops at the
    21st example finds its block read, and no more."""
    monkeypatch.setattr("graftwork.core.data.examples.cores_here", lambda: 2)
    read = []

    class Contract:
        def __init__(self, count):
            self.count = count

        def read(self, example):
            read.append(str(example))
            time.sleep(0.002)
            return torch.zeros(self.count)

    def read_when_stopped(count):
        read.clear()
        for taken, _ in enumerate(read_many(Contract(count), as_examples(PATHS[::4] * 10), "")):
            if taken == 20:
                time.sleep(0.3)
                return len(read)
        raise AssertionError

    assert read_when_stopped(10) == 8 + 64
    monkeypatch.setattr("graftwork.core.data.examples.READ_AHEAD_BYTES", 20 * 40)
    assert read_when_stopped(10) == 8 + 20
    assert read_when_stopped(1000) == 8 + 8 + 8


def test_processes_of_a_machine_share_the_cores_that_they_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(12)), raising=False)
    assert cores_here() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert cores_here() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "40")
    assert cores_here() == 1


def test_threads_that_read_compute_alone_and_others_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with reading_threads() as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8
            assert torch.get_num_threads() == 3
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [3]
    finally:
        torch.set_num_threads(before)
