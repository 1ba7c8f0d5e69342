"""Ways in which files are damaged: bytes, or what is written in a JSON document, a table or a zipped stream."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Generator: TypeAlias = np.random.Generator
Damage: TypeAlias = Callable[[bytes, Generator], bytes]

ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**30, 0.5, 1e308, float("inf"), float("nan"), "", "a", "../../x", "\0", "\ud800",
    "=1+1", "x" * 5000, [], {}, [[]], [None], {"a": 1}, list(range(500)),
)  # fmt: skip
ODD_WORDS = ("", "nan", "inf", "-1", "1e400", "99999999999999999999", '"', ",", "\n", "\t", "\0", "é", "#t=0,0", "|",
             "/", "/dev/zero", "..", "x" * 300, "=1+1", "\ufeff")  # fmt: skip
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def of_bytes(content: bytes, rng: Generator) -> bytes:
    """One to three changes: bits flipped, a stretch zeroed, set, removed, doubled or moved, the end cut off, a whole
    number replaced, bytes put in or put behind."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not found:
            break
        start = _place(found, rng)
        end = min(len(found), start + int(rng.integers(1, 64)))
        match int(rng.integers(10)):
            case 0 | 1:
                for place in [_place(found, rng) for _ in range(int(rng.integers(1, 6)))]:
                    found[place] ^= 1 << int(rng.integers(8))
            case 2:
                del found[start:]
            case 3:
                found[start:end] = b"\0" * (end - start)
            case 4:
                found[start:end] = b"\xff" * (end - start)
            case 5:
                del found[start:end]
            case 6:
                found[end:end] = found[start:end] * int(rng.integers(1, 4))
            case 7:
                width, order = int(rng.choice((1, 2, 4, 8))), ("little", "big")[int(rng.integers(2))]
                number = int(rng.choice(ODD_NUMBERS)) % (1 << 8 * width)
                found[start : start + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
            case 8:
                found[start:start] = rng.bytes(int(rng.integers(1, 64)))
            case _:
                found += rng.bytes(int(rng.integers(1, 64)))
    return bytes(found)


def _place(found: bytearray, rng: Generator) -> int:
    """Anywhere, but as often among the first bytes, where headers are."""
    return int(rng.integers(min(len(found), 400) if rng.random() < 0.5 else len(found)))


def of_gzip(content: bytes, rng: Generator) -> bytes:
    """What is packed, or the packing."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    return gzip.compress(of_bytes(gzip.decompress(content), rng), 1)


def of_text(content: bytes, rng: Generator) -> bytes:
    """Cells, lines and bytes of a table or list."""
    if rng.random() < 0.25:
        return of_bytes(content, rng)
    lines = content.decode("utf-8").split("\n")
    for _ in range(int(rng.integers(1, 4))):
        row = int(rng.integers(len(lines)))
        separator = "\t" if "\t" in lines[row] else ","
        cells = lines[row].split(separator)
        match int(rng.integers(5)):
            case 0 | 1:
                cells[int(rng.integers(len(cells)))] = str(rng.choice(ODD_WORDS))
            case 2:
                del cells[int(rng.integers(len(cells)))]
            case 3:
                cells.insert(int(rng.integers(len(cells) + 1)), str(rng.choice(ODD_WORDS)))
            case _:
                lines.insert(row, lines[int(rng.integers(len(lines)))])
        lines[row] = separator.join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def of_json(content: bytes, rng: Generator) -> bytes:
    """Values of the document replaced, removed or put elsewhere; now and then its bytes."""
    if rng.random() < 0.15:
        return of_bytes(content, rng)
    return json.dumps(of_value(json.loads(content), rng)).encode("utf-8", "surrogatepass")


def of_value(value: Any, rng: Generator) -> Any:
    """A copy of plain values with one or two changed, removed or added."""
    for _ in range(int(rng.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return _odd(rng)
        holder, key = places[int(rng.integers(len(places)))]
        match int(rng.integers(8)):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[str(rng.choice(["", "a", "schema", "task", "\0"]))] = _odd(rng)
            case 2 if isinstance(holder, list):
                holder.append(_odd(rng))
            case 3:
                other, name = places[int(rng.integers(len(places)))]
                if name in other if isinstance(other, dict) else name < len(other):
                    holder[key] = json.loads(json.dumps(other[name]))
            case 4 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
                holder[key] = holder[key] * float(rng.choice([-1, 0, 0.5, 2, 1000]))
            case _:
                holder[key] = _odd(rng)
    return value


def _odd(rng: Generator) -> Any:
    return json.loads(json.dumps(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]))


def _places(value: Any) -> Any:
    """Every (container, key) in nested lists and objects."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def of_checked_json(content: bytes, rng: Generator) -> bytes:
    """As `of_json`, in half of all cases without the digest by which damage is told."""
    value = json.loads(content)
    if rng.random() < 0.5:
        value.pop("sha256", None)
    return of_json(json.dumps(value).encode(), rng)


def of_safetensors(content: bytes, rng: Generator) -> bytes:
    """Bytes, or the header: shapes, offsets, and documents that lie in its metadata, without their digest."""
    if rng.random() < 0.4:
        return of_bytes(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = header.get("__metadata__", {})
    documents = [name for name, text in about.items() if text[:1] in "{["]
    if documents and rng.random() < 0.7:
        about.pop("sha256", None)
        name = documents[int(rng.integers(len(documents)))]
        about[name] = json.dumps(of_value(json.loads(about[name]), rng))
    else:
        header = of_value(header, rng)
    packed = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(packed).to_bytes(8, "little") + packed + content[8 + length :]
