"""Recalibration: optima against a grid and scikit-learn, and kept only where held-out rows are better."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from graftwork.core.metrics.recalibration import (
    LEAST,
    Recalibration,
    calibration_line,
    choose_recalibration,
    fit_recalibration,
    log_losses,
    recalibration_from_json,
    tempered,
)


def too_sure(seed=0, rows=400, classes=3, factor=2.5):
    """Probabilities whose logits are `factor` times those that the classes are drawn by."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes))
    chances = tempered(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 1.0)
    truth = np.array([generator.choice(classes, p=row) for row in chances])
    return tempered(chances, 1 / factor), truth


def test_the_temperature_is_that_of_the_lowest_log_loss():
    chances, truth = too_sure()
    found = fit_recalibration("temperature", chances, truth)
    grid = np.exp(np.linspace(-2, 2, 2001))
    best = grid[np.argmin([log_losses(tempered(chances, one), truth).mean() for one in grid])]
    assert found.temperature == pytest.approx(best, rel=0.003)
    assert found.temperature == pytest.approx(2.5, rel=0.15)
    np.testing.assert_allclose(found.apply(chances).sum(1), 1.0)
    assert (found.apply(chances).argmax(1) == chances.argmax(1)).all()


def test_isotonic_steps_are_scikit_learns():
    chances, truth = too_sure(classes=2)
    edge = 1 / (len(truth) + 2)
    other = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(chances[:, 1], truth == 1)
    new = np.random.default_rng(1).random(50)
    found = fit_recalibration("isotonic", chances, truth).apply(np.stack([1 - new, new], 1))
    np.testing.assert_allclose(found[:, 1], other.predict(new), atol=1e-12)
    with pytest.raises(ValueError, match="two classes, found 3"):
        fit_recalibration("isotonic", *too_sure())


def test_what_is_too_sure_is_recalibrated_and_what_is_right_stays_as_it_is():
    folds = np.arange(400) % 5
    assert choose_recalibration(["temperature"], *too_sure(), folds).kind == "temperature"
    kept = [choose_recalibration(["temperature"], *too_sure(seed, 60, factor=1.0), np.arange(60) % 5).kind
            for seed in range(20)]  # fmt: skip
    assert kept.count("none") >= 15
    assert choose_recalibration(["isotonic"], *too_sure(), folds).kind == "none"  # three classes have no such steps


def test_of_several_kinds_the_best_on_held_out_folds_is_kept():
    generator = np.random.default_rng(0)
    chance = generator.random(2000)
    truth = (generator.random(2000) < 0.2 + 0.6 * (chance > 0.5)).astype(int)  # a step, which no temperature makes
    found = choose_recalibration(
        ["temperature", "isotonic"], np.stack([1 - chance, chance], 1), truth, np.arange(2000) % 5
    )
    assert found.kind == "isotonic"


@pytest.mark.parametrize("factor", [0.1, 1.0, 8.0])
def test_slope_and_intercept_are_those_of_logistic_regressions(factor):
    generator = np.random.default_rng(2)
    logits = generator.normal(size=300)
    positive = generator.random(300) < 1 / (1 + np.exp(-(0.4 + 0.6 * logits)))
    weights = generator.integers(0, 3, size=(2, 300)).astype(float)
    most = np.log(1 / LEAST - 1)  # probabilities nearer to 0 and 1 are not told apart
    logits = (logits * factor).clip(-most, most)
    found = calibration_line(1 / (1 + np.exp(-logits)), positive)(weights)
    for place, own in enumerate(weights):
        fitted = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(logits[:, None] / factor, positive, own)
        assert found["calibration_slope"][place] * factor == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
        moved = found["calibration_intercept"][place]
        mean = np.average(1 / (1 + np.exp(-(logits + moved))), weights=own)
        assert mean == pytest.approx(np.average(positive, weights=own), abs=1e-6)


def test_classes_that_are_told_perfectly_have_no_slope():
    score = np.linspace(0.01, 0.99, 40)
    found = calibration_line(score, score > 0.5)(np.ones((1, 40)))
    assert np.isnan(found["calibration_slope"][0])


def test_what_was_written_is_read_again():
    chances, truth = too_sure(classes=2)
    for kind in ("temperature", "isotonic"):
        found = fit_recalibration(kind, chances, truth)
        again = recalibration_from_json(found.to_json())
        np.testing.assert_array_equal(again.apply(chances), found.apply(chances))
    assert recalibration_from_json(Recalibration().to_json()) == Recalibration()
    with pytest.raises(ValueError, match="no such recalibration: 'magic'"):
        recalibration_from_json({"kind": "magic"})
