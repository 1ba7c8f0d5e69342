"""Rows whose vectors `embed` has kept: a head is trained on these, and no file is decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from graftwork.core.activation_cache.stored_features import StoredFeatures
from graftwork.core.data.content import content_digests
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import cut_windows, has_windows
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.inference.vector_shards import each_shard, read_shard_record
from graftwork.core.model.backbone import FRAMES, MAPS, Backbone
from graftwork.core.model.graft import plan_run
from graftwork.core.model.strategies import Strategy
from graftwork.core.recipe import Recipe
from graftwork.core.training.finetuning import augmented

SHOWN = 5


def recipe_for_vectors(backbone: Backbone, manifest: Manifest, strategy: Strategy, recipe: Recipe) -> Recipe:
    """The recipe as a run on vectors takes it: the head reads the last stage.

    Raises SettingsError for a strategy that changes the network or its input, for other features, and for texts and
    masks.
    """
    if backbone.stages[-1].name in (FRAMES, MAPS):
        raise SettingsError(f"--vectors: {manifest.target!r} needs more of an example than one vector")
    if recipe.features not in ("auto", "last"):
        raise SettingsError(f"--vectors: these are of the last stage, --features {recipe.features} asks for others")
    recipe = replace(recipe, features="last")
    plan = plan_run(backbone, strategy, recipe, manifest)
    if plan.frontier < len(backbone.stages) or augmented(plan, recipe):
        raise SettingsError(f"--vectors: {strategy} changes the network or its input, of which only vectors are kept; "
                            "probe and knn without augmentation do not")  # fmt: skip
    return recipe


def vector_examples(backbone: Backbone, manifest: Manifest, folder: str | Path) -> Examples:
    """The rows with the vectors (width,) that `embed` has kept of their files in that folder, after all stages of the
    backbone. The files' bytes are read, for their digests; nothing is decoded, so that what is the same under other
    bytes is not seen.

    Raises OutputError for vectors of another backbone, of other weights, of another input contract or stage, for files
    without a vector, and for those that have changed since; SettingsError for recordings that are cut into windows.
    """
    place = Path(folder)
    _check_kind(place, backbone)
    if has_windows(cut_windows(backbone.domain, manifest, backbone.contract)):
        raise SettingsError("--vectors: recordings are learnt window by window here, and there is one vector of each; "
                            "cut them into segments in the table")  # fmt: skip
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(manifest.paths):
        rows_of.setdefault(path, []).append(row)
    found: list[Tensor | None] = [None] * len(manifest)
    digests = [""] * len(manifest)
    for shard in each_shard(place):
        for number, path in enumerate(shard.paths):
            for row in rows_of.get(path, ()):
                # A copy: a row of a few would keep its whole shard in memory.
                found[row], digests[row] = torch.from_numpy(shard.vectors[number].copy()), shard.digests[number]
    without = [path for path, vector in zip(manifest.paths, found, strict=True) if vector is None]
    if without:
        raise OutputError(f"{place}: no vectors of {len(without)} files: {_some(without)}; the same `embed` with this "
                          "table adds them")  # fmt: skip
    now = content_digests(manifest.examples)
    changed = [path for path, one, other in zip(manifest.paths, digests, now, strict=True) if one != other]
    if changed:
        raise OutputError(f"{place}: {len(changed)} files have changed since their vectors were computed: "
                          f"{_some(changed)}; embed them into another folder")  # fmt: skip
    kept = tuple(vector for vector in found if vector is not None)
    return Examples(replace(manifest, digests=None), StoredFeatures(ragged=False), kept, stage=len(backbone.stages))


def _check_kind(folder: Path, backbone: Backbone) -> None:
    record = read_shard_record(folder)
    expected = {"backbone": backbone.id, "weights": backbone.digest(), "input": backbone.contract.to_json(),
                "stage": backbone.stages[-1].name}  # fmt: skip
    wrong = sorted(name for name, value in expected.items() if record.get(name) != value)
    if wrong:
        raise OutputError(f"{folder}: holds vectors of another {', '.join(wrong)} than asked for: give the options "
                          "that `embed` was given, or embed into another folder")  # fmt: skip


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
