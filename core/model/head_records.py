"""The heads: one record each. The module that holds a head's layers is in `heads`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftwork.core.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds, and `--help` draws from this table
    from torch import nn

MLP_WIDTH = 256
EMBEDDING_DIM = 192


@dataclass(frozen=True)
class HeadShape:
    """What a head's layers are built from: (batch, feature_dim) -> (batch, outputs). scale: what cosines are multiplied
    by where outputs are cosines. last_layer: the task's, from a width to the outputs."""

    feature_dim: int
    outputs: int
    dropout: float
    scale: float
    last_layer: Callable[[int, int], nn.Module]


def _linear(shape: HeadShape) -> list[nn.Module]:
    from torch import nn

    return [nn.Dropout(shape.dropout), shape.last_layer(shape.feature_dim, shape.outputs)]


def _mlp(shape: HeadShape) -> list[nn.Module]:
    from torch import nn

    return [
        nn.Linear(shape.feature_dim, MLP_WIDTH),
        nn.GELU(),
        nn.Dropout(shape.dropout),
        shape.last_layer(MLP_WIDTH, shape.outputs),
    ]


def _aam(shape: HeadShape) -> list[nn.Module]:
    from torch import nn

    from graftwork.core.model.margin import Cosine

    return [
        nn.Linear(shape.feature_dim, EMBEDDING_DIM),
        nn.Dropout(shape.dropout),
        Cosine(EMBEDDING_DIM, shape.outputs, shape.scale),
    ]


@dataclass(frozen=True)
class HeadRecord:
    """Everything that is particular to one kind of head.

    meaning: for help texts. layers: builds them. convex: whether it is one linear layer on the vector, whose loss has
    one optimum that a solver finds. angular: whether its outputs are cosines with a margin to learn by, and its first
    layer gives an embedding. single_labels: whether every row must have one class, without an order; reason: why.
    """

    name: str
    meaning: str
    layers: Callable[[HeadShape], list[nn.Module]]
    convex: bool = False
    angular: bool = False
    single_labels: bool = False
    reason: str = ""


HEADS = {
    record.name: record
    for record in (
        HeadRecord("linear", "a linear layer", _linear, convex=True),
        HeadRecord("mlp", f"a perceptron with a hidden layer of {MLP_WIDTH}", _mlp),
        HeadRecord(
            "aam",
            f"an embedding of {EMBEDDING_DIM} numbers trained with an additive angular margin, to recognise speakers "
            "whom nobody has heard yet",
            _aam,
            angular=True,
            single_labels=True,
            reason="tells classes apart by angles: it needs single labels",
        ),
    )
}
"""Every head by name, in the order in which help texts list them."""

DEFAULT_HEAD = "linear"


def find_head(name: str) -> HeadRecord:
    """The head of that name. Raises SettingsError that lists the known ones."""
    if name not in HEADS:
        raise SettingsError(f"head: expected one of {', '.join(HEADS)}, found {name!r}")
    return HEADS[name]
