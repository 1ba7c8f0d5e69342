"""Masks on the command line: learnt, evaluated, compared, resumed, and written in the geometry of the scans."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from graftwork.core.activation_cache.activations import run_frozen_stages
from graftwork.core.cli.app import run_app
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import read_examples
from graftwork.core.data.patches import fixed_patches, in_patches
from graftwork.core.data.views import all_views
from graftwork.core.errors import OutputError
from graftwork.core.recipe import Recipe
from graftwork.imaging import load_backbone, read_manifest
from graftwork.imaging.cli import COMMANDS
from graftwork.imaging.segmentation.segmenter import PatchSegmenter

CASES = 10
NETWORK = ("--backbone", "monai:segresnet-3d", "--weights", "random", "--patch-size", "16", "--intensity", "window:0:1",
           "--learning-rate", "0.01")  # fmt: skip
AFFINE = np.array([[-1.0, 0, 0, 5], [0, 0, 1.5, -3], [0, 2.0, 0, 7], [0, 0, 0, 1]])


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command line in a folder with CASES volumes of two kinds of boxes, their masks and `table.csv`."""
    rng = np.random.default_rng(0)
    lines = ["path,mask,patient"]
    for number in range(CASES):
        shape = (16, 16, 16) if number % 2 else (14, 15, 16)
        classes = np.zeros(shape, np.uint8)
        for value in (1, 2):
            start = rng.integers(1, 6, 3) + np.array([0, 0, 5 * (value - 1)])
            classes[tuple(slice(first, first + 5) for first in start)] = value
        values = classes * 0.4 + rng.normal(0, 0.05, shape)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), AFFINE), tmp_path / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(classes * 3, AFFINE), tmp_path / f"{number}_m.nii.gz")
        lines.append(f"{number}.nii.gz,{number}_m.nii.gz,p{number}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
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


@pytest.mark.slow(reason="trains a segmentation network until it works")
def test_masks_are_learnt_evaluated_and_written_where_the_scan_lies(run, tmp_path):
    code, out, err = run("train", "table.csv", "--target", "mask", "--backbone", "slices:tiny:cnn2d", *NETWORK[4:],
                         "--patches", 1, "--epochs", 16, "--out", "run")  # fmt: skip
    assert code == 0, err
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert numbers["dice"]["value"] > 0.8, numbers["dice"]
    assert numbers["dice_3"]["low"] <= numbers["dice_3"]["value"] <= numbers["dice_3"]["high"]
    assert all((tmp_path / "run" / name).stat().st_size > 5000 for name in ("evaluation.png", "cases.png"))
    evaluated = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert evaluated.loc[evaluated["part"] == "test", "dice_3"].mean() == pytest.approx(
        numbers["dice_3"]["value"], abs=1e-6
    )
    assert evaluated["path"].str.endswith(".nii.gz").all()

    evaluated[evaluated["part"] == "test"][["path", "target"]].rename(columns={"target": "mask"}).to_csv(
        "t.csv", index=False
    )
    code, out, err = run("evaluate", "run", "t.csv", "--json", "--corruptions")
    assert code == 0, err
    found = json.loads(out)
    assert found["test"]["hd95_mm_6"]["value"] == pytest.approx(numbers["hd95_mm_6"]["value"], abs=1e-6)
    worse = found["corruptions"]
    assert set(worse) == {"noise", "blur", "contrast", "resolution", "bias_field"}  # spacing would move the mask
    dice = {name: by["3"]["metrics"]["dice"]["value"] for name, by in worse.items()}
    assert min(dice.values()) < numbers["dice"]["value"] - 0.05
    assert worse["blur"]["3"]["differences"]["dice"]["value"] == pytest.approx(dice["blur"] - numbers["dice"]["value"])

    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "0.nii.gz").read_bytes()[:500])
    code, out, err = run("predict", "run", "0.nii.gz", "cut.nii.gz", "1.nii.gz", "--skip-unreadable", "--out", "new")
    assert code == 0, err
    written, truth = (nibabel.load(tmp_path / name) for name in ("new/0_mask.nii.gz", "0_m.nii.gz"))
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)
    stored, expected = (np.asarray(image.dataobj) for image in (written, truth))
    assert stored.shape == expected.shape
    assert 2 * ((stored == 3) & (expected == 3)).sum() / ((stored == 3).sum() + (expected == 3).sum()) > 0.7
    table = pd.read_csv(tmp_path / "new" / "segmentations.csv")
    assert table["error"].str.contains("cut.nii.gz").tolist() == [False, True, False]
    assert table.loc[0, "mm3_3"] == pytest.approx((stored == 3).sum() * 3.0)


def test_files_that_cannot_be_segmented_are_named_and_the_others_are_written(run, tmp_path):
    assert (
        run("train", "table.csv", "--target", "mask", *NETWORK, "--patches", 1, "--epochs", 1, "--out", "run")[0] == 0
    )
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "0.nii.gz").read_bytes()[:500])
    code, _, err = run("predict", "run", "cut.nii.gz", "1.nii.gz", "--out", "new")
    assert code == 2
    assert "cut.nii.gz: cannot be read as NIfTI" in err
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["1_mask.nii.gz", "segmentations.csv"]
    far = nibabel.load(tmp_path / "1.nii.gz").get_fdata().astype(np.float32) * 1000
    nibabel.save(nibabel.Nifti1Image(far, AFFINE), tmp_path / "far.nii.gz")
    assert run("predict", "run", "1.nii.gz", "far.nii.gz", "--out", "flagged")[0] == 0
    table = pd.read_csv(tmp_path / "flagged" / "segmentations.csv")
    assert table["outside"].fillna("").str.contains("values over a range").tolist() == [False, True]
    code, _, err = run("predict", "run", "1.nii.gz", "far.nii.gz", "--outside", "refuse", "--out", "refused")
    assert code == 2
    assert "far.nii.gz: is unlike the scans of the training" in err
    code, _, err = run("explain", "run", "1.nii.gz", "--out", "explained")
    assert code == 2
    assert "masks say themselves where they are" in err
    code, _, err = run("predict", "run", "1.nii.gz")
    assert (code, err.strip()) == (2, "error: masks are written into files: name a folder with --out")
    code, _, err = run("predict", "run", "1.nii.gz", "--out", "new.csv")
    assert code == 2
    assert "new.csv: --out must be a folder for masks" in err
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.long(reason="trains three networks")
def test_frozen_maps_are_stored_once_and_train_the_weights_that_they_train_without(run, tmp_path):
    volumes = [f"{number}.nii.gz" for number in range(CASES) if number % 2]  # each is a patch
    lines = ["path,mask,patient", *(f"{name},{name[0]}_m.nii.gz,p{name[0]}" for name in volumes)]
    (tmp_path / "whole.csv").write_text("\n".join(lines) + "\n")
    options = ("--backbone", "i3d:tiny:cnn2d", "--patch-size", "16", "--patches", 1, "--epochs", 2, "--batch-size", 2)
    for name, views in (("stored", ()), ("anew", ("--views", 0))):
        code, _, err = run("train", "whole.csv", "--target", "mask", *options, *views, "--out", name)
        assert code == 0, err
        assert ("storing the output of maps" in err) == (name == "stored")
    one, two = (load_file(tmp_path / name / "adapter.safetensors") for name in ("stored", "anew"))
    assert all(np.allclose(one[key], two[key], atol=1e-5) for key in one)
    code, _, err = run("train", "whole.csv", "--target", "mask", *options, "--seed", 1, "--out", "again")
    assert code == 0
    assert "examples after maps are in" in err
    assert "storing" not in err


def _check_that_it_goes_on(run, tmp_path, monkeypatch):
    """Ended at its third scan of five, the same command segments the two that have no mask."""
    scans, segmented = [f"{number}.nii.gz" for number in range(5)], []

    def segment(self, example, *arguments, inner=PatchSegmenter.segment):
        if len(segmented) == 2:
            raise OutputError("ended")
        segmented.append(os.path.basename(str(example)))
        return inner(self, example, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(PatchSegmenter, "segment", segment)
        assert run("predict", "run", *scans, "--out", "masks")[0] != 0
    assert segmented == scans[:2]
    assert run("predict", "run", *scans, "--out", "masks", "--batch-size", 2)[0] == 2
    (tmp_path / "masks" / ".graftwork-left.nii.gz").touch()
    (tmp_path / "masks" / "0_mask.nii.gz").unlink()
    written = (tmp_path / "masks" / "1_mask.nii.gz").stat().st_mtime_ns
    assert run("predict", "run", *scans, "--out", "masks")[0] == 0
    assert (tmp_path / "masks" / "1_mask.nii.gz").stat().st_mtime_ns == written
    assert not (tmp_path / "masks.unfinished").exists()
    assert not (tmp_path / "masks" / ".graftwork-left.nii.gz").exists()
    assert run("predict", "run", *scans, "--out", "whole")[0] == 0
    for name in ("segmentations.csv", *(f"{number}_mask.nii.gz" for number in range(5))):
        assert (tmp_path / "masks" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.long(reason="trains six networks")
def test_pieces_of_larger_scans_are_those_of_the_runs_own_seed_whatever_is_stored(run, tmp_path):
    options = ("--backbone", "slices:tiny:cnn2d", "--patch-size", "12", "--patches", 1, "--epochs", 2,
               "--batch-size", 4,
               "--test-fraction", 0, "--val-fraction", 0.3)  # fmt: skip
    histories = {}
    runs = {"stored": (), "again": ("--seed", 1), "fresh": ("--seed", 1, "--cache", tmp_path / "other")}
    for name, more in runs.items():
        code, _, err = run("train", "table.csv", "--target", "mask", *options, *more, "--out", name)
        assert code == 0, err
        histories[name] = pd.read_csv(tmp_path / name / "history.csv")
    # Another seed draws other pieces, whatever the cache holds of the first.
    for column in ("val_loss", "val_dice"):
        assert (histories["again"][column] == histories["fresh"][column]).all()


def test_validation_pieces_are_the_same_with_and_without_a_store(run, tmp_path):
    manifest = read_manifest(tmp_path / "table.csv", target="mask")
    backbone = load_backbone("slices:tiny:cnn2d", mask_values="0,3,6", patch_size="12")
    recipe = Recipe(cache=str(tmp_path / "cache"), seed=3)
    examples = read_examples(manifest, backbone.contract)
    draw = in_patches(examples, changed=False)
    fixed = fixed_patches(examples, draw, recipe)
    assert len(fixed) == 4 * CASES
    stop = len(backbone.stages)
    stored = all_views(run_frozen_stages(backbone, examples, stop, start_runtime(recipe), recipe, draw))
    batch = stored.contract.collate([stored.tensor(row) for row in range(len(stored))])
    expected = fixed.contract.collate(fixed.tensors)
    assert torch.equal(batch.masks, expected.masks)
    assert torch.equal(batch.skips[0], expected.values)
    assert len({tuple(mask.flatten().tolist()) for mask in batch.masks}) > 3 * CASES
    other = fixed_patches(examples, draw, replace(recipe, seed=4))
    assert not torch.equal(torch.stack(other.tensors), torch.stack(fixed.tensors))


def test_true_masks_in_the_folder_of_predictions_are_not_lost(run, tmp_path, monkeypatch):
    assert (
        run("train", "table.csv", "--target", "mask", *NETWORK, "--patches", 1, "--epochs", 1, "--out", "run")[0] == 0
    )
    (tmp_path / "1_mask.nii.gz").write_bytes(b"by hand")
    code, _, err = run("predict", "run", "1.nii.gz", "--out", ".")
    assert code == 2
    assert "would be lost: 1_mask.nii.gz" in err
    assert (tmp_path / "1_mask.nii.gz").read_bytes() == b"by hand"
    for _ in range(2):  # what it wrote itself may be written again
        assert run("predict", "run", "1.nii.gz", "--out", "new")[0] == 0
    _check_that_it_goes_on(run, tmp_path, monkeypatch)
    rows = [f"{number}.nii.gz,{'ab'[number % 2]}" for number in range(CASES)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    assert run("train", "labels.csv", "--backbone", "i3d:tiny:cnn2d", "--image-size", 16, "--out", "labels")[0] == 0
    code, _, err = run("predict", "labels", "run", "1.nii.gz")
    assert code == 2
    assert "masks are written into files, by one run at a time" in err


@pytest.mark.long(reason="trains six networks")
def test_strategies_are_compared_on_the_same_cases_in_folds(run, tmp_path):
    code, _, err = run("compare", "table.csv", "--target", "mask", *NETWORK, "--strategies", "knn,probe,partial:2",
                         "--folds", 2, "--patches", 1, "--epochs", 1, "--out", "compared")  # fmt: skip
    assert code == 0, err
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    assert found["metric"] == "dice"
    assert found["rows"] == CASES
    assert [one["strategy"] for one in found["strategies"]] == ["probe", "partial:2"]
    assert "not masks" in found["refused"]["knn"]


@pytest.mark.parametrize(("cells", "reason"), [
    (("0.nii.gz", "gone.nii.gz"), "no such file: 'gone.nii.gz'"),
    (("0.nii.gz", "1_m.nii.gz"), "has 16 x 16 x 16 voxels, and its image"),
])  # fmt: skip
def test_rows_whose_mask_cannot_be_used_are_named_before_anything_is_trained(run, tmp_path, cells, reason):
    lines = (tmp_path / "table.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] not in ("0.nii.gz", "1.nii.gz")]
    (tmp_path / "own.csv").write_text("\n".join([*kept, ",".join([*cells, "p0"])]) + "\n")
    code, _, err = run("train", "own.csv", "--target", "mask", *NETWORK, "--out", "run")
    assert code == 2
    assert reason in err
    assert "row 10" in err
    assert not (tmp_path / "run").exists()


def test_masks_of_one_value_and_other_tasks_are_refused(run, tmp_path):
    empty = np.zeros((16, 16, 16), np.uint8)
    nibabel.save(nibabel.Nifti1Image(empty, AFFINE), tmp_path / "empty.nii.gz")
    (tmp_path / "own.csv").write_text("path,mask\n1.nii.gz,empty.nii.gz\n")
    code, _, err = run("train", "own.csv", "--target", "mask", *NETWORK, "--out", "run")
    assert code == 2
    assert "have the value 0 only" in err
    code, _, err = run("stages", "table.csv", "--target", "mask", *NETWORK[:4])
    assert code == 2
    assert "is a mask, and a probe takes vectors" in err
    code, _, err = run("train", "table.csv", "--target", "mask", *NETWORK, "--head", "mlp", "--out", "run")
    assert code == 2
    assert "masks have a decoder of their own" in err


def test_check_tells_what_masks_hold_and_which_cannot_be_read(run, tmp_path):
    code, out, err = run("check", "table.csv", "--target", "mask")
    assert code == 0, err
    assert "10 rows, mask target 'mask'" in out
    assert [line.split()[:3] for line in out.splitlines()[2:5]] == [
        ["0", "10", "100.0%"], ["3", "10", "100.0%"], ["6", "10", "100.0%"],
    ]  # fmt: skip
    assert "groups" in out
    assert "one class only" not in out
    lines = (tmp_path / "table.csv").read_text()
    for old, new in (("0_m", "x_m"), ("1_m", "0_m"), ("x_m", "1_m")):
        lines = lines.replace(old, new)
    (tmp_path / "swapped.csv").write_text(lines)
    code, _, err = run("check", "swapped.csv", "--target", "mask")
    assert code == 2
    assert "1_m.nii.gz: has 16 x 16 x 16 voxels, and its image" in err
    (tmp_path / "1_m.nii.gz").write_bytes(b"no volume")
    code, _, err = run("check", "table.csv", "--target", "mask")
    assert code == 2
    assert "1_m.nii.gz: cannot be read as NIfTI" in err


def test_one_organ_of_several_is_learnt_under_its_own_name(run, tmp_path):
    chosen = ("--mask-values", "0:elsewhere,6:spleen", "--other-values", "background")
    code, _, err = run(
        "train", "table.csv", "--target", "mask", *NETWORK, *chosen, "--patches", 1, "--epochs", 1, "--out", "run"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert [name for name in found if name.startswith("dice")] == ["dice", "dice_spleen"]
    assert json.loads((tmp_path / "run" / "adapter.json").read_text())["training"]["recipe"]["batch_size"] == 2
    code, out, err = run("evaluate", "run", "table.csv", "--json")
    assert code == 0, err
    assert "dice_spleen" in json.loads(out)["test"]
    assert run("predict", "run", "1.nii.gz", "--out", "new")[0] == 0
    assert set(np.unique(nibabel.load(tmp_path / "new" / "1_mask.nii.gz").dataobj)) <= {0, 6}
    assert pd.read_csv(tmp_path / "new" / "segmentations.csv").columns.tolist() == ["path", "mask", "mm3_spleen"]


def test_a_background_that_is_not_zero_is_told_of(run):
    code, _, err = run("train", "table.csv", "--target", "mask", *NETWORK, "--mask-values", "3,0,6", "--patches", 1,
                       "--epochs", 1, "--out", "run")  # fmt: skip
    assert code == 0, err
    assert "--mask-values: 3 comes first and is taken for the background, 0 for a class" in err


def test_masks_in_a_column_of_another_name_are_not_taken_for_labels(run, tmp_path):
    (tmp_path / "own.csv").write_text((tmp_path / "table.csv").read_text().replace("path,mask", "path,seg"))
    code, _, err = run("check", "own.csv", "--target", "seg")
    assert code == 2
    assert "column 'seg': names files: if they are masks, add --task mask" in err
    assert run("check", "own.csv", "--target", "seg", "--task", "mask")[0] == 0


@pytest.mark.parametrize(("options", "reason"), [
    (("--mask-values", "0,6"), "holds the values 3, and masks here have 0, 6"),
    (("--other-values", "background"), "--other-values: name with --mask-values"),
    (("--mask-values", "0,3:a,6:a"), "expected a name of its own for every class"),
    (("--mask-values", "0,3:,6:a"), "expected a name of its own for every class"),
    (("--mask-values", "0,3,9", "--other-values", "background"), "--mask-values: no mask holds 9; masks hold 0, 3, 6"),
    (("--mask-values", "3"), "--mask-values: expected at least two values, the background first"),
    (("--mask-values", "0;3"), "expected different whole numbers, as 0,1,2 or 0,1:liver"),
])  # fmt: skip
def test_values_that_cannot_be_classes_are_refused(run, tmp_path, options, reason):
    code, _, err = run("train", "table.csv", "--target", "mask", *NETWORK, *options, "--out", "run")
    assert code == 2
    assert reason in err
    assert not (tmp_path / "run").exists()


def test_a_damaged_mask_among_named_values_is_left_out_on_request(run, tmp_path):
    (tmp_path / "1_m.nii.gz").write_bytes(b"no volume")
    code, _, err = run("train", "table.csv", "--target", "mask", *NETWORK, "--mask-values", "0,3,6", "--patches", 1,
                       "--epochs", 1, "--skip-unreadable", "--out", "run")  # fmt: skip
    assert code == 0, err
    assert "--mask-values were not compared with what masks hold: 1 of 10 masks" in err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [one["path"].rpartition("/")[2] for one in found["left_out"]] == ["1_m.nii.gz"]
    assert found["test"]["dice_3"]["value"] is not None


@pytest.mark.long(reason="starts three interpreters that import everything")
@pytest.mark.slow(reason="starts three interpreters that import everything")
def test_two_processes_learn_and_evaluate_the_masks_of_one(run, tmp_path):
    options = [
        *NETWORK,
        "--patch-size",
        "8",
        "--strategy",
        "partial:3",
        "--patches",
        "1",
        "--epochs",
        "2",
        "--augment",
        "off",
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", []), ("two", torchrun)):
        settings = os.environ | {"OMP_NUM_THREADS": "1", "GRAFTWORK_CACHE": str(tmp_path / f"cache-{name}")}
        done = subprocess.run(
            [sys.executable, *start, "-m", "graftwork.imaging", "train", "table.csv", "--target", "mask", *options,
             "--device", "cpu", "--out", name],
            cwd=tmp_path, env=settings, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(tmp_path / name / "adapter.safetensors") for name in ("one", "two"))
    assert all(np.allclose(one[key], two[key], atol=1e-4) for key in one)
    tables = [pd.read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two")]
    assert len(tables[0]) == 4
    pd.testing.assert_frame_equal(*tables, atol=0.02)


@pytest.mark.long(reason="trains three segmentation networks")
def test_masks_of_an_ensemble_are_of_mean_probabilities_and_say_how_far_models_differ(run, tmp_path):
    code, _, err = run("train", "table.csv", "--target", "mask", "--backbone", "slices:tiny:cnn2d", *NETWORK[4:],
                       "--patches", 1, "--epochs", 3, "--folds", 2, "--keep-folds", "--out", "run")  # fmt: skip
    assert code == 0, err
    code, _, err = run("predict", "run", "0.nii.gz", "1.nii.gz", "--ensemble", "--out", "both")
    assert code == 0, err
    assert "of this mean there are none" in err
    spread = pd.read_csv(tmp_path / "both" / "segmentations.csv")["spread"]
    assert ((spread > 0) & (spread < 0.5)).all()
    # Two models that are one differ nowhere, and give what that one gives.
    shutil.copytree(tmp_path / "run" / "folds" / "1", tmp_path / "run" / "folds" / "2", dirs_exist_ok=True)
    run("predict", "run", "0.nii.gz", "1.nii.gz", "--ensemble", "--out", "same")
    run("predict", "run/folds/1", "0.nii.gz", "1.nii.gz", "--out", "one")
    assert pd.read_csv(tmp_path / "same" / "segmentations.csv")["spread"].tolist() == pytest.approx([0, 0], abs=1e-6)
    for name in ("0_mask.nii.gz", "1_mask.nii.gz"):
        joined, single = (np.asarray(nibabel.load(tmp_path / folder / name).dataobj) for folder in ("same", "one"))
        assert (single > 0).any()
        np.testing.assert_array_equal(joined, single)
    measured = []
    for words in (("run", "table.csv", "--ensemble"), ("run/folds/1", "table.csv")):
        code, out, err = run("evaluate", *words, "--target", "mask", "--device", "cpu", "--json")
        assert code == 0, err
        measured.append(json.loads(out)["test"]["dice"]["value"])
    assert measured[0] == pytest.approx(measured[1], abs=1e-6)
