"""What files are called that are written about scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graftwork.core.example import ArchiveRow, Example, Named, as_examples, files_of
from graftwork.imaging.scan import PICTURES, SUFFIXES


def output_names(examples: Sequence[Named]) -> list[str]:
    """A name for what is written about each: the file's own without its ending; where all are called alike, as in a
    folder a case, with the name of the folder before it; numbered where two are still alike."""
    listed = as_examples(examples)
    own = [_own_name(example) for example in listed]
    if len(own) > 1 and len(set(own)) == 1 and not any(isinstance(example, ArchiveRow) for example in listed):
        folders = [Path(files_of(example)[0]).absolute().parent.name for example in listed]
        if len(set(folders)) == len(own):
            own = [f"{folder}_{name}" for folder, name in zip(folders, own, strict=True)]
    names: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # where counting goes on for each name, or as many alike would be counted anew
    for name in own:
        number, free = numbers.get(name, 2), name
        while free in taken:
            number, free = number + 1, f"{name}-{number}"
        numbers[name] = number
        taken.add(free)
        names.append(free)
    return names


def _own_name(example: Example) -> str:
    name = Path(files_of(example)[0]).name
    ending = max((one for one in SUFFIXES if name.lower().endswith(one)), key=len, default="")
    name = name[: len(name) - len(ending)]
    return f"{name.removesuffix('.npz')}-{example.part}-{example.row}" if isinstance(example, ArchiveRow) else name


def mask_names(examples: Sequence[Named], ending: str | None = None) -> list[str]:
    """The files of predicted masks: PNG for pictures, NIfTI for everything else, or all with this ending."""
    return [
        f"{name}_mask{ending or ('.png' if files_of(example)[-1].lower().endswith(PICTURES) else '.nii.gz')}"
        for name, example in zip(output_names(examples), as_examples(examples), strict=True)
    ]
