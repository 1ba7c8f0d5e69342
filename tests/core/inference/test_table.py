"""A table of predictions: files that cannot be read, and the same file named twice."""

from dataclasses import replace

import pytest

from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import UnreadableError
from graftwork.core.evaluation.decisions import Decisions
from graftwork.core.example import File
from graftwork.core.inference import table as subject
from graftwork.core.inference.table import predict_table
from graftwork.core.inference.together import group_grafts
from graftwork.core.training.finetuning import finetune


@pytest.fixture
def group(backbone, examples, recipe):
    graft = finetune(backbone, examples, strategy="probe", recipe=recipe).adapter.graft
    return group_grafts(graft.backbone, start_runtime(recipe), [("run", graft, {}, Decisions())])


@pytest.fixture
def files(manifest, tmp_path):
    """Three files that can be read around one that cannot."""
    (tmp_path / "broken.npy").write_bytes(b"no array")
    good = [File(path) for path in manifest.paths[:3]]
    return [good[0], File(str(tmp_path / "broken.npy")), *good[1:]]


def predicted(group, files, recipe, **changes):
    options = {"named": False, "skip_unreadable": False, "outside": "flag"} | changes
    return predict_table([group], files, recipe, **options).table


def test_an_unreadable_file_keeps_its_row_and_has_its_error(group, files, recipe):
    found = predicted(group, files, recipe, skip_unreadable=True)
    assert found["path"].tolist() == [str(one) for one in files]
    assert found["error"].isna().tolist() == [True, False, True, True]
    assert "cannot be read" in found["error"][1]
    assert found["prediction"].isna().tolist() == [False, True, False, False]
    good = predicted(group, [files[0], *files[2:]], recipe)
    assert "error" not in good
    assert good["prediction"].tolist() == found["prediction"].dropna().tolist()


def test_all_unreadable_files_are_listed_also_in_later_blocks(group, files, recipe, monkeypatch, tmp_path):
    """Once one cannot be read, the others are only read."""
    monkeypatch.setattr(subject, "BLOCK", 2)
    monkeypatch.setattr(subject, "predict_together", lambda *arguments: pytest.fail("something was predicted"))
    (tmp_path / "late.npy").write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"broken\.npy(.|\n)*late\.npy"):
        predicted(group, [*files, File(str(tmp_path / "late.npy"))], recipe)


def test_blocks_do_not_change_predictions_and_a_file_may_be_named_twice(group, files, recipe, monkeypatch):
    asked = [files[0], files[2], files[3], files[0]]
    whole = predicted(group, asked, recipe)
    assert len(whole) == 4
    monkeypatch.setattr(subject, "BLOCK", 1)
    assert predicted(group, asked, recipe)["prediction"].tolist() == whole["prediction"].tolist()


def test_columns_begin_with_the_name_where_several_predict(group, files, recipe):
    found = predicted(replace(group, names=("first",)), files[:1], recipe, named=True)
    assert list(found.columns)[:2] == ["path", "first.prediction"]
