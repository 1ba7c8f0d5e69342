"""What enroll, verify, identify and trials are given: an embedder, clips, profiles and a calibration, as values or as
files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from graftwork.audio.domain import DOMAIN
from graftwork.audio.verification.calibration import Calibration
from graftwork.audio.verification.profiles import (
    Profiles,
    check_source,
    load_profiles,
)
from graftwork.audio.verification.verifier import Embedder, Vectors, embed, open_embedder
from graftwork.core.data.class_folders import files_below
from graftwork.core.data.examples import Examples, read_examples, unequal
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.example import Example
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import SINGLE_LABEL

if TYPE_CHECKING:
    pass

Unreadables = Literal["stop", "skip"]
"""Whether a clip that cannot be read ends the work, or is left out."""


def open_source(source: str | Embedder, weights: str | None, pooling: str | None) -> Embedder:
    """The embedder, or that of a run's folder or a backbone's id. Raises what `open_embedder` raises."""
    return open_embedder(source, weights, pooling) if isinstance(source, str) else source


def open_profiles(profiles: str | Path | Profiles, embedder: Embedder) -> Profiles:
    """The profiles, or those in that file. Raises AdapterError for profiles of other weights, OutputError for a file
    that holds none."""
    known = profiles if isinstance(profiles, Profiles) else load_profiles(profiles)
    check_source(known, embedder, "profiles" if isinstance(profiles, Profiles) else profiles)
    return known


def open_calibration(calibration: str | Path | Calibration | None) -> Calibration | None:
    """The calibration, or the one in that file; None for none. Raises SettingsError for another file."""
    if calibration is None or isinstance(calibration, Calibration):
        return calibration
    return read_calibration(calibration)


def read_calibration(path: str | Path) -> Calibration:
    """The calibration that `trials` wrote. Raises SettingsError for another file, or one of before."""
    try:
        return Calibration.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SettingsError(f"{path}: expected the calibration.json that `trials --out` writes ({error!r}); one of an "
                            "earlier version held for single clips alone: make it anew") from error  # fmt: skip


def check_calibration(calibration: Calibration, embedder: Embedder) -> None:
    """Raises SettingsError where it was found with another source of vectors."""
    if calibration.digest != embedder.digest:
        raise SettingsError(
            f"the calibration was found with other weights (SHA-256 {calibration.digest[:12]}…) than those of "
            f"{embedder.name} ({embedder.digest[:12]}…): make it anew with `trials`"
        )


def embed_cohort(embedder: Embedder, cohort: str, recipe: Recipe, unreadable: Unreadables) -> Vectors:
    """Embeddings of the cohort: a table with a column `path`, a folder, or a pattern."""
    folder = Path(cohort).expanduser()
    inputs = files_below(folder, DOMAIN.suffixes) if os.path.isdir(folder) else [cohort]
    found = find_inputs(inputs, DOMAIN)
    if not found:
        raise SettingsError(f"{cohort}: there are no clips for the cohort")
    clips = read_examples(blank(found), embedder.backbone.contract, unreadable=unreadable)
    return embed(embedder, clips, recipe)


def examples_of(found: Sequence[Example], embedder: Embedder, tensors: Sequence[object]) -> Examples:
    """Clips that have been read, as the contract gives them (samples,), about which nothing else is known."""
    contract = embedder.backbone.contract
    seconds = unequal([contract.seconds(one) for one in tensors])  # type: ignore[arg-type]
    return Examples(blank(found), contract, tuple(tensors), seconds=seconds)  # type: ignore[arg-type]


def blank(examples: Sequence[Example]) -> Manifest:
    """A manifest of clips about which nothing else is known."""
    return Manifest("", tuple(examples), SINGLE_LABEL, "", ("",), np.zeros(len(examples), dtype=np.int64))


def sound_digests(clips: Examples) -> list[str]:
    """SHA-256 of the samples of every clip as the contract reads them: the same sound in two files is one."""
    return [hashlib.sha256(np.ascontiguousarray(clips.tensor(row).numpy()).data).hexdigest()
            for row in range(len(clips))]  # fmt: skip
