"""What damaged files make decoders raise, as an error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graftwork.core.errors import GraftworkError, UnreadableError


@contextmanager
def decoding(path: str, fault: str) -> Iterator[None]:
    """Raises UnreadableError, which says `fault` of the file and what was raised, for all that is raised inside; errors
    of this program go through.

    There is no list of what decoders raise: a flipped byte has led to struct.error, KeyError, AssertionError,
    RecursionError, ZeroDivisionError, MemoryError and more, and one damaged file must not end a run.
    """
    try:
        yield
    except GraftworkError:
        raise
    except Exception as error:
        said = str(error).strip().split("\n")[0]
        raise UnreadableError(f"{path}: {fault}: {said or type(error).__name__}") from error
