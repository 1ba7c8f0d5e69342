"""Which rows a run has learnt from, kept beside its adapter, and how many of them it is judged on later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graftwork.core.content import content_digests, image_of, recording_of
from graftwork.core.errors import AdapterError
from graftwork.core.files import whole_file
from graftwork.core.manifest import Manifest

NAME = "learnt_rows.csv"
SHOWN = 5


@dataclass(frozen=True)
class Overlap:
    """What judged rows have to do with the rows that a run has learnt from.

    rows: how many are judged. learnt, chosen: how many of them hold what the run learnt from, and what it chose its
    epoch by, whatever the files are called. groups: patients or speakers of the other rows that it learnt from as well;
    of_groups: how many rows these are.
    """

    rows: int
    learnt: int
    chosen: int
    of_groups: int
    groups: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"learnt_from": self.learnt, "epoch_chosen_by": self.chosen, "of_learnt_groups": self.of_groups,
                "groups": list(self.groups)}  # fmt: skip

    @property
    def caution(self) -> str | None:
        """One sentence where there is any, else None."""
        found = []
        if self.learnt:
            found.append(f"{self.learnt} of {self.rows} rows hold what the run learnt from")
        if self.chosen:
            found.append(f"{self.chosen} of {self.rows} rows hold what it chose its epoch by")
        if self.groups:
            more = f" and {len(self.groups) - SHOWN} more" if len(self.groups) > SHOWN else ""
            named = ", ".join(self.groups[:SHOWN]) + more
            found.append(f"{self.of_groups} of {self.rows} rows are of groups that it learnt from ({named})")
        return f"{'; '.join(found)}: numbers on them say little of new rows" if found else None


def write_learnt_rows(folder: Path, learnt: Manifest, chosen: Manifest | None) -> None:
    """One CSV row for every example the run has learnt from, and for every one its epoch was chosen by: path, row,
    part, group and the SHA-256 of what is in the file. Windows are one row, their recording."""
    import pandas as pd

    parts = [("train", learnt)] + ([] if chosen is None else [("val", chosen)])
    tables = []
    for part, manifest in parts:
        whole = _whole(manifest)
        table = pd.DataFrame({"path": list(whole.paths), "row": list(whole.rows or range(len(whole))), "part": part})
        if whole.groups is not None:
            table["group"] = list(whole.groups)
        tables.append(table.assign(content=content_digests(whole.paths)))
    with whole_file(folder / NAME) as beside:
        pd.concat(tables, ignore_index=True).to_csv(beside, index=False)


def find_overlap(folder: str | Path, manifest: Manifest) -> Overlap | None:
    """What the manifest's rows share with those that the run in that folder has learnt from; None where the folder
    does not say, as one that only an adapter was copied to. Raises AdapterError for a list that cannot be read."""
    import pandas as pd

    place = Path(folder) / NAME
    try:
        known = pd.read_csv(place, dtype=str, keep_default_na=False)
        train, val = (known[known["part"] == part] for part in ("train", "val"))
        learnt, chosen = set(train["content"]), set(val["content"]) - set(train["content"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise AdapterError(f"{place}: cannot be read ({error}); delete it to judge without it") from error
    whole = _whole(manifest)
    contents = content_digests(whole.paths)
    new = [number for number, content in enumerate(contents) if content not in learnt | chosen]
    of_groups: list[str] = []
    if whole.groups is not None and "group" in train:
        met = set(train["group"])
        of_groups = [whole.groups[number] for number in new if whole.groups[number] in met]
    return Overlap(
        rows=len(whole),
        learnt=sum(content in learnt for content in contents),
        chosen=sum(content in chosen for content in contents),
        of_groups=len(of_groups),
        groups=tuple(dict.fromkeys(of_groups)),
    )


def _whole(manifest: Manifest) -> Manifest:
    """The manifest with a row for every file that is looked at: images without masks, recordings for their windows."""
    first: dict[str, int] = {}
    for number, path in enumerate(manifest.paths):
        first.setdefault(recording_of(image_of(path)), number)
    return replace(manifest.subset(list(first.values())), paths=tuple(first))
