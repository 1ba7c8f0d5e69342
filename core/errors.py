"""The errors a user can cause and mend; each message says what was expected, what was found, where, and what to do.

Anything else that is raised is a fault of the program. The command line prints these as one message with
exit status 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class GraftworkError(Exception):
    """Something the user can mend: wrong input, wrong settings, a missing package or file."""


class SettingsError(GraftworkError, ValueError):
    """An option has a value that cannot work, or two options contradict each other."""


class MissingPackageError(GraftworkError):
    """An optional package is not installed; the message names the extra that brings it."""


class DownloadError(GraftworkError):
    """Weights or an adapter had to be fetched, or sent to the hub, and could not be; the message says what to do."""


class BackboneError(GraftworkError):
    """A backbone id is unknown, or its weights do not fit; the message lists what exists or what differs."""


class TrialsError(GraftworkError, ValueError):
    """Trials of speaker verification are all of one kind, so that no error rate is defined."""


class ContractError(GraftworkError):
    """An example is readable, but it is not what the backbone or the adapter was made for."""


class UnreadableError(GraftworkError):
    """A file is missing, truncated, empty, or holds values that cannot be used."""


class AdapterError(GraftworkError):
    """An adapter folder is incomplete, of another version, or belongs to other weights."""


class OutputError(GraftworkError):
    """The output folder holds something that must not be overwritten."""


class ReportError(GraftworkError):
    """The report on a finished run cannot be written; the run itself is complete."""


class FreezingError(GraftworkError):
    """A tensor that was declared frozen changed during training: the run's numbers cannot be trusted."""


class TrainingError(GraftworkError):
    """Training cannot go on: the loss is not finite, or nothing is left to train on."""


class ProcessLostError(GraftworkError):
    """One of several processes has ended while others still needed it; the run goes on from its last checkpoint."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a manifest.

    `row` counts as a spreadsheet shows it: the header is row 1, the first example row 2; None where the
    problem is not one row's.
    """

    message: str
    row: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        place = "" if self.row is None else f"row {self.row}, "
        place += "" if self.column is None else f"column {self.column!r}, "
        return f"{place[:-2]}: {self.message}" if place else self.message


class ManifestError(GraftworkError):
    """Everything wrong with a manifest at once; `problems` has all of them, the message the first fifty."""

    SHOWN = 50

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [f"{source}: {count} problem{'s' if count != 1 else ''}"]
        lines += [f"  {problem}" for problem in self.problems[: self.SHOWN]]
        if count > self.SHOWN:
            lines.append(f"  … and {count - self.SHOWN} more")
        super().__init__("\n".join(lines))
