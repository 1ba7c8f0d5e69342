"""Runs whose classes, files, groups and reasons look like markup."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import UnreadableError
from graftwork.core.recipe import Recipe
from graftwork.core.runs.train import TrainResult, train

CLASSES = ("<script>alert(1)</script>", "a & $b$")
FILE = "<img src=x onerror=alert(2)>"
GROUP = '"><svg onload=alert(3)>'
COMMAND = ["graftwork-shown", "train", "<script>alert(4)</script>.csv", "--out", "secret"]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001e221bc330000"
    "000049454e44ae426082"
)


def preview(example) -> bytes:
    """One pixel, or what is wrong with the file."""
    if not Path(str(example)).is_file():
        raise UnreadableError(f"{example}: no such file <b>at all</b>")
    return PIXEL


SHOWN = Domain(name="shown", example="array", suffixes=(".npy",), preview=preview)


@dataclass
class Seen(HTMLParser):
    """tags, attributes: of a document. text: what is between tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(file: Path) -> Seen:
    parser = Seen()
    parser.feed(file.read_text(encoding="utf-8"))
    return parser


@pytest.fixture
def read_report() -> Callable[[Path], Seen]:
    return seen


@pytest.fixture(scope="session")
def strange_table(tmp_path_factory) -> Path:
    """24 rows of two classes in 8 groups, of which one file cannot be read."""
    folder = tmp_path_factory.mktemp("strange")
    rng = np.random.default_rng(0)
    lines = ["path,label,group"]
    for number in range(24):
        name = f"{FILE}{number}.npy"
        np.save(folder / name, (rng.normal(0, 1, (1, 8, 8)) + number % 2).astype(np.float32))
        lines.append(f'"{name}","{CLASSES[number % 2]}","{GROUP.replace(chr(34), chr(34) * 2)}{number // 3}"')
    (folder / f"{FILE}5.npy").write_bytes(b"no array")
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "table.csv"


@pytest.fixture(scope="session")
def make_run(strange_table, make_backbone) -> Callable[[Path], TrainResult]:
    """A run of it in a folder."""

    def run(out: Path) -> TrainResult:
        backbone = replace(make_backbone(), domain=SHOWN)
        recipe = Recipe(epochs=2, batch_size=8, device="cpu", workers=0)
        return train(backbone, read_manifest(strange_table), recipe=recipe, folds=2, skip_unreadable=True, out=out,
                     random_split="off", command=COMMAND)  # fmt: skip

    return run


@pytest.fixture(scope="session")
def once(make_run, tmp_path_factory) -> tuple[Path, TrainResult]:
    """Such a run, which nobody changes."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, make_run(folder)


@pytest.fixture
def folder(once, tmp_path) -> Path:
    """Its folder, to be changed."""
    return Path(shutil.copytree(once[0], tmp_path / "run"))


@pytest.fixture
def result(once) -> TrainResult:
    return once[1]
