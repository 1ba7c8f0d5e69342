"""Every example of a manifest opened once: what its files are, and which of them cannot be read or look wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.core.example import Example
from graftwork.core.progress import progress
from graftwork.core.types import Description

SHOWN = 5
"""Values, and files of a fault, that are written out; the others are counted."""


@dataclass(frozen=True)
class OpenedFiles:
    """count: examples that were opened. numbers: least, median and largest by name. words: how many examples have which
    value, by name. faults: the examples that look wrong, by what is wrong. unreadable: why those that cannot be read
    cannot."""

    count: int
    numbers: dict[str, tuple[float, float, float]]
    words: dict[str, dict[str, int]]
    faults: dict[str, tuple[str, ...]]
    unreadable: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        lines = [f"{self.count} files opened"]
        lines += [f"  {name}: {least:g} to {most:g}, median {median:g}" if least != most else f"  {name}: {least:g}"
                  for name, (least, median, most) in self.numbers.items()]  # fmt: skip
        for name, counts in self.words.items():
            shown = ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:SHOWN])
            more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
            lines.append(f"  {name}: {shown}{more}")
        for fault, paths in self.faults.items():
            lines.append(f"  {fault}: {len(paths)}, {_some(paths)}")
        if self.unreadable:
            lines.append(f"  cannot be read: {len(self.unreadable)}")
            lines += [f"    {reason}" for reason in list(self.unreadable.values())[:SHOWN]]
        return "\n".join(lines)


def open_files(describe: Callable[[Example], Description], examples: Sequence[Example]) -> OpenedFiles:
    """What a domain says of every example. Raises nothing for files that cannot be read: they are named."""
    numbers: dict[str, list[float]] = {}
    words: dict[str, Counter[str]] = {}
    faults: dict[str, list[str]] = {}
    unreadable: dict[str, str] = {}
    with progress("opening files", len(examples)) as advance:
        for example in examples:
            try:
                found = describe(example)
            except (UnreadableError, MissingPackageError) as error:
                unreadable[str(example)] = str(error)
            else:
                for name, number in found.numbers.items():
                    numbers.setdefault(name, []).append(number)
                for name, word in found.words.items():
                    words.setdefault(name, Counter())[word] += 1
                for fault in found.faults:
                    faults.setdefault(fault, []).append(str(example))
            advance(1, "")
    return OpenedFiles(
        len(examples) - len(unreadable),
        {name: (min(own), float(np.median(own)), max(own)) for name, own in numbers.items()},
        {name: dict(counts.most_common()) for name, counts in words.items()},
        {fault: tuple(paths) for fault, paths in faults.items()},
        unreadable,
    )


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
