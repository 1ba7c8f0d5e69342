"""Several threads read files, but the first of every kind alone: it imports what its kind needs."""

import threading
import time

from graftwork.core.data.examples import read_many
from graftwork.core.data.reading_threads import in_threads
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
