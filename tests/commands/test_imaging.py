"""What only the imaging command line meets: pictures and volumes that cannot be used, numbers and several labels."""

import csv
import io
import json

import nibabel
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def bench(imaging_bench):
    return imaging_bench


@pytest.fixture
def spoiled(bench):
    """The good rows, and behind them one of every kind of picture that cannot be used."""
    whole = (bench.folder / "00.png").read_bytes()
    (bench.folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (bench.folder / "words.png").write_text("no picture")
    (bench.folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(bench.folder / "flat.png")
    volume = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), bench.folder / "volume.nii.gz")
    volume[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(volume[:, :, :1], np.eye(4)), bench.folder / "holes.nii.gz")
    names = ("truncated.png", "words.png", "empty.png", "flat.png", "volume.nii.gz", "holes.nii.gz")
    return bench.write_table([*bench.labelled(), *((name, "plain") for name in names)])


REASONS = (
    ("row 26: ", "truncated.png: cannot be decoded: image file is truncated"),
    ("row 27: ", "words.png: is not a picture that can be read"),
    ("row 28: ", "empty.png: the file is empty"),
    ("row 29: ", "flat.png: every value is 7"),
    ("row 30: ", "volume.nii.gz: is a volume of 10 x 9 x 8 voxels (depth, height, width), and the backbone takes 2D"),
    ("row 31: ", "holes.nii.gz: 1 of 72 values are not finite numbers"),
)


def test_pictures_that_cannot_be_used_are_reported_all_at_once(bench, spoiled):
    found = bench.train(table=spoiled)
    assert (found.code, found.out) == (2, "")
    lines = found.err.splitlines()
    assert lines[0] == "error: 6 examples cannot be used (--skip-unreadable leaves them out):"
    assert len(lines) == 7
    for line, (row, reason) in zip(lines[1:], REASONS, strict=True):
        assert line.startswith(f"  {row}")
        assert reason in line
    assert not bench.left()


def test_pictures_that_cannot_be_used_are_left_out_and_listed_on_request(bench, spoiled):
    done = bench.train("--folds", 2, "--skip-unreadable", table=spoiled)
    assert done.code == 0
    assert done.err.count("left out: row") == 6
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert numbers["out-of-fold"]["about"]["rows"] == 24
    assert [one["row"] for one in numbers["left_out"]] == [26, 27, 28, 29, 30, 31]
    evaluated = bench.run("evaluate", "run", spoiled, "--skip-unreadable", "--json")
    assert len(json.loads(evaluated.out)["left_out"]) == 6
    predicted = bench.run("predict", "run", "*.png", "--skip-unreadable")
    rows = list(csv.DictReader(io.StringIO(predicted.out)))
    assert len(rows) == 28
    assert len([row for row in rows if row["error"]]) == 4
    assert bench.run("predict", "run", "*.png").code == 2


def test_nothing_but_unreadable_pictures(bench, spoiled):
    rows = [("truncated.png", "plain"), ("words.png", "marked")]
    found = bench.train("--skip-unreadable", table=bench.write_table(rows))
    assert found.code == 2
    assert "none of the 2 examples can be used" in found.err
    assert not bench.left()


def test_a_picture_for_a_backbone_of_volumes(bench):
    chosen = ("--backbone", "monai:resnet10-3d", "--weights", "random", "--image-size", "16")
    found = bench.run("train", "table.csv", *chosen, "--out", "run")
    assert found.code == 2
    assert "row 2: " in found.err
    assert "is a 2D image of 40 x 40 pixels (height, width), and the backbone takes volumes" in found.err
    assert not bench.left()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--backbone", "resnet18"), "expected SOURCE:NAME with the source tiny, timm, hf, monai, medicalnet"),
        (("--backbone", "tim:resnet18"), "for example timm:resnet18"),
        (("--image-size", "0"), "1 or more, found (0, 0)"),
        (("--channels", "2"), "has 1 channels, and the backbone takes 2"),
        (("--intensity", "windo"), "expected one of: auto, range, quantile"),
    ],
)
def test_settings_of_images(bench, options, said):
    found = bench.train(*options)
    assert found.code == 2
    assert said in found.err
    assert not bench.left()


@pytest.mark.parametrize("options", [("--target", "age"), ("--target", "age", "--task", "regression")])
def test_a_column_of_numbers_is_learnt_as_a_number(bench, options):
    assert bench.train(*options, "--folds", 3).code == 0
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]
    assert set(numbers) == {"mae", "rmse", "r2", "about"}
    assert numbers["r2"]["value"] > 0.5
    row = next(csv.DictReader(io.StringIO(bench.run("predict", "run", "01.png").out)))
    assert set(row) == {"path", "prediction"}
    assert float(row["prediction"]) == pytest.approx(50, abs=8)
    assert bench.run("evaluate", "run", "table.csv").code == 0


def test_several_columns_are_several_labels(bench):
    assert bench.train("--target", "bright,round", "--folds", 3).code == 0
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]
    assert "auroc" in numbers
    assert "confusion" not in numbers["about"]
    row = next(csv.DictReader(io.StringIO(bench.run("predict", "run", "01.png").out)))
    assert set(row) == {"path", "probability_bright", "probability_round"}
    assert float(row["probability_bright"]) > 0.5
    wrong = bench.train("--target", "bright,age", out="other")
    assert wrong.code == 2
    assert "row 2, column 'age': expected 0 or 1, found '20.0'" in wrong.err


def test_a_folder_per_class_is_a_manifest(bench):
    for name, label in bench.labelled():
        place = bench.folder / "classes" / label
        place.mkdir(parents=True, exist_ok=True)
        (bench.folder / name).rename(place / name)
    assert "24 rows" in bench.run("check", "classes").out
    assert bench.train("--folds", 2, table="classes").code == 0


def test_explain_draws_what_can_be_read_and_lists_the_rest(bench):
    assert bench.train("--folds", 2).code == 0
    (bench.folder / "words.png").write_text("no picture")
    found = bench.run("explain", "run", "01.png", "words.png", "--out", "explained", "--class", "marked")
    assert (found.code, found.out) == (2, "")
    assert "1 example cannot be used" in found.err
    assert (bench.folder / "explained" / "01_explained.png").stat().st_size > 5000
    found = bench.run("explain", "run", "01.png", "words.png", "--out", "explained", "--skip-unreadable")
    assert found.code == 0
    good, bad = csv.DictReader(io.StringIO(found.out))
    assert good["output"] == "marked"
    assert float(good["prediction"]) > 0.5
    assert Image.open(good["picture"]).size[0] > 600
    assert "not a picture" in bad["error"]
    before = (bench.folder / "01.png").read_bytes()
    assert bench.run("explain", "run", "01.png", "--out", ".").code == 0
    assert (bench.folder / "01.png").read_bytes() == before
    listed = json.loads(bench.run("explain", "run", "01.png", "--out", "explained", "--json").out)
    assert listed[0]["stage"] == "layer2"
    wrong = bench.run("explain", "run", "01.png", "--out", "explained", "--class", "tumour")
    assert wrong.code == 2
    assert "there are plain, marked" in wrong.err or "there are marked, plain" in wrong.err


def test_explain_writes_volumes_as_nifti(bench):
    rng = np.random.default_rng(0)
    for number in range(8):
        volume = rng.normal(size=(9, 10, 11)) + number % 2 * (np.arange(11) > 5)
        image = nibabel.Nifti1Image(volume.astype(np.float32), np.diag([-1.0, 1.0, 2.0, 1.0]))
        nibabel.save(image, bench.folder / f"{number}.nii.gz")
    table = bench.write_table([(f"{number}.nii.gz", ("low", "high")[number % 2]) for number in range(8)])
    chosen = ("--backbone", "i3d:tiny:cnn2d", "--image-size", 32, "--folds", 2)
    assert bench.run("train", table, *chosen, "--out", "run").code == 0
    row = json.loads(bench.run("explain", "run", "3.nii.gz", "--out", "explained", "--json").out)[0]
    written = nibabel.load(row["map"])
    assert written.shape == (9, 10, 11)
    np.testing.assert_array_equal(written.affine, nibabel.load(bench.folder / "3.nii.gz").affine)
    assert Image.open(row["picture"]).size[0] > 900


def test_rows_of_several_files_are_trained_on_checked_and_predicted(bench):
    rng = np.random.default_rng(0)
    for number in range(16):
        volume = rng.normal(size=(9, 10, 11)) + 2 * (number // 2 % 2) * (np.arange(11) > 5) * (number % 2)
        name = f"{number // 2}-t{number % 2 + 1}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), np.eye(4)), bench.folder / name)
    rows = [(f"{number}-t1.nii.gz|{number}-t2.nii.gz", ("low", "high")[number % 2]) for number in range(8)]
    table = bench.write_table(rows)
    assert "8 rows" in bench.run("check", table).out
    chosen = ("--backbone", "i3d:tiny:cnn2d", "--image-size", 32, "--channels", 2, "--folds", 2)
    assert bench.run("train", table, *chosen, "--out", "run").code == 0
    rows = list(csv.DictReader(io.StringIO(bench.run("predict", "run", "3-t1.nii.gz|3-t2.nii.gz", table).out)))
    assert len(rows) == 8
    assert rows[0]["path"] == f"{bench.folder}/3-t1.nii.gz|{bench.folder}/3-t2.nii.gz"
    shown = bench.run("explain", "run", "3-t1.nii.gz|3-t2.nii.gz", "--out", "explained", "--json")
    assert nibabel.load(json.loads(shown.out)[0]["map"]).shape == (9, 10, 11)
    missing = bench.run("check", bench.write_table([("0-t1.nii.gz|none.nii", "low")], name="missing.csv"))
    assert missing.code == 2
    assert f"no such file: '0-t1.nii.gz|none.nii' (looked for {bench.folder}/none.nii)" in missing.err


def test_scans_unlike_the_training_s_are_flagged_or_refused(bench):
    assert bench.train().code == 0
    seen = json.loads((bench.folder / "run" / "adapter.json").read_text())["seen"]
    parts = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert seen["scans"] == 24 - sum(parts[part]["about"]["rows"] for part in ("val", "test") if part in parts)
    faint = np.asarray(Image.open(bench.folder / "01.png")) // 60
    Image.fromarray(faint).save(bench.folder / "faint.png")
    flagged = bench.run("predict", "run", "01.png", "faint.png")
    honest, odd = csv.DictReader(io.StringIO(flagged.out))
    assert honest["outside"] == ""
    assert odd["outside"].startswith("values over a range of 3")
    assert odd["prediction"]
    assert "1 of 2 files are unlike the training's" in flagged.err
    refused = bench.run("predict", "run", "01.png", "faint.png", "--outside", "refuse")
    assert (refused.code, refused.out) == (2, "")
    assert "faint.png: is unlike the scans of the training" in refused.err
    skipped = bench.run("predict", "run", "01.png", "faint.png", "--outside", "refuse", "--skip-unreadable")
    assert [bool(row["error"]) for row in csv.DictReader(io.StringIO(skipped.out))] == [False, True]
    assert "outside" not in bench.run("predict", "run", "01.png").out


def test_a_file_whose_decoder_is_missing_does_not_stop_the_others(bench, monkeypatch):
    from graftwork.core.errors import MissingPackageError
    from graftwork.imaging.preprocessing.contract import ImageContract

    assert bench.train("--folds", 2).code == 0
    own = ImageContract.scan

    def scan(contract, path):
        if str(path).endswith("02.png"):
            raise MissingPackageError(f"{path}: compressed as JPEG 2000, which needs one of: pylibjpeg")
        return own(contract, path)

    monkeypatch.setattr(ImageContract, "scan", scan)
    found = bench.run("predict", "run", "01.png", "02.png", "03.png", "--skip-unreadable")
    assert ["pylibjpeg" in row["error"] for row in csv.DictReader(io.StringIO(found.out))] == [False, True, False]
    assert "02.png: compressed as JPEG 2000" in bench.run("predict", "run", "01.png", "02.png").err
    shown = bench.run("explain", "run", "01.png", "02.png", "--skip-unreadable", "--out", "explained")
    assert ["pylibjpeg" in row["error"] for row in csv.DictReader(io.StringIO(shown.out))] == [False, True]
