"""Names that people wrote, of classes, patients, columns and files: which of them mean the same."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

from graftwork.core.errors import UnreadableError

_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python has in place of a byte that is no text."""

_WHOLE_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.0*)?")


def composed(text: str) -> str:
    """The text in Unicode's normal form C: a letter and its accents are one character where there is such a one."""
    return unicodedata.normalize("NFC", text)


def name_key(text: str) -> str:
    """What all spellings of a name share: its composed form, and of whole numbers the digits, so that `1`, `1.0` and
    `01` are one."""
    found = _WHOLE_NUMBER.fullmatch(text)
    if found is None:
        return composed(text)
    sign, digits = found.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def existing_path(path: str) -> str:
    """The path in the form of Unicode in which its folders and its file exist; as it is where none does."""
    if path.isascii() or os.path.lexists(path):
        return path
    found = os.sep if os.path.isabs(path) else ""
    parts = [part for part in path.split(os.sep) if part]
    for part in parts:
        name = next((name for name in _forms(part) if os.path.lexists(os.path.join(found, name))), None)
        if name is None:
            return path
        found = os.path.join(found, name)
    return found


def refuse_undecodable(paths: Iterable[str]) -> None:
    """Raises UnreadableError where names of files or folders are bytes of another encoding than the system's, as
    Latin-1 on UTF-8: no table and no JSON could name them."""
    wrong = [path for path in paths if not path.isascii() and _SURROGATE.search(path)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        shown = wrong[0].encode("utf-8", "backslashreplace").decode()
        raise UnreadableError(f"{shown}{more}: the name is not text in UTF-8, and cannot be written into any result; "
                              "rename it, as with `convmv -f latin1 -t utf8 --notest`")  # fmt: skip


def other_forms(text: str) -> list[str]:
    """The text composed and decomposed, as far as it is neither already."""
    return [form for form in (composed(text), unicodedata.normalize("NFD", text)) if form != text]


def _forms(name: str) -> list[str]:
    return [name, *other_forms(name)]


HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def hub_name(named: str) -> str | None:
    """OWNER/NAME of `OWNER/NAME[@REVISION]` on the Hugging Face hub; None for a folder that is here, and for others."""
    name = named.partition("@")[0]
    return name if HUB_NAME.fullmatch(name) and not os.path.exists(name) else None
