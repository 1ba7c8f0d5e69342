"""Several models of one target as one: the mean of what they say, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from graftwork.core.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

SPREAD = "spread"


def joined_table(table: pd.DataFrame, names: Sequence[str], task: Task, classes: Sequence[str]) -> pd.DataFrame:
    """A table with the columns of several models, each behind its name and a dot, as the table of one model.

    Probabilities and numbers are means over the models. `spread` is the standard deviation (over the models, not an
    estimate for more of them) of the predicted class's probability, or of the number; of several labels there is one
    for each, `spread_LABEL`. Other columns stay. Rows without predictions have none.
    """
    import pandas as pd

    keys = [f"probability_{label}" for label in classes] or ["prediction"]
    every = np.stack([table[[f"{name}.{key}" for key in keys]].to_numpy(dtype=np.float64) for name in names])
    means, spreads = every.mean(axis=0), every.std(axis=0)
    known = np.isfinite(means).all(axis=1)
    columns = task.prediction_columns(means[known] if classes else means[known, 0], tuple(classes))
    if not classes:
        columns[SPREAD] = spreads[known, 0]
    elif task.one_class:
        predicted = np.array([list(classes).index(label) for label in columns["prediction"]], dtype=np.int64)
        columns[SPREAD] = np.take_along_axis(spreads[known], predicted[:, None], axis=1)[:, 0]
    else:
        columns |= {f"{SPREAD}_{label}": spreads[known, place] for place, label in enumerate(classes)}
    found = pd.DataFrame(columns, index=table.index[known]).reindex(table.index)
    own = {column for column in table for name in names if str(column).startswith(f"{name}.")}
    first = [column for column in table if column == "path"]
    return pd.concat([table[first], found, table.drop(columns=[*own, *first])], axis=1)


@dataclass
class JoinedMaps:
    """Several networks for masks as one: patches (batch, channels, *size) -> logits (batch, classes, *size), the
    logarithms of the mean probabilities. Between two calls of `spread` it gathers how far the networks differ."""

    networks: Sequence[Callable[[Tensor], Tensor]]
    _sums: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def __call__(self, patches: Tensor) -> Tensor:
        chances = torch.stack([network(patches).softmax(1) for network in self.networks])
        means = chances.mean(0)
        predicted = means.argmax(1, keepdim=True)
        spreads = chances.std(0, correction=0).gather(1, predicted)
        inside = predicted > 0
        self._sums[0] += float(spreads[inside].sum())
        self._sums[1] += float(inside.sum())
        return means.clamp_min(torch.finfo(means.dtype).tiny).log()

    def spread(self) -> float:
        """The standard deviation, over the networks, of the predicted class's probability, as a mean over the voxels of
        the patches so far that are not background; NaN where there are none. Begins anew."""
        total, count = self._sums
        self._sums[:] = [0.0, 0.0]
        return total / count if count else float("nan")
