"""The models of folds that a run keeps, and what they predict together."""

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.tables import read_manifest
from graftwork.core.domain import Domain
from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.ensemble import JoinedMaps, joined_table
from graftwork.core.recipe import Recipe
from graftwork.core.runs.evaluate import evaluate_run
from graftwork.core.runs.predict import kept_folds, open_groups, predict
from graftwork.core.runs.train import train
from graftwork.core.tasks import find_task

RECIPE = Recipe(device="cpu", workers=0, memory_format="contiguous")


@pytest.fixture(scope="module")
def make_run(tmp_path_factory, make_backbone, table):
    """Runs of a probe in three folds, each trained once."""
    known = {}

    def make(target="label", name=None, **options):
        name = name or target
        if name not in known:
            backbone = replace(make_backbone(), domain=Domain("tiny", "array", (".npy",), None))
            known[name] = tmp_path_factory.mktemp("folds") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("graftwork.core.runs.train.report_on_finished", lambda *given, **named: None)
                train(backbone, read_manifest(table, target=target), recipe=RECIPE, folds=3, out=known[name],
                      random_split="off", **{"keep_folds": True} | options)  # fmt: skip
        return known[name]

    return make


@pytest.fixture
def files(table):
    return [str(table.parent / f"{row:02}.npy") for row in range(0, 60, 7)]


def test_an_ensemble_is_the_mean_of_its_folds_and_says_how_far_they_differ(make_run, files, load_backbone):
    run = make_run()
    folds = [load_adapter(run / "folds" / str(fold), load_backbone).predict(files, device="cpu") for fold in (1, 2, 3)]
    found = predict(run, files, load_backbone, ensemble=True, device="cpu")
    chances = [f"probability_{name}" for name in "abc"]
    every = np.stack([fold[chances].to_numpy() for fold in folds])
    np.testing.assert_allclose(found[chances].to_numpy(), every.mean(0), atol=1e-6)
    place = every.mean(0).argmax(1)
    assert list(found["prediction"]) == ["abc"[one] for one in place]
    np.testing.assert_allclose(found["spread"], every.std(0)[np.arange(len(files)), place], atol=1e-6)
    assert found["spread"].max() > 0
    assert list(found["path"]) == files
    assert list(found) == ["path", "prediction", *chances, "spread"]


def test_an_ensemble_is_evaluated_on_rows_of_its_own(make_run, load_backbone, table, tmp_path):
    run, truth = make_run(), read_manifest(table)
    rows = truth.subset(np.arange(0, 60, 7))
    files = [str(path) for path in rows.paths]
    groups = open_groups(kept_folds(run), load_backbone, None, start_runtime(RECIPE))
    adapter = load_adapter(run, load_backbone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwork.core.runs.evaluate.report_on_finished", lambda *given, **named: None)
        found = evaluate_run(run, adapter, rows, ensemble=groups, device="cpu", out=tmp_path / "out")
    expected = predict(run, files, load_backbone, ensemble=True, device="cpu")
    chances = expected[[f"probability_{name}" for name in "abc"]].to_numpy()
    np.testing.assert_allclose(found.part.predictions, chances, atol=1e-6)
    right = (expected["prediction"].to_numpy() == np.array(rows.targets)).mean()
    assert found.part.evaluation.metrics["accuracy"].value == pytest.approx(right)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["models"] == 3
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["models"] == 3
    with pytest.raises(SettingsError, match="--corruptions are of a single model"):
        evaluate_run(run, adapter, rows, ensemble=groups, corruptions=True)


def test_numbers_have_their_mean_and_several_labels_a_spread_each(make_run, files, load_backbone):
    found = predict(make_run("age"), files, load_backbone, ensemble=True, device="cpu")
    folds = [load_adapter(make_run("age") / "folds" / str(fold), load_backbone).predict(files, device="cpu")
             for fold in (1, 2, 3)]  # fmt: skip
    every = np.stack([fold["prediction"] for fold in folds])
    np.testing.assert_allclose(found["prediction"], every.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["spread"], every.std(0), rtol=1e-3)
    labels = predict(make_run("bright,striped"), files, load_backbone, ensemble=True, device="cpu")
    assert {"spread_bright", "spread_striped"} <= set(labels)


def test_every_fold_is_an_adapter_that_did_not_learn_from_its_rows(make_run, table, load_backbone):
    run = make_run()
    out_of_fold = pd.read_csv(run / "predictions.csv")
    own = out_of_fold[out_of_fold["fold"] == 2]
    adapter = load_adapter(run / "folds" / "2", load_backbone)
    found = adapter.predict([str(table.parent / path) for path in own["path"]], device="cpu")
    np.testing.assert_allclose(found["probability_a"], own["probability_a"], atol=1e-5)
    assert adapter.record["training"]["rows"] == 60 - len(own)


def test_that_there_is_no_estimate_of_the_ensemble_is_said_wherever_metrics_stand(
    make_run, files, load_backbone, caplog
):
    run = make_run()
    said = "the out-of-fold metrics are of single models"
    assert any(said in one for one in json.loads((run / "metrics.json").read_text())["cautions"])
    assert said in (run / "README.md").read_text()
    with caplog.at_level(logging.INFO):
        predict(run, files, load_backbone, ensemble=True, device="cpu")
    assert "of this mean there are none" in caplog.text


def test_files_that_cannot_be_read_have_an_error_and_no_spread(make_run, files, load_backbone, tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"no array")
    found = predict(make_run(), [str(tmp_path / "broken.npy"), *files], load_backbone, ensemble=True,
                    skip_unreadable=True, device="cpu")  # fmt: skip
    assert found.loc[0, ["prediction", "spread"]].isna().all()
    assert "cannot be read" in found["error"][0]
    assert found["spread"][1:].notna().all()


def test_what_has_no_ensemble_is_refused(make_run, files, load_backbone, table, make_backbone):
    alone = make_run(name="alone", keep_folds=False)
    assert not (alone / "folds" / "1" / "adapter.json").exists()
    with pytest.raises(SettingsError, match="no models of its folds: train it with --folds N --keep-folds"):
        predict(alone, files, load_backbone, ensemble=True)
    with pytest.raises(SettingsError, match="expected one run, found 2"):
        predict([make_run(), alone], files, load_backbone, ensemble=True)
    with pytest.raises(SettingsError, match="of a single model"):
        predict(make_run(), files, load_backbone, ensemble=True, abstain=0.1)
    with pytest.raises(SettingsError, match="there are no folds"):
        train(make_backbone(), read_manifest(table), keep_folds=True, out="never")


def test_a_missing_fold_is_an_error(make_run, files, load_backbone):
    run = make_run("bright,striped")
    record = run / "folds" / "2" / "adapter.json"
    content = record.read_bytes()
    record.unlink()
    try:
        with pytest.raises(AdapterError, match=r"expected the models of 3 folds, \S+2 has none"):
            predict(run, files, load_backbone, ensemble=True)
    finally:
        record.write_bytes(content)


def test_a_resumed_run_trains_a_fold_again_whose_model_is_missing(make_run, table, make_backbone):
    run = make_run("age")
    before = (run / "folds" / "2" / "adapter.safetensors").read_bytes()
    for name in ("adapter.json", "adapter.safetensors", "README.md"):
        (run / "folds" / "2" / name).unlink()
    record = run / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"unfinished"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graftwork.core.runs.train.report_on_finished", lambda *given, **named: None)
        backbone = replace(make_backbone(), domain=Domain("tiny", "array", (".npy",), None))
        train(backbone, read_manifest(table, target="age"), recipe=RECIPE, folds=3, out=run, random_split="off",
              keep_folds=True)  # fmt: skip
    assert (run / "folds" / "2" / "adapter.safetensors").read_bytes() == before


def test_maps_are_joined_by_their_probabilities():
    one, other = torch.tensor([[[[2.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.0]], [[1.0, 4.0]]]])
    joined = JoinedMaps([lambda patches: one, lambda patches: other])
    found = joined(torch.zeros(1, 1, 1, 2)).softmax(1)
    chances = torch.stack([one.softmax(1), other.softmax(1)])
    torch.testing.assert_close(found, chances.mean(0))
    assert found.argmax(1).tolist() == [[[0, 1]]]
    # Only the second voxel is predicted to be more than background.
    assert joined.spread() == pytest.approx(chances[:, 0, 1, 0, 1].std(correction=0).item(), rel=1e-5)
    assert np.isnan(joined.spread())


def test_columns_beside_the_models_stay():
    table = pd.DataFrame({"path": ["a"], "1.prediction": [1.0], "2.prediction": [3.0], "outside": ["far"]})
    found = joined_table(table, ["1", "2"], find_task("regression"), ())
    assert found.to_dict("records") == [{"path": "a", "prediction": 2.0, "spread": 1.0, "outside": "far"}]
