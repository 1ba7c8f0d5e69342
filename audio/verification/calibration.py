"""From scores to log-likelihood ratios: of cosines one line for every number of clips that were averaged to a
profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.versions import advice_on_schema

Floats = NDArray[np.float64]

FOLDS = 5

SCHEMA = 1
"""Of the file; earlier ones have none, and are read alike."""

NEARLY_ONE = 1 - 1e-5


def spread_out(cosines: Floats) -> Floats:
    """Fisher's z (1915), the inverse hyperbolic tangent, of cosines, cut at 1 - 1e-5. Cosines of one speaker crowd at
    1; of their z a line gives better ratios, all of which some cosine has."""
    found: Floats = np.arctanh(np.clip(np.asarray(cosines, dtype=np.float64), -NEARLY_ONE, NEARLY_ONE))
    return found


@dataclass(frozen=True)
class Affine:
    """Log-likelihood ratio = scale * score + offset (natural logarithm)."""

    scale: float
    offset: float

    def ratios(self, scores: Floats) -> Floats:
        """Log-likelihood ratios of scores (trials,)."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset


@dataclass(frozen=True)
class Line:
    """Log-likelihood ratio = scale * artanh(cosine) + offset (natural logarithm), of a clip against a speaker of whom
    `clips` clips were averaged; 1 is a clip against a clip. highest: the highest cosine of a target trial behind it."""

    clips: int
    scale: float
    offset: float
    highest: float = 1.0

    def ratios(self, cosines: Floats) -> Floats:
        """Log-likelihood ratios of cosines (trials,)."""
        return Affine(self.scale, self.offset).ratios(spread_out(cosines))

    def cosine(self, ratio: float) -> float:
        """The cosine with that log-likelihood ratio; infinite where none has it, as cosines say nothing or not
        enough."""
        if self.scale <= 0:
            return math.inf
        found = math.tanh((ratio - self.offset) / self.scale)
        return found if found <= NEARLY_ONE else math.inf


@dataclass(frozen=True)
class Calibration:
    """lines: by number of clips, ascending. speakers: how many it was learnt from. digest: of the source of vectors.
    centre: what was taken from every vector, None for nothing."""

    lines: tuple[Line, ...]
    speakers: int
    digest: str
    centre: tuple[float, ...] | None = None

    def line(self, clips: int) -> Line:
        """The line for a speaker averaged from so many clips. Between two numbers that were calibrated it lies as
        their inverses do, as the noise of a mean does; beyond the most it is that of the most."""
        known = [1 / one.clips for one in reversed(self.lines)]

        def between(name: str) -> float:
            return float(np.interp(1 / clips, known, [getattr(one, name) for one in reversed(self.lines)]))

        return Line(clips, between("scale"), between("offset"), between("highest"))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": SCHEMA} | asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Calibration:
        """Raises KeyError, TypeError, ValueError, OverflowError for something else."""
        schema = values.get("schema", SCHEMA)
        if schema != SCHEMA:
            advice = advice_on_schema(schema, SCHEMA, "make it anew with `trials --out`")
            raise ValueError(f"expected schema {SCHEMA}, found {schema!r}: {advice}")
        lines = tuple(Line(int(one["clips"]), *(float(one[name]) for name in ("scale", "offset", "highest")))
                      for one in values["lines"])  # fmt: skip
        if not all(math.isfinite(value) for one in lines for value in (one.scale, one.offset, one.highest)):
            raise ValueError("expected finite numbers")
        if not lines or [one.clips for one in lines] != sorted({max(one.clips, 1) for one in lines}):
            raise ValueError("expected lines with ascending numbers of clips")
        centre = values["centre"]
        return cls(lines, int(values["speakers"]), str(values["digest"]),
                   None if centre is None else tuple(map(float, centre)))  # fmt: skip


def calibrate_cosines(cosines: Floats, targets: NDArray[np.bool_], clips: int = 1) -> Line:
    """The line of cosines (trials,) of which both kinds of trials are there, with averages of so many clips."""
    found = calibrate(spread_out(cosines), targets)
    return Line(clips, found.scale, found.offset, float(np.asarray(cosines)[np.asarray(targets, dtype=bool)].max()))


def calibrate(scores: Floats, targets: NDArray[np.bool_]) -> Affine:
    """Logistic regression of targets on scores in which both kinds of trials weigh alike: its logit is then the
    log-likelihood ratio (Brümmer and du Preez 2006). A little shrinkage keeps it finite for separable scores.

    scores and targets (trials,), both kinds of trials among them.
    """
    from sklearn.linear_model import LogisticRegression

    values, same = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=bool)
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    model = LogisticRegression(C=1.0 / max(1e-3, 1.0 / len(values)), class_weight="balanced")
    model.fit(((values - centre) / spread)[:, None], same)
    scale = float(model.coef_[0, 0]) / spread
    return Affine(scale, float(model.intercept_[0]) - scale * centre)


def cross_calibrated(
    scores: Floats, targets: NDArray[np.bool_], sides: tuple[Sequence[str], Sequence[str]] | None
) -> Floats | None:
    """Log-likelihood ratios of every trial, calibrated on trials of neither of its speakers; None where speakers are
    not known, or too few to leave some out. sides: the speakers of both sides of every trial."""
    if sides is None:
        return None
    names = sorted(set(sides[0]) | set(sides[1]))
    if len(names) < 2 * FOLDS:
        return None
    place = {name: number % FOLDS for number, name in enumerate(names)}
    first, second = (np.array([place[name] for name in side]) for side in sides)
    found = np.zeros(len(scores))
    for a in range(FOLDS):
        for b in range(a, FOLDS):
            evaluated = ((first == a) & (second == b)) | ((first == b) & (second == a))
            learnt = ~np.isin(first, (a, b)) & ~np.isin(second, (a, b))
            if evaluated.any():
                same = targets[learnt]
                if same.all() or not same.any():
                    return None
                found[evaluated] = calibrate(scores[learnt], same).ratios(scores[evaluated])
    return found
