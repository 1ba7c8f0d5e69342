"""`push`: an adapter onto the Hugging Face hub: its three files, and nothing that names somebody or a place here."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from graftwork.core.data.group_columns import GROUP_COLUMNS, PERSON_COLUMNS
from graftwork.core.errors import AdapterError, DownloadError, OutputError, SettingsError
from graftwork.core.files import DamagedFileError, as_written
from graftwork.core.inference.adapter import CARD, LEARNT_DIGEST, WEIGHTS
from graftwork.core.inference.adapter_record import RECORD, read_record
from graftwork.core.inference.hub import FILES, HUB, hub_client, split_name, unreachable
from graftwork.core.runs.learnt_rows import NAME as LEARNT_ROWS
from graftwork.core.tensor_files import read_tensors

log = logging.getLogger(__name__)

NAMING_TABLES = (LEARNT_ROWS, "predictions.csv")
"""Tables of a run's folder that name files and groups."""

_REST = r"[^\s'\"`|]*"
ABSOLUTE = re.compile(
    rf"(?<![\w.:/~])(?:/[\w.-]+/{_REST}|~[\w.-]*/{_REST}|[A-Za-z]:\\{_REST}|\\\\\w{_REST}|file://{_REST})"
)
"""A path from the root, a home folder, a drive or a share."""

PEOPLE = {*GROUP_COLUMNS, *PERSON_COLUMNS} - {"group"}
"""Targets whose classes are people; a group may be one of a trial."""

SHORTEST_NAME, SHORTEST_NUMBER = 3, 5
"""Names of groups and files shorter than this, and numbers, are not looked for: they would be found everywhere."""


def push(run: str | Path, repository: str, *, private: bool = True) -> str:
    """Uploads the adapter in the folder of a run to OWNER/NAME on the hub, and returns how `predict` names it there.

    Only `adapter.safetensors`, `adapter.json` and the card leave this computer. private: the repository is made private
    where it does not exist yet, and must be where it does.

    Raises AdapterError for an incomplete or damaged adapter, and one whose record or card would tell absolute paths,
    names of patients or speakers, or of files; OutputError where the repository is public and `private` is not given
    up; DownloadError where the hub cannot be reached or refuses; SettingsError for no repository's name;
    MissingPackageError without huggingface_hub.
    """
    folder = Path(run)
    name, revision = split_name(repository)
    if revision is not None:
        raise SettingsError(f"{repository}: push writes to the main branch; leave out @{revision}")
    check_shareable(folder)
    hub = hub_client()
    endpoint = hub.constants.ENDPOINT
    cause = "HF_HUB_OFFLINE is set" if hub.constants.HF_HUB_OFFLINE else unreachable(endpoint)
    if cause is not None:
        raise DownloadError(f"{name}: the hub cannot be reached ({cause}); nothing was uploaded: go online and give "
                            "the command again")  # fmt: skip
    api = hub.client.HfApi(endpoint=endpoint)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.model_info(name).private:
            raise OutputError(f"{name}: is public, and private is asked for; nothing was uploaded: give --no-private, "
                              "or name another repository")  # fmt: skip
        operations = [hub.client.CommitOperationAdd(path_in_repo=one, path_or_fileobj=str(folder / one))
                      for one in FILES]  # fmt: skip
        done = api.create_commit(name, operations, commit_message="Adapter of graftwork")
    except hub.errors.HfHubHTTPError as error:
        raise DownloadError(f"{name}: the hub refused ({error}); have you a token that may write (hf auth login)?"
                            ) from error  # fmt: skip
    except OSError as error:
        raise DownloadError(f"{name}: could not be uploaded ({error}); give the command again") from error
    log.info("%s of %s: commit %s", ", ".join(FILES), folder, done.oid)
    return f"{HUB}{name}"


def check_shareable(folder: Path) -> None:
    """Raises AdapterError for a folder without a whole adapter, and where a record or card would tell what must not
    leave this computer."""
    record = read_record(folder)
    try:
        as_written(record)
        read_tensors(folder / WEIGHTS, record.get(LEARNT_DIGEST))
        card = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, DamagedFileError) as error:
        raise AdapterError(f"{folder}: cannot be uploaded: {error}") from error
    texts = {**{f"{RECORD}: {place}": text for place, text in _texts(record)}, CARD: card}
    found = [f"{place}: the path {one}" for place, text in texts.items() for one in ABSOLUTE.findall(text)]
    if re.sub(r"[\W_]", "", record["target"].lower()) in PEOPLE:
        found.append(f"{RECORD}: its classes are people: the target is {record['target']!r}")
    known = [name for table in NAMING_TABLES for name in _names(folder / table)]
    if not known:
        log.warning("%s: has no %s, so that names of patients, speakers and files in card and record cannot be told: "
                    "read them before they are public", folder, " or ".join(NAMING_TABLES))  # fmt: skip
    hidden = {name for name in known if len(name) >= (SHORTEST_NUMBER if name.isdigit() else SHORTEST_NAME)}
    found += [f"{place}: {one!r}, the name of a group or a file of the data"
              for place, text in texts.items() for one in sorted(_words(text) & hidden)]  # fmt: skip
    for text in texts.values():
        spaced = [name for name in hidden if re.search(r"\W", name) and _stands_in(name, text)]
        found += [f"{name!r}, the name of a group or a file of the data" for name in sorted(spaced)]
    if found:
        shown = "\n".join(f"  {one}" for one in dict.fromkeys(found))
        raise AdapterError(f"{folder}: not uploaded, since it would tell:\n{shown}\nTrain with classes and options "
                           "that name no person and no place (weights by an id of the hub or a relative path), or "
                           f"write {CARD} without them; whoever may publish them can upload the three files "
                           "with hf upload")  # fmt: skip


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain values, keys too, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield place or key, key
            yield from _texts(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, place)


def _names(table: Path) -> Iterable[str]:
    """Groups, and names of files with and without their ending, in a table of the run's folder."""
    if not table.is_file():
        return
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("group"):
                yield row["group"].removeprefix("'")
            # A path is as the user's system wrote it.
            path = (row.get("path") or "").partition("#")[0]
            name = (PureWindowsPath if "\\" in path else PurePosixPath)(path).name
            yield name
            stem = name.partition(".")[0]
            if re.search(r"\d", stem):  # others are words as `audio`, which cards hold anyway
                yield stem


def _words(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.,-])[\w-]+(?![\w-])", text))


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text) is not None
