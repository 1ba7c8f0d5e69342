"""Speakers that are enrolled: one vector each, in one file that says what made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.audio.verification.scoring import Calibration
from graftwork.audio.verification.verifier import Embedder, Vectors, unit
from graftwork.core.errors import AdapterError, OutputError
from graftwork.core.files import whole_file

SCHEMA = 1


@dataclass(frozen=True)
class Prints:
    """speakers: their names. vectors (speakers, dim): the mean of each one's unit vectors, at unit length. clips: how
    many each was made of. source, digest: of the embedder that made them. centre (dim,): what it took away from every
    vector, None for nothing. calibration: from cosines to log-likelihood ratios, None where unknown."""

    speakers: tuple[str, ...]
    vectors: Vectors
    clips: tuple[int, ...]
    source: str
    digest: str
    centre: Vectors | None = None
    calibration: Calibration | None = None


def make_prints(
    embedder: Embedder,
    vectors: Vectors,
    speakers: Sequence[str],
    centre: Vectors | None = None,
    calibration: Calibration | None = None,
) -> Prints:
    """One print for each speaker from embeddings (clips, dim) of clips with these speakers (clips,)."""
    own = unit(vectors, centre)
    names = tuple(sorted(set(speakers)))
    members = {name: [row for row, speaker in enumerate(speakers) if speaker == name] for name in names}
    means = np.stack([own[members[name]].mean(axis=0) for name in names])
    return Prints(names, unit(means), tuple(len(members[name]) for name in names), embedder.name, embedder.digest,
                  centre, calibration)  # fmt: skip


def save_prints(prints: Prints, path: Path) -> None:
    """Writes one safetensors file; the names are in its header."""
    from safetensors.torch import save_file

    about = {
        "schema": SCHEMA,
        "speakers": prints.speakers,
        "clips": prints.clips,
        "source": prints.source,
        "digest": prints.digest,
        "calibration": None if prints.calibration is None else asdict(prints.calibration),
    }
    tensors = {"vectors": torch.from_numpy(prints.vectors)}
    if prints.centre is not None:
        tensors["centre"] = torch.from_numpy(prints.centre)
    with whole_file(path) as beside:
        save_file(tensors, beside, metadata={"prints": json.dumps(about)})


def load_prints(path: str | Path) -> Prints:
    """The prints of that file. Raises OutputError if it is none."""
    from safetensors import SafetensorError, safe_open

    advice = "make them with `enroll`"
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("prints", "{}"))
            if about.get("schema") != SCHEMA:
                raise OutputError(f"{path}: holds no speaker prints of this version; {advice}")
            tensors = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118  # not a mapping
        calibration = None if about["calibration"] is None else Calibration(**about["calibration"])
        prints = Prints(tuple(about["speakers"]), tensors["vectors"], tuple(about["clips"]), about["source"],
                        about["digest"], tensors.get("centre"), calibration)  # fmt: skip
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: cannot be read as speaker prints ({error!r}); {advice}") from error
    if prints.vectors.ndim != 2 or len(prints.vectors) != len(prints.speakers) or not len(prints.speakers):
        raise OutputError(f"{path}: expected a vector for each of {len(prints.speakers)} speakers, found shape "
                          f"{prints.vectors.shape}; {advice}")  # fmt: skip
    return prints


def check_source(prints: Prints, embedder: Embedder, path: str | Path) -> None:
    """Raises AdapterError where the prints were made by another source of vectors: their cosines would mean nothing."""
    if prints.digest != embedder.digest:
        raise AdapterError(
            f"{path}: these speakers were enrolled with other weights ({prints.source}, SHA-256 "
            f"{prints.digest[:12]}…) than {embedder.name} has now ({embedder.digest[:12]}…): enroll them anew"
        )


def similarities(prints: Prints, vectors: Vectors) -> NDArray[np.float64]:
    """Cosines (clips, speakers) of embeddings (clips, dim) with every print."""
    found: NDArray[np.float64] = (unit(vectors, prints.centre) @ prints.vectors.T).astype(np.float64)
    return found
