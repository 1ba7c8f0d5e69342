"""Ctrl-C: one sentence at once, a moment in which half-written files are removed, and the end. A request to end, as of
a cluster that takes the machine back (SIGTERM, SIGUSR1), does the same once a training loop has kept where it stands.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from graftwork.core.compute.preemption import REQUESTS, EndRequest, PreemptedError, ignore_requests, listening_to

STATUS = 130
PREEMPTED = 75
"""Exit status of a process that was asked to end: EX_TEMPFAIL of sysexits.h, the same command may be given again."""

GRACE_SECONDS = 0.5
"""After this the process ends, whatever it was doing: a file that is read, or a step that is computed, may take longer.
What a resumed run relies on is never half-written."""

STEP_SECONDS = 20.0
"""So long a training loop may take to end its update and to write its checkpoint; clusters kill after 30 s or more."""


class _Interrupt(BaseException):  # nobody means to catch it
    """Somebody pressed Ctrl-C. Not a KeyboardInterrupt, which Click would answer with words of its own."""


class _Handler:
    """What a signal calls; of a class of its own, so that a process forked from this one can tell it from others."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._call()


def _forget_requests() -> None:
    """In a process forked from this one: it is ended by whoever began it, and writes nothing into this one's pipe."""
    ours = [number for number in REQUESTS if isinstance(signal.getsignal(number), _Handler)]
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    if ours:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_requests)


@contextmanager
def interruptible(sentence: str, preempted: str = "") -> Iterator[None]:
    """While the block runs, an interrupt prints the sentence on stderr, is raised in the block, and ends the process
    with status 130 after a moment, even where the block is busy in compiled code or waits for threads.

    A request to end (SIGTERM, SIGUSR1) prints `preempted` and ends it with status 75 in the same way; where a loop runs
    that can keep where it stands (`leaving_by_itself`), as soon as it has left by itself, or after `STEP_SECONDS`.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # by a shell that runs it in the background
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    request, left, done = EndRequest(), threading.Event(), threading.Event()
    process = os.getpid()

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGINT and not ignored:  # others come here too, as of worker processes that end
                with _ending(STATUS, sentence):
                    left.wait(GRACE_SECONDS)
            if number[0] in REQUESTS and not done.is_set():
                with _ending(PREEMPTED, preempted, unless=done):
                    left.wait(STEP_SECONDS if request.waited_for.is_set() else GRACE_SECONDS)
        os.close(reader)

    def interrupt() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is on its way: a second one adds nothing
        # Workers that were forked from this process know what to do with the usual one.
        raise _Interrupt if os.getpid() == process else KeyboardInterrupt

    def ask() -> None:
        ignore_requests()
        request.asked.set()
        if not request.waited_for.is_set():
            raise PreemptedError

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    handlers = dict.fromkeys(REQUESTS, _Handler(ask)) | ({} if ignored else {signal.SIGINT: _Handler(interrupt)})
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    wakeup = signal.set_wakeup_fd(writer)
    try:
        with listening_to(request):
            yield
    except (_Interrupt, PreemptedError):
        left.set()
        watcher.join()  # it ends the process
    except Exception as error:
        if request.asked.is_set():
            # The connection to a process that has left, or what read a file; an error of the run's own comes again.
            print(f"left with {type(error).__name__}: {error}", file=sys.stderr)
            left.set()
            watcher.join()
        raise
    finally:
        done.set()
        left.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)


@contextmanager
def ended_by_request() -> Iterator[Callable[[float], bool]]:
    """While the block runs, Ctrl-C and requests to end do not end it: what it is given waits for so many seconds, and
    says whether somebody has asked. For verbs that run until they are ended."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked.wait
        return
    wakeup = signal.set_wakeup_fd(-1)  # else `interruptible` hears of it as well
    before = {number: signal.signal(number, _Handler(asked.set)) for number in (signal.SIGINT, *REQUESTS)}
    try:
        yield asked.wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)


@contextmanager
def _ending(status: int, sentence: str, unless: threading.Event | None = None) -> Iterator[None]:
    """Says so, waits as the block does, and ends this process with its workers, unless all is done meanwhile."""
    import psutil

    try:
        if os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
            print(sentence, file=sys.stderr, flush=True)
        yield
        if unless is not None and unless.is_set():
            return
        for worker in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has ended by itself
                worker.kill()
    finally:  # also where nobody reads stderr any more
        if unless is None or not unless.is_set():
            os._exit(status)
