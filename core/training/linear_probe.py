"""The linear probe is a convex problem: solved by scikit-learn on the frozen vectors, not by epochs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.compute.cores import cores_here
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.splits import fold_numbers
from graftwork.core.errors import TrainingError
from graftwork.core.model.heads import Head
from graftwork.core.tasks.linear_models import Data, Floats, LinearModel, LinearProblem, LinearSolution

INVERSE_L2_STRENGTHS = tuple(10.0 ** np.arange(-5.0, 3.0))
"""Inverse L2 strengths, on standardised features, from the strongest regularisation to the weakest."""

LEAST_SPREAD = 0.1
"""Least deviation of a feature that counts, relative to the root mean square over the features."""

FOLDS = 5

MEMORY_SHARE = 0.5
"""Share of a GPU's memory that the data may fill, of the whole: the same card solves the same problems."""

DEVICE_VALUES = 2**22
"""Rows times features from which a problem is solved on a GPU. On an H100 beside 16 cores 2000 x 1024 took 0.37 s, on
the cores 0.22; 8000 x 768 took 0.21 s, on the cores 0.42."""


@dataclass(frozen=True)
class ProbeFit:
    """Inverse L2 strength chosen for each problem that was solved: one, or one a label column."""

    strengths: tuple[float, ...]


def fit_probe(
    head: Head, vectors: NDArray[np.float32], manifest: Manifest, *, balanced: bool, seed: int, device: str = "cpu"
) -> ProbeFit:
    """Sets the head to the best linear map of the vectors (rows, feature_dim) onto the manifest's targets.

    Logistic regression for labels, ridge regression for numbers, proportional odds for grades, on features
    standardised over these rows;
    the L2 strength is the one with the best held-out score in cross-validation that keeps groups together. Weights of
    rows count in all three.
    balanced: weigh classes by inverse frequency. device: a GPU where there is one; problems of `DEVICE_VALUES` and more
    are solved on it, to the same solution. Raises TrainingError if fewer than two classes have rows,
    or if all rows are one group.
    """
    from threadpoolctl import threadpool_limits

    task = manifest.task
    if task.linear_map is None:
        raise TrainingError(f"a probe of a {task} target is not solved, but trained")
    # Many small products: several threads spend more time waiting for each other than computing.
    with threadpool_limits(1, user_api="blas"):
        case = _case(vectors, manifest, balanced=balanced, seed=seed, device=device)
        strengths = [_best(case.data, problem, case.folds, case.weights)[0] for problem in case.problems]
        solved = [_solution(case.data, problem, strength, case.weights)
                  for problem, strength in zip(case.problems, strengths, strict=True)]  # fmt: skip
    weight, bias = task.linear_map(solved)
    layer = head.layers[-1]
    with torch.no_grad():
        head.get_buffer("centre").copy_(torch.as_tensor(case.centre))
        head.get_buffer("spread").copy_(torch.as_tensor(case.spread))
        layer.get_parameter("weight").copy_(torch.as_tensor(weight @ case.rotation))
        layer.get_parameter("bias").copy_(torch.as_tensor(bias))
    return ProbeFit(tuple(strengths))


def probe_scores(
    vectors: NDArray[np.float32], manifest: Manifest, *, balanced: bool, seed: int, device: str = "cpu"
) -> Floats:
    """How well `fit_probe` predicts held-out rows of these vectors (rows, features), at its best strengths: of every
    fold, and every problem if there are several, the mean log-likelihood, or minus the squared error of numbers,
    (problems * folds,). Arguments and errors as of `fit_probe`."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        case = _case(vectors, manifest, balanced=balanced, seed=seed, device=device)
        return np.concatenate([_best(case.data, problem, case.folds, case.weights)[1] for problem in case.problems])


@dataclass(frozen=True, eq=False)
class _Case:
    """What the problems of a probe are solved on. data: standardised by centre and spread (features,), in coordinates
    from which `rotation` (columns, features) leads back. folds, weights: (rows,)."""

    data: Data
    problems: Sequence[LinearProblem]
    folds: NDArray[np.int64]
    weights: Floats | None
    centre: Floats
    spread: Floats
    rotation: Floats


def _case(vectors: NDArray[np.float32], manifest: Manifest, *, balanced: bool, seed: int, device: str) -> _Case:
    weights = None if manifest.weights is None else np.array(manifest.weights)
    centre, spread = standardisation(vectors, weights)
    task = manifest.task
    if task.linear_problems is None:
        raise TrainingError(f"a probe of a {task} target is not solved, but trained")
    units = manifest.units()
    if not units.max():
        raise TrainingError(
            f"a probe needs at least two groups of rows to choose its regularisation by, found one "
            f"of {len(units)} rows (files with the same content count as one)"
        )
    folds = fold_numbers(task.strata(manifest.values), units, min(FOLDS, int(units.max()) + 1), seed)
    data, rotation = _rotated((vectors - centre) / spread)
    problems = task.linear_problems(manifest.values, manifest.classes, balanced)
    return _Case(_placed(data, problems, device), problems, folds, weights, centre, spread, rotation)


def _placed(data: Floats, problems: Sequence[LinearProblem], device: str) -> Data:
    """The data on the GPU where that pays and they fit in its memory, twice as `_parts` wants them."""
    if device == "cpu" or data.size < DEVICE_VALUES or not all(problem.model.on_device for problem in problems):
        return data
    whole = torch.cuda.get_device_properties(device).total_memory
    return torch.as_tensor(data, device=device) if 4 * data.nbytes < MEMORY_SHARE * whole else data


def standardisation(vectors: NDArray[np.float32], weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Mean (features,) of the vectors (rows, features), and what their difference from it is divided by (features,);
    rows count by their weights (rows,), if there are any.

    That is the standard deviation, but at least `LEAST_SPREAD` of what is usual: behind a ReLU many features are zero
    in nearly all rows, and one new row where such a feature is not would outweigh everything else.
    """
    if weights is None:
        centre, spread = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    else:
        centre = np.average(vectors, axis=0, weights=weights)
        spread = np.sqrt(np.average((vectors - centre) ** 2, axis=0, weights=weights))
    usual = float(np.sqrt(np.mean(spread**2)))
    return centre, np.maximum(spread, LEAST_SPREAD * usual) if usual > 0 else np.ones_like(spread)


def _best(data: Data, problem: LinearProblem, folds: NDArray[np.int64], weights: Floats | None) -> tuple[float, Floats]:
    """The strength with the best mean held-out score, and its scores in the folds from which something can be learnt.

    The strengths are tried from the strongest regularisation on, each solution starting from the one before, until the
    score has fallen in every fold, or twice on average: weaker ones overfit more and take longest.
    """
    model: LinearModel = problem.model
    own = _of_known_rows(data, problem, folds, weights)
    compared = own.data if isinstance(own.data, Tensor) else own.data.astype(model.comparison_dtype, copy=False)
    parts = [part for part in _parts(compared, own.targets, own.folds, own.weights) if model.learnable(part.inside[1])]

    def try_one(part: _Part, strength: float, start: LinearSolution | None) -> tuple[LinearSolution, float]:
        linear = model.fit(*part.inside, strength, start, weights=part.weights[0])
        return linear, model.score(*part.outside, linear, weights=part.weights[1])

    starts: list[LinearSolution | None] = [None] * len(parts)
    best, at_best, strength, falls = -np.inf, np.full(len(parts), -np.inf), INVERSE_L2_STRENGTHS[0], 0
    with warnings.catch_warnings(), ThreadPoolExecutor(min(FOLDS, cores_here())) as pool:
        # Separable classes have no finite optimum at weak strengths; held-out scores decide, not convergence.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        for candidate in INVERSE_L2_STRENGTHS if parts else ():
            found = list(pool.map(try_one, parts, repeat(candidate), starts))
            starts, scores = [linear for linear, _ in found], np.array([score for _, score in found])
            falls = falls + 1 if scores.mean() <= best else 0
            if falls == 2 or (scores < at_best).all():
                break
            if scores.mean() > best:
                best, at_best, strength = float(scores.mean()), scores, candidate
    return strength, at_best


def _solution(data: Data, problem: LinearProblem, strength: float, weights: Floats | None) -> LinearSolution:
    """The solution on all rows whose target counts."""
    own = _of_known_rows(data, problem, np.zeros(len(problem.targets), dtype=np.int64), weights)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        return problem.model.solve(own.data, own.targets, strength, weights=own.weights)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows that a problem is solved on: their data, targets, folds, and weights, None for none."""

    data: Data
    targets: NDArray[Any]
    folds: NDArray[np.int64]
    weights: Floats | None


def _of_known_rows(data: Data, problem: LinearProblem, folds: NDArray[np.int64], weights: Floats | None) -> _Rows:
    """Only the rows whose target counts; folds without any are left out."""
    if problem.known is None:
        return _Rows(data, problem.targets, folds, weights)
    places = np.flatnonzero(problem.known)
    numbers = np.unique(folds[places], return_inverse=True)[1].astype(np.int64)
    return _Rows(data[places], problem.targets[places], numbers, None if weights is None else weights[places])


@dataclass(frozen=True, eq=False)
class _Part:
    """Data and targets without one fold, and of that fold; weights likewise, None for none."""

    inside: tuple[Data, NDArray[Any]]
    outside: tuple[Data, NDArray[Any]]
    weights: tuple[Floats | None, Floats | None]


def _parts(data: Data, targets: NDArray[Any], folds: NDArray[np.int64], weights: Floats | None) -> list[_Part]:
    """One for every fold, as views of the same memory: with the rows in the order of their folds, twice, all folds but
    one lie in one piece."""
    order = np.argsort(folds, kind="stable")
    data, targets = data[np.tile(order, 2)], targets[np.tile(order, 2)]
    own = None if weights is None else weights[np.tile(order, 2)]
    ends = np.cumsum(np.bincount(folds))
    pieces = [(slice(end, start + len(order)), slice(start, end)) for start, end in pairwise([0, *ends])]
    return [_Part((data[inside], targets[inside]), (data[outside], targets[outside]),
                  (None, None) if own is None else (own[inside], own[outside]))
            for inside, outside in pieces]  # fmt: skip


def _rotated(data: Floats) -> tuple[Floats, Floats]:
    """Data in the coordinates of its own row space, and the rotation back, (columns kept, features).

    With fewer rows than features this is exact for an L2 penalty and makes the problem as small as it is.
    """
    rows, features = data.shape
    if rows >= features:
        return data, np.eye(features)
    basis, coordinates = np.linalg.qr(data.T)
    return coordinates.T, basis.T
