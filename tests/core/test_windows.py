"""Windows cover a recording, stay together, and are judged as one."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.core.content import content_digests, example_exists, recording_of, split_span
from graftwork.core.judging import judge
from graftwork.core.manifest import Manifest
from graftwork.core.windows import has_windows, in_windows, join_table, join_windows, timeline, windows_of


@settings(deadline=None)
@given(st.floats(0.1, 4000), st.floats(0.5, 30), st.floats(0, 0.9))
def test_windows_have_one_length_and_leave_nothing_out(duration, window, overlap):
    found = windows_of("talk.wav", duration, window, overlap)
    if duration <= window:
        assert found == ["talk.wav"]
        return
    spans = [split_span(path) for path in found]
    assert spans[0][1] == 0
    assert spans[-1][2] == pytest.approx(duration, abs=3e-3)
    for (_, start, end), (_, following, _) in itertools.pairwise(spans):
        assert end - start == pytest.approx(window, abs=2e-3)
        assert start < following <= start + window * (1 - overlap) + 3e-3


def test_a_name_with_a_mark_is_a_window_only_with_two_numbers(tmp_path):
    assert split_span("a#t=1.5,3") == ("a", 1.5, 3.0)
    assert split_span("a.wav") is None
    assert split_span("a#t=song.wav") is None
    assert recording_of("dir/a.wav#t=0,1") == "dir/a.wav"
    (tmp_path / "a.wav").write_bytes(b"sound")
    assert example_exists(f"{tmp_path}/a.wav#t=0,1")
    digests = content_digests([f"{tmp_path}/a.wav", f"{tmp_path}/a.wav#t=0,1", f"{tmp_path}/a.wav#t=1,2"])
    assert len(set(digests)) == 3


@pytest.fixture
def manifest(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    return Manifest("x", tuple(f"{tmp_path}/{name}" for name in "abc"), "single-label", "label", ("p", "q"),
                    np.array([0, 1, 1]))  # fmt: skip


def test_windows_of_a_recording_are_never_separated(manifest):
    cut = in_windows(manifest, [windows_of(path, 10.0, 2.0, 0.5) for path in manifest.paths])
    assert len(cut) == 27
    assert has_windows(cut)
    assert not has_windows(manifest)
    for train, test in cut.folds(3):
        assert {recording_of(path) for path in train.paths}.isdisjoint({recording_of(path) for path in test.paths})
    assert np.asarray(cut.values).tolist() == [0] * 9 + [1] * 18


def test_a_recording_is_judged_by_the_mean_of_its_windows(manifest):
    cut = in_windows(manifest, [windows_of(path, length, 2.0, 0.0) for path, length in
                                zip(manifest.paths, (6.0, 2.0, 4.0), strict=True)])  # fmt: skip
    scores = np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.6])
    predictions = np.stack([1 - scores, scores], axis=1)
    joined, means, folds = join_windows(cut, predictions, np.array([0, 0, 0, 1, 2, 2]))
    assert joined.paths == manifest.paths
    np.testing.assert_allclose(means[:, 1], [0.3, 0.9, 0.4])
    assert folds.tolist() == [0, 1, 2]
    judged = judge("test", cut, predictions)
    assert judged.evaluation.rows == 3
    assert judged.evaluation.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_a_table_of_windows_becomes_one_of_recordings_and_a_timeline():
    table = pd.DataFrame({"path": ["a#t=0,2", "a#t=2,4", "b"], "prediction": ["p", "q", "q"],
                          "probability_p": [0.9, 0.4, 0.2], "probability_q": [0.1, 0.6, 0.8]})  # fmt: skip
    joined = join_table(table)
    assert joined.to_dict("list") == {"path": ["a", "b"], "prediction": ["p", "q"], "probability_p": [0.65, 0.2],
                                      "probability_q": [0.35, 0.8]}  # fmt: skip
    placed = timeline(table)
    assert placed["start_s"].tolist()[:2] == [0.0, 2.0]
    assert np.isnan(placed["end_s"][2])
