"""The README's commands and snippets, run as they stand, on generated files and with a stand-in for the hub's cache."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import soundfile
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from graftwork import audio
from tests.options_table import options_table, written

README = Path(__file__).parent.parent / "README.md"
FORKED = Path(__file__).parent / "forked_commands.py"
SPEECH = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the README speaks of, and a hub cache with random weights."""
    folder = tmp_path_factory.mktemp("readme")
    generator = np.random.default_rng(0)
    for table, count in (("scans", 24), ("test", 12)):
        rows = ["path,label,group,sex,scanner,site"]
        for number in range(count):
            label = number % 2
            pixels = generator.integers(0, 120, (40, 40)) + 100 * label * (np.arange(40) > 20)
            name = f"{table}-files/{number}.png"
            (folder / name).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            rows.append(
                f"{name},{('healthy', 'tumour')[label]},patient-{table}-{number // 2},"
                f"{'fm'[number // 2 % 2]},{'AB'[number % 3 // 2]},{('north', 'south')[number // 4 % 2]}"
            )
        (folder / f"{table}.csv").write_text("\n".join(rows))
    graded = [f"scans-files/{number}.png,{('none', 'mild', 'severe')[number % 3]}" for number in range(24)]
    (folder / "graded.csv").write_text("\n".join(["path,grade", *graded]))
    rows = ["path,label"]
    for number in range(12):
        volume = generator.normal(size=(9, 10, 11)) + number % 2 * (np.arange(11) > 5)
        nibabel.save(
            nibabel.Nifti1Image(volume.astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0])), folder / f"{number}.nii.gz"
        )
        rows.append(f"{number}.nii.gz,{('low', 'high')[number % 2]}")
    (folder / "volumes.csv").write_text("\n".join(rows))
    rows = ["path,mask"]
    (folder / "cases").mkdir()
    for number in range(8):
        classes = np.zeros((12, 14, 10), np.uint8)
        classes[3:8, 4:9, 2:7] = 1 + number % 2
        values = (classes + generator.normal(0, 0.3, classes.shape)).astype(np.float32)
        for name, stored in ((f"cases/{number}.nii.gz", values), (f"{number}-mask.nii.gz", classes)):
            nibabel.save(nibabel.Nifti1Image(stored, np.diag([1.0, 1.0, 2.0, 1.0])), folder / name)
        rows.append(f"cases/{number}.nii.gz,{number}-mask.nii.gz")
    (folder / "cases.csv").write_text("\n".join(rows))
    (folder / "new").mkdir()
    Image.fromarray(generator.integers(0, 255, (40, 40)).astype(np.uint8)).save(folder / "new" / "1.png")
    rows = ["path,accent,speaker,text"]
    for number in range(24):
        accent, speaker = number % 2, number % 8
        sound = np.sin(np.arange(6000) * (0.05 + 0.1 * accent)) + generator.normal(0, 0.3, 6000)
        soundfile.write(folder / f"clip{number}.wav", 0.2 * sound, 16000)
        rows.append(f"clip{number}.wav,{('north', 'south')[accent]},speaker-{speaker},no {number % 5}")
    (folder / "clips.csv").write_text("\n".join(rows))
    soundfile.write(folder / "new.wav", 0.2 * generator.normal(0, 1, 6000), 16000)
    fill_cache(folder / "hub")
    return folder


def fill_cache(hub: Path) -> None:
    """What a download of the two backbones would leave behind, with random weights in it."""
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_100")
    scans = hub / "models--timm--mobilenetv2_100.ra_in1k"
    clips = hub / "models--facebook--wav2vec2-base"
    for repository in (scans, clips):
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots").mkdir()
    (scans / "snapshots" / ("0" * 40)).mkdir()
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, scans / "snapshots" / ("0" * 40) / "model.safetensors")
    audio.save_backbone(audio.new_backbone(SPEECH), clips / "snapshots" / ("0" * 40))


def run(texts: list[str], folder: Path) -> list[str]:
    """What each of these lines or snippets prints, run in that folder in this order."""
    settings = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, str(FORKED)], cwd=folder, env=settings, input=json.dumps(texts),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for text, left in zip(texts, found, strict=True):
        assert left["code"] == 0, f"{text}\n{left['out']}\n{left['err']}"
    return [left["out"] for left in found]


@pytest.mark.slow(reason="runs whole commands, each in a process of its own")
def test_the_commands_run_in_the_order_in_which_they_are_read(place: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    shown = dict(zip(lines, run(lines, place), strict=True))
    assert len(shown) == 31
    evaluated = {line: out for line, out in shown.items() if " train " in line or " evaluate " in line}
    measures = {"text": "wer", "mask": "dice"}
    for line, out in evaluated.items():
        target = line.partition("--target ")[2].partition(" ")[0]
        assert measures.get(target, "auroc") in out
    assert (place / "masks" / "0_mask.nii.gz").is_file()
    assert all("EER" in out for line, out in shown.items() if " trials " in line)
    assert (place / "predictions.csv").read_text().startswith("path,prediction,probability_healthy,probability_tumour")
    assert (place / "tumour.onnx").stat().st_size > 1000
    assert (place / "accent.onnx").stat().st_size > 1000
    assert (place / "tumour-bundle" / "configs" / "inference.json").is_file()
    assert (place / "explained" / "1_explained.png").stat().st_size > 1000
    assert (place / "runs" / "tumour" / "evaluation.png").stat().st_size > 1000
    assert "runs/tumour/report.html" in shown["graftwork-imaging report runs/tumour"]


@pytest.mark.slow(reason="runs whole programs, each in a process of its own")
def test_the_snippets_run(place: Path) -> None:
    expected = ("probability_tumour", "auroc is the mean over folds", "0.", "probability", "['")
    for shown, printed in zip(expected, run(blocks("python"), place), strict=True):
        assert shown in printed


def test_the_strategies_named_are_the_ones_there_are() -> None:
    from graftwork.core.model.strategies import STRATEGIES

    table = re.findall(r"^\| `[a-z]+(?:\[?:N\]?)?` \| .*", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert table == [f"| `{one.label}` | {one.meaning} | {one.when} |" for one in STRATEGIES.values()]


def test_the_options_are_those_of_the_command_lines() -> None:
    assert written() == options_table(), "python tests/options_table.py writes the table anew"
