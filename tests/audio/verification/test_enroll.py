"""Profiles are means of unit vectors; clips that sound alike count once; what cannot be enrolled is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwork.audio.verification.enroll import enroll
from graftwork.audio.verification.profiles import load_profiles
from graftwork.audio.verification.verifier import Embedder, unit
from graftwork.core.errors import ManifestError, OutputError, SettingsError


def test_a_profile_is_the_mean_of_the_unit_vectors_at_unit_length(embedder: Embedder, table: Path) -> None:
    found = enroll(embedder, str(table), device="cpu")
    assert (found.speakers, found.clips) == (tuple(f"s{k}" for k in range(5)), (4,) * 5)
    read = embedder.backbone.contract.read
    for place in range(5):
        own = unit(
            np.stack([read(str(table.parent / f"{row}.wav")).numpy() for row in range(4 * place, 4 * place + 4)])
        )
        expected = own.mean(0) / np.linalg.norm(own.mean(0))
        np.testing.assert_allclose(found.vectors[place], expected, atol=1e-5)


def test_a_clip_that_sounds_as_another_of_its_speaker_counts_once(
    embedder: Embedder, table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = enroll(embedder, str(table), device="cpu")
    shutil.copy(table.parent / "0.wav", table.parent / "copy.wav")
    table.write_text(table.read_text() + "\ncopy.wav,s0")
    found = enroll(embedder, str(table), device="cpu")
    assert found.clips == before.clips
    np.testing.assert_allclose(found.vectors, before.vectors)
    assert "1 clips sound exactly as another of their speaker" in caplog.text


def test_one_clip_under_two_speakers_is_an_error_with_its_row(embedder: Embedder, table: Path) -> None:
    shutil.copy(table.parent / "0.wav", table.parent / "copy.wav")
    table.write_text(table.read_text() + "\ncopy.wav,s3")
    with pytest.raises(
        ManifestError, match=r"row 22: .*copy\.wav sounds exactly as .*0\.wav, which is listed under 's0'"
    ):
        enroll(embedder, str(table), device="cpu")


def test_the_mean_of_a_cohort_is_taken_from_every_vector(
    embedder: Embedder, table: Path, record: Callable[..., str]
) -> None:
    cohort = [record(f"cohort/{k}.wav", 6, noise=0.3, seed=50 + k) for k in range(4)]
    centre = np.stack([embedder.backbone.contract.read(one).numpy() for one in cohort]).mean(0)
    found = enroll(embedder, str(table), cohort=str(table.parent / "cohort"), device="cpu")
    np.testing.assert_allclose(found.centre, centre, atol=1e-6)
    (table.parent / "empty").mkdir()
    with pytest.raises(SettingsError, match="there are no clips for the cohort"):
        enroll(embedder, str(table), cohort=str(table.parent / "empty"), device="cpu")


def test_a_file_that_is_there_is_not_written_over(embedder: Embedder, table: Path, tmp_path: Path) -> None:
    made = enroll(embedder, str(table), out=tmp_path / "p.safetensors", device="cpu")
    assert load_profiles(tmp_path / "p.safetensors").speakers == made.speakers
    with pytest.raises(OutputError, match="exists already"):
        enroll(embedder, str(table), out=tmp_path / "p.safetensors", device="cpu")


def test_a_calibration_of_other_weights_is_refused(embedder: Embedder, table: Path) -> None:
    known = enroll(embedder, str(table), device="cpu").calibration
    assert known is not None
    with pytest.raises(SettingsError, match="found with other weights"):
        enroll(replace(embedder, digest="1" * 64), str(table), calibration=known, device="cpu")


def test_few_speakers_are_enrolled_without_a_calibration(
    embedder: Embedder, table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table.write_text("\n".join(table.read_text().splitlines()[:9]))
    assert enroll(embedder, str(table), device="cpu").calibration is None
    assert "scores are not calibrated" in caplog.text
