"""What a strategy means for one backbone: the only place that knows how a run learns. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, named_tensors
from graftwork.core.model.heads import Head
from graftwork.core.model.strategies import HEAD_START, Solver, Strategy, StrategyRecord
from graftwork.core.recipe import HeadStart


@dataclass(frozen=True)
class ParameterGroup:
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
    training_stages: indices of the stages in training mode: their buffers move and their dropout is on.
    groups, phases: what learns at which rate, and when.
    start: whether the run begins at pretrained or at random weights.
    solver: "convex" where the head alone is learnt and has one optimum, "neighbours" where training examples
    are only kept, else "gradient".
    head_start: "probe" where the gradient begins at the head that is solved on the vectors of the untrained network.
    """

    strategy: Strategy
    trainable: tuple[str, ...]
    frontier: int
    training_stages: tuple[int, ...]
    groups: tuple[ParameterGroup, ...]
    phases: tuple[Phase, ...]
    start: Literal["pretrained", "random"]
    solver: Solver
    head_start: Literal["probe", "random"]

    def phase_at(self, done: float) -> Phase:
        """The phase after the fraction `done` of the updates."""
        return [phase for phase in self.phases if phase.start <= done][-1]


def make_plan(
    strategy: Strategy,
    backbone: Backbone,
    head: nn.Module,
    *,
    inserted: Sequence[str] = (),
    stage_decay: float = 1.0,
    solvable: bool = True,
    head_start: HeadStart = "auto",
) -> Plan:
    """What `strategy` means for this backbone under this head.

    inserted: names of the tensors that `lora` or `layers` have put into the network.
    stage_decay: rate of a stage relative to the next one above it. solvable: whether what the head alone learns has
    one optimum that a solver finds. head_start: as the recipe has it.
    Raises SettingsError if the backbone cannot carry it.
    """
    record = strategy.record
    reason = record.refused(backbone)
    if reason is not None:
        raise SettingsError(f"{strategy.name}: {reason}")
    learning = record.learns(backbone, strategy.number)
    chosen, trained = (*learning.tensors, *inserted), learning.training_stages
    carrying = sorted({backbone.stage_of(name) for name in chosen})
    new = sorted({backbone.stage_of(name) for name in backbone.new_parameters})
    schedule = record.phases(len(carrying))
    apart = len(schedule) > 1 or stage_decay < 1
    groups = _rate_groups("head", "head", head, head_tensors(head), 1.0, None)
    for index in carrying if apart else [None]:
        names = [name for name in chosen if index is None or backbone.stage_of(name) == index]
        factor = 1.0 if index is None else stage_decay ** (len(carrying) - 1 - carrying.index(index))
        label = "backbone" if index is None else f"backbone {backbone.stages[index].name}"
        groups += _rate_groups("backbone", label, backbone.network, names, record.rate * factor, index)
    groups += _rate_groups("backbone", "new", backbone.network, backbone.new_parameters, 1.0, None)
    top = min(new, default=len(backbone.stages))
    frontier = min([*trained, *carrying, top])
    unsolvable = _unsolvable(backbone, head, solvable)
    solver: Solver = "gradient" if record.solver == "convex" and unsolvable else record.solver
    return Plan(
        strategy=strategy,
        trainable=(*chosen, *backbone.new_parameters),
        frontier=frontier,
        training_stages=trained,
        groups=tuple(groups),
        phases=_thawing(schedule, groups, carrying, top)
        if len(schedule) > 1
        else (Phase(0.0, tuple(group.name for group in groups), frontier),),
        start="random" if record.random_weights else "pretrained",
        solver=solver,
        head_start=_head_start(record, head_start, unsolvable) if solver == "gradient" else "random",
    )


def _unsolvable(backbone: Backbone, head: nn.Module, solvable: bool) -> str | None:
    """Why what the head alone learns has no one optimum that a solver finds; None where it has."""
    if not isinstance(head, Head) or not solvable:
        return "only a linear head for labels or numbers has an exact solution"
    if not head.record.convex:
        return f"a head {head.record.name} has no exact solution"
    if backbone.new_parameters:
        name = backbone.new_parameters[0]
        return f"{name} of {backbone.id} has to be learnt before there are vectors to solve a head on"
    return None


def _head_start(record: StrategyRecord, asked: HeadStart, unsolvable: str | None) -> Literal["probe", "random"]:
    """Where the head starts. Raises SettingsError for what the strategy does not do, or the head cannot."""
    if "auto" not in (record.head_start, asked) and record.head_start != asked:
        raise SettingsError(f"{record.name}: its head starts at {record.head_start}; leave --head-start {asked} out")
    wanted = record.head_start if asked == "auto" else asked
    if wanted == "probe" and unsolvable:
        raise SettingsError(f"{record.name}: the head cannot start at the probe: {unsolvable}; use --head-start random"
                            + ("" if record.head_start == "auto" else " with full"))  # fmt: skip
    if wanted == "auto":
        return "random" if unsolvable else HEAD_START
    return wanted


def head_tensors(head: nn.Module) -> tuple[str, ...]:
    """Names of the head's parameters, without the prefix `head.`."""
    return tuple(name for name, _ in head.named_parameters())


def _thawing(
    schedule: Sequence[tuple[float, int]], groups: Sequence[ParameterGroup], carrying: Sequence[int], top: int
) -> tuple[Phase, ...]:
    """One phase for each entry of the schedule: from when on how many of the stages that carry something learn."""
    phases = []
    for start, count in schedule:
        thawed = carrying[len(carrying) - count :]
        active = tuple(group.name for group in groups if group.stage is None or group.stage in thawed)
        phases.append(Phase(start, active, min([*thawed, top])))
    return tuple(phases)


def _rate_groups(
    part: str, label: str, module: nn.Module, names: Iterable[str], scale: float, stage: int | None
) -> list[ParameterGroup]:
    """Weights decay; biases and the scales of normalisation layers, which are vectors, do not."""
    shapes = {name: value.dim() for name, value in named_tensors(module).items()}
    split = {
        True: [name for name in names if shapes[name] > 1],
        False: [name for name in names if shapes[name] <= 1],
    }
    return [
        ParameterGroup(
            label if decay else f"{label}, no decay", tuple(f"{part}.{name}" for name in members), scale, decay, stage
        )
        for decay, members in split.items()
        if members
    ]
