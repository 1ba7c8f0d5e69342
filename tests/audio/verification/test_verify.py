"""Whether a clip is of a speaker: cosines by hand, ratios of the calibration, and what has to be given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwork.audio.verification.calibration import Calibration, Line
from graftwork.audio.verification.enroll import enroll
from graftwork.audio.verification.scoring import DetectionCost
from graftwork.audio.verification.verifier import Embedder
from graftwork.audio.verification.verify import verify
from graftwork.core.errors import AdapterError, SettingsError


def test_a_clip_is_accepted_for_its_speaker_and_refused_for_another(
    embedder: Embedder, table: Path, record: Callable[..., str]
) -> None:
    profiles, new = enroll(embedder, str(table), device="cpu"), record("new.wav", 2, seed=77)
    own = verify(embedder, new, profiles=profiles, speaker="s2", device="cpu")
    other = verify(embedder, new, profiles=profiles, speaker="s3", device="cpu")
    assert own.accepted
    assert not other.accepted
    vector = embedder.backbone.contract.read(new).numpy()
    assert own.score == pytest.approx(float(profiles.vectors[2] @ vector / np.linalg.norm(vector)), abs=1e-5)
    assert own.score > other.score


def test_two_clips_have_the_cosine_of_their_vectors_and_the_ratio_of_the_line(
    embedder: Embedder, record: Callable[..., str]
) -> None:
    first, second = record("a.wav", 0, seed=1), record("b.wav", 0, seed=2)
    line = Line(1, 8.0, -4.0)
    found = verify(embedder, first, second, calibration=Calibration((line,), 10, embedder.digest), device="cpu")
    one, other = (embedder.backbone.contract.read(path).numpy() for path in (first, second))
    cosine = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert found.score == pytest.approx(cosine, abs=1e-5)
    assert found.llr == pytest.approx(8.0 * np.arctanh(cosine) - 4.0, abs=1e-3)
    assert found.accepted is (found.llr >= 0)


def test_a_rare_claim_or_a_costly_error_needs_more(embedder: Embedder, record: Callable[..., str]) -> None:
    first, second = record("a.wav", 0, seed=1), record("b.wav", 0, seed=2)
    score = verify(embedder, first, second, device="cpu").score
    line = Line(1, 8.0, 2.0 - 8.0 * float(np.arctanh(score)))  # the ratio of these clips is 2
    known = Calibration((line,), 10, embedder.digest)
    accepted = [verify(embedder, first, second, calibration=known, cost=cost, device="cpu").accepted
                for cost in (DetectionCost(0.5), DetectionCost(0.001), DetectionCost(0.5, 1.0, 1000.0))]  # fmt: skip
    assert accepted == [True, False, False]
    assert verify(embedder, first, second, threshold=0.9, device="cpu").threshold == 0.9


def test_what_does_not_belong_together_is_refused(embedder: Embedder, table: Path, record: Callable[..., str]) -> None:
    profiles, new = enroll(embedder, str(table), device="cpu"), record("new.wav", 2)
    for options in (
        {},
        {"profiles": profiles},
        {"speaker": "s1"},
        {"other": new, "profiles": profiles, "speaker": "s1"},
    ):
        with pytest.raises(SettingsError, match="give either a second clip, or --profiles with --speaker"):
            verify(embedder, new, device="cpu", **options)
    with pytest.raises(SettingsError, match=r"no speaker 'x' is enrolled; enrolled are s0, s1"):
        verify(embedder, new, profiles=profiles, speaker="x", device="cpu")
    with pytest.raises(SettingsError, match="enrolled speakers have their own"):
        verify(embedder, new, profiles=profiles, speaker="s1", calibration=profiles.calibration, device="cpu")
    with pytest.raises(AdapterError):
        verify(replace(embedder, digest="1" * 64), new, profiles=profiles, speaker="s1", device="cpu")
