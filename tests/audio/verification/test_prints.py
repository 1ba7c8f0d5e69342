"""Files of speaker prints that are damaged, or something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from graftwork.audio.verification.prints import SCHEMA, load_prints
from graftwork.core.errors import OutputError

ABOUT = {"schema": SCHEMA, "speakers": ["a"], "clips": [1], "source": "x", "digest": "y", "calibration": None}


@pytest.mark.parametrize("about", [
    "{", "[]", "3", json.dumps({"schema": SCHEMA}), json.dumps(ABOUT | {"calibration": {"slope": 1}}),
    json.dumps(ABOUT | {"speakers": ["a", "b"]}), json.dumps(ABOUT | {"speakers": 3}),
    json.dumps(ABOUT | {"speakers": []}),
])  # fmt: skip
def test_what_is_wrong_with_prints_is_said_with_their_file(tmp_path: Path, about: str) -> None:
    save_file({"vectors": torch.ones(1, 4)}, tmp_path / "p.safetensors", metadata={"prints": about})
    with pytest.raises(OutputError, match=r"p\.safetensors: .*make them with `enroll`"):
        load_prints(tmp_path / "p.safetensors")


def test_prints_without_vectors_are_none(tmp_path: Path) -> None:
    save_file({"other": torch.ones(1, 4)}, tmp_path / "p.safetensors", metadata={"prints": json.dumps(ABOUT)})
    (tmp_path / "q.safetensors").write_text("{}")
    for name in ("p", "q", "none"):
        with pytest.raises(OutputError, match="cannot be read as speaker prints"):
            load_prints(tmp_path / f"{name}.safetensors")
