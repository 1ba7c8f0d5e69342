"""Ctrl-C: one sentence at once, a moment in which half-written files are removed, and the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STATUS = 130
GRACE_SECONDS = 0.5
"""After this the process ends, whatever it was doing: a file that is read, or a step that is computed, may take longer.
What a resumed run relies on is never half-written."""


class _Interrupt(BaseException):  # nobody means to catch it
    """Somebody pressed Ctrl-C. Not a KeyboardInterrupt, which Click would answer with words of its own."""


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """While the block runs, an interrupt prints the sentence on stderr, is raised in the block, and ends the process
    with status 130 after a moment, even where the block is busy in compiled code or waits for threads."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # by a shell that runs it in the background
    if ignored or threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def end() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGINT:  # others come here too, as of worker processes that end
                import psutil

                try:
                    print(sentence, file=sys.stderr, flush=True)
                    time.sleep(GRACE_SECONDS)
                    for worker in psutil.Process().children(recursive=True):
                        with suppress(psutil.Error):  # it has ended by itself
                            worker.kill()
                finally:  # also where nobody reads stderr any more
                    os._exit(STATUS)
        os.close(reader)

    process = os.getpid()

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is on its way: a second one adds nothing
        # Workers that were forked from this process know what to do with the usual one.
        raise _Interrupt if os.getpid() == process else KeyboardInterrupt

    watcher = threading.Thread(target=end, daemon=True)
    watcher.start()
    before, wakeup = signal.signal(signal.SIGINT, interrupt), signal.set_wakeup_fd(writer)
    try:
        yield
    except _Interrupt:
        watcher.join()  # it ends the process
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, before)
        os.close(writer)
