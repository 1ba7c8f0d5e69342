"""What cannot work is known before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.folds import Folds
from graftwork.core.errors import BackboneError, SettingsError
from graftwork.core.model.graft import plan_run
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.runs.setup import (
    Setup,
    check_setup,
    evaluated_with_groups_mixed,
    part_rows,
    sets_aside,
    warn_of_absent_classes,
)


@pytest.fixture
def make_setup(backbone, recipe):
    return lambda strategy="probe", **changes: Setup(backbone, parse_strategy(strategy), recipe, **changes)


@pytest.mark.parametrize(("val", "test", "message"), [
    (-0.1, 0.2, "--val-fraction: expected at least 0 and below 1, found -0.1"),
    (0.2, 1.0, "--test-fraction: expected at least 0 and below 1, found 1.0"),
    (0.0, 0.0, "neither a test nor a validation part"),
])  # fmt: skip
def test_fractions_that_leave_no_part_are_refused(make_setup, manifest, val, test, message):
    with pytest.raises(SettingsError, match=message):
        check_setup(make_setup(), manifest, None, val, test)


def test_a_training_part_of_one_class_is_refused_with_the_fold_that_has_it(make_setup, manifest):
    alone = replace(manifest, groups=tuple(manifest.targets))
    with pytest.raises(SettingsError, match=r"fold \d of 2: the training part has rows of one class only"):
        check_setup(make_setup(), alone.subset([0, 1, 3, 4, 6, 7]), Folds(2), 0.0, 0.2)


def test_weights_that_are_no_numbers_and_stages_that_are_not_there_are_refused(make_setup, manifest):
    setup = make_setup()
    other = replace(setup, recipe=replace(setup.recipe, features="conv9"))
    with pytest.raises(SettingsError, match="conv9"):
        check_setup(other, manifest, None, 0.2, 0.2)
    setup.backbone.network.stem[0].weight.data[0] = np.nan
    with pytest.raises(BackboneError, match=r"1 of \d+ tensors hold NaN"):
        check_setup(setup, manifest, None, 0.2, 0.2)


def test_only_what_trains_in_epochs_gives_up_rows_for_validation(backbone, recipe, manifest):
    def plan(strategy):
        return plan_run(backbone, parse_strategy(strategy), recipe, manifest)

    assert sets_aside(plan("full"), 0.2)
    assert not sets_aside(plan("full"), 0.0)
    assert not sets_aside(plan("probe"), 0.2)
    assert not sets_aside(plan("knn"), 0.2)


def test_groups_are_mixed_a_second_time_where_asked_or_cheap(make_setup, manifest):
    plans = {name: check_setup(make_setup(name), manifest, None, 0.2, 0.2) for name in ("probe", "full")}
    for asked, strategy, expected in (("on", "full", True), ("auto", "full", False), ("auto", "probe", True),
                                      ("off", "probe", False)):  # fmt: skip
        setup = make_setup(strategy, random_split=asked)
        assert evaluated_with_groups_mixed(setup, plans[strategy], manifest) is expected
        every_row = replace(manifest, groups=tuple(map(str, range(len(manifest)))))
        assert not evaluated_with_groups_mixed(setup, plans[strategy], every_row)
        assert not evaluated_with_groups_mixed(setup, plans[strategy], replace(manifest, groups=None))


def test_parts_cover_every_row_once_and_share_no_group(manifest):
    parts = part_rows(manifest, 0, 0.2, 0.2)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(manifest)))
    groups = [{manifest.groups[row] for row in rows} for rows in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_training_rows_whose_sentence_is_tested_are_left_out(manifest):
    """Two sentences of which the test has one: half of the training rows are given up."""
    spoken = replace(manifest, groups=None, sentences=tuple(f"s{row}" for row in range(len(manifest))))
    plain = part_rows(spoken, 0, 0.0, 0.2)
    shared = list(spoken.sentences)
    shared[plain["train"][0]] = shared[plain["test"][0]]
    found = part_rows(replace(spoken, sentences=tuple(shared)), 0, 0.0, 0.2)
    assert set(plain["train"]) - set(found["train"]) == {plain["train"][0]}


def test_a_class_without_training_rows_is_named(manifest, caplog):
    warn_of_absent_classes([manifest, manifest.subset([0, 1])])
    assert caplog.messages == ["1 of 2 training parts have no row of 'c': nothing is learnt of it there"]


def test_a_setup_below_has_a_folder_further_down_or_none(make_setup, tmp_path):
    assert make_setup().below("1", "random_split").folder is None
    assert make_setup(folder=tmp_path).below("1", "random_split").folder == tmp_path / "1" / "random_split"
