"""Who says each clip, strangers and unreadable files included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from graftwork.audio.verification.enroll import enroll
from graftwork.audio.verification.identify import UNKNOWN, identify
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verifier import Embedder


def test_enrolled_speakers_are_named_and_strangers_are_not(
    embedder: Embedder, table: Path, record: Callable[..., str]
) -> None:
    profiles = enroll(embedder, str(table), device="cpu")
    clips = [record("new1.wav", 1, seed=70), record("new4.wav", 4, seed=71), record("stranger.wav", 7, seed=72)]
    found = identify(embedder, profiles, clips, device="cpu")
    assert found.table["speaker"].tolist() == ["s1", "s4", UNKNOWN]
    assert found.unknown == 1
    assert found.table["path"].tolist() == clips
    assert "error" not in found.table
    assert (found.table["probability"][:2] > 0.5).all()
    assert found.table["probability"].between(0, 1).all()


def test_a_clip_that_cannot_be_read_keeps_its_row_with_the_error(
    embedder: Embedder, table: Path, record: Callable[..., str], tmp_path: Path
) -> None:
    profiles = enroll(embedder, str(table), device="cpu")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    found = identify(embedder, profiles, [str(tmp_path / "broken.wav"), record("new.wav", 3)], device="cpu")
    assert found.table["speaker"].isna().tolist() == [True, False]
    assert found.table["speaker"][1] == "s3"
    assert "cannot be read" in found.table["error"][0]
    assert found.unknown == 0


def test_a_threshold_decides_instead_and_the_rarer_the_speakers_the_more_is_asked(
    embedder: Embedder, table: Path, record: Callable[..., str]
) -> None:
    profiles, clip = enroll(embedder, str(table), device="cpu"), record("new.wav", 2, seed=5)
    score = float(identify(embedder, profiles, [clip], device="cpu").table["score"][0])
    for threshold, unknown in ((score - 0.01, 0), (score + 0.01, 1)):
        found = identify(embedder, profiles, [clip], threshold=threshold, device="cpu")
        assert (found.unknown, found.threshold, found.threshold_llr) == (unknown, threshold, None)
    often, rarely = (identify(embedder, profiles, [clip], cost=DetectionCost(prior), device="cpu")
                     for prior in (0.5, 0.01))  # fmt: skip
    assert rarely.threshold_llr is not None
    assert often.threshold_llr is not None
    assert rarely.threshold_llr > often.threshold_llr


def test_without_a_calibration_nobody_is_unknown_and_that_is_said(
    embedder: Embedder, table: Path, record: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    profiles = replace(enroll(embedder, str(table), device="cpu"), calibration=None)
    found = identify(embedder, profiles, [record("stranger.wav", 7)], device="cpu")
    assert found.unknown == 0
    assert found.table["llr"].isna().all()
    assert "nobody is unknown" in caplog.text
