"""Ten readers of LibriSpeech, with the packaged backbone: genuine clips are accepted, strangers are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork import audio
from graftwork.audio import DetectionCost
from graftwork.audio.verification.verifier import Embedder

ENROLLED = 6
CLIPS = 4
TRIED = 2


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return audio.open_embedder("tiny:wav2vec2")


def tables(data: Path, folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Rows to enroll, other clips of the same speakers, and clips of strangers, each also as a table in the folder."""
    manifest = data / "librispeech10" / "manifest.csv"
    rows: dict[str, list[str]] = {}
    for line in manifest.read_text().splitlines()[1:]:
        path, speaker, _ = line.split(",")
        rows.setdefault(speaker, []).append(str(manifest.parent / path))
    known, strangers = sorted(rows)[:ENROLLED], sorted(rows)[ENROLLED:]
    found = {
        "enrolled": [(path, name) for name in known for path in rows[name][:CLIPS]],
        "genuine": [(path, name) for name in known for path in rows[name][CLIPS : CLIPS + TRIED]],
        "strangers": [(path, name) for name in strangers for path in rows[name][:TRIED]],
    }
    for name, lines in found.items():
        (folder / f"{name}.csv").write_text("\n".join(["path,speaker", *(f"{path},{who}" for path, who in lines)]))
    return found


@pytest.mark.slow(reason="embeds sixty real recordings")
def test_readers_are_accepted_and_strangers_are_not(real_data: Path, tmp_path: Path, embedder: Embedder) -> None:
    """By the first command of the README, calibrated on nothing but the clips that are enrolled."""
    rows = tables(real_data, tmp_path)
    profiles = audio.enroll(embedder, str(tmp_path / "enrolled.csv"), device="cpu")
    assert profiles.calibration is not None
    path, speaker = rows["genuine"][0]
    other = next(name for name in profiles.speakers if name != speaker)
    assert audio.verify(embedder, path, profiles=profiles, speaker=speaker, device="cpu").accepted is True
    assert audio.verify(embedder, path, profiles=profiles, speaker=other, device="cpu").accepted is False
    for cost, least in ((DetectionCost(0.5), 11), (DetectionCost(0.01), 8)):
        names = {}
        for part in ("genuine", "strangers"):
            found = audio.identify(embedder, profiles, [str(tmp_path / f"{part}.csv")], cost=cost, device="cpu")
            names[part] = found.table["speaker"].tolist()
        right = [name == who for name, (_, who) in zip(names["genuine"], rows["genuine"], strict=True)]
        assert sum(right) >= least  # of 12
        assert names["strangers"].count("unknown") >= 7  # of 8
