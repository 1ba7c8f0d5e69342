"""What files are called that are written about scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graftwork.core.example import ArchiveRow, Named, as_examples, files_of
from graftwork.imaging.scan import PICTURES, SUFFIXES


def output_names(examples: Sequence[Named]) -> list[str]:
    """A name for what is written about each: the file's own without its ending, numbered where two are alike."""
    names: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # where counting goes on for each name, or as many alike would be counted anew
    for example in as_examples(examples):
        name = Path(files_of(example)[0]).name
        for ending in sorted(SUFFIXES, key=len, reverse=True):
            if name.lower().endswith(ending):
                name = name[: -len(ending)]
                break
        if isinstance(example, ArchiveRow):
            name = f"{name.removesuffix('.npz')}-{example.part}-{example.row}"
        number, free = numbers.get(name, 2), name
        while free in taken:
            number, free = number + 1, f"{name}-{number}"
        numbers[name] = number
        taken.add(free)
        names.append(free)
    return names


def mask_names(examples: Sequence[Named]) -> list[str]:
    """The files of predicted masks: PNG for pictures, NIfTI for everything else."""
    return [
        f"{name}_mask{'.png' if files_of(example)[-1].lower().endswith(PICTURES) else '.nii.gz'}"
        for name, example in zip(output_names(examples), as_examples(examples), strict=True)
    ]
