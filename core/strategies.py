"""What a user asks for by name (Strategy), and what that means for one backbone (Plan). Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from graftwork.core.backbone import Backbone, named_tensors
from graftwork.core.errors import SettingsError
from graftwork.core.heads import Head
from graftwork.core.recipe import STRATEGIES

BACKBONE_RATE = 0.1
"""Learning rate of pretrained tensors relative to the fresh head's."""


@dataclass(frozen=True)
class Strategy:
    """A strategy as it is written, `name` or `name:argument`; `depth` is N of `partial:N`, None elsewhere."""

    name: str
    depth: int | None = None

    def __str__(self) -> str:
        return self.name if self.depth is None else f"{self.name}:{self.depth}"


@dataclass(frozen=True)
class RateGroup:
    """Tensors of the graft (`backbone.…`, `head.…`) that share a learning rate, `scale` times the run's."""

    name: str
    tensors: tuple[str, ...]
    scale: float
    decay: bool


@dataclass(frozen=True)
class Phase:
    """From the fraction `start` of the epochs on, the rate groups named here learn; the others wait."""

    start: float
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Exactly what a strategy lets change in one graft.

    trainable: names of the backbone's tensors that get a gradient; the head's always do.
    frontier: index of the first stage that holds a trainable tensor; the number of stages if none does.
    live: indices of the stages whose buffers move and whose dropout is on.
    groups, phases: what learns at which rate, and when.
    start: whether the run begins at pretrained or at random weights.
    solver: "convex" where the head alone is learnt and has one optimum, else "gradient".
    """

    strategy: Strategy
    trainable: tuple[str, ...]
    frontier: int
    live: tuple[int, ...]
    groups: tuple[RateGroup, ...]
    phases: tuple[Phase, ...]
    start: Literal["pretrained", "random"]
    solver: Literal["convex", "gradient"]


def parse_strategy(text: str) -> Strategy:
    """The strategy named by `text`. Raises SettingsError that lists the known ones."""
    name, _, argument = text.strip().partition(":")
    known = {key.partition(":")[0]: ":" in key for key in STRATEGIES}
    if name not in known:
        raise SettingsError(f"unknown strategy {text!r}; there are {', '.join(STRATEGIES)}")
    if not known[name]:
        if argument:
            raise SettingsError(f"strategy {name!r} takes no argument, found {argument!r}")
        return Strategy(name)
    if not argument.isdigit() or int(argument) < 1:
        raise SettingsError(f"strategy {name!r} needs a whole number of at least 1 behind a colon, as in {name}:2")
    return Strategy(name, int(argument))


def make_plan(strategy: Strategy, backbone: Backbone, head: Head) -> Plan:
    """What `strategy` means for this backbone under this head.

    Raises SettingsError if the backbone cannot carry it.
    """
    everything = tuple(name for name, _ in backbone.network.named_parameters())
    stages = range(len(backbone.stages))
    if strategy.name == "probe":
        live: tuple[int, ...] = ()
    elif strategy.name == "partial":
        live = _last_stages(backbone, strategy.depth or 1)
    elif strategy.name == "scratch" and backbone.build is None:
        raise SettingsError(f"scratch: it is not known how to build {backbone.id} afresh; give `build` when making it")
    else:
        live = tuple(stages)
    trainable = tuple(name for name in everything if backbone.stage_of(name) in live)
    scratch = strategy.name == "scratch"
    groups = (*_rate_groups("head", head, head_tensors(head), 1.0),
              *_rate_groups("backbone", backbone.network, trainable, 1.0 if scratch else BACKBONE_RATE))  # fmt: skip
    return Plan(
        strategy=strategy,
        trainable=trainable,
        frontier=min(live, default=len(backbone.stages)),
        live=live,
        groups=groups,
        phases=(Phase(0.0, tuple(group.name for group in groups)),),
        start="random" if scratch else "pretrained",
        solver="convex" if strategy.name == "probe" and head.kind == "linear" else "gradient",
    )


def head_tensors(head: nn.Module) -> tuple[str, ...]:
    """Names of the head's parameters, without the prefix `head.`."""
    return tuple(name for name, _ in head.named_parameters())


def _last_stages(backbone: Backbone, depth: int) -> tuple[int, ...]:
    """The last `depth` stages that hold weights, and all that come after the first of them."""
    parameters = dict(backbone.network.named_parameters())
    weighty = [index for index, stage in enumerate(backbone.stages) if any(stage.holds(name) for name in parameters)]
    if depth > len(weighty):
        names = ", ".join(backbone.stages[index].name for index in weighty)
        raise SettingsError(f"partial:{depth}: {backbone.id} has {len(weighty)} stages with weights: {names}")
    return tuple(range(weighty[-depth], len(backbone.stages)))


def _rate_groups(part: str, module: nn.Module, names: Iterable[str], scale: float) -> list[RateGroup]:
    """Weights decay; biases and the scales of normalisation layers, which are vectors, do not."""
    shapes = {name: value.dim() for name, value in named_tensors(module).items()}
    split = {
        True: [name for name in names if shapes[name] > 1],
        False: [name for name in names if shapes[name] <= 1],
    }
    return [
        RateGroup(part if decay else f"{part}, no decay", tuple(f"{part}.{name}" for name in members), scale, decay)
        for decay, members in split.items()
        if members
    ]
