"""Windows cover a recording, stay together, and are evaluated as one."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import has_windows, in_windows, join_table, join_windows, timeline, windows_of
from graftwork.core.example import File, Span, as_example, recording_of
from graftwork.core.inference.predict import evaluate_part
from graftwork.core.tasks import ORDINAL, SINGLE_LABEL


@settings(deadline=None)
@given(st.floats(0.1, 4000), st.floats(0.5, 30), st.floats(0, 0.9))
def test_windows_have_one_length_and_leave_nothing_out(duration, window, overlap):
    found = windows_of(File("talk.wav"), duration, window, overlap)
    if duration <= window:
        assert found == [File("talk.wav")]
        return
    spans = [(span.file, span.start_s, span.end_s) for span in found]
    assert spans[0][1] == 0
    assert spans[-1][2] == pytest.approx(duration, abs=3e-3)
    for (_, start, end), (_, following, _) in itertools.pairwise(spans):
        assert end - start == pytest.approx(window, abs=2e-3)
        assert start < following <= start + window * (1 - overlap) + 3e-3


@pytest.fixture
def manifest(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    return Manifest("x", tuple(f"{tmp_path}/{name}" for name in "abc"), "single-label", "label", ("p", "q"),
                    np.array([0, 1, 1]))  # fmt: skip


def test_windows_of_a_recording_are_never_separated(manifest):
    cut = in_windows(manifest, [windows_of(one, 10.0, 2.0, 0.5) for one in manifest.examples])
    assert len(cut) == 27
    assert has_windows(cut)
    assert not has_windows(manifest)
    for train, test in cut.folds(3):
        assert set(map(recording_of, train.examples)).isdisjoint(map(recording_of, test.examples))
    assert np.asarray(cut.values).tolist() == [0] * 9 + [1] * 18


def test_a_recording_is_evaluated_by_the_mean_of_its_windows(manifest):
    cut = in_windows(manifest, [windows_of(one, length, 2.0, 0.0) for one, length in
                                zip(manifest.examples, (6.0, 2.0, 4.0), strict=True)])  # fmt: skip
    scores = np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.6])
    predictions = np.stack([1 - scores, scores], axis=1)
    joined, means, folds = join_windows(cut, predictions, np.array([0, 0, 0, 1, 2, 2]))
    assert joined.paths == manifest.paths
    np.testing.assert_allclose(means[:, 1], [0.3, 0.9, 0.4])
    assert folds.tolist() == [0, 1, 2]
    evaluated = evaluate_part("test", cut, predictions)
    assert evaluated.evaluation.rows == 3
    assert evaluated.evaluation.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_a_table_of_windows_becomes_one_of_recordings_and_a_timeline():
    table = pd.DataFrame({"path": ["a#t=0,2", "a#t=2,4", "b"], "prediction": ["p", "q", "q"],
                          "probability_p": [0.9, 0.4, 0.2], "probability_q": [0.1, 0.6, 0.8]})  # fmt: skip
    owners = {"a#t=0,2": ["a"], "a#t=2,4": ["a"], "b": ["b"]}
    joined = join_table(table, owners, {"": (SINGLE_LABEL, ("p", "q"))})
    assert joined.to_dict("list") == {"path": ["a", "b"], "prediction": ["p", "q"], "probability_p": [0.65, 0.2],
                                      "probability_q": [0.35, 0.8]}  # fmt: skip
    placed = timeline([table], {}, map(as_example, owners), (File("a"), File("b")))
    assert placed["start_s"].tolist()[:2] == [0.0, 2.0]
    assert np.isnan(placed["end_s"][2])
    assert list(placed.columns) == ["path", "start_s", "end_s", "prediction", "probability_p", "probability_q"]


def test_windows_of_a_recording_speak_for_its_median_grade():
    table = pd.DataFrame({"path": ["a#t=0,2", "a#t=2,4"], "run.prediction": ["mild", "mild"],
                          "run.probability_none": [0.4, 0.4], "run.probability_mild": [0.3, 0.3],
                          "run.probability_severe": [0.3, 0.3]})  # fmt: skip
    owners = {path: ["a"] for path in table["path"]}
    joined = join_table(table, owners, {"run.": (ORDINAL, ("none", "mild", "severe"))})
    assert joined["run.prediction"].tolist() == ["mild"]


def test_seconds_of_a_recording_that_a_manifest_names_are_evaluated_one_by_one(manifest):
    """Two segments of one recording have labels of their own."""
    paths = ("a#t=0,1", "a#t=1,2", "b#t=0,1")
    named = replace(manifest, examples=paths)
    evaluated = evaluate_part("test", named, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    assert evaluated.manifest.paths == paths
    assert evaluated.evaluation.metrics["accuracy"].value == pytest.approx(2 / 3)
    cut = in_windows(named, [windows_of(as_example(path), 1.0, 0.5, 0.0) for path in paths])
    assert cut.paths[2:4] == ("a#t=1.000,1.500", "a#t=1.500,2.000")
    joined, means, _ = join_windows(cut, np.array([[0.9], [0.7], [0.2], [0.4], [0.5], [0.5]]))
    assert joined.paths == paths
    np.testing.assert_allclose(means[:, 0], [0.8, 0.3, 0.5])


def test_a_timeline_holds_the_windows_of_all_tables_in_time_with_what_could_not_be_read():
    one = pd.DataFrame({"path": ["b", "a#t=0,2", "a#t=2,4"], "one.prediction": [1.0, 2.0, 3.0]})
    other = pd.DataFrame({"path": ["b", "a#t=0,3"], "other.prediction": [4.0, 5.0]})
    windows = (File("b"), Span("a", "0", "2"), Span("a", "2", "4"), Span("a", "0", "3"), Span("a", "1", "4"))
    placed = timeline([one, other], {"a#t=1,4": "damaged"}, windows, (File("b"), File("a")))
    assert placed["path"].tolist() == ["b", "a", "a", "a", "a"]
    assert placed["start_s"].fillna(-1).tolist() == [-1, 0, 0, 1, 2]
    assert placed["one.prediction"].fillna(0).tolist() == [1, 2, 0, 0, 3]
    assert placed["other.prediction"].fillna(0).tolist() == [4, 0, 5, 0, 0]
    assert placed["error"].fillna("").tolist() == ["", "", "", "damaged", ""]
