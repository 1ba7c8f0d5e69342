"""Command lines run in process, and tiny generated scans and clips with their manifests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graftwork import audio
from graftwork.audio.cli import COMMANDS as AUDIO
from graftwork.core.cli.app import run_app
from graftwork.core.cli.command_line import CommandLine
from graftwork.imaging.cli import COMMANDS as IMAGING

ROWS = 24
RATE_HZ = 16000
VOICE = {
    "model_type": "wav2vec2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@dataclass(frozen=True)
class Result:
    """What a command left: exit status and both streams."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bench:
    """One domain's command line in a folder of its own.

    backbone: the options that choose a tiny network. table: path, label, group, age and two findings of ROWS files.
    run: the command with these arguments, in the folder.
    """

    commands: CommandLine
    folder: Path
    suffix: str
    backbone: tuple[str, ...]
    run: Callable[..., Result]

    @property
    def table(self) -> Path:
        return self.folder / "table.csv"

    def train(self, *options: object, table: object = "table.csv", out: str = "run") -> Result:
        return self.run("train", table, *self.backbone, "--out", out, *options)

    def file(self, number: int) -> str:
        return f"{number:02d}{self.suffix}"

    def write_table(self, rows: Sequence[Sequence[object]], header: str = "path,label", name: str = "own.csv") -> str:
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    def labelled(self, count: int = ROWS) -> list[tuple[str, str]]:
        return [(self.file(number), ("plain", "marked")[number % 2]) for number in range(count)]

    def left(self, name: str = "run") -> bool:
        return (self.folder / name).exists()


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, with a bright square where the label is `marked`."""
    folder = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    for number in range(ROWS):
        picture = generator.uniform(0, 80, (40, 40))
        picture[10:25, 10:25] += 120 * (number % 2)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:02d}.png")
    _write_table(folder, ".png")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones in noise, high where the label is `marked`, and a tiny network in the folder `voice`."""
    import soundfile

    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    time_s = np.arange(6000) / RATE_HZ
    for number in range(ROWS):
        tone = np.sin(2 * np.pi * (200 + 400 * (number % 2) + generator.uniform(0, 50)) * time_s)
        sound = 0.3 * tone + generator.normal(0, 0.05, len(time_s))
        soundfile.write(folder / f"{number:02d}.wav", sound, RATE_HZ)
    _write_table(folder, ".wav")
    torch.manual_seed(0)
    audio.save_backbone(audio.new_backbone(VOICE), folder / "voice")
    return folder


@pytest.fixture(autouse=True)
def _without_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their report, which takes as long as a small run, but in tests that are marked `reports`."""
    if request.node.get_closest_marker("reports") is None:
        for verb in ("train", "compare", "evaluate"):
            monkeypatch.setattr(f"graftwork.core.runs.{verb}.report_on_finished", lambda *given, **named: None)


@pytest.fixture
def imaging_bench(scans: Path, tmp_path: Path, monkeypatch, capsys) -> Bench:
    chosen = ("--backbone", "timm:test_resnet", "--weights", "random", "--image-size", "48")
    return Bench(IMAGING, _copy(scans, tmp_path), ".png", chosen, patch_network(IMAGING, tmp_path, monkeypatch, capsys))


@pytest.fixture
def audio_bench(clips: Path, tmp_path: Path, monkeypatch, capsys) -> Bench:
    chosen = ("--backbone", "hf:voice")
    return Bench(AUDIO, _copy(clips, tmp_path), ".wav", chosen, patch_network(AUDIO, tmp_path, monkeypatch, capsys))


@pytest.fixture(params=["imaging", "audio"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each domain in turn: what holds for one command line holds for the other."""
    found: Bench = request.getfixturevalue(f"{request.param}_bench")
    return found


def _write_table(folder: Path, suffix: str) -> None:
    lines = ["path,label,group,age,round,bright"]
    for number in range(ROWS):
        marked = number % 2
        group = f"p{number // 4}{marked}"
        lines.append(
            f"{number:02d}{suffix},{('plain', 'marked')[marked]},{group},{20 + marked * 30 + number / 10},"
            f"{int(number % 3 == 0)},{marked}"
        )
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def _copy(source: Path, folder: Path) -> Path:
    """Links instead of copies: the tests add files beside them and change none."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            place = folder / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, place)
    return folder


def patch_network(commands: CommandLine, folder: Path, monkeypatch, capsys) -> Callable[..., Result]:
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [f"graftwork-{commands.domain.name}", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_app(commands)
        streams = capsys.readouterr()
        return Result(int(ended.value.code or 0), streams.out, streams.err)

    return run
