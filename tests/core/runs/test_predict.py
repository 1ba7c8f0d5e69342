"""Runs by their folders applied to files: what is refused, and how columns are named."""

import numpy as np
import pandas as pd
import pytest

from graftwork.core.errors import AdapterError, OutputError, SettingsError
from graftwork.core.runs.predict import learnt_masks, predict, run_names, segment
from graftwork.core.training.finetuning import finetune


@pytest.fixture
def runs(backbone, examples, recipe, tmp_path):
    """Two folders of one name, of a probe and of neighbours."""
    folders = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    for folder, strategy in zip(folders, ("probe", "knn"), strict=True):
        finetune(backbone, examples, strategy=strategy, recipe=recipe).adapter.save(folder)
    return folders


def test_folders_of_one_name_are_told_by_their_paths():
    assert run_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert run_names(["x/a", "y/a", "b"]) == ["x/a", "y/a", "b"]


def test_several_runs_have_columns_of_their_own_and_one_has_plain_ones(runs, load_backbone, manifest, tmp_path):
    paths = list(manifest.paths[:4])
    alone = [predict(run, paths, load_backbone, device="cpu") for run in runs]
    both = predict(runs, paths, load_backbone, device="cpu", out=tmp_path / "p.csv")
    assert list(alone[0].columns) == ["path", "prediction", *(f"probability_{name}" for name in "abc")]
    for run, table in zip(runs, alone, strict=True):
        for column in table.columns[1:]:
            found = both[f"{run}.{column}"]
            if column == "prediction":
                assert found.tolist() == table[column].tolist()
            else:
                np.testing.assert_allclose(found, table[column], atol=1e-6)
    assert pd.read_csv(tmp_path / "p.csv")["path"].tolist() == paths


def test_runs_over_one_backbone_share_it(runs, load_backbone, manifest):
    calls = []

    def load(*arguments, **options):
        calls.append(arguments)
        return load_backbone(*arguments, **options)

    predict(runs, list(manifest.paths[:2]), load, device="cpu")
    assert calls == [("tiny:net",)]


def test_what_cannot_be_predicted_is_refused_before_anything_is_loaded(runs, load_backbone, tmp_path):
    def unused(*arguments, **options):
        raise AssertionError("the backbone was loaded")

    for arguments, options, error, message in (
        (([], ["a.npy"]), {}, SettingsError, "no run to predict with"),
        (([runs[0], runs[0]], ["a.npy"]), {}, SettingsError, "a run is named twice"),
        ((runs[0], ["a.npy"]), {"out": tmp_path}, OutputError, "--out must be a file"),
        ((tmp_path / "none", ["a.npy"]), {}, AdapterError, "none"),
    ):
        with pytest.raises(error, match=message):
            predict(*arguments, unused, **options)
    with pytest.raises(SettingsError, match="nothing to predict"):
        predict(runs[0], [], load_backbone, device="cpu")


def test_a_run_of_labels_makes_no_masks(runs, load_backbone, manifest, tmp_path):
    assert not learnt_masks(runs[0])
    with pytest.raises(SettingsError, match="mask"):
        segment(runs[0], list(manifest.paths[:1]), load_backbone, tmp_path / "masks", device="cpu")
