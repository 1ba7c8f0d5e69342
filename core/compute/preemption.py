"""A process that is asked to end: a loop that can keep where it stands looks here after every update, and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""The signals that ask for it; Windows has one of them."""


class PreemptedError(BaseException):
    """The process was asked to end, and what can be kept is kept. Not an Exception: nobody means to catch it."""


@dataclass(frozen=True, eq=False)
class EndRequest:
    """asked: whether somebody wants this process to end. waited_for: whether a loop runs that will look."""

    asked: threading.Event = field(default_factory=threading.Event)
    waited_for: threading.Event = field(default_factory=threading.Event)


_REQUEST: ContextVar[EndRequest | None] = ContextVar("request", default=None)


@contextmanager
def listening_to(request: EndRequest) -> Iterator[None]:
    """Within the block, loops look at this request."""
    before = _REQUEST.set(request)
    try:
        yield
    finally:
        _REQUEST.reset(before)


@contextmanager
def leaving_by_itself() -> Iterator[None]:
    """Within the block, whoever asks the process to end waits for `asked_to_end` to be called and heeded."""
    request = _REQUEST.get()
    if request is None:
        yield
        return
    request.waited_for.set()
    try:
        if request.asked.is_set():  # in the moment before
            raise PreemptedError
        yield
        if request.asked.is_set():
            raise PreemptedError
    finally:
        request.waited_for.clear()


def asked_to_end() -> bool:
    """Whether somebody wants this process to end."""
    request = _REQUEST.get()
    return request is not None and request.asked.is_set()


def ask_oneself() -> None:
    """Of several processes another one was asked to end: so is this one from now on. Where nobody listens, nothing
    happens."""
    request = _REQUEST.get()
    if request is not None and not request.asked.is_set():
        signal.raise_signal(signal.SIGTERM)  # the handler does all that a request from elsewhere would do


def ignore_requests() -> None:
    """From now on nobody is heard who wants this process to end."""
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)
