"""What a user asks for by name (Strategy), and what that means for one backbone (Plan). Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from graftwork.core.backbone import Backbone, named_tensors
from graftwork.core.errors import SettingsError
from graftwork.core.heads import Head
from graftwork.core.recipe import STRATEGIES

BACKBONE_RATE = 0.1
"""Learning rate relative to the fresh head's where pretrained filters and matrices move. What is new, and the few
scales and biases that `norm` and `bias` move, learns at the head's rate."""

LAYER_WIDTH = 32
"""Width of each layer's adapter in `layers`."""

HEAD_SHARE = 0.5
"""Share of the epochs of `gradual` after which everything learns."""


@dataclass(frozen=True)
class Strategy:
    """A strategy as it is written, `name` or `name:number`: N of `partial:N`, the width of `layers:N`."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}:{self.number}"


@dataclass(frozen=True)
class RateGroup:
    """Tensors of the graft (`backbone.…`, `head.…`) that share a learning rate, `scale` times the run's.

    stage: index of the stage they belong to, where stages learn apart; None for the head and for all at once.
    """

    name: str
    tensors: tuple[str, ...]
    scale: float
    decay: bool
    stage: int | None = None


@dataclass(frozen=True)
class Phase:
    """From the fraction `start` of the updates on, the rate groups named here learn; the others wait.

    frontier: the first stage that learns in this phase; those below are frozen as long as it lasts.
    """

    start: float
    groups: tuple[str, ...]
    frontier: int


@dataclass(frozen=True)
class Plan:
    """Exactly what a strategy lets change in one graft.

    trainable: names of the backbone's tensors that get a gradient; the head's always do.
    frontier: index of the first stage that holds a trainable tensor; the number of stages if none does.
    live: indices of the stages whose buffers move and whose dropout is on.
    groups, phases: what learns at which rate, and when.
    start: whether the run begins at pretrained or at random weights.
    solver: "convex" where the head alone is learnt and has one optimum, "neighbours" where training examples
    are only kept, else "gradient".
    """

    strategy: Strategy
    trainable: tuple[str, ...]
    frontier: int
    live: tuple[int, ...]
    groups: tuple[RateGroup, ...]
    phases: tuple[Phase, ...]
    start: Literal["pretrained", "random"]
    solver: Literal["convex", "neighbours", "gradient"]

    def phase_at(self, done: float) -> Phase:
        """The phase after the fraction `done` of the updates."""
        return [phase for phase in self.phases if phase.start <= done][-1]


def parse_strategy(text: str) -> Strategy:
    """The strategy named by `text`. Raises SettingsError that lists the known ones."""
    name, colon, argument = text.strip().partition(":")
    least = {"partial": 1, "layers": 0}
    if name not in {key.partition(":")[0].removesuffix("[") for key in STRATEGIES}:
        raise SettingsError(f"unknown strategy {text.strip()!r}; there are {', '.join(STRATEGIES)}")
    if name not in least:
        if colon:
            raise SettingsError(f"strategy {name!r} takes no argument, found {argument!r}")
        return Strategy(name)
    if name == "layers" and not colon:
        return Strategy(name, LAYER_WIDTH)
    if not argument.isdecimal() or int(argument) < least[name]:
        raise SettingsError(
            f"strategy {name!r} needs a whole number of at least {least[name]} behind a colon, as in {name}:2"
        )
    return Strategy(name, int(argument))


def make_plan(
    strategy: Strategy,
    backbone: Backbone,
    head: nn.Module,
    *,
    inserted: Sequence[str] = (),
    stage_decay: float = 1.0,
    solvable: bool = True,
) -> Plan:
    """What `strategy` means for this backbone under this head.

    inserted: names of the tensors that `lora` or `layers` have put into the network.
    stage_decay: rate of a stage relative to the next one above it. solvable: whether what the head alone learns has
    one optimum that a solver finds.
    Raises SettingsError if the backbone cannot carry it.
    """
    live = _live_stages(strategy, backbone)
    chosen = _trainable(strategy, backbone, live, inserted)
    carrying = sorted({backbone.stage_of(name) for name in chosen})
    fresh = sorted({backbone.stage_of(name) for name in backbone.fresh})
    if fresh and strategy.name == "knn":
        raise SettingsError(f"knn: {backbone.fresh[0]} of {backbone.id} has to be learnt, and knn learns nothing")
    scale = BACKBONE_RATE if strategy.name in ("partial", "gradual", "full") else 1.0
    apart = strategy.name == "gradual" or stage_decay < 1
    groups = _rate_groups("head", "head", head, head_tensors(head), 1.0, None)
    for index in carrying if apart else [None]:
        names = [name for name in chosen if index is None or backbone.stage_of(name) == index]
        factor = 1.0 if index is None else stage_decay ** (len(carrying) - 1 - carrying.index(index))
        label = "backbone" if index is None else f"backbone {backbone.stages[index].name}"
        groups += _rate_groups("backbone", label, backbone.network, names, scale * factor, index)
    groups += _rate_groups("backbone", "new", backbone.network, backbone.fresh, 1.0, None)
    top = min(fresh, default=len(backbone.stages))
    frontier = min([*live, *carrying, top])
    solvers: dict[str, Literal["convex", "neighbours"]] = {"knn": "neighbours"}
    if isinstance(head, Head) and head.kind == "linear" and solvable and not fresh:
        solvers["probe"] = "convex"
    return Plan(
        strategy=strategy,
        trainable=(*chosen, *backbone.fresh),
        frontier=frontier,
        live=live,
        groups=tuple(groups),
        phases=_gradual_phases(groups, carrying, top)
        if strategy.name == "gradual"
        else (Phase(0.0, tuple(group.name for group in groups), frontier),),
        start="random" if strategy.name == "scratch" else "pretrained",
        solver=solvers.get(strategy.name, "gradient"),
    )


def head_tensors(head: nn.Module) -> tuple[str, ...]:
    """Names of the head's parameters, without the prefix `head.`."""
    return tuple(name for name, _ in head.named_parameters())


def _live_stages(strategy: Strategy, backbone: Backbone) -> tuple[int, ...]:
    if strategy.name == "partial":
        return _last_stages(backbone, strategy.number or 1)
    if strategy.name == "scratch" and backbone.build is None:
        raise SettingsError(f"scratch: it is not known how to build {backbone.id} afresh; give `build` when making it")
    return tuple(range(len(backbone.stages))) if strategy.name in ("gradual", "full", "scratch") else ()


def _trainable(
    strategy: Strategy, backbone: Backbone, live: tuple[int, ...], inserted: Sequence[str]
) -> tuple[str, ...]:
    """Exact names of the backbone's tensors that learn. Raises SettingsError where a kind of them does not exist."""
    everything = [name for name, _ in backbone.network.named_parameters() if name not in backbone.fresh]
    if strategy.name in ("lora", "layers"):
        return tuple(inserted)
    if strategy.name == "bias":
        found = [name for name in everything if name.rpartition(".")[2] == "bias"]
    elif strategy.name == "norm":
        found = [name for name in _norm_tensors(backbone.network) if name not in backbone.fresh]
    else:
        return tuple(name for name in everything if backbone.stage_of(name) in live)
    if not found:
        kind = "a bias" if strategy.name == "bias" else "a normalisation layer with scale and shift"
        raise SettingsError(f"{strategy.name}: no layer of {backbone.id} has {kind}; lora or partial:N can adapt it")
    return tuple(found)


def _norm_tensors(network: nn.Module) -> list[str]:
    """Scales and shifts of normalisation layers.

    They are told by what they are, one-dimensional weights of a module that is a normalisation of torch, or is named
    as one: libraries have LayerNorm2d, BatchNormAct2d, RMSNorm and others of their own.
    """
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
    return [
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        if isinstance(module, kinds) or "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 1
    ]


def _gradual_phases(groups: Sequence[RateGroup], carrying: Sequence[int], top: int) -> tuple[Phase, ...]:
    """The head alone, then one more stage from the top at equal distances, until at `HEAD_SHARE` all learn.

    Howard and Ruder 2018 (ULMFiT) thaw one layer an epoch; here the distances fit the length of the run.
    """
    phases = []
    for count in range(len(carrying) + 1):
        thawed = carrying[len(carrying) - count :]
        active = tuple(group.name for group in groups if group.stage is None or group.stage in thawed)
        phases.append(Phase(HEAD_SHARE * count / len(carrying), active, min([*thawed, top])))
    return tuple(phases)


def _last_stages(backbone: Backbone, depth: int) -> tuple[int, ...]:
    """The last `depth` stages that hold weights, and all that come after the first of them."""
    parameters = [name for name, _ in backbone.network.named_parameters() if name not in backbone.fresh]
    weighty = [index for index, stage in enumerate(backbone.stages) if any(stage.holds(name) for name in parameters)]
    if depth > len(weighty):
        names = ", ".join(backbone.stages[index].name for index in weighty)
        raise SettingsError(f"partial:{depth}: {backbone.id} has {len(weighty)} stages with weights: {names}")
    return tuple(range(weighty[-depth], len(backbone.stages)))


def _rate_groups(
    part: str, label: str, module: nn.Module, names: Iterable[str], scale: float, stage: int | None
) -> list[RateGroup]:
    """Weights decay; biases and the scales of normalisation layers, which are vectors, do not."""
    shapes = {name: value.dim() for name, value in named_tensors(module).items()}
    split = {
        True: [name for name in names if shapes[name] > 1],
        False: [name for name in names if shapes[name] <= 1],
    }
    return [
        RateGroup(
            label if decay else f"{label}, no decay", tuple(f"{part}.{name}" for name in members), scale, decay, stage
        )
        for decay, members in split.items()
        if members
    ]
