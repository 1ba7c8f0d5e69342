"""Who is asked to end, and when that is heeded."""

import signal
import subprocess
import sys

import pytest

from graftwork.core.compute.preemption import (
    EndRequest,
    PreemptedError,
    ask_oneself,
    asked_to_end,
    leaving_by_itself,
    listening_to,
)


def test_without_anybody_who_asks_nothing_ends():
    assert not asked_to_end()
    with leaving_by_itself():
        assert not asked_to_end()


def test_a_loop_is_waited_for_while_it_runs_and_sees_that_it_is_asked():
    request = EndRequest()
    with listening_to(request):
        with leaving_by_itself():
            assert request.waited_for.is_set()
            assert not asked_to_end()
        assert not request.waited_for.is_set()
    request.asked.set()
    assert not asked_to_end()  # nobody listens any more


def test_who_was_asked_begins_no_loop_and_leaves_one_that_did_not_look():
    request = EndRequest()
    with listening_to(request):
        with pytest.raises(PreemptedError), leaving_by_itself():
            request.asked.set()
        with pytest.raises(PreemptedError), leaving_by_itself():
            pytest.fail("it began")
    assert not request.waited_for.is_set()


def test_a_worker_is_left_to_the_process_that_began_it():
    code = """
import os, signal
from graftwork.core.compute.preemption import REQUESTS, ignore_requests
ignore_requests()
for number in REQUESTS:
    os.kill(os.getpid(), number)
print("here")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "here\n")


def test_who_hears_that_another_was_asked_is_asked_as_well(monkeypatch):
    """Where somebody listens; else the signal would end the process with its own status."""
    ask_oneself()
    request, heard = EndRequest(), []
    monkeypatch.setattr(signal, "raise_signal", heard.append)
    with listening_to(request):
        ask_oneself()
        request.asked.set()
        ask_oneself()
    assert heard == [signal.SIGTERM]
