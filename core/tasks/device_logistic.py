"""Logistic regression on a GPU: the problem that scikit-learn solves on a CPU, its products where the vectors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def fit_on_device(
    data: Tensor, codes: NDArray[Any], weights: Floats, strength: float, start: tuple[Floats, Floats] | None,
    tolerance: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Weights (outputs, features) and biases (outputs,) as scikit-learn's LogisticRegression has them: one output for
    two classes, else one a class.

    data: (rows, features), float64, on any device. codes: classes from 0 without a gap (rows,). strength: C.
    tolerance: largest entry of the gradient at the solution of the weighted mean of the losses plus |w|^2 divided by
    2 C and the sum of the weights, by L-BFGS.
    """
    from scipy.optimize import minimize

    classes, width = int(codes.max()) + 1, data.shape[1]
    outputs = 1 if classes == 2 else classes
    targets = torch.as_tensor(np.eye(classes)[codes][:, -outputs:]).to(data.device)
    shares = torch.as_tensor(weights / weights.sum()).to(data.device)[:, None]
    penalty = 1.0 / (strength * weights.sum())

    def loss(flat: Floats) -> tuple[float, Floats]:
        solution = torch.from_numpy(flat).to(data.device).view(outputs, width + 1)
        logits = data @ solution[:, :width].T + solution[:, width]
        if outputs == 1:
            losses = torch.nn.functional.softplus(logits) - targets * logits
            by_logit = shares * (logits.sigmoid() - targets)
        else:
            losses = logits.logsumexp(1, keepdim=True) - (targets * logits).sum(1, keepdim=True)
            by_logit = shares * (logits.softmax(1) - targets)
        matrix = solution[:, :width]
        gradient = torch.cat([by_logit.T @ data + penalty * matrix, by_logit.sum(0)[:, None]], dim=1)
        value = (shares * losses).sum() + penalty / 2 * matrix.square().sum()
        found = torch.cat([value[None], gradient.flatten()]).cpu().numpy()  # one copy: each waits for the device
        return float(found[0]), found[1:]

    begin = np.zeros((outputs, width + 1))
    if start is not None:
        begin[:, :width], begin[:, width] = start
    found = minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B",
                     options={"maxiter": 2000, "maxfun": 4000, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps,
                              "maxls": 50})  # fmt: skip
    solution = found.x.reshape(outputs, width + 1)
    return solution[:, :width], solution[:, width]


def log_likelihoods(data: Tensor, weight: Floats, bias: Floats, codes: NDArray[Any]) -> Floats:
    """Log-probability (rows,) of each row's class."""
    logits = data @ torch.as_tensor(weight).to(data).T + torch.as_tensor(bias).to(data)
    found: Floats = logits.log_softmax(1).cpu().numpy()[np.arange(len(codes)), codes]
    return found
