"""What files are called that are written about scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graftwork.core.data.content import channel_files, split_row_path, split_series
from graftwork.imaging.scan import PICTURES, SUFFIXES


def output_names(paths: Sequence[str]) -> list[str]:
    """A name for what is written about each path: the file's own without its ending, numbered where two are alike."""
    names: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # where counting goes on for each name, or as many alike would be counted anew
    for path in paths:
        row = split_row_path(path)
        name = Path(row[0] if row else split_series(channel_files(path)[0])[0]).name
        for ending in sorted(SUFFIXES, key=len, reverse=True):
            if name.lower().endswith(ending):
                name = name[: -len(ending)]
                break
        if row:
            name = f"{name.removesuffix('.npz')}-{row[1]}-{row[2]}"
        number, free = numbers.get(name, 2), name
        while free in taken:
            number, free = number + 1, f"{name}-{number}"
        numbers[name] = number
        taken.add(free)
        names.append(free)
    return names


def mask_names(paths: Sequence[str]) -> list[str]:
    """The files of predicted masks: PNG for pictures, NIfTI for everything else."""
    return [
        f"{name}_mask{'.png' if path.lower().endswith(PICTURES) else '.nii.gz'}"
        for name, path in zip(output_names(paths), paths, strict=True)
    ]
