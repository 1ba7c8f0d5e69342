"""How much of a score belongs to the groups: a model evaluated with groups mixed, and what groups alone explain.

Where each speaker has one accent, or each patient one diagnosis, a model that knows its groups again looks as if it
had learnt the label, unless the groups it is evaluated on are new to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from graftwork.core.data.manifest import Manifest
from graftwork.core.evaluation.evaluation import EvaluatedPart, Evaluation
from graftwork.core.metrics.intervals import Interval, intervals
from graftwork.core.metrics.scales import BELOW_ONE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Leakage:
    """apart, mixed: the evaluation with groups kept apart, and with rows of a group on both sides.

    label_by_group: accuracy of naming every row's label by the commonest label of its group; commonest_label: by the
    commonest of all rows, which the former exceeds where groups tell labels; None unless the task is single labels.
    by_group, by_label: of both sets of predictions, the share of their variance that the group, and the
    true label, explain; with many rows of each, a model that only knows groups again has 1 for the group. None for
    text; by_label also unless the task is single labels.
    """

    apart: Evaluation
    mixed: Evaluation
    label_by_group: float | None
    by_group: tuple[Interval, Interval] | None
    by_label: tuple[Interval, Interval] | None
    commonest_label: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; a share that is not defined is None."""

        def both(pair: tuple[Interval, Interval] | None) -> dict[str, Any] | None:
            if pair is None:
                return None
            return {name: {part: _plain(getattr(one, part)) for part in ("value", "low", "high")}
                    for name, one in zip(("groups_apart", "random_split"), pair, strict=True)}  # fmt: skip

        return {
            "random_split": self.mixed.to_json(),
            "control": {
                "label_by_group_accuracy": self.label_by_group,
                "commonest_label_accuracy": self.commonest_label,
                "variance_by_group": both(self.by_group),
                "variance_by_label": both(self.by_label),
            },
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "groups apart", "random split")]
        rows += [
            (name, _short(self.apart.metrics[name]), _short(self.mixed.metrics[name])) for name in self.apart.metrics
        ]
        if self.by_group is not None:
            rows.append(("predictions explained by group", *map(_short, self.by_group)))
        if self.by_label is not None:
            rows.append(("predictions explained by label", *map(_short, self.by_label)))
        widths = [max(len(row[place]) for row in rows) for place in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self.label_by_group is not None:
            beside = "" if self.commonest_label is None else f" (always the commonest one: {self.commonest_label:.1%})"
            lines.append(f"the group alone tells the label of {self.label_by_group:.1%} of the rows{beside}: "
                         "only `groups apart` says what new groups can expect")  # fmt: skip
        return "\n".join(lines)


def _short(found: Interval) -> str:
    """Without the reason where there is no interval, which `metrics.json` has: two of them fill no narrow terminal."""
    return f"{found.value:.3f} (no interval)" if np.isnan(found.low) and not np.isnan(found.value) else str(found)


def find_leakage(apart: EvaluatedPart, mixed: EvaluatedPart) -> Leakage:
    """What two evaluations of the same kind of model say; both manifests have groups, by which intervals are drawn."""
    single = apart.manifest.task.one_class
    pair = (apart, mixed)
    by_group = by_label = None
    if apart.manifest.task.output != "frames":
        by_group = cast(tuple[Interval, Interval], tuple(explained(one) for one in pair))
    if single:
        by_label = cast(tuple[Interval, Interval], tuple(explained(one, one.manifest.values.tolist()) for one in pair))
    return Leakage(apart.evaluation, mixed.evaluation, group_majority(apart.manifest) if single else None, by_group,
                   by_label, majority(apart.manifest) if single else None)  # fmt: skip


def explained(evaluated: EvaluatedPart, keys: Sequence[Hashable] | None = None) -> Interval:
    """Share of the variance of predictions, 0 to 1, that lies between rows of different `keys` (rows,), by default of
    different groups.

    Epsilon squared (Kelley 1935): 1 - (within / (n - k)) / (total / (n - 1)) with n rows and k keys, which is near
    zero, or below, for keys drawn by chance, however many; sums over the columns. Resampled by group: what is drawn
    twice are two groups of k, while a label that is drawn twice stays one label (Davison and Hinkley 1997, 3.8). NaN
    where no two rows share a key or nothing varies.
    """
    are_groups = keys is None
    keys = (evaluated.manifest.groups or ()) if keys is None else keys
    values = evaluated.predictions.reshape(len(evaluated.predictions), -1)
    numbers = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    member = np.eye(len(numbers))[[numbers[key] for key in keys]]
    first = member.argmax(0)  # a row of every key

    def measure(weights: Floats) -> dict[str, Floats]:
        count = weights.sum(1)
        per_key = weights @ member
        present = weights[:, first].sum(1) if are_groups else (per_key > 0).sum(1)
        total = np.zeros(len(weights))
        between = np.zeros(len(weights))
        for column in values.T:
            centred = column - column.mean()
            sums = (weights * centred) @ member
            overall = sums.sum(1) ** 2 / count
            total += weights @ centred**2 - overall
            between += (sums**2 / np.where(per_key > 0, per_key, 1.0)).sum(1) - overall
        # Rounding leaves a rest where nothing varies.
        defined = (count > present) & (present > 1) & (total > 1e-12 * count)
        within = np.maximum(total - between, 0.0) / np.where(defined, count - present, 1.0)
        share = 1.0 - within / np.where(defined, total / np.maximum(count - 1, 1.0), 1.0)
        return {"share": np.where(defined, share, np.nan)}

    return intervals(measure, len(values), evaluated.manifest.groups, scale=BELOW_ONE)["share"]


def group_majority(manifest: Manifest) -> float:
    """Accuracy of calling every row by the commonest label of its group."""
    groups, labels = np.asarray(manifest.groups), np.asarray(manifest.values, dtype=np.int64)
    right = sum(int(np.bincount(labels[groups == group]).max()) for group in np.unique(groups))
    return right / len(labels)


def majority(manifest: Manifest) -> float:
    """Accuracy of calling every row by the commonest label."""
    return float(np.bincount(np.asarray(manifest.values, dtype=np.int64)).max() / len(manifest))


def _plain(number: float) -> float | None:
    return None if np.isnan(number) else number
