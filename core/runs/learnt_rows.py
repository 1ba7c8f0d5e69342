"""Which rows a run has learnt from, kept beside its adapter, and how many of them it is evaluated on later."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.csv_cells import escaped, unescaped
from graftwork.core.data.content import content_digests
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import AdapterError
from graftwork.core.example import Example, Text, recording_of, without_mask
from graftwork.core.files import atomic_write
from graftwork.core.names import name_key
from graftwork.core.runs.run_folder import run_record

if TYPE_CHECKING:
    import pandas as pd

NAME = "learnt_rows.csv"
DIGEST = "learnt_rows"
"""The field of a run's record that holds the SHA-256 of the list."""

SHOWN = 5


@dataclass(frozen=True)
class Overlap:
    """How many of the rows that a run is evaluated on it has met before.

    rows: how many are evaluated. training, validation: how many hold what the run learnt from, or what it chose its
    epoch by, whatever the files are called. known_groups: names of groups in the other rows that training rows have as
    well, in so many rows; both None where one side has no groups.
    """

    rows: int
    training: int
    validation: int
    rows_of_known_groups: int | None
    known_groups: tuple[str, ...] | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def caution(self) -> str | None:
        """One sentence where there is any, else None."""
        found = []
        if self.training:
            found.append(f"{self.training} of {self.rows} rows hold what the run learnt from: numbers on them say "
                         "little of new rows")  # fmt: skip
        if self.validation:
            found.append(f"{self.validation} of {self.rows} rows hold what it chose its epoch by")
        if self.known_groups:
            more = f" and {len(self.known_groups) - SHOWN} more" if len(self.known_groups) > SHOWN else ""
            named = ", ".join(self.known_groups[:SHOWN]) + more
            found.append(f"{self.rows_of_known_groups} of {self.rows} rows have names of groups that it learnt from "
                         f"({named}): if these are the same patients or speakers, only other rows say what new ones "
                         "can expect")  # fmt: skip
        return "; ".join(found) or None


def write_learnt_rows(folder: Path, learnt: Manifest, chosen: Manifest | None) -> str:
    """One CSV row for every example the run has learnt from, and for every one its epoch was chosen by: path, row,
    part, group, the SHA-256 of the file's bytes and, where the domain decodes files, that of what it holds. Returns the
    SHA-256 of the list, by which one that was cut is known.

    Windows and segments of a recording are one row, with the group of the first. A folder of DICOM files counts by
    these and by the series that is named, so that one named with its series is another than without.
    """
    import pandas as pd

    parts = [("train", learnt)] + ([] if chosen is None else [("val", chosen)])
    tables = []
    for part, manifest in parts:
        whole = _whole(manifest)
        # An adapter may be shared, the texts that it learnt from need not be: their digests tell them as well.
        paths = ["" if isinstance(example, Text) else str(example) for example in whole.examples]
        table = pd.DataFrame({"path": paths, "row": list(whole.rows or range(len(whole))), "part": part})
        if whole.groups is not None:
            table["group"] = list(whole.groups)
        table["content"] = content_digests(whole.examples)
        if whole.digests is not None:
            table["decoded"] = whole.digests(whole.examples)
        tables.append(table)
    with atomic_write(folder / NAME) as temporary:
        escaped(pd.concat(tables, ignore_index=True)).to_csv(temporary, index=False)
    return hashlib.sha256((folder / NAME).read_bytes()).hexdigest()


def find_overlap(folder: str | Path, manifest: Manifest) -> Overlap | None:
    """What the manifest's rows share with those that the run in that folder has learnt from; None where the folder
    does not say, as one that only an adapter was copied to. Raises AdapterError for a list that cannot be read."""
    import pandas as pd

    place = Path(folder) / NAME
    written = (run_record(Path(folder)) or {}).get(DIGEST)
    try:
        if written is not None and written != hashlib.sha256(place.read_bytes()).hexdigest():
            raise ValueError("it was changed or cut after it was written")
        known = unescaped(pd.read_csv(place, dtype=str, keep_default_na=False))
        train, val = (known[known["part"] == part] for part in ("train", "val"))
        learnt = _known(train)
        chosen = _known(val) - learnt
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise AdapterError(f"{place}: cannot be read ({error}); delete it to evaluate without it") from error
    whole = _whole(manifest)
    contents = [{one} for one in content_digests(whole.examples)]
    if whole.digests is not None:
        contents = [own | {one} for own, one in zip(contents, whole.digests(whole.examples), strict=True)]
    met_before = learnt | chosen
    new = [number for number, content in enumerate(contents) if not content & met_before]
    known_groups = None
    if whole.groups is not None and "group" in train:
        learnt_groups = set(map(name_key, train["group"]))
        known_groups = [whole.groups[number] for number in new if name_key(whole.groups[number]) in learnt_groups]
    return Overlap(
        rows=len(whole),
        training=sum(bool(content & learnt) for content in contents),
        validation=sum(bool(content & chosen) and not content & learnt for content in contents),
        rows_of_known_groups=None if known_groups is None else len(known_groups),
        known_groups=None if known_groups is None else tuple(dict.fromkeys(known_groups)),
    )


def _known(rows: pd.DataFrame) -> set[str]:
    """Digests of what the rows hold; lists of earlier versions have those of bytes alone."""
    return set(rows["content"]) | (set(rows["decoded"]) if "decoded" in rows else set())


def _whole(manifest: Manifest) -> Manifest:
    """The manifest with a row for every file that is looked at: images without masks, recordings for their windows."""
    first: dict[Example, int] = {}
    for number, example in enumerate(manifest.examples):
        first.setdefault(recording_of(without_mask(example)), number)
    return replace(manifest.subset(list(first.values())), examples=tuple(first))
