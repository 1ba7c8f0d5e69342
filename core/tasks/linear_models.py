"""The convex problems of a linear probe: each a model that fits a linear map and scores it on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

ABSENT_LOGIT = -1e4
"""Logit of a class that has no training row: its probability is zero."""

GRADIENT_TOLERANCE = 1e-6
"""Largest gradient of the final solution; while strengths are compared, scikit-learn's 1e-4 is near enough."""

Floats = NDArray[np.float64]
Data: TypeAlias = "NDArray[np.floating] | Tensor"
"""Standardised features (rows, features), in single or double precision; a tensor, float64, on a GPU."""

LinearSolution = tuple[Floats, Floats]
"""Weights (outputs, features) and biases (outputs,); of `CumulativeLogit` one weight for all biases."""


class LinearModel(Protocol):
    """An L2-penalised linear model. strength: inverse of the penalty, as scikit-learn's C. weights: how much every row
    counts (rows,), None for all alike."""

    comparison_dtype: ClassVar[type[np.floating]]
    """Precision in which strengths are compared."""

    on_device: ClassVar[bool]
    """Whether data may be a tensor on a GPU."""

    def learnable(self, targets: NDArray[Any]) -> bool:
        """Whether something can be learnt of these targets (rows,)."""

    def fit(
        self, data: Data, targets: NDArray[Any], strength: float, start: LinearSolution | None,
        *, weights: Floats | None = None,
    ) -> LinearSolution:  # fmt: skip
        """The map, near enough to compare strengths."""

    def solve(
        self, data: Data, targets: NDArray[Any], strength: float, *, weights: Floats | None = None
    ) -> LinearSolution:
        """The map, to the end."""

    def score(
        self, data: Data, targets: NDArray[Any], linear: LinearSolution, *, weights: Floats | None = None
    ) -> float:
        """The score of a map on held-out rows, the larger the better."""


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A model, and the targets (rows,) it is fitted to. known: the rows (rows,) whose target counts, None for all."""

    targets: NDArray[Any]
    model: LinearModel
    known: NDArray[np.bool_] | None = None


def balanced_weights(labels: NDArray[Any], weights: Floats | None = None) -> Floats:
    """How much each row counts (rows,), so that all classes that have rows weigh the same; the mean is that of the
    weights, 1 without any."""
    own = np.ones(len(labels)) if weights is None else weights
    balanced: Floats = own * own.sum() / (len(np.unique(labels)) * np.bincount(labels, own)[labels])
    return balanced


def _counted(targets: NDArray[Any], balanced: bool, weights: Floats | None) -> Floats:
    if balanced:
        return balanced_weights(targets, weights)
    return np.ones(len(targets)) if weights is None else weights


def only_solution(solutions: Sequence[LinearSolution]) -> LinearSolution:
    """The map of a task that is one problem."""
    return solutions[0]


@dataclass(frozen=True)
class Logistic:
    """Logistic regression. Strengths are compared in single precision, whose products take half the time."""

    comparison_dtype: ClassVar[type[np.floating]] = np.float32
    on_device: ClassVar[bool] = True
    classes: int
    balanced: bool

    def learnable(self, targets: NDArray[Any]) -> bool:
        return len(np.unique(targets)) > 1

    def fit(
        self, data: Data, targets: NDArray[Any], strength: float, start: LinearSolution | None, tolerance: float = 1e-4,
        *, weights: Floats | None = None,
    ) -> LinearSolution:  # fmt: skip
        """Logits for every class; those without rows get `ABSENT_LOGIT`."""
        present, codes = np.unique(targets, return_inverse=True)
        if len(present) < 2:
            raise TrainingError(f"a probe needs rows of at least two classes to train on, found {len(present)}")
        rows = present[1:] if len(present) == 2 else present
        begin = None if start is None else (start[0][rows], start[1][rows])
        counted = _counted(targets, self.balanced, weights)
        weight, bias = np.zeros((self.classes, data.shape[1])), np.full(self.classes, ABSENT_LOGIT)
        bias[present[0]] = 0.0
        if isinstance(data, np.ndarray):
            weight[rows], bias[rows] = _fit_with_scikit_learn(data, codes, counted, strength, begin, tolerance)
        else:
            from graftwork.core.tasks.device_logistic import fit_on_device

            weight[rows], bias[rows] = fit_on_device(data, codes, counted, strength, begin, tolerance)
        return weight, bias

    def solve(
        self, data: Data, targets: NDArray[Any], strength: float, *, weights: Floats | None = None
    ) -> LinearSolution:
        """Most of the way in single precision on a CPU."""
        start = None
        if isinstance(data, np.ndarray):
            start = self.fit(data.astype(np.float32), targets, strength, None, weights=weights)
        return self.fit(data, targets, strength, start, GRADIENT_TOLERANCE, weights=weights)

    def score(
        self, data: Data, targets: NDArray[Any], linear: LinearSolution, *, weights: Floats | None = None
    ) -> float:
        """Mean log-likelihood of the rows whose class the model knows."""
        from scipy.special import log_softmax

        known = linear[1][targets] > ABSENT_LOGIT
        if isinstance(data, np.ndarray):
            likelihood = log_softmax(data @ linear[0].T + linear[1], axis=1)[np.arange(len(targets)), targets]
        else:
            from graftwork.core.tasks.device_logistic import log_likelihoods

            likelihood = log_likelihoods(data, *linear, targets)
        return _mean(likelihood, known, weights)


def _fit_with_scikit_learn(
    data: NDArray[np.floating], codes: NDArray[Any], weights: Floats, strength: float,
    start: tuple[Floats, Floats] | None, tolerance: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Weights (outputs, features) and biases (outputs,): one output for two classes, else one a class."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, tol=tolerance, max_iter=2000, warm_start=start is not None)
    if start is not None:
        model.classes_, (model.coef_, model.intercept_) = np.unique(codes), start
    model.fit(data, codes, sample_weight=weights)
    return model.coef_, model.intercept_


@dataclass(frozen=True)
class Ridge:
    """Ridge regression. A direct solution is quick, and single precision would not do for nearly equal features."""

    comparison_dtype: ClassVar[type[np.floating]] = np.float64
    on_device: ClassVar[bool] = False

    def learnable(self, targets: NDArray[Any]) -> bool:
        return True

    def fit(
        self, data: Data, targets: NDArray[Any], strength: float, start: LinearSolution | None = None,
        *, weights: Floats | None = None,
    ) -> LinearSolution:  # fmt: skip
        from sklearn.linear_model import Ridge as Model

        model = Model(alpha=1 / strength).fit(data, targets, sample_weight=weights)
        return model.coef_[None], np.array([model.intercept_])

    solve = fit

    def score(
        self, data: Data, targets: NDArray[Any], linear: LinearSolution, *, weights: Floats | None = None
    ) -> float:
        return -float(np.average((data @ linear[0][0] + linear[1][0] - targets) ** 2, weights=weights))


@dataclass(frozen=True)
class CumulativeLogit:
    """The proportional odds model (McCullagh 1980): P(grade > k) = sigmoid(x w + b_k), one w for all thresholds k.

    Its log-likelihood is concave in (w, b) where the b_k fall (Pratt 1981). Minimised is half of |w| squared plus
    `strength` times the sum over rows of weight times minus log-likelihood, as scikit-learn does for its C. A grade
    without rows has the probability 0.
    """

    comparison_dtype: ClassVar[type[np.floating]] = np.float64
    on_device: ClassVar[bool] = False
    grades: int
    balanced: bool

    def learnable(self, targets: NDArray[Any]) -> bool:
        return len(np.unique(targets)) > 1

    def fit(
        self, data: Data, targets: NDArray[Any], strength: float, start: LinearSolution | None, tolerance: float = 1e-4,
        *, weights: Floats | None = None,
    ) -> LinearSolution:  # fmt: skip
        """One weight (1, features) and the falling biases (grades - 1,) of all thresholds.

        Raises TrainingError for rows of fewer than two grades.
        """
        from scipy.optimize import minimize

        present, codes = np.unique(targets, return_inverse=True)
        if len(present) < 2:
            raise TrainingError(f"a probe needs rows of at least two grades to train on, found {len(present)}")
        counted = _counted(targets, self.balanced, weights)
        above = np.array([(counted * (codes > k)).sum() / counted.sum() for k in range(len(present) - 1)])
        width = data.shape[1]
        begin = np.concatenate([np.zeros(width), np.log(above / (1 - above))])
        if start is not None:
            begin[:width] = start[0][0]
            begin[width:] = start[1][present[1:] - 1]
        scale = strength * counted.sum()
        lost = minimize(_ordinal_loss, _free(begin, width), args=(data, codes, counted, strength, width), jac=True,
                        method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 4000, "gtol": tolerance * scale,
                                                    "ftol": 1e-13})  # fmt: skip
        found = _falling(lost.x, width)
        # Of grades without rows the likelihood is largest where both thresholds are one; beyond all rows there is none.
        place = np.searchsorted(present, np.arange(self.grades - 1), side="right") - 1
        inner = found[width:][np.clip(place, 0, len(present) - 2)]
        bias = np.where(place < 0, -ABSENT_LOGIT, np.where(place == len(present) - 1, ABSENT_LOGIT, inner))
        return found[None, :width], bias

    def solve(
        self, data: Data, targets: NDArray[Any], strength: float, *, weights: Floats | None = None
    ) -> LinearSolution:
        return self.fit(data, targets, strength, None, GRADIENT_TOLERANCE, weights=weights)

    def score(
        self, data: Data, targets: NDArray[Any], linear: LinearSolution, *, weights: Floats | None = None
    ) -> float:
        """Mean log-likelihood of the rows whose grade the model knows."""
        ends = np.concatenate([[-ABSENT_LOGIT], linear[1], [ABSENT_LOGIT]])
        known = (ends[:-1] > ends[1:])[targets]
        likelihood = np.log(np.maximum(grade_probabilities(data @ linear[0].T + linear[1]), 1e-300))
        return _mean(likelihood[np.arange(len(targets)), targets], known, weights)


def _mean(values: NDArray[Any], chosen: NDArray[np.bool_], weights: Floats | None) -> float:
    """Of the chosen rows' values, 0 where there are none."""
    if not chosen.any():
        return 0.0
    return float(values[chosen].mean() if weights is None else np.average(values[chosen], weights=weights[chosen]))


def grade_probabilities(logits: Floats) -> Floats:
    """Probabilities (rows, grades) from the logits (rows, grades - 1) of lying above each threshold."""
    from scipy.special import expit

    above = np.minimum.accumulate(expit(logits), axis=1)
    return -np.diff(above, axis=1, prepend=1.0, append=0.0)


def _free(parameters: Floats, width: int) -> Floats:
    """Falling biases as the first and the logarithms of the steps down."""
    bias = parameters[width:]
    return np.concatenate([parameters[:width], bias[:1], np.log(np.maximum(bias[:-1] - bias[1:], 1e-6))])


def _falling(free: Floats, width: int) -> Floats:
    first, steps = free[width : width + 1], np.exp(free[width + 1 :])
    return np.concatenate([free[:width], first, first - np.cumsum(steps)])


def _ordinal_loss(
    free: Floats, data: Data, codes: NDArray[Any], weights: Floats, strength: float, width: int
) -> tuple[float, Floats]:
    """Penalised loss and its gradient in the parameters of `_free`."""
    from scipy.special import expit

    parameters = _falling(free, width)
    weight, bias = parameters[:width], parameters[width:]
    logits = (data @ weight)[:, None] + bias
    above = np.concatenate([np.ones((len(data), 1)), expit(logits), np.zeros((len(data), 1))], axis=1)
    rows = np.arange(len(data))
    likelihood = np.maximum(above[rows, codes] - above[rows, codes + 1], 1e-300)
    slope = above * (1 - above)  # of both ends it is zero
    lower, upper = slope[rows, codes] / likelihood, slope[rows, codes + 1] / likelihood
    by_logit = np.zeros_like(above)
    by_logit[rows, codes] = -weights * lower
    by_logit[rows, codes + 1] += weights * upper
    by_logit = by_logit[:, 1:-1]
    loss = 0.5 * float(weight @ weight) - strength * float(weights @ np.log(likelihood))
    by_weight = weight + strength * (data.T @ by_logit.sum(1))
    by_bias = strength * by_logit.sum(0)
    # Every step moves all later biases down.
    by_steps = -np.cumsum(by_bias[::-1])[::-1][1:] * np.exp(free[width + 1 :])
    return loss, np.concatenate([by_weight, [by_bias.sum()], by_steps])
