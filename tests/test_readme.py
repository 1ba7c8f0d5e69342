"""What the README and the pages on jobs show, run as it stands: the README on the files that the tutorials make, the
pages on generated ones and with a stand-in for the hub's cache."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
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
DOCS = README.parent / "docs"
HOWTO = DOCS / "howto"
FORKED = Path(__file__).parent / "forked_commands.py"
SPEECH = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [8, 8], "conv_kernel": [40, 10], "conv_stride": [40, 8],
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def blocks(page: Path, kind: str) -> list[str]:
    """The blocks of a page that are marked as of that kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of commands."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the pages speak of, and a hub cache with random weights."""
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


def run(texts: Sequence[tuple[Path, str]], hub: Path) -> list[str]:
    """What each of these lines or snippets prints, run in its folder in this order. hub: in place of the cache."""
    settings = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    asked = json.dumps([(str(folder), text) for folder, text in texts])
    done = subprocess.run([sys.executable, str(FORKED)], env=settings, input=asked, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for (_, text), left in zip(texts, found, strict=True):
        assert left["code"] == 0, f"{text}\n{left['out']}\n{left['err']}"
    return [left["out"] for left in found]


def tutorial_script(page: str) -> str:
    """The program of a tutorial that makes its files."""
    return blocks(DOCS / "tutorials" / f"{page}.md", "python")[0]


def without_numbers(text: str) -> str:
    """The text with every number as 0, and one space for many: other machines round otherwise."""
    return re.sub(r" +", " ", re.sub(r"-?\d+(\.\d+)?", "0", text))


def texts_of(page: Path) -> list[str]:
    """A page's commands, and then its snippets."""
    return [*commands(page), *blocks(page, "python")]


@pytest.fixture(scope="module")
def first_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first-hour")


@pytest.fixture(scope="module")
def printed(place: Path, first_hour: Path) -> dict[str, str]:
    """What everything prints that takes seconds, the README's in `first_hour`; packages are loaded once for all."""
    made = [tutorial_script("scans"), tutorial_script("clips")]
    texts = [*((first_hour, text) for text in (*made, *texts_of(README))),
             *((place, text) for page in QUICK for text in texts_of(HOWTO / f"{page}.md"))]  # fmt: skip
    return dict(zip([text for _, text in texts], run(texts, place / "hub"), strict=True))


@pytest.mark.xdist_group("readme")  # both look at what the same commands have printed
@pytest.mark.slow(reason="runs whole commands, each in a process of its own")
def test_what_the_readme_shows_runs_and_prints_what_it_shows(printed: dict[str, str], first_hour: Path) -> None:
    outputs = [printed[text] for text in texts_of(README)]
    assert len(commands(README)) == 3
    whole = without_numbers("\n".join(outputs))
    shown = "\n".join(blocks(README, "text")).splitlines()
    assert len(shown) > 10
    assert [line for line in shown if without_numbers(line) not in whole] == []
    assert "probability_tumour" in outputs[-1]
    assert "auroc" in outputs[-1]
    written = (first_hour / "predictions.csv").read_text()
    assert written.startswith("path,prediction,probability_healthy,probability_tumour")


QUICK = ("grades", "verification", "transcripts", "pretrain")
LONG = ("runs", "masks", "clips", "strategies", "decide", "backbones", "python")
"""Pages on jobs whose commands and snippets are run as they stand; the other pages' are parsed by `test_docs.py`."""


def check_page(page: str, place: Path, shown: dict[str, str]) -> None:
    """Looks at what a page's commands and snippets have printed and written."""
    path = HOWTO / f"{page}.md"
    measures = {"text": "wer", "mask": "dice"}
    for line in commands(path):
        if re.match(r"graftwork-\w+ (train|evaluate) ", line):
            target = line.partition("--target ")[2].partition(" ")[0]
            assert measures.get(target, "auroc") in shown[line]
        if " trials " in line:
            assert "EER" in shown[line]
    for name, smallest in WRITTEN.get(page, {}).items():
        assert (place / name).stat().st_size > smallest
    for text, said in zip(blocks(path, "python"), PRINTED.get(page, ()), strict=True):
        assert said in shown[text]


WRITTEN = {
    "runs": {"predictions.csv": 50, "tumour.onnx": 1000, "tumour-bundle/configs/inference.json": 10,
             "explained/1_explained.png": 1000, "runs/tumour/evaluation.png": 1000, "runs/tumour/report.html": 1000},
    "clips": {"accent.onnx": 1000},
    "masks": {"masks/0_mask.nii.gz": 10, "runs/organ/cases.png": 1000},
}  # fmt: skip
PRINTED = {"python": ("probability_tumour", "auroc is the mean over folds", "0.", "probability", "['")}


@pytest.mark.xdist_group("readme")  # both look at what the same commands have printed
@pytest.mark.slow(reason="runs whole commands, each in a process of its own")
def test_pages_of_few_seconds_run_as_they_stand(place: Path, printed: dict[str, str]) -> None:
    for page in QUICK:
        check_page(page, place, printed)


@pytest.mark.long(reason="trains, compares and exports networks of the usual size")
@pytest.mark.slow(reason="runs whole commands, each in a process of its own")
@pytest.mark.parametrize("page", LONG)
def test_a_page_of_more_than_seconds_runs_as_it_stands(page: str, place: Path) -> None:
    texts = texts_of(HOWTO / f"{page}.md")
    check_page(page, place, dict(zip(texts, run([(place, text) for text in texts], place / "hub"), strict=True)))


def test_the_pages_that_are_run_show_all_that_the_command_lines_are_for() -> None:
    shown = [line for page in (*QUICK, *LONG) for line in commands(HOWTO / f"{page}.md")]
    assert len(shown) == 32
    verbs = {line.split()[1] for line in shown}
    assert verbs >= {"check", "train", "evaluate", "report", "predict", "explain", "export", "compare", "stages",
                     "rank", "trials", "enroll", "verify", "identify", "transcribe", "pretrain"}  # fmt: skip


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 220


def test_the_strategies_named_are_the_ones_there_are() -> None:
    from graftwork.core.model.strategies import STRATEGIES

    table = re.findall(r"^\| `[a-z]+(?:\[?:N\]?)?` \| .*", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert table == [f"| `{one.label}` | {one.meaning} | {one.when} |" for one in STRATEGIES.values()]


def test_the_options_are_those_of_the_command_lines() -> None:
    assert written() == options_table(), "python tests/options_table.py writes the table anew"
