"""Features of frozen backbones as a transformer."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from graftwork import audio, imaging
from graftwork.core.errors import SettingsError
from graftwork.core.model.stage_outputs import pooled


def by_hand(backbone: Any, path: str, stages: int) -> Any:
    features = backbone.contract.collate([backbone.contract.read(path)])
    with torch.no_grad():
        out = backbone.run(features, 0, stages)
    return pooled(out, backbone.stages[stages - 1].channel_axis)[0].numpy()


def test_features_are_the_pooled_outputs_of_the_stage(case: Any) -> None:
    backbone = case.make("Features").fit().backbone_
    for place in (0, len(backbone.stages) - 1):
        model = case.make("Features", stage=backbone.stages[place].name)
        found = model.fit(case.paths).transform(case.paths)
        assert found.dtype == np.float32
        assert found.shape == (24, len(model.get_feature_names_out()))
        for row in (0, 17):
            np.testing.assert_allclose(found[row], by_hand(model.backbone_, case.paths[row], place + 1), atol=1e-5)
    np.testing.assert_array_equal(case.make("Features").fit_transform(case.paths), found)


def test_what_was_computed_once_is_not_computed_again(case: Any, rows_run: Any) -> None:
    first = case.make("Features").fit(case.paths).transform(case.paths)
    assert rows_run.clear_after() == 24
    np.testing.assert_array_equal(case.make("Features").fit(case.paths).transform(case.paths[::-1])[::-1], first)
    case.make("Classifier").fit(case.paths, case.levels)  # a probe learns from the same
    assert rows_run.clear_after() == 0
    names = [stage.name for stage in case.make("Features").fit().backbone_.stages]
    for name in names[:-1]:
        case.make("Features", stage=name).fit(case.paths).transform(case.paths)
    assert rows_run.clear_after() == 24  # all stages in one pass


def test_a_path_may_occur_twice_and_a_table_gives_a_table(case: Any) -> None:
    model = case.make("Features").fit()
    plain = model.transform([case.paths[3], case.paths[5], case.paths[3]])
    np.testing.assert_array_equal(plain[0], plain[2])
    table = pd.DataFrame({"path": case.paths[3:6]}, index=["a", "b", "c"])
    found = model.set_output(transform="pandas").transform(table)
    assert found.index.tolist() == ["a", "b", "c"]
    assert found.columns.tolist() == model.get_feature_names_out().tolist()
    assert found.columns[0] == f"{type(model).__name__.lower()}0"
    np.testing.assert_array_equal(found.to_numpy()[[0, 2, 0]], plain)
    assert model.transform(case.paths[:2]).index.tolist() == [0, 1]


def test_it_stands_in_a_pipeline_and_a_search_over_stages(case: Any, rows_run: Any) -> None:
    names = [stage.name for stage in case.make("Features").fit().backbone_.stages]
    pipeline = make_pipeline(case.make("Features"), LogisticRegression(max_iter=20))
    step = type(case.make("Features")).__name__.lower()
    search = GridSearchCV(pipeline, {f"{step}__stage": names[:2]}, cv=2).fit(np.array(case.paths), case.levels)
    assert search.best_params_[f"{step}__stage"] in names[:2]
    assert rows_run.clear_after() == 24


def test_recordings_in_windows_have_the_mean_of_their_windows(case: Any) -> None:
    if case.domain is imaging:
        with pytest.raises(TypeError):
            case.make("Features", window_seconds=0.1)
        return
    whole = case.make("Features", window_seconds=0.125, window_overlap=0.0).fit()  # files last 0.25 s
    parts = case.make("Features").fit().transform([f"{case.paths[0]}#t=0,0.125", f"{case.paths[0]}#t=0.125,0.25"])
    np.testing.assert_allclose(whole.transform(case.paths[:2])[0], parts.mean(0), atol=1e-5)
    model = case.make("Classifier", window_seconds=0.125).fit(case.paths, case.levels)
    assert model.predict_proba([*case.paths[:3], case.paths[0]]).shape == (4, 3)
    assert model.score(case.paths, case.levels) > 0.5


def test_frames_are_pooled_as_well(case: Any) -> None:
    if case.domain is audio:
        mean = case.make("Features", pooling="mean").fit().transform(case.paths[:3])
        frames = case.make("Features", pooling="none").fit().transform(case.paths[:3])
        np.testing.assert_allclose(frames, mean, atol=1e-5)


def test_wrong_settings_say_what_was_expected(case: Any) -> None:
    with pytest.raises(NotFittedError):
        case.make("Features").transform(case.paths)
    with pytest.raises(SettingsError, match=r"stage: expected one of .*, found 'layer 99'"):
        case.make("Features", stage="layer 99").fit()
    learnt = {"pooling": "attentive"} if case.domain is audio else {"backbone": "slices:timm:test_resnet",
                                                                    "slice_pooling": "attention"}  # fmt: skip
    with pytest.raises(SettingsError, match="has to be learnt"):
        case.make("Features", **learnt).fit()
