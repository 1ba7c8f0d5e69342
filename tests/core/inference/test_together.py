"""Several adapters over one backbone: each predicts what it predicts alone, and what they share runs once."""

from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import SettingsError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.predict import predict_examples
from graftwork.core.inference.together import predict_together, shared_stages
from graftwork.core.recipe import Recipe
from graftwork.core.runs.predict import open_groups, predict, run_names
from graftwork.core.training.finetuning import finetune
from tests.core.conftest import examples_in

STRATEGIES = ["probe", "partial:1", "lora", "full", "knn"]


@pytest.fixture
def runs(backbone, examples, recipe, tmp_path):
    for strategy in STRATEGIES:
        options = replace(recipe, lora_targets="layer10", learning_rate=0.05)
        run = finetune(backbone, examples, strategy=strategy, recipe=options)
        run.adapter.save(tmp_path / strategy.replace(":", "-"))
    return [str(tmp_path / strategy.replace(":", "-")) for strategy in STRATEGIES]


@pytest.fixture(params=["contiguous", "channels-last"])
def runtime(request):
    return start_runtime(Recipe(device="cpu", workers=0, memory_format=request.param))


def test_frozen_tensors_are_in_memory_once_and_learnt_ones_are_not_shared(runs, load_backbone, runtime):
    group = next(group for group in open_groups(runs, load_backbone, None, runtime) if group.names[0] == "probe")
    base = dict(group.grafts[0].network.named_parameters())
    for graft in group.grafts:
        learnt = set(graft.learnt())
        own = {name.replace(".base_layer.", "."): (name, value)
               for name, value in graft.network.named_parameters()}  # fmt: skip
        for name, value in base.items():
            shared = own[name][1].data_ptr() == value.data_ptr()
            assert shared == (f"backbone.{own[name][0]}" not in learnt), name


def test_each_predicts_what_it_predicts_alone(runs, load_backbone, examples, runtime):
    alone = [predict_examples(load_adapter(run, load_backbone), examples, device="cpu") for run in runs]
    found = {}
    for group in open_groups(runs, load_backbone, None, runtime):
        predictions = predict_together(group, examples, Recipe(device="cpu"))
        found |= dict(zip(group.names, predictions, strict=True))
    assert len({predictions.tobytes() for predictions in alone}) == len(runs)
    for strategy, expected in zip(STRATEGIES, alone, strict=True):
        np.testing.assert_allclose(found[strategy.replace(":", "-")], expected, atol=1e-6)


def test_the_backbone_is_loaded_once_and_shared_stages_run_once(runs, load_backbone, examples, runtime):
    loads, passes = [], []

    def load(id, *, weights=None, **options):
        loads.append(weights)
        backbone = load_backbone(id, weights=weights, **options)
        stem = backbone.stages[0]

        def count(network, features):
            passes.append(examples_in(features))
            return stem.run(network, features)

        return replace(backbone, stages=(replace(stem, run=count), *backbone.stages[1:]))

    frozen = [run for run in runs if not run.endswith("full")]
    (group,) = open_groups(frozen, load, None, runtime)
    assert loads == [None]
    assert [shared_stages(group.backbone, graft) for graft in group.grafts] == [4, 2, 2, 4]
    predict_together(group, examples, Recipe(device="cpu"))
    assert sum(passes) == len(examples)


def test_every_run_has_columns_of_its_own(runs, load_backbone, manifest):
    table = predict(runs[:3], manifest.subset([0, 1, 2]), load_backbone, device="cpu")
    assert list(table.columns[:2]) == ["path", "probe.prediction"]
    assert {"probe.probability_a", "partial-1.probability_b", "lora.prediction"} <= set(table.columns)
    assert list(table["path"]) == list(manifest.paths[:3])
    one = predict(runs[2], list(manifest.paths[:3]), load_backbone, device="cpu")
    np.testing.assert_allclose(one["probability_a"], table["lora.probability_a"], atol=1e-6)


def test_runs_of_one_name_are_distinguished_by_their_paths():
    assert run_names(["a/x", "b/x", "c/y"]) == ["a/x", "b/x", "y"]


def test_runs_without_files_and_runs_named_twice_are_refused(runs, load_backbone, manifest):
    with pytest.raises(SettingsError, match="no run to predict with"):
        predict([], manifest, load_backbone, device="cpu")
    with pytest.raises(SettingsError, match="nothing to predict"):
        predict(runs[0], [], load_backbone, device="cpu")
    again = f"{runs[0]}/../{STRATEGIES[0]}"  # the same folder, spelled otherwise
    with pytest.raises(SettingsError, match="named twice"):
        predict([runs[0], again], manifest, load_backbone, device="cpu")
