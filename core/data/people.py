"""Who is on the examples where no column says so: in the names of files, or in the files themselves."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.tables import read_manifest
from graftwork.core.data.target_guess import names_people
from graftwork.core.domain import Domain
from graftwork.core.example import Example, files_of

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

NAME_PATTERNS = (
    r"(?:^|[^A-Za-z0-9])(sub-[A-Za-z0-9]+)",
    r"(?i:(?:^|[^a-z0-9])((?:patient|pat|pt|subject|subj|sub|participant|client|speaker|spk|person)[ _-]?[0-9]+))",
    r"(?:^|[^A-Za-z0-9])([Pp][0-9]{2,})(?=[^A-Za-z0-9])",
    r"(?:^|[^A-Za-z0-9])(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})",
    r"(?:^|/)(id[0-9]{5})/",
)
"""How patients and speakers are usually named in files: BIDS, words with a number, P0012, TCGA, VoxCeleb."""


def read_domain_manifest(domain: Domain, source: str | os.PathLike[str] | pd.DataFrame, **options: Any) -> Manifest:
    """`read_manifest` with what the domain knows: which examples it reads, what two files share, and, where no column
    says so, who is on them. Raises ManifestError."""
    found = read_manifest(source, suffixes=domain.suffixes, kinds=domain.kinds, column=domain.column,
                          path_columns=domain.path_columns, corpora=domain.corpora, **options)  # fmt: skip
    return with_own_groups(domain, replace(found, digests=domain.decoded_digests))


def with_own_groups(domain: Domain, manifest: Manifest) -> Manifest:
    """The manifest with the patients that its files name as groups, where it has none; a file that names nobody is a
    group of its own.

    Where only names of files look like patients, that is said: what a name means, somebody has to know.
    """
    if manifest.groups is not None or names_people(manifest.target):
        return manifest
    named = [None] * len(manifest) if domain.file_groups is None else domain.file_groups(manifest.inputs)
    people = {name for name in named if name is not None}
    if not people:
        _offer_names(manifest)
        return manifest
    files = sum(name is not None for name in named)
    if len(people) == 1:
        if files > 1:
            log.warning("%s: %d files name one and the same patient, which is not taken for a group: if these are "
                        "several people, give a column group", manifest.source, files)  # fmt: skip
        return manifest
    log.warning("%s: the patients that %d files name (%d, of whom only hashes are kept) are taken for the groups that "
                "splits keep together; --group names a column instead", manifest.source, files,
                len(people))  # fmt: skip
    groups = tuple(name or path for name, path in zip(named, manifest.paths, strict=True))
    return replace(manifest, groups=groups)


def _offer_names(manifest: Manifest) -> None:
    """One sentence where the files' names show which of them belong together."""
    root = Path(manifest.source)
    files = [_seen_from(root if root.is_dir() else root.parent, example) for example in manifest.inputs]
    for pattern in NAME_PATTERNS:
        names = [re.search(pattern, file) for file in files]
        found = [name[1] for name in names if name is not None]
        if len(found) == len(files) and 1 < len(set(found)) < len(files):
            log.warning("%s: the names of %d files share %d beginnings such as %r, which splits may separate: give a "
                        "column group if these are people, or --group-from %r", manifest.source, len(files),
                        len(set(found)), found[0], pattern)  # fmt: skip
            return


def _seen_from(folder: Path, example: Example) -> str:
    files = files_of(example)
    return Path(os.path.relpath(files[0], folder or ".")).as_posix() if files else ""
