"""What a reader of the metrics must know stands wherever the metrics stand, not in the log alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.data.sentences import sentence_caution, shared_sentences
from graftwork.core.data.tables import read_manifest
from graftwork.core.evaluation.evaluation import evaluate_predictions
from graftwork.core.evaluation.leakage import majority
from graftwork.core.runs.cross_validation import cross_validate
from graftwork.core.runs.rows import Rows
from graftwork.core.runs.train import train
from graftwork.core.tasks.transcripts import encode, vocabulary


@pytest.fixture
def everywhere(load_backbone, recipe, tmp_path):
    """Trains a probe on a table or manifest, and gives the sentences that stand in every one of its files."""

    def run(manifest, **options):
        out = tmp_path / "run"
        result = train(
            load_backbone("tiny:net"), manifest, out=out, **{"recipe": recipe, "random_split": "off"} | options
        )
        found = json.loads((out / "data.json").read_text())["cautions"]
        assert json.loads((out / "metrics.json").read_text())["cautions"] == found
        assert json.loads((out / "adapter.json").read_text())["cautions"] == found
        assert list(result.cautions) == found
        card = (out / "README.md").read_text().replace("\\", "")
        assert all(f"- {caution}" in card for caution in found)
        return found

    return run


def test_sentences_that_cannot_be_kept_apart(everywhere, manifest):
    spoken = replace(manifest, groups=None, sentences=tuple("same" for _ in manifest.examples))
    assert everywhere(spoken, folds=3) == [
        "in 3 of 3 folds, up to 40 training rows share their sentence with rows that are evaluated: the metrics do not "
        "hold for new sentences"]  # fmt: skip


def test_sentences_of_one_test_part(everywhere, manifest):
    spoken = replace(manifest, groups=None, sentences=tuple("same" for _ in manifest.examples))
    assert everywhere(spoken) == [
        "48 training rows share their sentence with rows that are evaluated: the metrics do not hold for new "
        "sentences"]  # fmt: skip


def test_sentences_that_are_kept_apart_are_no_caution(manifest):
    spoken = replace(manifest, sentences=tuple(f"s{row // 2}" for row in range(60)))
    assert shared_sentences(spoken, np.arange(1, 31), np.arange(31, 60)) == 0
    assert sentence_caution([0, 0]) == ()
    assert sentence_caution([0, 7]) == ("in 1 of 2 folds, 7 training rows share their sentence with rows that are "
                                        "evaluated: the metrics do not hold for new sentences",)  # fmt: skip


def test_classes_of_which_no_file_can_be_read_and_rows_without_a_label(everywhere, table, tmp_path):
    lines = table.read_text().splitlines()
    kept = [line.replace("path,label", "path,label") if not number else f"{table.parent}/{line}"
            for number, line in enumerate(lines)]  # fmt: skip
    (tmp_path / "broken.npy").write_bytes(b"none")
    kept += [f"{tmp_path}/broken.npy,d,p90,1,0,0", f"{table.parent}/00.npy,,p0,1,0,0"]
    (tmp_path / "table.csv").write_text("\n".join(kept))
    manifest = read_manifest(tmp_path / "table.csv", missing_labels="drop")
    assert everywhere(manifest, skip_unreadable=True) == [
        "no file of 'd' can be read: the run learns 3 classes, not 4",
        "1 row of the table without a label, in no number here"]  # fmt: skip


def test_classes_without_a_training_row_in_some_folds(load_backbone, recipe, manifest):
    rare = replace(manifest, groups=None, values=np.where(np.arange(60) == 5, 2, np.arange(60) % 2))
    found = cross_validate(load_backbone("tiny:net"), rare, folds=3, recipe=recipe, near_duplicates="ignore")
    assert found.cautions == ("1 of 3 training parts have no row of 'c': nothing is learnt of it there",)


def test_decisions_that_nothing_could_be_fitted_on(everywhere, manifest, recipe):
    manifest = replace(manifest, groups=("p",) * 45 + ("q",) * 15, parts=("train",) * 45 + ("test",) * 15)
    found = everywhere(manifest, recalibrate="temperature", val_fraction=0.0, strategy="partial:1",
                       recipe=replace(recipe, head_start="random"))  # fmt: skip
    assert found == ["decisions were asked for and are not there: no rows were held out that they could be fitted on"]


def test_texts_that_are_mostly_predicted_empty():
    texts = ["one", "two", "ten", "six"]
    classes = vocabulary(texts)
    truth = encode(texts, classes).astype(float)
    silent = truth.copy()
    silent[:3] = 0
    said = evaluate_predictions("text", classes, truth, silent).cautions
    assert said[-1].startswith("3 of 4 predicted texts are empty")
    silent[2] = truth[2]
    assert not any("empty" in one for one in evaluate_predictions("text", classes, truth, silent).cautions)


def test_the_commonest_label_stands_beside_what_groups_tell(manifest):
    assert majority(replace(manifest, values=np.array([0] * 45 + [1] * 15))) == 0.75


def test_rows_say_nothing_where_nothing_is_wrong(examples):
    assert Rows(examples).cautions == ()
