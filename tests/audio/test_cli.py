from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from graftwork import audio
from graftwork.audio import SUFFIXES
from graftwork.audio.cli import COMMANDS


def imported_by(code: str, *names: str) -> str:
    """Which of these modules a fresh interpreter holds after running the code."""
    ask = f"import sys; {code}; print([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert imported_by("import graftwork.audio", "torch", "torchaudio", "soundfile") == "[]"


def test_listing_backbones_does_not_import_torchaudio() -> None:
    code = "from graftwork.audio.cli import COMMANDS; COMMANDS.list_backbones('')"
    assert imported_by(code, "torchaudio", "soundfile", "transformers", "huggingface_hub") == "[]"


def test_every_public_name_is_where_the_table_says() -> None:
    for name in audio.__all__:
        assert name in dir(audio)
        assert getattr(audio, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'load_backbones'"):
        audio.load_backbones  # noqa: B018


def test_the_options_of_train_are_those_of_load_backbone() -> None:
    known = inspect.signature(audio.load_backbone).parameters
    assert [parameter.name for parameter in COMMANDS.parameters] == [
        "max_seconds",
        "window_seconds",
        "window_overlap",
        "trim_silence",
        "pooling",
        "language",
    ]
    for parameter in COMMANDS.parameters:
        assert known[parameter.name].default == parameter.default


def test_typer_reads_the_options() -> None:
    seen = {}

    def train(**options: object) -> None:
        seen.update(options)

    train.__signature__ = inspect.Signature(COMMANDS.parameters)  # type: ignore[attr-defined]
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, ["--max-seconds", "2.5", "--pooling", "mean+std"])
    assert result.exit_code == 0, result.output
    given = {name: value for name, value in seen.items() if value is not None}
    assert given == {"max_seconds": 2.5, "pooling": "mean+std"}


def test_the_default_backbone_is_in_the_list_and_suffixes_are_lower_case() -> None:
    assert COMMANDS.default_backbone in [row.id for row in COMMANDS.list_backbones("")]
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
