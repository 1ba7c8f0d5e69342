"""The strategies: one record each, and what a user writes to name one. What it means for a backbone is a plan's."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from graftwork.core.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds, and `--help` draws from this table
    from graftwork.core.model.backbone import Backbone
    from graftwork.core.recipe import HeadStart, Recipe

log = logging.getLogger(__name__)

Solver = Literal["convex", "neighbours", "gradient"]

BACKBONE_RATE = 0.1
"""Learning rate relative to the new head's where pretrained filters and matrices move. What is new, and the few
scales and biases that `norm` and `bias` move, learns at the head's rate."""

HEAD_START: Literal["probe", "random"] = "probe"
"""Where heads start that may start at either, unless the recipe says."""

GRADUAL_SHARE = 0.5
"""Share of the epochs of `gradual` after which everything learns."""


@dataclass(frozen=True)
class Argument:
    """The number behind a strategy's colon. name: as help texts show it. default: None where it has to be given."""

    name: str
    least: int
    default: int | None = None


@dataclass(frozen=True)
class Learning:
    """tensors: exact names of the pretrained tensors that get a gradient. training_stages: indices of the stages in
    training mode: their buffers move and their dropout is on."""

    tensors: tuple[str, ...] = ()
    training_stages: tuple[int, ...] = ()


def _nothing(backbone: Backbone, number: int | None) -> Learning:
    """The backbone stays as it is."""
    return Learning()


def _at_once(stages: int) -> tuple[tuple[float, int], ...]:
    """One phase, in which all learn."""
    return ((0.0, stages),)


def _nowhere(backbone: Backbone) -> str | None:
    """No backbone is refused."""
    return None


@dataclass(frozen=True)
class StrategyRecord:
    """Everything that is particular to one strategy.

    meaning: what learns, for help texts. when: what it is good for.
    learns: from a backbone and the argument to what learns of it, beside the head; raises SettingsError where the
    backbone lacks a kind of tensor. insert: puts new layers into a backbone, which is changed, and returns it with the
    names of their tensors, which learn as well. rate: learning rate of what learns of the backbone, relative to the
    head's. phases: from the number of stages that learn to (fraction of the updates, how many of them learn from there
    on, from the top). solver: "neighbours" keeps training examples; "convex" is solved where the head has one optimum.
    random_weights: whether it begins at random weights. head_start: the only way in which its head may start; "auto"
    where the recipe says. changed_at_start: whether what is inserted changes the network's outputs before anything is
    learnt. refused: why a backbone cannot carry it, or None.
    """

    name: str
    meaning: str
    when: str
    argument: Argument | None = None
    learns: Callable[[Backbone, int | None], Learning] = _nothing
    insert: Callable[[Backbone, Recipe, int | None], tuple[Backbone, tuple[str, ...]]] | None = None
    rate: float = 1.0
    phases: Callable[[int], tuple[tuple[float, int], ...]] = _at_once
    solver: Solver = "gradient"
    random_weights: bool = False
    head_start: HeadStart = "auto"
    changed_at_start: bool = False
    refused: Callable[[Backbone], str | None] = _nowhere

    @property
    def label(self) -> str:
        """How it is written: `full`, `partial:N`, `layers[:N]`."""
        if self.argument is None:
            return self.name
        return f"{self.name}:{self.argument.name}" if self.argument.default is None else (
            f"{self.name}[:{self.argument.name}]")  # fmt: skip

    @property
    def example(self) -> str:
        """How it may be written: `full`, `partial:2`."""
        return self.name if self.argument is None else f"{self.name}:2"


@dataclass(frozen=True)
class Strategy:
    """A strategy as it is written, `name` or `name:number`: N of `partial:N`, the width of `layers:N`."""

    name: str
    number: int | None = None

    @property
    def record(self) -> StrategyRecord:
        """What the name stands for."""
        return STRATEGIES[self.name]

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}:{self.number}"


def parse_strategy(text: str) -> Strategy:
    """The strategy named by `text`. Raises SettingsError that lists the known ones."""
    name, colon, number = text.strip().partition(":")
    if name not in STRATEGIES:
        known = ", ".join(record.label for record in STRATEGIES.values())
        raise SettingsError(f"unknown strategy {text.strip()!r}; there are {known}")
    argument = STRATEGIES[name].argument
    if argument is None:
        if colon:
            raise SettingsError(f"strategy {name!r} takes no argument, found {number!r}")
        return Strategy(name)
    if argument.default is not None and not colon:
        return Strategy(name, argument.default)
    if not number.isdecimal() or int(number) < argument.least:
        raise SettingsError(
            f"strategy {name!r} needs a whole number of at least {argument.least} behind a colon, as in "
            f"{STRATEGIES[name].example}"
        )
    return Strategy(name, int(number))


def _everything(backbone: Backbone, number: int | None) -> Learning:
    """Every stage."""
    return _of_stages(backbone, tuple(range(len(backbone.stages))))


def _last_stages(backbone: Backbone, count: int | None) -> Learning:
    """The last `count` stages that hold weights, and all that come after the first of them."""
    count = count or 1
    names = _pretrained(backbone)
    weighty = [index for index, stage in enumerate(backbone.stages) if any(stage.holds(name) for name in names)]
    if count > len(weighty):
        found = ", ".join(backbone.stages[index].name for index in weighty)
        raise SettingsError(f"partial:{count}: {backbone.id} has {len(weighty)} stages with weights: {found}")
    if len(weighty) == 1:
        _say_one_stage(backbone.id)
    return _of_stages(backbone, tuple(range(weighty[-count], len(backbone.stages))))


@functools.cache
def _say_one_stage(backbone: str) -> None:
    log.warning("partial:1 on %s is full: where its network can be cut is not known, so that all its weights are in "
                "one stage", backbone)  # fmt: skip


def _biases(backbone: Backbone, number: int | None) -> Learning:
    """What is named so."""
    found = tuple(name for name in _pretrained(backbone) if name.rpartition(".")[2] == "bias")
    return Learning(_some(found, "bias", "a bias", backbone))


def _norms(backbone: Backbone, number: int | None) -> Learning:
    """Scales and shifts of normalisation layers.

    They are told by what they are, one-dimensional weights of a module that is a normalisation of torch, or is named
    as one: libraries have LayerNorm2d, BatchNormAct2d, RMSNorm and others of their own.
    """
    from torch import nn

    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
    names = (
        f"{path}.{name}" if path else name
        for path, module in backbone.network.named_modules()
        if isinstance(module, kinds) or "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 1
    )
    found = tuple(name for name in names if name not in backbone.new_parameters)
    return Learning(_some(found, "norm", "a normalisation layer with scale and shift", backbone))


def _pretrained(backbone: Backbone) -> list[str]:
    return [name for name, _ in backbone.network.named_parameters() if name not in backbone.new_parameters]


def _of_stages(backbone: Backbone, stages: tuple[int, ...]) -> Learning:
    return Learning(tuple(name for name in _pretrained(backbone) if backbone.stage_of(name) in stages), stages)


def _some(found: tuple[str, ...], strategy: str, kind: str, backbone: Backbone) -> tuple[str, ...]:
    if not found:
        raise SettingsError(f"{strategy}: no layer of {backbone.id} has {kind}; lora or partial:N can adapt it")
    return found


def _low_rank(backbone: Backbone, recipe: Recipe, number: int | None) -> tuple[Backbone, tuple[str, ...]]:
    from graftwork.core.model.lora import insert_lora

    return insert_lora(backbone, recipe.lora_targets, recipe.lora_rank, recipe.lora_alpha)


def _layer_mix(backbone: Backbone, recipe: Recipe, width: int | None) -> tuple[Backbone, tuple[str, ...]]:
    from graftwork.core.model.layer_mix import insert_layer_mix

    return insert_layer_mix(backbone, width or 0, backbone.contract.collate([backbone.contract.blank()]))


def _one_by_one(stages: int) -> tuple[tuple[float, int], ...]:
    """The head alone, then one more stage from the top at equal distances, until at `GRADUAL_SHARE` all learn.

    Howard and Ruder 2018 (ULMFiT) thaw one layer an epoch; here the distances fit the length of the run.
    """
    return tuple((GRADUAL_SHARE * count / max(stages, 1), count) for count in range(stages + 1))


def _without_vectors(backbone: Backbone) -> str | None:
    from graftwork.core.model.backbone import FRAMES, MAPS

    last = backbone.stages[-1].name
    if last == FRAMES:
        return "neighbours have labels or numbers, not text; probe is the cheapest for text"
    if last == MAPS:
        return "neighbours have labels or numbers, not masks; probe trains only a decoder"
    if backbone.new_parameters:
        return f"{backbone.new_parameters[0]} of {backbone.id} has to be learnt, and knn learns nothing"
    return None


def _with_a_checkpoints_head(backbone: Backbone) -> str | None:
    if backbone.frame_head is None:
        return None
    return "sums up all layers, for which the checkpoint's head was not made: leave --vocabulary checkpoint away"


def _not_built_afresh(backbone: Backbone) -> str | None:
    if backbone.build is not None:
        return None
    return f"it is not known how to build {backbone.id} afresh; give `build` when making it"


_RECORDS: Sequence[StrategyRecord] = (
    StrategyRecord(
        "knn",
        "nothing: the nearest training examples in the frozen features vote",
        "a first look; works with a handful of examples",
        solver="neighbours",
        refused=_without_vectors,
    ),
    StrategyRecord(
        "probe",
        "a linear head on frozen features, solved exactly on vectors that are computed once",
        "first; with few or unbalanced labels often best",
        solver="convex",
    ),
    StrategyRecord(
        "partial",
        "the head and the last N stages with weights; everything below stays frozen",
        "a few hundred examples or more",
        argument=Argument("N", least=1),
        learns=_last_stages,
        rate=BACKBONE_RATE,
    ),
    StrategyRecord(
        "gradual",
        "the head first, then one stage more at a time from the top, until everything learns",
        "like `full`, gentler on the pretrained weights",
        learns=_everything,
        rate=BACKBONE_RATE,
        phases=_one_by_one,
    ),
    StrategyRecord(
        "full",
        "the head and every tensor, from the pretrained weights",
        "many examples, or a domain far from the backbone's",
        learns=_everything,
        rate=BACKBONE_RATE,
    ),
    StrategyRecord(
        "lpft",
        "the head and every tensor, as `full`, but the head starts at the solution of `probe` (Kumar et al. 2022)",
        "few examples; new ones from another scanner or microphone",
        learns=_everything,
        rate=BACKBONE_RATE,
        head_start="probe",
    ),
    StrategyRecord(
        "lora",
        "the head and low-rank changes of attention, or of all layers where there is none (--lora-rank, --lora-alpha, "
        "--lora-targets)",
        "Transformers with few examples; small files",
        insert=_low_rank,
    ),
    StrategyRecord("bias", "the head and the biases", "very few examples", learns=_biases),
    StrategyRecord(
        "norm",
        "the head and the scales and shifts of normalisation layers",
        "CNNs on another kind of image",
        learns=_norms,
    ),
    StrategyRecord(
        "layers",
        "the head, and an N wide adapter on every Transformer layer under a learnt weighted sum of them all; layers:0 "
        "is the sum alone",
        "speech: speakers and accents",
        argument=Argument("N", least=0, default=32),
        insert=_layer_mix,
        changed_at_start=True,
        refused=_with_a_checkpoints_head,
    ),
    StrategyRecord(
        "scratch",
        "the head and every tensor, from random weights",
        "the baseline: shows what transfer bought",
        learns=_everything,
        random_weights=True,
        head_start="random",
        refused=_not_built_afresh,
    ),
)

STRATEGIES = {record.name: record for record in _RECORDS}
"""Every strategy by name, in the order in which help texts list them."""
