"""Metrics by subgroup, and the largest gap."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.evaluation import Repeat
from graftwork.core.evaluation.subgroups import BLANK, find_all_subgroups, find_subgroups, subgroups_to_json
from graftwork.core.inference.predict import evaluate_part


def made(rows=240, seed=0, **more):
    """Predictions that know most of scanner a's labels, and nothing of those of scanner c."""
    generator = np.random.default_rng(seed)
    truth, scanner = np.arange(rows) % 2, generator.choice(["a", "b", "c"], rows)
    known = np.select([scanner == "a", scanner == "b"], [2.0, 1.0], 0.0)
    score = 1 / (1 + np.exp(-(known * (2 * truth - 1) + generator.normal(size=rows))))
    sexes = tuple(generator.choice(["f", "m", ""], rows).tolist())
    manifest = Manifest("t.csv", tuple(f"{row}.npy" for row in range(rows)), "single-label", "label", ("x", "y"), truth,
                        columns={"scanner": tuple(scanner.tolist()), "sex": sexes})  # fmt: skip
    return evaluate_part("test", manifest, np.stack([1 - score, score], 1), **more), scanner, truth, score


def test_every_subgroup_has_the_metrics_of_its_rows_alone():
    part, scanner, truth, score = made()
    found = find_subgroups(part, "scanner")
    for name, own in found.evaluations.items():
        rows = scanner == name
        assert own.rows == rows.sum()
        assert own.metrics["auroc"].value == pytest.approx(roc_auc_score(truth[rows], score[rows]), abs=1e-12)
        assert own.metrics["auroc"].low < own.metrics["auroc"].value < own.metrics["auroc"].high


def test_the_largest_gap_is_that_of_the_best_and_the_worst_with_an_interval_for_the_largest_of_all_pairs():
    part, scanner, truth, score = made()
    gap = find_subgroups(part, "scanner").gap
    best, worst = scanner == "a", scanner == "c"
    value = roc_auc_score(truth[best], score[best]) - roc_auc_score(truth[worst], score[worst])
    assert (gap.best, gap.worst) == ("a", "c")
    assert gap.difference.value == pytest.approx(value, abs=1e-12)
    two = replace(part, manifest=part.manifest.subset(best | worst), predictions=part.predictions[best | worst])
    alone = find_subgroups(two, "scanner").gap.difference
    wider = (gap.difference.high - gap.difference.low) / (alone.high - alone.low)
    assert wider == pytest.approx(t.ppf(1 - 0.025 / 3, 500) / t.ppf(0.975, 500), rel=0.02)


def test_the_largest_of_gaps_between_equal_subgroups_rarely_excludes_zero():
    excluded = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        truth, score = np.arange(200) % 2, generator.normal(size=200) + np.arange(200) % 2
        manifest = Manifest("t", tuple(map(str, range(200))), "single-label", "label", ("x", "y"), truth,
                            columns={"site": tuple(generator.choice(list("abcd"), 200))})  # fmt: skip
        chance = 1 / (1 + np.exp(-score))
        gap = find_subgroups(evaluate_part("test", manifest, np.stack([1 - chance, chance], 1)), "site").gap
        excluded += gap.difference.low > 0
    assert excluded <= 7  # 3 of 60 are expected at most


def test_blank_cells_are_a_subgroup_and_a_column_that_names_rows_is_none():
    part, *_ = made()
    assert list(find_subgroups(part, "sex").evaluations) == [BLANK, "f", "m"]
    with pytest.raises(SettingsError, match="'age' was not read"):
        find_subgroups(part, "age")
    named = replace(part, manifest=replace(part.manifest, columns={"id": part.manifest.paths}))
    with pytest.raises(SettingsError, match="at most 50 different values, found 240"):
        find_subgroups(named, "id")


def test_out_of_fold_predictions_are_ranked_within_folds_where_these_are_large_enough_else_all_together():
    part, *_ = made(600, folds=np.arange(600) // 2 % 3)
    assert all(len(one.folds) == 3 for one in find_subgroups(part, "scanner").evaluations.values())
    part, *_ = made(60, folds=np.arange(60) // 2 % 5)
    found = find_subgroups(part, "scanner")
    assert all(not one.folds for one in found.evaluations.values())
    assert np.isfinite(found.gap.difference.low)


def test_plain_values_and_words():
    part, *_ = made()
    found = find_all_subgroups(part, ["scanner", "sex"])
    plain = subgroups_to_json(found)["subgroups"]
    assert plain["scanner"]["largest_gap"]["best"] == "a"
    assert plain["scanner"]["groups"]["c"]["about"]["rows"] == found[0].evaluations["c"].rows
    assert "differs most between 'a' and 'c'" in found[0].sentence()
    assert subgroups_to_json(()) == {}


def test_a_gap_of_repeats_is_the_mean_gap():
    part, *_ = made(600, folds=np.arange(600) // 2 % 3)
    other = np.random.default_rng(1).permutation(part.folds)
    noisy = np.clip(part.predictions + 0.2 * np.random.default_rng(2).normal(size=(600, 1)) * [-1, 1], 0.01, 0.99)
    repeats = [Repeat(noisy, other)]
    both = evaluate_part("out-of-fold", part.manifest, part.predictions, part.folds, repeats)
    second = evaluate_part("out-of-fold", part.manifest, noisy, other)
    gaps = [find_subgroups(one, "scanner").gap.difference.value for one in (part, second, both)]
    assert gaps[2] == pytest.approx((gaps[0] + gaps[1]) / 2)
