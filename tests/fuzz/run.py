"""Reads thousands of damaged files: each is read, or refused by an error that a person can act on.

    python -m tests.fuzz.run --cases 20000
    python -m tests.fuzz.run --only adapter.json --cases 500 --seed 7
    python -m tests.fuzz.run --only adapter.json --case 123 --keep damaged/

A case is a subject, damaged as the seed and its number say. Faults are: any other exception, a process that ends, more
than 20 s, more than 2 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from graftwork.core.errors import GraftworkError
from tests.fuzz.subjects import Subject, every_subject

SECONDS, BYTES = 20, 2 << 30
TOGETHER = 250
"""Cases that one process reads."""


@dataclass(frozen=True)
class Outcome:
    """said: "read", "refused", or what went wrong, with the line of the program that raised it."""

    number: int
    subject: str
    said: str


def drawn(subjects: Sequence[Subject], seed: int, number: int) -> tuple[Subject, np.random.Generator]:
    """The subject of a case, and what its damage is drawn by."""
    rng = np.random.default_rng([seed, number])
    shares = np.array([one.share for one in subjects])
    return subjects[int(rng.choice(len(subjects), p=shares / shares.sum()))], rng


def read_damaged(subject: Subject, rng: np.random.Generator) -> str:
    """What comes of one damaged file; its folder is put back as it was."""
    folder = subject.file.parent
    before = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    subject.file.write_bytes(subject.damage(before[subject.file], rng))
    try:
        subject.use(subject.file)
    except GraftworkError as error:
        told = f"{error.__class__.__name__}: {error}"
        named = subject.file.name in told or folder.name in told
        return "refused" if named else f"names no file: {told[:200]}"
    except Exception as error:  # noqa: BLE001  # whatever is raised is a fault
        return f"{type(error).__name__}: {str(error)[:120]!r} {_line(error)}"
    else:
        return "read"
    finally:
        for file in folder.iterdir():
            if file.is_file() and file not in before:
                file.unlink()
        for file, content in before.items():
            if not file.is_file() or file.read_bytes() != content:
                file.write_bytes(content)


def _line(error: BaseException) -> str:
    """The innermost line of the program that the error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if any(f"/{part}/" in frame.filename for part in ("core", "imaging", "audio"))
              and "site-packages" not in frame.filename]  # fmt: skip
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _read_all(subjects: Sequence[Subject], seed: int, numbers: Sequence[int], answers: Connection) -> None:
    """In a process of its own: says every case when it begins, and what came of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders in C write there
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + BYTES // 1024
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        answers.send(number)
        signal.alarm(SECONDS)  # ends the process, wherever it is
        said = read_damaged(*drawn(subjects, seed, number))
        signal.alarm(0)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > most:
            said = f"takes more than {BYTES >> 30} GB"
        answers.send(said)


def outcomes(subjects: Sequence[Subject], seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """What comes of these cases, each process beginning where the one before was ended."""
    context = multiprocessing.get_context("fork")
    left = list(numbers)
    wholes = {file: file.read_bytes() for one in subjects for file in one.file.parent.iterdir() if file.is_file()}
    while left:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(subjects, seed, left[:TOGETHER], theirs))
        process.start()
        theirs.close()
        begun, stop = None, min(TOGETHER, len(left))
        try:
            for place in range(stop):
                begun = place
                number = ours.recv()
                subject = drawn(subjects, seed, number)[0].name
                yield Outcome(number, subject, ours.recv())
        except EOFError:
            process.join()
            number = left[begun or 0]
            ended = "takes more than 20 s" if process.exitcode == -signal.SIGALRM else f"ends with {process.exitcode}"
            yield Outcome(number, drawn(subjects, seed, number)[0].name, ended)
            stop = (begun or 0) + 1
            for file, content in wholes.items():
                file.write_bytes(content)
        process.join()
        left = left[stop:]


def main() -> int:
    """Prints every fault and a table; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="subjects whose name contains this")
    parser.add_argument("--case", type=int, help="this case alone, in this process, with its traceback")
    parser.add_argument("--keep", type=Path, help="with --case: the damaged file is left in this folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subjects = [one for one in every_subject(Path(folder)) if asked.only in one.name]
        if asked.case is not None:
            return _alone(subjects, asked.seed, asked.case, asked.keep)
        counts: Counter[tuple[str, str]] = Counter()
        faults: dict[str, Outcome] = {}
        for one in outcomes(subjects, asked.seed, range(asked.cases)):
            kind = one.said if one.said in ("read", "refused") else "fault"
            counts[one.subject, kind] += 1
            if kind == "fault" and f"{one.subject.split()[0]} {one.said}" not in faults:
                faults[f"{one.subject.split()[0]} {one.said}"] = one
                print(f"case {one.number}, {one.subject}: {one.said}", flush=True)
    for name in sorted({subject for subject, _ in counts}):
        print(f"{name:32s}", *(f"{kind} {counts[name, kind]:5d}" for kind in ("read", "refused", "fault")))
    totals = [sum(count for (_, kind), count in counts.items() if kind == own) for own in ("read", "refused", "fault")]
    print(f"{asked.cases} cases: {totals[0]} read, {totals[1]} refused by name, {totals[2]} faults")
    return 1 if totals[2] else 0


def _alone(subjects: Sequence[Subject], seed: int, number: int, keep: Path | None) -> int:
    subject, rng = drawn(subjects, seed, number)
    subject.file.write_bytes(subject.damage(subject.file.read_bytes(), rng))
    print(subject.name)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(subject.file, keep)
    print(subject.use(subject.file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
