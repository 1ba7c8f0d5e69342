"""Heads that are solved on the vectors of a frozen network, and the stages whose vectors they read."""

from __future__ import annotations

import logging
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.activation_cache.activations import run_frozen_stages, vectors
from graftwork.core.compute.runtime import Runtime
from graftwork.core.data.examples import Examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.views import all_views
from graftwork.core.errors import TrainingError
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.graft import Graft
from graftwork.core.model.heads import Head
from graftwork.core.model.neighbour_head import NeighbourHead
from graftwork.core.model.plan import Plan
from graftwork.core.model.stage_outputs import FeatureChoice, with_every_stage, with_features
from graftwork.core.recipe import Recipe
from graftwork.core.training.feature_choice import check_features, choose_features
from graftwork.core.training.linear_probe import fit_probe, probe_scores
from graftwork.core.training.neighbours import fit_neighbours
from graftwork.core.types import Augment

log = logging.getLogger(__name__)


def solve_head(graft: Graft, rows: Examples, recipe: Recipe, runtime: Runtime, augment: Augment | None) -> None:
    """Sets the graft's head to the solution on the vectors of these rows: a linear layer, or neighbours.

    Raises TrainingError where the vectors cannot be kept.
    """
    ready = run_frozen_stages(graft.backbone, rows, len(graft.backbone.stages), runtime, recipe, augment)
    if ready is None:
        raise TrainingError(f"the vectors of {len(rows)} examples cannot be kept")
    found = vectors(ready)
    if isinstance(graft.head, NeighbourHead):
        neighbours = fit_neighbours(graft.head, found, all_views(ready).manifest, seed=recipe.seed)
        log.info("%d neighbours predict held-out rows best", neighbours.count)
        return
    head = cast(Head, graft.head)  # a decoder is never solved
    _fit(head, found, all_views(ready).manifest, recipe, runtime)
    # The solver works in the target's own unit.
    head.get_buffer("shift").zero_()
    head.get_buffer("scale").fill_(1.0)


def with_chosen_features(
    backbone: Backbone, rows: Examples, plan: Plan, recipe: Recipe, runtime: Runtime, augment: Augment | None
) -> tuple[Backbone, Examples, FeatureChoice]:
    """The backbone that gives the vectors chosen on these rows, the rows after all its stages, and the choice."""
    every, outputs = with_every_stage(backbone)
    check_features(outputs, recipe.features)
    ready = run_frozen_stages(every, rows, len(every.stages), runtime, recipe, augment)
    if ready is None:
        raise TrainingError(f"the vectors of {len(rows)} examples cannot be kept")
    manifest = all_views(ready).manifest

    def scores(found: NDArray[np.float32]) -> NDArray[np.float64]:
        if plan.solver == "neighbours" and manifest.task.vote is not None:
            head = NeighbourHead(found.shape[1], manifest.task.output_count(manifest.classes), manifest.task.vote,
                                 len(found))  # fmt: skip
            return fit_neighbours(head, found, manifest, seed=recipe.seed).scores
        return probe_scores(found, manifest, balanced=recipe.class_weights == "balanced", seed=recipe.seed,
                           device=str(runtime.device))  # fmt: skip

    choice = choose_features(vectors(ready), outputs, recipe.features, scores)
    return with_features(backbone, choice), ready, choice


def start_head_at_probe(
    graft: Graft, backbone: Backbone, rows: Examples, recipe: Recipe, runtime: Runtime
) -> None:  # fmt: skip
    """Sets the head to the probe's solution, as Kumar et al. 2022 (LP-FT) begin fine-tuning.

    It is solved on the vectors of the rows, unchanged, from the network as it is before the first update: the given
    backbone's, of which the cache may have them, unless what was inserted changes them at once. Where the vectors
    cannot be kept, the head stays as it is, which is said; TrainingError where somebody asked for this start.
    """
    network = graft.backbone if graft.plan.strategy.record.changed_at_start else backbone
    ready = run_frozen_stages(network, rows, len(network.stages), runtime, recipe)
    if ready is None:
        cause = f"the vectors of {len(rows)} examples cannot be kept"
        if "probe" in (recipe.head_start, graft.plan.strategy.record.head_start):
            raise TrainingError(cause)
        log.warning("the head starts at random: %s", cause)
        return
    head = cast(Head, graft.head)  # a plan starts no other at the probe
    _fit(head, vectors(ready), ready.manifest, recipe, runtime)
    if rows.manifest.task.target_scale is None:
        return
    # The loss is in units of the target's deviation, from its mean: so is what the layer gives.
    layer, shift, scale = head.layers[-1], head.get_buffer("shift"), head.get_buffer("scale")
    with torch.no_grad():
        layer.get_parameter("weight").div_(scale[:, None])
        layer.get_parameter("bias").sub_(shift).div_(scale)


def _fit(head: Head, found: NDArray[np.float32], manifest: Manifest, recipe: Recipe, runtime: Runtime) -> None:
    """Solves the head's layer in the target's own unit."""
    fit = fit_probe(head, found, manifest, balanced=recipe.class_weights == "balanced", seed=recipe.seed,
                    device=str(runtime.device))  # fmt: skip
    log.info("probe solved on %d rows with C=%s", len(found), ", ".join(f"{c:g}" for c in fit.strengths))
