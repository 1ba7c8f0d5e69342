"""What a score means: log-likelihood ratio, probability, and Bayes' decision with the threshold behind it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graftwork.audio.verification.calibration import Line
from graftwork.audio.verification.scoring import DetectionCost

DECISION = DetectionCost(p_target=0.5)
"""Operating point of verify and identify unless another is named: who claims to be a speaker, or whether a clip is of
an enrolled one, is taken for as likely as not."""


@dataclass(frozen=True)
class Decision:
    """score: cosine. llr: natural log-likelihood ratio of the same speaker against another. probability: that it is the
    same speaker, at the operating point's prior. accepted: None where nothing decides. threshold, threshold_llr: the
    cosine and the ratio from which on clips are accepted. operating_point: in words. caution: why hardly any score can
    be accepted, and what to do. None for what is not known."""

    score: float
    llr: float | None = None
    probability: float | None = None
    accepted: bool | None = None
    threshold: float | None = None
    threshold_llr: float | None = None
    operating_point: str | None = None
    caution: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; a threshold that no number is, is None."""
        found = asdict(self)
        if self.threshold is not None and not math.isfinite(self.threshold):
            found["threshold"] = None
        return found


def decide(score: float, line: Line | None, cost: DetectionCost, threshold: float | None = None) -> Decision:
    """What a cosine means by this line of a calibration, None where scores are not calibrated.

    threshold: a cosine that decides instead of Bayes' decision (Duda and Hart 1973): accept where the ratio is at least
    log(c_false_alarm (1 - p_target) / (c_miss p_target)).

    >>> decide(0.8, Line(clips=5, scale=9.0, offset=-7.0), DetectionCost(0.5)).accepted
    True
    """
    llr = probability = None
    if line is not None:
        llr = float(line.ratios(np.array([score]))[0])
        probability = _probability(llr, cost.p_target)
    if threshold is not None:
        ratio = None if line is None else float(line.ratios(np.array([threshold]))[0])
        return Decision(score, llr, probability, score >= threshold, threshold, ratio,
                        f"cosine of at least {threshold:g}")  # fmt: skip
    if line is None or llr is None:
        return Decision(score)
    point = f"prior {cost.p_target:g}, a miss costs {cost.c_miss:g}, a false alarm {cost.c_false_alarm:g}"
    return Decision(score, llr, probability, llr >= cost.threshold(), line.cosine(cost.threshold()), cost.threshold(),
                    point, unreachable(line, cost))  # fmt: skip


def _probability(llr: float, prior: float) -> float:
    odds = llr + math.log(prior / (1 - prior))
    return 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))


def unreachable(line: Line, cost: DetectionCost, speakers: int = 1) -> str | None:
    """Why no score, or hardly any, is accepted at this operating point, and what to do; None where some are. speakers:
    among how many the prior is shared."""
    ratio = cost.threshold() + math.log(speakers)
    threshold = line.cosine(ratio)
    if threshold <= line.highest:
        return None
    if math.isinf(threshold):
        reason = f"no clip can be accepted: no cosine has a log-likelihood ratio of {ratio:.2f}"
    else:
        reason = f"hardly any clip can be accepted: a log-likelihood ratio of {ratio:.2f} takes a cosine of " \
                 f"{threshold:.4f}, and no genuine one of the calibration had more than {line.highest:.4f}"  # fmt: skip
    return (f"{reason}. These scores tell too little for a prior of {cost.p_target:g}: give a higher --p-target or "
            "--c-miss, more clips of every speaker, a --cohort, or a run that was trained with --head aam")  # fmt: skip
