"""Files of speaker profiles that are damaged, or something else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from graftwork.audio.verification.calibration import Calibration, Line
from graftwork.audio.verification.profiles import SCHEMA, Profiles, load_profiles, save_profiles
from graftwork.core.errors import OutputError

ABOUT = {"schema": SCHEMA, "speakers": ["a"], "clips": [1], "source": "x", "digest": "y", "calibration": None}


@pytest.mark.parametrize("about", [
    "{", "[]", "3", json.dumps({"schema": SCHEMA}), json.dumps(ABOUT | {"calibration": {"slope": 1}}),
    json.dumps(ABOUT | {"speakers": ["a", "b"]}), json.dumps(ABOUT | {"speakers": 3}),
    json.dumps(ABOUT | {"speakers": []}), json.dumps(ABOUT | {"clips": []}),
])  # fmt: skip
def test_what_is_wrong_with_profiles_is_said_with_their_file(tmp_path: Path, about: str) -> None:
    save_file({"vectors": torch.ones(1, 4)}, tmp_path / "p.safetensors", metadata={"profiles": about})
    with pytest.raises(OutputError, match=r"p\.safetensors: .*make them with `enroll`"):
        load_profiles(tmp_path / "p.safetensors")


def test_profiles_without_vectors_are_none(tmp_path: Path) -> None:
    save_file({"other": torch.ones(1, 4)}, tmp_path / "p.safetensors", metadata={"profiles": json.dumps(ABOUT)})
    (tmp_path / "q.safetensors").write_text("{}")
    for name in ("p", "q", "none"):
        with pytest.raises(OutputError, match="cannot be read as speaker profiles"):
            load_profiles(tmp_path / f"{name}.safetensors")


def test_profiles_are_read_as_they_were_written(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    calibration = Calibration((Line(1, 2.0, -1.0), Line(5, 4.0, -2.0, 0.9)), 12, "digest")
    made = Profiles(("a", "b", "c"), vectors, (5, 2, 7), "run", "digest", vectors[0], calibration)
    save_profiles(made, tmp_path / "p.safetensors")
    found = load_profiles(tmp_path / "p.safetensors")
    assert (found.speakers, found.clips, found.source, found.digest) == (made.speakers, made.clips, "run", "digest")
    assert found.calibration == calibration
    np.testing.assert_array_equal(found.vectors, vectors)
    np.testing.assert_array_equal(found.centre, vectors[0])


def test_a_file_of_schema_1_is_read_without_its_calibration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As it was written when speakers were called prints: a calibration of pairs of clips."""
    old = {"schema": 1, "speakers": ["a", "b"], "clips": [3, 4], "source": "run", "digest": "y",
           "calibration": {"scale": 9.0, "offset": -4.0}}  # fmt: skip
    save_file({"vectors": torch.eye(2), "centre": torch.ones(2)}, tmp_path / "p.safetensors",
              metadata={"prints": json.dumps(old)})  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found = load_profiles(tmp_path / "p.safetensors")
    assert (found.speakers, found.clips, found.digest, found.calibration) == (("a", "b"), (3, 4), "y", None)
    np.testing.assert_array_equal(found.vectors, np.eye(2))
    np.testing.assert_array_equal(found.centre, np.ones(2))
    assert "enroll anew" in caplog.text


def test_profiles_of_a_newer_version_say_to_upgrade(tmp_path: Path) -> None:
    save_file({"vectors": torch.ones(1, 4)}, tmp_path / "p.safetensors",
              metadata={"profiles": json.dumps(ABOUT | {"schema": SCHEMA + 1})})  # fmt: skip
    with pytest.raises(OutputError, match=f"of schema {SCHEMA}, found {SCHEMA + 1}; .*upgrade graftwork"):
        load_profiles(tmp_path / "p.safetensors")
