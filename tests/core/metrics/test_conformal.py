"""Sets of classes: their coverage in simulations, with rows and with groups, and how they are kept."""

import numpy as np
import pytest

from graftwork.core.metrics.conformal import MOST_POINTS, conformal_from_json, fit_conformal


def drawn(generator, groups, size, classes=3):
    """Probabilities, classes and groups; rows of a group have their class and most of their noise in common."""
    truth = np.repeat(generator.integers(0, classes, groups), size)
    noise = np.repeat(generator.normal(size=(groups, classes)), size, axis=0) * 1.5
    logits = noise + 0.3 * generator.normal(size=(groups * size, classes)) + 1.5 * np.eye(classes)[truth]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return chances, truth, np.repeat(np.arange(groups), size).tolist()


@pytest.mark.parametrize(("groups", "size"), [(120, 1), (90, 6)])
@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_sets_hold_the_true_class_as_often_as_asked_for_in_every_class(groups, size, alpha):
    generator, covered = np.random.default_rng(0), []
    for _ in range(150):
        conformal = fit_conformal(*drawn(generator, groups, size))
        chances, truth, _ = drawn(generator, 100, 1)
        inside = conformal.sets(chances, alpha)[np.arange(100), truth]
        covered.append([inside[truth == place].mean() for place in range(3)])
    mean = np.mean(covered, axis=0)
    assert (mean > 1 - alpha - 0.02).all()
    assert (mean < 1 - alpha + 0.05).all()


def test_large_groups_do_not_outweigh_small_ones():
    """One group of very many sure rows and nineteen single unsure ones: the sure rows are one of twenty groups."""
    chances = np.concatenate([np.tile([0.01, 0.99], (400, 1)), np.tile([0.6, 0.4], (19, 1))])
    groups = ["big"] * 400 + [f"small {number}" for number in range(19)]
    truth = np.ones(419, dtype=np.int64)
    assert fit_conformal(chances, truth, groups).limit(1, 0.1) == pytest.approx(0.6)
    assert fit_conformal(chances, truth).limit(1, 0.1) == pytest.approx(0.01)


def test_limits_without_groups_are_the_quantile_with_one_row_more():
    generator = np.random.default_rng(1)
    chance = generator.random(49)
    conformal = fit_conformal(np.stack([1 - chance, chance], 1), np.ones(49, dtype=np.int64))
    for alpha in (0.02, 0.1, 0.33):
        rank = int(np.ceil((49 + 1) * (1 - alpha) - 1e-9))
        assert conformal.limit(1, alpha) == pytest.approx(np.sort(1 - chance)[rank - 1])
    assert conformal.limit(1, 0.01) == np.inf  # 49 rows cannot promise 99 %
    assert conformal.limit(0, 0.5) == np.inf  # nor none at all anything
    assert conformal.sets(np.array([[0.0, 1.0]]), 0.01).tolist() == [[True, True]]


def test_what_is_kept_of_many_rows_makes_sets_larger_never_smaller():
    generator = np.random.default_rng(2)
    chance = generator.random(20 * MOST_POINTS)
    conformal = fit_conformal(np.stack([1 - chance, chance], 1), np.ones(len(chance), dtype=np.int64))
    scores, weight = conformal.curves[1]
    assert len(scores) <= MOST_POINTS
    for alpha in (0.05, 0.2, 0.5):
        exact = np.sort(1 - chance)[int(np.ceil((len(chance) + 1) * (1 - alpha))) - 1]
        assert exact <= conformal.limit(1, alpha) <= exact + 2 / MOST_POINTS
    again = conformal_from_json(conformal.to_json())
    np.testing.assert_array_equal(again.curves[1][0], scores)
    np.testing.assert_array_equal(again.curves[1][1], weight)
    with pytest.raises(ValueError, match="same length"):
        conformal_from_json([[[0.1, 0.2], [0.5]]])
