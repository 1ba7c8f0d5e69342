"""The linear probe is a convex problem: solved by scikit-learn on the frozen vectors, not by epochs."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.core.errors import TrainingError
from graftwork.core.heads import Head
from graftwork.core.manifest import Manifest
from graftwork.core.splits import fold_numbers, strata

STRENGTHS = tuple(10.0 ** np.arange(-5.0, 3.0))
"""Inverse L2 strengths, on standardised features, from the strongest regularisation to the weakest."""

LEAST_SPREAD = 0.1
"""Least deviation of a feature that counts, relative to the root mean square over the features."""

FOLDS = 5
ABSENT = -1e4
"""Logit of a class that has no training row: its probability is zero."""

SOLVED = 1e-6
"""Largest gradient of the final solution; while strengths are compared, scikit-learn's 1e-4 is near enough."""

Floats = NDArray[np.float64]
Data = NDArray[np.floating]
"""Standardised features (rows, features), in single or double precision."""

Linear = tuple[Floats, Floats]
"""Weights (outputs, features) and biases (outputs,)."""


@dataclass(frozen=True)
class ProbeFit:
    """Inverse L2 strength chosen for each problem that was solved: one, or one a label column."""

    strengths: tuple[float, ...]


def fit_probe(head: Head, vectors: NDArray[np.float32], manifest: Manifest, *, balanced: bool, seed: int) -> ProbeFit:
    """Sets the head to the best linear map of the vectors (rows, feature_dim) onto the manifest's targets.

    Logistic regression for labels, ridge regression for numbers, on features standardised over these rows;
    the L2 strength is the one with the best held-out score in cross-validation that keeps groups together.
    balanced: weigh classes by inverse frequency. Raises TrainingError if fewer than two classes have rows,
    or if all rows are one group.
    """
    from threadpoolctl import threadpool_limits

    centre, spread = standardisation(vectors)
    targets = np.asarray(manifest.values)
    units = manifest.units()
    if not units.max():
        raise TrainingError(
            f"a probe needs at least two groups of rows to choose its regularisation by, found one "
            f"of {len(units)} rows (files with the same content count as one)"
        )
    folds = fold_numbers(strata(targets, manifest.task), units, min(FOLDS, int(units.max()) + 1), seed)
    # Many small products: several threads spend more time waiting for each other than computing.
    with threadpool_limits(1, user_api="blas"):
        data, rotation = _rotated((vectors - centre) / spread)
        if manifest.task == "regression":
            solved = [_choose(data, targets, folds, _Ridge())]
        elif manifest.task == "multi-label":
            solved = [_choose(data, column.astype(np.int64), folds, _Logistic(2, balanced)) for column in targets.T]
        else:
            solved = [_choose(data, targets, folds, _Logistic(len(manifest.classes), balanced))]
    weight, bias = _stacked([linear for linear, _ in solved], manifest.task == "multi-label")
    layer = head.layers[-1]
    with torch.no_grad():
        head.get_buffer("centre").copy_(torch.as_tensor(centre))
        head.get_buffer("spread").copy_(torch.as_tensor(spread))
        layer.get_parameter("weight").copy_(torch.as_tensor(weight @ rotation))
        layer.get_parameter("bias").copy_(torch.as_tensor(bias))
    return ProbeFit(tuple(strength for _, strength in solved))


def standardisation(vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Mean (features,) of the vectors (rows, features), and what their difference from it is divided by (features,).

    That is the standard deviation, but at least `LEAST_SPREAD` of what is usual: behind a ReLU many features are zero
    in nearly all rows, and one new row where such a feature is not would outweigh everything else.
    """
    centre, spread = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    usual = float(np.sqrt(np.mean(spread**2)))
    return centre, np.maximum(spread, LEAST_SPREAD * usual) if usual > 0 else np.ones_like(spread)


@dataclass(frozen=True)
class _Logistic:
    """Logistic regression. Strengths are compared in single precision, whose products take half the time."""

    comparison_dtype: ClassVar[type[np.floating]] = np.float32
    classes: int
    balanced: bool

    def fit(
        self, data: Data, labels: NDArray[Any], strength: float, start: Linear | None, tolerance: float = 1e-4
    ) -> Linear:
        """Logits for every class; those without rows get `ABSENT`."""
        from sklearn.linear_model import LogisticRegression

        present = np.unique(labels)
        if len(present) < 2:
            raise TrainingError(f"a probe needs rows of at least two classes to train on, found {len(present)}")
        weights = np.ones(len(labels))
        if self.balanced:
            weights = len(labels) / (len(present) * np.bincount(labels)[labels])
        model = LogisticRegression(C=strength, tol=tolerance, max_iter=2000, warm_start=start is not None)
        if start is not None:
            rows = present[1:] if len(present) == 2 else present
            model.classes_, model.coef_, model.intercept_ = present, start[0][rows], start[1][rows]
        model.fit(data, labels, sample_weight=weights)
        weight, bias = np.zeros((self.classes, data.shape[1])), np.full(self.classes, ABSENT)
        if len(present) == 2:
            bias[present[0]] = 0.0
            weight[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
        else:
            weight[present], bias[present] = model.coef_, model.intercept_
        return weight, bias

    def solve(self, data: Floats, labels: NDArray[Any], strength: float) -> Linear:
        """To the end, most of the way in single precision."""
        return self.fit(data, labels, strength, self.fit(data.astype(np.float32), labels, strength, None), SOLVED)

    def score(self, data: Data, labels: NDArray[Any], linear: Linear) -> float:
        """Mean log-likelihood of the rows whose class the model knows."""
        from scipy.special import log_softmax

        known = linear[1][labels] > ABSENT
        likelihood = log_softmax(data @ linear[0].T + linear[1], axis=1)[np.arange(len(labels)), labels]
        return float(likelihood[known].mean()) if known.any() else 0.0


@dataclass(frozen=True)
class _Ridge:
    """Ridge regression. A direct solution is quick, and single precision would not do for nearly equal features."""

    comparison_dtype: ClassVar[type[np.floating]] = np.float64

    def fit(self, data: Data, values: NDArray[Any], strength: float, start: Linear | None = None) -> Linear:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / strength).fit(data, values)
        return model.coef_[None], np.array([model.intercept_])

    solve = fit

    def score(self, data: Data, values: NDArray[Any], linear: Linear) -> float:
        return -float(np.mean((data @ linear[0][0] + linear[1][0] - values) ** 2))


def _choose(
    data: Floats, targets: NDArray[Any], folds: NDArray[np.int64], problem: _Logistic | _Ridge
) -> tuple[Linear, float]:
    """The solution on all rows at the strength with the best mean held-out score.

    The strengths are tried from the strongest regularisation on, each solution starting from the one before, until the
    score has fallen in every fold, or twice on average: weaker ones overfit more and take longest.
    """
    parts = [part for part in _parts(data.astype(problem.comparison_dtype, copy=False), targets, folds)
             if isinstance(problem, _Ridge) or len(np.unique(part.inside[1])) > 1]  # fmt: skip

    def try_one(part: _Part, strength: float, start: Linear | None) -> tuple[Linear, float]:
        linear = problem.fit(*part.inside, strength, start)
        return linear, problem.score(*part.outside, linear)

    starts: list[Linear | None] = [None] * len(parts)
    best, at_best, strength, falls = -np.inf, np.full(len(parts), -np.inf), STRENGTHS[0], 0
    with warnings.catch_warnings(), ThreadPoolExecutor(min(FOLDS, os.cpu_count() or 1)) as pool:
        # Separable classes have no finite optimum at weak strengths; held-out scores decide, not convergence.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        for candidate in STRENGTHS if parts else ():
            found = list(pool.map(try_one, parts, repeat(candidate), starts))
            starts, scores = [linear for linear, _ in found], np.array([score for _, score in found])
            falls = falls + 1 if scores.mean() <= best else 0
            if falls == 2 or (scores < at_best).all():
                break
            if scores.mean() > best:
                best, at_best, strength = float(scores.mean()), scores, candidate
        return problem.solve(data, targets, strength), strength


@dataclass(frozen=True)
class _Part:
    """Data and targets without one fold, and of that fold."""

    inside: tuple[Data, NDArray[Any]]
    outside: tuple[Data, NDArray[Any]]


def _parts(data: Data, targets: NDArray[Any], folds: NDArray[np.int64]) -> list[_Part]:
    """One for every fold, as views of the same memory: with the rows in the order of their folds, twice, all folds but
    one lie in one piece."""
    order = np.argsort(folds, kind="stable")
    data, targets = data[np.tile(order, 2)], targets[np.tile(order, 2)]
    ends = np.cumsum(np.bincount(folds))
    pieces = [(slice(end, start + len(order)), slice(start, end)) for start, end in pairwise([0, *ends])]
    return [_Part((data[inside], targets[inside]), (data[outside], targets[outside])) for inside, outside in pieces]


def _rotated(data: Floats) -> tuple[Floats, Floats]:
    """Data in the coordinates of its own row space, and the rotation back, (columns kept, features).

    With fewer rows than features this is exact for an L2 penalty and makes the problem as small as it is.
    """
    rows, features = data.shape
    if rows >= features:
        return data, np.eye(features)
    basis, coordinates = np.linalg.qr(data.T)
    return coordinates.T, basis.T


def _stacked(solutions: list[Linear], multi_label: bool) -> Linear:
    """One linear map; of a two-class problem per label only the second class' logit is kept."""
    if not multi_label:
        return solutions[0]
    weight = np.stack([weight[1] - weight[0] for weight, _ in solutions])
    return weight, np.array([bias[1] - bias[0] for _, bias in solutions])
