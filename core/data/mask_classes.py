"""The classes of masks: which values in their files stand for what, and which rows hold them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graftwork.core.data.manifest import Manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError, UnreadableError
from graftwork.core.example import Example

log = logging.getLogger(__name__)


def with_mask_classes(
    domain: Domain,
    manifest: Manifest,
    mask_values: str | None = None,
    other_values: str | None = None,
    ignore_value: int | None = None,
    named: Mapping[str, str | None] | None = None,
) -> Manifest:
    """The manifest with the classes of its masks, where masks are the target: those that `mask_values` names, as
    `parse_mask_values` reads them, or all values that occur but the one that is ignored.

    named: options of the domain that name classes in another way, in place of `mask_values`.

    Raises SettingsError for a domain without masks, values that cannot be read or that no mask holds, `other_values`
    without `mask_values`, and masks of one value only; UnreadableError for masks that cannot be read, where nobody
    names their values.
    """
    if not manifest.task.in_files or manifest.classes:
        return manifest
    masks = manifest.masks
    settings = {name: value for name, value in (named or {}).items() if value is not None}
    if settings:
        if domain.mask_classes is None or mask_values is not None:
            raise SettingsError(f"--{next(iter(settings)).replace('_', '-')} and --mask-values both name classes: give "
                                "one of them")  # fmt: skip
        mask_values = domain.mask_classes(**settings)
        settings |= {"other_values": other_values} if other_values is not None else {}
    if mask_values is not None:
        values, names = parse_mask_values(mask_values)
        if any(ignore_value in own for own in values):
            raise SettingsError(f"--ignore-value {ignore_value}: --mask-values names it as a class")
        if other_values == "nearest":  # what masks hold are not their classes
            return replace(manifest, classes=names)
        try:
            _check_held(values, held_values(domain, manifest, masks, settings))
        except UnreadableError as error:  # reading the examples stops there, or leaves them out if that was asked for
            log.warning("--mask-values were not compared with what masks hold: %s", error)
        return replace(manifest, classes=names)
    if other_values is not None:
        raise SettingsError("--other-values: name with --mask-values those that are classes of their own")
    held = held_values(domain, manifest, masks)
    held = [tuple(value for value in own if value != ignore_value) for own in held]
    found = sorted(set().union(*held))
    if len(found) < 2:
        raise SettingsError(f"{manifest.source}: masks have the value {', '.join(map(str, found))} only: there is "
                            "nothing to tell apart")  # fmt: skip
    check_one_way(manifest, held)
    return replace(manifest, classes=tuple(map(str, found)))


def check_one_way(manifest: Manifest, held: Sequence[tuple[int, ...]]) -> None:
    """Raises SettingsError where one class seems to be saved as 1 by some and as 255 by others. held: the values of
    every mask, which nobody has named."""
    found = sorted(set().union(*held))
    if set(found) - {0} == {1, 255} and not any({1, 255} <= set(own) for own in held):
        raise SettingsError(f"{manifest.source}: some masks hold 1 and others 255, none both: is it one class that was "
                            "saved in two ways? Save it in one; if they are two classes, name them: --mask-values "
                            f"{','.join(map(str, found))}")  # fmt: skip


def _check_held(values: Sequence[tuple[int, ...]], held: Sequence[tuple[int, ...]]) -> None:
    """values: those of every class."""
    found = sorted(set().union(*held))
    absent = ["+".join(map(str, own)) for own in values[1:] if not set(own) & set(found)]
    if absent:
        raise SettingsError(f"--mask-values: no mask holds {' or '.join(absent)}; masks hold "
                            f"{', '.join(map(str, found))}")  # fmt: skip
    if any(0 in own for own in values[1:]):
        log.warning("--mask-values: %d comes first and is taken for the background, 0 for a class", values[0][0])


def held_values(
    domain: Domain, manifest: Manifest, masks: Sequence[Example], settings: dict[str, Any] | None = None
) -> list[tuple[int, ...]]:
    """The values, ascending, that every mask holds; one with its image is looked at together with it.
    settings: those that are given of the domain's `mask_settings`.

    Raises SettingsError for a domain without masks; UnreadableError for all that cannot be read or do not fit.
    """
    if domain.mask_values is None:
        raise SettingsError(f"{manifest.target!r} is masks, which {domain.name} cannot learn: name another column")
    return domain.mask_values(masks, **(settings or {}))


def parse_mask_values(text: str) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """`0,1:liver,2+3` as the values of every class ((0,), (1,), (2, 3)) and their names ("0", "liver", "2+3").

    Raises SettingsError for anything but two or more different whole numbers of at least 0, and names that are empty or
    not different.
    """
    pairs = [part.partition(":") for part in text.split(",")]
    numbers = [[number.strip() for number in own.split("+")] for own, _, _ in pairs]
    every = [number for own in numbers for number in own]
    names = [name.strip() if mark else number.strip() for number, mark, name in pairs]
    if not all(number.isdecimal() for number in every) or len(set(map(int, every))) < len(every):
        raise SettingsError("--mask-values: expected different whole numbers, as 0,1,2 or 0,1:liver or 0,1+2:tumour, "
                            f"found {text!r}")  # fmt: skip
    if len(numbers) < 2:
        raise SettingsError(f"--mask-values: expected at least two values, the background first, found {text!r}")
    if not all(names) or len(set(names)) < len(names):
        raise SettingsError(f"--mask-values: expected a name of its own for every class, found {text!r}")
    return tuple(tuple(map(int, own)) for own in numbers), tuple(names)
