"""What groups alone explain, and the score of the same model with groups on both sides."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.sentences import apart_in_sentences
from graftwork.core.evaluation.leakage import explained, find_leakage, group_majority
from graftwork.core.inference.predict import evaluate_part

RNG = np.random.default_rng(0)
GROUPS = tuple(f"s{number}" for number in RNG.integers(0, 12, 240))
LABELS = np.array([int(group[1:]) % 2 for group in GROUPS])


def manifest(labels=LABELS, groups=GROUPS):
    return Manifest("generated", tuple(map(str, range(len(labels)))), "single-label", "accent", ("a", "b"), labels,
                    groups)  # fmt: skip


def evaluated(scores):
    scores = np.clip(scores, 0.01, 0.99)
    return evaluate_part("test", manifest(), np.stack([1 - scores, scores], axis=1))


def epsilon_squared(values, keys):
    """By hand, with plain sums over groups."""
    keys = np.asarray(keys)
    total = ((values - values.mean()) ** 2).sum()
    within = sum(((values[keys == key] - values[keys == key].mean()) ** 2).sum() for key in set(keys.tolist()))
    return 1 - (within / (len(values) - len(set(keys.tolist())))) / (total / (len(values) - 1))


def test_the_share_is_epsilon_squared():
    scores = RNG.random(240) * 0.5 + LABELS * 0.2
    found = explained(evaluated(scores))
    assert found.value == pytest.approx(epsilon_squared(np.clip(scores, 0.01, 0.99), GROUPS))
    assert found.low <= found.value <= found.high


def test_few_groups_that_explain_much_have_an_interval_about_what_they_explain():
    """The share is held as often as the interval says: eight groups of six rows, which explain 0.69 of the variance."""
    generator, held = np.random.default_rng(1), []
    groups = np.repeat(np.arange(8), 6)
    rows = manifest(np.zeros(48, int), tuple(map(str, groups)))
    for _ in range(200):
        scores = 0.5 + 0.06 * generator.standard_normal(8)[groups] + 0.04 * generator.standard_normal(48)
        found = explained(evaluate_part("test", rows, np.stack([1 - scores, scores], axis=1)))
        assert found.low < found.value < found.high
        held.append(found.low <= 0.36 / 0.52 <= found.high)
    assert 0.85 <= np.mean(held) <= 0.99


def test_groups_of_one_row_that_explain_nothing_have_an_interval_that_says_so():
    """Where a row is drawn twice, two copies of it agree; left out, it leaves nothing that agrees."""
    generator = np.random.default_rng(2)
    scores = 0.5 + 0.1 * generator.standard_normal(60)
    groups = [str(row) for row in range(40)] + [str(row // 2) for row in range(200, 220)]
    rows = manifest(np.zeros(60, int), tuple(groups))
    found = explained(evaluate_part("test", rows, np.stack([1 - scores, scores], axis=1)))
    assert found.low < found.value < found.high
    assert found.low < 0


def test_a_model_that_only_knows_groups_again_is_told_from_one_that_knows_the_label():
    of_group = {name: RNG.random() for name in sorted(set(GROUPS))}
    by_group = find_leakage(evaluated(RNG.random(240)), evaluated(np.array([of_group[group] for group in GROUPS])))
    assert by_group.by_group[1].value == pytest.approx(1.0)
    assert by_group.by_label[1].value < 0.5
    assert abs(by_group.by_group[0].value) < 0.15
    by_label = find_leakage(evaluated(0.2 + 0.6 * LABELS), evaluated(0.2 + 0.6 * LABELS))
    assert by_label.by_label[0].value == pytest.approx(1.0)


def test_keys_drawn_by_chance_explain_nothing_however_many_they_are():
    for count in (2, 20, 100):
        keys = RNG.integers(0, count, 240).tolist()
        assert abs(explained(evaluated(RNG.random(240)), keys).value) < 0.2


def test_what_does_not_vary_has_no_share():
    assert np.isnan(explained(evaluated(np.full(240, 0.5))).value)
    assert np.isnan(explained(evaluated(RNG.random(240)), range(240)).value)


def test_the_group_tells_the_label_where_every_group_has_one():
    assert group_majority(manifest()) == 1.0
    mixed = np.array([0, 0, 1, 1, 1, 0])
    assert group_majority(manifest(mixed, ("x", "x", "x", "y", "y", "y"))) == pytest.approx(4 / 6)


def test_the_report_sets_both_side_by_side_and_its_json_holds_the_same():
    found = find_leakage(evaluated(RNG.random(240)), evaluated(0.2 + 0.6 * LABELS))
    text = str(found)
    assert text.splitlines()[0].split() == ["groups", "apart", "random", "split"]
    assert f"{found.mixed.metrics['accuracy'].value:.3f}" in text
    assert "the group alone tells the label of 100.0% of the rows" in text
    values = found.to_json()
    assert values["random_split"]["accuracy"]["value"] == 1.0
    assert values["control"]["variance_by_label"]["random_split"]["value"] == pytest.approx(1.0)


def test_training_rows_whose_sentence_is_judged_are_left_out():
    spoken = replace(manifest(), sentences=tuple(f"sentence {row // 4}" for row in range(240)))
    outside = np.arange(0, 40, 2)
    inside = np.setdiff1d(np.arange(240), outside)
    kept = apart_in_sentences(spoken, inside, outside)
    assert kept.tolist() == list(range(40, 240))
    assert apart_in_sentences(manifest(), inside, outside) is inside


def test_sentences_that_everybody_reads_are_kept_and_that_is_said(caplog):
    spoken = replace(manifest(), sentences=("please call stella",) * 240)
    inside, outside = np.arange(100), np.arange(100, 240)
    assert apart_in_sentences(spoken, inside, outside) is inside
    assert "the numbers do not hold for new sentences" in caplog.text
