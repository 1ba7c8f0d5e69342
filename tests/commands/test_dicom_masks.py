"""Masks as hospitals have them on the command line: structures learnt, segmentations written; colours learnt."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from graftwork.core.cli.app import run_app
from graftwork.imaging import read_scan
from graftwork.imaging.cli import COMMANDS
from graftwork.imaging.segmentation.mask_files import read_mask
from tests.imaging.dicom_series import series, structure_set

LEARN = ("--patches", "1", "--epochs", "1", "--device", "cpu")
NETWORK = ("--backbone", "monai:segresnet-3d", "--weights", "random", "--patch-size", "8,16,16")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["graftwork-imaging", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_app(COMMANDS)
        streams = capsys.readouterr()
        return int(ended.value.code or 0), streams.out, streams.err

    return command


def square(place: int, half: float) -> np.ndarray:
    """A contour about pixel (4, 5) of a slice of `series`, in mm."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + (4, 5)
    return np.column_stack([(-20, -30) + corners * (2.0, 1.5), np.full(4, 40 + 3.0 * place)])


def test_structures_are_learnt_by_name_and_predicted_as_dicom_segmentations(run, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed (extra dicom-seg)")
    lines = ["path,mask,patient"]
    for number in range(6):
        series(tmp_path / f"{number}", seed=number)
        drawn = {"GTV": [square(1, 2.3), square(2, 3.3)], "body": [square(2, 4.4)]}
        if number % 2:
            drawn = {"skin": drawn["body"], "gtv_1": drawn["GTV"]}
        structure_set(tmp_path / f"{number}_rs.dcm", drawn)
        lines.append(f"{number},{number}_rs.dcm,p{number}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    learn = ("train", "cases.csv", "--target", "mask", *NETWORK, *LEARN)
    code, _, err = run(*learn, "--out", "numbered")
    assert code == 2
    assert "numbers do not say which is which; name them, as --structures" in err
    code, out, _ = run("check", "cases.csv", "--target", "mask", "--structures", "GTV+gtv_1:tumour")
    assert code == 0
    assert "6 rows, mask target 'mask'" in out
    code, _, err = run(*learn, "--structures", "GTV+gtv_1:tumour", "--out", "run")
    assert code == 0, err
    code, _, err = run("predict", "run", "0", "1", "--format", "dicom-seg", "--out", "new", "--device", "cpu")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "new" / "segmentations.csv")
    assert list(table["mask"]) == ["0_mask.dcm", "1_mask.dcm"]
    mask = read_mask(tmp_path / "new" / "0_mask.dcm", read_scan(tmp_path / "0"), (0, 1))
    assert mask.sum() * 1.5 * 2.0 * 3.0 == pytest.approx(table["mm3_tumour"][0])
    assert pydicom.dcmread(tmp_path / "new" / "0_mask.dcm").SegmentSequence[0].SegmentLabel == "tumour"


def test_colours_are_learnt_by_name(run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = ["path,mask"]
    for number in range(6):
        classes = np.zeros((32, 32), dtype=int)
        classes[8:20, 8 + number : 20] = 1
        Image.fromarray((classes * 100 + generator.integers(0, 50, (32, 32))).astype(np.uint8)).save(f"{number}.png")
        Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], dtype=np.uint8)[classes]).save(f"{number}_m.png")
        lines.append(f"{number}.png,{number}_m.png")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    (tmp_path / "colours.json").write_text('{"rest": [0, 0, 0], "tumour": [255, 0, 0]}')
    learn = ("train", "cases.csv", "--target", "mask", "--backbone", "tiny:cnn2d", "--image-size", "32", *LEARN)
    code, _, err = run(*learn, "--out", "plain")
    assert code == 2
    assert "name them with --mask-colours" in err
    code, _, err = run(*learn, "--mask-colours", "colours.json", "--out", "run")
    assert code == 0, err
    (tmp_path / "colours.json").unlink()  # the run has kept what it said
    code, _, err = run("predict", "run", "0.png", "--out", "new", "--device", "cpu")
    assert code == 0, err
    assert "pixels_tumour" in pd.read_csv(tmp_path / "new" / "segmentations.csv")
    code, _, err = run("predict", "run", "0.png", "--out", "other", "--device", "cpu", "--format", "dicom-seg")
    assert code == 2
    assert "--format dicom-seg is for DICOM images" in err
