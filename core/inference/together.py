"""Several adapters on one backbone: it is loaded once, and what they share of it is run once for every example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.pieces import in_pieces
from graftwork.core.compute.runtime import Runtime, joined, seed_everything
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, load_batches
from graftwork.core.domain import Domain
from graftwork.core.inference.outputs import answer, finite_outputs
from graftwork.core.model.adapter import Adapter, attach_adapter, check_domain, read_record, recipe_of, weights_source
from graftwork.core.model.backbone import Backbone
from graftwork.core.model.folding import folded
from graftwork.core.model.graft import Graft
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features, Outside, Watch


@dataclass(frozen=True)
class AdapterGroup:
    """Adapters over the same weights of one backbone, all on the runtime's device, where they share what is frozen.

    names: what their columns are called.
    """

    backbone: Backbone
    runtime: Runtime
    names: tuple[str, ...]
    adapters: tuple[Adapter, ...]


@undisturbed()
def open_adapter_groups(
    runs: Sequence[str], domain: Domain, weights: str | None, runtime: Runtime
) -> list[AdapterGroup]:
    """The adapters of these folders, those over the same backbone together, in the order in which they are named.

    Raises AdapterError as `open_adapter` does.
    """
    backbones: dict[str, Backbone] = {}
    members: dict[str, list[tuple[str, Adapter]]] = {}
    for name, run in zip(run_names(runs), runs, strict=True):
        record = read_record(Path(run))
        check_domain(run, record, domain)
        about, source = record["backbone"], weights_source(record, weights)
        # Random weights are those of the run's seed, and so not another run's.
        seed = recipe_of(Path(run), record).seed if source == "random" else 0
        key = json.dumps([about["id"], source, about["options"], seed], sort_keys=True)
        if key not in backbones:
            seed_everything(seed)
            backbones[key] = domain.load_backbone(about["id"], weights=source, **about["options"])
            # Placed before it is shared: what is placed afterwards gets memory of its own.
            runtime.place(backbones[key].network).eval()
        adapter = attach_adapter(run, record, backbones[key].copy_sharing_tensors())
        runtime.place(adapter.graft).train(False)
        members.setdefault(key, []).append((name, adapter))
    return [_party(backbones[key], runtime, group) for key, group in members.items()]


def _party(backbone: Backbone, runtime: Runtime, group: Sequence[tuple[str, Adapter]]) -> AdapterGroup:
    names, adapters = zip(*group, strict=True)
    deepest = max(shared_stages(backbone, adapter.graft) for adapter in adapters)
    return AdapterGroup(folded(backbone, deepest), runtime, names, adapters)


def run_names(runs: Sequence[str]) -> list[str]:
    """The folders' own names, or their whole paths where these would not tell them apart."""
    short = [Path(run).resolve().name for run in runs]
    return [name if short.count(name) == 1 else str(run) for name, run in zip(short, runs, strict=True)]


def predict_together(party: AdapterGroup, examples: Examples, recipe: Recipe) -> list[NDArray[np.float64]]:
    """Each adapter's predictions for every example, in the order of the party's adapters.

    The frozen stages run up to the shallowest frontier for all, then on to the next one for those that go deeper.
    With several processes each computes its share and all get everything.
    """
    runtime, base = party.runtime, party.backbone
    grafts = [adapter.graft for adapter in party.adapters]
    depths = [shared_stages(base, graft) for graft in grafts]
    found = [[torch.empty((0, graft.head.outputs))] for graft in grafts]

    def all_answers(batch: Features) -> list[Tensor]:
        features, reached, answers = runtime.send(batch), 0, dict[int, Tensor]()
        for place in sorted(range(len(grafts)), key=lambda place: depths[place]):
            features, reached = base.run(features, reached, depths[place]), depths[place]
            answers[place] = answer(party.adapters[place].task, grafts[place], features, reached).cpu()
        return [answers[place] for place in range(len(grafts))]

    rows = runtime.share(range(len(examples)))
    batches = pass_batches(examples, rows, recipe)
    loaded = load_batches(examples, batches, workers=runtime.workers, pin=runtime.pins)
    with progress("predicting", len(rows)) as advance:
        for batch in loaded:
            with torch.inference_mode(), runtime.autocast():
                for answers in in_pieces(all_answers, batch):
                    for place, one in enumerate(answers):
                        found[place].append(one)
            advance(len(batch), "")
    computed = [row for batch in batches for row in batch]
    outputs = [runtime.gather(computed, joined(parts), len(examples)) for parts in found]
    return [
        adapter.task.predictions(finite_outputs(values, examples))
        for adapter, values in zip(party.adapters, outputs, strict=True)
    ]


def shared_stages(base: Backbone, graft: Graft) -> int:
    """How many of the first stages the graft leaves as they are in the backbone."""
    count = 0
    for own, stage in zip(graft.stages.stages[: graft.plan.frontier], base.stages, strict=False):
        if own.run is not stage.run:
            break
        count += 1
    return count


def watch_for(domain: Domain, party: AdapterGroup, outside: Outside, *, named: bool) -> Watch | None:
    """What compares new examples with what the party's runs have seen; None where their records do not say.

    named: whether reasons begin with the run's name.
    """
    seen = {
        name if named else "": adapter.record["seen"]
        for name, adapter in zip(party.names, party.adapters, strict=True)
        if adapter.record.get("seen")
    }
    if domain.watch is None or not seen:
        return None
    return domain.watch(party.adapters[0].backbone.contract, seen, outside)
