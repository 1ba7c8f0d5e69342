"""Several adapters on one backbone: it is loaded once, and what they share of it is run once for every example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.adapter import Adapter, open_adapter, read_record
from graftwork.core.backbone import Backbone
from graftwork.core.domain import Domain
from graftwork.core.examples import Examples, load_batches
from graftwork.core.graft import Graft
from graftwork.core.prediction import as_predictions, finite_outputs
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.runtime import start_runtime


@dataclass(frozen=True)
class Party:
    """Adapters over the same weights of one backbone. names: what their columns are called."""

    backbone: Backbone
    names: tuple[str, ...]
    adapters: tuple[Adapter, ...]


def open_parties(runs: Sequence[str], domain: Domain, weights: str | None) -> list[Party]:
    """The adapters of these folders, those over the same backbone together, in the order in which they are named.

    Raises AdapterError as `open_adapter` does.
    """
    loaded: dict[str, Backbone] = {}
    members: dict[str, list[tuple[str, Adapter]]] = {}
    for name, run in zip(run_names(runs), runs, strict=True):
        record = read_record(Path(run))
        seen: list[str] = []

        def load(id: str, *, weights: str | None = None, seen: list[str] = seen, record: Any = record,
                 **options: Any) -> Backbone:  # fmt: skip
            # Random weights are those of the run's seed, and so not another run's.
            seed = record["training"]["recipe"]["seed"] if weights == "random" else None
            seen.append(json.dumps([id, weights, options, seed], sort_keys=True))
            if seen[-1] not in loaded:
                loaded[seen[-1]] = domain.load_backbone(id, weights=weights, **options)
            return loaded[seen[-1]].copy_sharing_tensors()

        adapter = open_adapter(run, domain, weights, load)
        members.setdefault(seen[-1], []).append((name, adapter))
    return [
        Party(loaded[key], tuple(name for name, _ in group), tuple(adapter for _, adapter in group))
        for key, group in members.items()
    ]


def run_names(runs: Sequence[str]) -> list[str]:
    """The folders' own names, or their whole paths where these would not tell them apart."""
    short = [Path(run).resolve().name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def predict_together(party: Party, examples: Examples, *, batch_size: int, device: str) -> list[NDArray[np.float64]]:
    """Each adapter's predictions for every example, in the order of the party's adapters.

    The frozen stages run up to the shallowest frontier for all, then on to the next one for those that go deeper.
    """
    runtime = start_runtime(Recipe(device=device, batch_size=batch_size))
    network = runtime.place(party.backbone.network).eval()
    base = party.backbone.with_network(network)
    grafts = [adapter.graft for adapter in party.adapters]
    depths = [shared_stages(base, graft) for graft in grafts]
    for graft in grafts:
        runtime.place(graft)
        graft.train(False)
    found: list[list[Tensor]] = [[] for _ in grafts]
    batches = [
        list(range(start, min(start + batch_size, len(examples)))) for start in range(0, len(examples), batch_size)
    ]
    loaded = load_batches(examples, batches, workers=runtime.workers, pin=runtime.pins)
    with progress("predicting", len(examples)) as advance:
        for batch in loaded:
            with torch.inference_mode(), runtime.autocast():
                features, reached = runtime.send(batch), 0
                for place in sorted(range(len(grafts)), key=lambda place: depths[place]):
                    features, reached = base.run(features, reached, depths[place]), depths[place]
                    found[place].append(grafts[place](features, reached).float().cpu())
            advance(len(batch), "")
    for module in (network, *grafts):
        runtime.release(module)
    outputs = [finite_outputs(torch.cat(parts), examples) for parts in found]
    return [as_predictions(adapter.task, values) for adapter, values in zip(party.adapters, outputs, strict=True)]


def shared_stages(base: Backbone, graft: Graft) -> int:
    """How many of the first stages the graft leaves as they are in the backbone."""
    count = 0
    for own, stage in zip(graft.stages.stages[: graft.plan.frontier], base.stages, strict=False):
        if own.run is not stage.run:
            break
        count += 1
    return count
