"""What classes are called in files of masks that do not number them: colours of pictures, names of drawn structures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.core.errors import SettingsError

Colour = tuple[int, ...]

COLOURS_HELP = "as '0,0,0:rest;255,0,0:tumour', the background first, or a .csv (name,r,g,b) or .json file"
STRUCTURES_HELP = "as 'liver,GTV+gtv_1:tumour'"


@dataclass(frozen=True)
class ClassTable:
    """Classes by name, the background first: class k has the value k.

    colours: of every class all colours (red, green, blue) that stand for it; none where pictures hold numbers.
    structures: of every class but the background all names of structures that stand for it; none likewise.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[Colour, ...], ...] = ()
    structures: tuple[tuple[str, ...], ...] = ()

    def mask_values(self) -> str:
        """The same classes as `--mask-values` names them."""
        return ",".join(f"{value}:{name}" for value, name in enumerate(self.names))

    def to_json(self) -> dict[str, str]:
        """What `class_table` takes."""
        if self.colours:
            own = ["+".join(",".join(map(str, colour)) for colour in one) for one in self.colours]
            return {"mask_colours": ";".join(f"{one}:{name}" for one, name in zip(own, self.names, strict=True))}
        named = ["+".join(one) for one in self.structures]
        return {"structures": ",".join(f"{one}:{name}" for one, name in zip(named, self.names[1:], strict=True))}


def class_table(
    mask_colours: str | None = None, structures: str | None = None, mask_values: str | None = None
) -> ClassTable | None:
    """The classes that these options name; None where neither is given.

    mask_colours: `0,0,0:rest;255,0,0+255,128,0:tumour`, the background first, or a file: .csv with the columns name, r,
    g, b, or .json with an object of names and colours, [r, g, b] or several of them. structures:
    `liver,GTV+gtv_1:tumour`, each with its own name where none is given. Raises SettingsError for anything else, and
    beside a mask_values that names other classes.
    """
    if mask_colours is None and structures is None:
        return None
    if mask_colours is not None and structures is not None:
        raise SettingsError("--mask-colours is of pictures, --structures of contours: give one of them")
    table = _coloured(mask_colours) if mask_colours is not None else _structured(structures or "")
    option = "--mask-colours" if mask_colours is not None else "--structures"
    if len(table.names) < 2 or len(set(table.names)) < len(table.names):
        raise SettingsError(f"{option}: expected two or more classes, background included, each with a name of its "
                            f"own, found {', '.join(table.names)}")  # fmt: skip
    wrong = [name for name in table.names if not name or set(name) & set(",:+;")]
    if wrong:
        raise SettingsError(f"{option}: a name is not empty and holds no comma, colon, semicolon or plus, found "
                            f"{wrong[0]!r}")  # fmt: skip
    if mask_values is not None and mask_values != table.mask_values():
        raise SettingsError(f"{option} names the classes, and so does --mask-values: give one of them")
    return table


def _coloured(text: str) -> ClassTable:
    pairs = _from_file(Path(text)) if text.lower().endswith((".csv", ".json")) else _from_text(text)
    every = [colour for _, colours in pairs for colour in colours]
    for colour in every:
        if len(colour) != 3 or not all(0 <= one <= 255 for one in colour):
            raise SettingsError(f"--mask-colours: a colour is three numbers from 0 to 255, found {colour}")
    doubled = next((colour for place, colour in enumerate(every) if colour in every[:place]), None)
    if doubled is not None:
        raise SettingsError(f"--mask-colours: the colour {doubled} is there twice")
    return ClassTable(tuple(name for name, _ in pairs), tuple(colours for _, colours in pairs))


def _from_text(text: str) -> list[tuple[str, tuple[Colour, ...]]]:
    pairs = []
    for part in text.split(";"):
        colours, _, name = part.partition(":")
        try:
            found = tuple(tuple(int(one) for one in colour.split(",")) for colour in colours.split("+"))
        except ValueError:
            raise SettingsError(f"--mask-colours: expected colours and names, {COLOURS_HELP}; found {part!r}") from None
        pairs.append((name.strip(), found))
    return pairs


def _from_file(path: Path) -> list[tuple[str, tuple[Colour, ...]]]:
    try:
        if path.suffix.lower() == ".json":
            held = json.loads(path.read_text(encoding="utf-8-sig"))
            return [(str(name).strip(), _colours(value)) for name, value in held.items()]
        return _from_csv(path)
    except OSError as error:
        raise SettingsError(f"--mask-colours: {path} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"--mask-colours: {path}: expected names and colours, as name,r,g,b in columns or "
                            f'{{"rest": [0, 0, 0]}} ({error})') from None  # fmt: skip


def _colours(value: Sequence[int] | Sequence[Sequence[int]]) -> tuple[Colour, ...]:
    several: Any = [value] if isinstance(value[0], int) else value
    return tuple(tuple(int(one) for one in colour) for colour in several)


def _from_csv(path: Path) -> list[tuple[str, tuple[Colour, ...]]]:
    import pandas as pd

    table = pd.read_csv(path, skipinitialspace=True)
    table.columns = [str(column).strip().lower() for column in table.columns]
    missing = [column for column in ("name", "r", "g", "b") if column not in table.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    found: dict[str, list[Colour]] = {}  # a name on several rows has several colours
    for name, red, green, blue in table[["name", "r", "g", "b"]].itertuples(index=False):
        found.setdefault(str(name).strip(), []).append((int(red), int(green), int(blue)))
    return [(name, tuple(colours)) for name, colours in found.items()]


def _structured(text: str) -> ClassTable:
    names, structures = ["background"], []
    for part in text.split(","):
        listed, _, name = part.partition(":")
        own = tuple(one.strip() for one in listed.split("+"))
        if not all(own):
            raise SettingsError(f"--structures: expected names of structures, {STRUCTURES_HELP}; found {part!r}")
        structures.append(own)
        names.append(name.strip() or own[0])
    every = [one for own in structures for one in own]
    if len(set(every)) < len(every):
        raise SettingsError(f"--structures: a structure is there twice in {text!r}")
    return ClassTable(tuple(names), structures=tuple(structures))
