"""Speaker encoders through the verbs: trained upon, and compared by their own embedding."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from graftwork.audio import enroll, identify, load_backbone, open_embedder, trials, verify
from graftwork.audio.cli import COMMANDS
from graftwork.core.cli.app import run_app
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone
from tests.audio.speaker_folders import speechbrain_folder, wespeaker_folder

PITCHES_HZ = (180, 370, 740, 1450, 2900, 5000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six voices of four clips of unequal length, and two encoders."""
    folder = tmp_path_factory.mktemp("voices")
    generator = np.random.default_rng(0)
    rows = ["path,speaker"]
    for speaker, hz in enumerate(PITCHES_HZ):
        for number in range(4):
            time_s = np.arange(3000 + 1000 * number) / 16000
            tone = 0.3 * np.sin(2 * np.pi * hz * time_s) + generator.normal(0, 0.02, len(time_s))
            soundfile.write(folder / f"{speaker}-{number}.wav", tone, 16000)
            rows.append(f"{speaker}-{number}.wav,s{speaker}")
    (folder / "voices.csv").write_text("\n".join(rows))
    speechbrain_folder(folder / "ecapa", "ecapa")
    wespeaker_folder(folder / "resnet", "ResNet18")
    return folder


@torch.no_grad()
def embedding(backbone: Backbone, name: str, folder: Path) -> torch.Tensor:
    """What the last stage makes of one clip alone, (12,)."""
    return backbone.run(backbone.contract.collate([backbone.contract.read(str(folder / name))])).values[0]


def test_trials_compare_the_embedding_itself(folder: Path) -> None:
    source = f"speechbrain:{folder / 'ecapa'}"
    (folder / "list.txt").write_text("1 0-0.wav 0-3.wav\n0 0-0.wav 3-1.wav\n1 4-1.wav 4-2.wav\n0 2-1.wav 5-2.wav\n")
    found = trials(source, str(folder / "list.txt"), device="cpu")
    backbone = load_backbone(source)
    names = [("0-0", "0-3"), ("0-0", "3-1"), ("4-1", "4-2"), ("2-1", "5-2")]
    expected = [float(torch.cosine_similarity(*(embedding(backbone, f"{one}.wav", folder) for one in pair), dim=0))
                for pair in names]  # fmt: skip
    np.testing.assert_allclose(found.scores["cosine"], expected, atol=1e-5)


def test_speakers_are_enrolled_verified_and_identified(folder: Path) -> None:
    source = f"wespeaker:{folder / 'resnet'}"
    profiles = enroll(source, str(folder / "voices.csv"), device="cpu")
    assert profiles.vectors.shape == (6, 12)
    claim = verify(source, str(folder / "3-1.wav"), profiles=profiles, speaker="s3", device="cpu")
    other = verify(source, str(folder / "3-1.wav"), profiles=profiles, speaker="s5", device="cpu")
    assert claim.score > other.score
    clips = [str(folder / f"{speaker}-1.wav") for speaker in range(6)]
    table = identify(source, profiles, clips, threshold=-1.0, device="cpu").table
    backbone = load_backbone(source)
    names = [f"{speaker}-{number}.wav" for speaker in range(6) for number in range(4)]
    own = torch.stack([embedding(backbone, name, folder) for name in names])
    own = torch.nn.functional.normalize(own, dim=1).unflatten(0, (6, 4))
    cosines = own[:, 1] @ torch.nn.functional.normalize(own.mean(dim=1), dim=1).T
    assert list(table["speaker"]) == [f"s{speaker}" for speaker in cosines.argmax(dim=1).tolist()]
    np.testing.assert_allclose(table["score"], cosines.amax(dim=1), atol=1e-5)


@pytest.mark.parametrize("strategy", ["probe", "full", "lora"])
def test_speakers_are_learnt_upon_an_encoder(
    folder: Path, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"speechbrain:{folder / 'ecapa'}"
    arguments = ["train", str(folder / "voices.csv"), "--target", "speaker", "--backbone", source,
                 "--strategy", strategy, "--epochs", "1", "--device", "cpu",
                 "--out", str(tmp_path / "run")]  # fmt: skip
    monkeypatch.setattr("graftwork.core.runs.train.report_on_finished", lambda *given, **named: None)
    monkeypatch.setattr(sys, "argv", ["graftwork-audio", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_app(COMMANDS)
    assert not ended.value.code
    assert json.loads((tmp_path / "run" / "adapter.json").read_text())["backbone"]["id"] == source
    embedder = open_embedder(str(tmp_path / "run"))
    assert embedder.backbone.feature_dim == 12


def test_another_pooling_than_the_encoders_own_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="pools by itself"):
        open_embedder(f"wespeaker:{folder / 'resnet'}", pooling="mean")
