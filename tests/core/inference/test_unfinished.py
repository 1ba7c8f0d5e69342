"""A prediction that was ended goes on where it stood; what its files or models are no longer is found anew."""

import json
import os
import shutil

import numpy as np
import pytest

from graftwork.core.errors import OutputError, UnreadableError
from graftwork.core.example import File
from graftwork.core.inference import table
from graftwork.core.inference.unfinished import ENDING, file_state
from graftwork.core.runs.predict import predict
from graftwork.core.training.finetuning import finetune


class EndedError(BaseException):
    pass


@pytest.fixture
def run(backbone, examples, recipe, tmp_path):
    finetune(backbone, examples, strategy="probe", recipe=recipe).adapter.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def paths(manifest, monkeypatch, tmp_path):
    """Copies: what is changed here, other tests read."""
    monkeypatch.setattr(table, "BLOCK", 2)
    (tmp_path / "copies").mkdir()
    return [shutil.copy(path, tmp_path / "copies") for path in manifest.paths[:7]]


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read for predictions."""
    names, inner = [], table._predict_block

    def block(group, contract, examples, *arguments, **options):
        names.extend(os.path.basename(str(example)) for example in examples)
        return inner(group, contract, examples, *arguments, **options)

    monkeypatch.setattr(table, "_predict_block", block)
    return names


@pytest.fixture
def ended(run, paths, load_backbone, monkeypatch, tmp_path):
    """A prediction that was ended in its third block of two files."""
    inner, done = table._predict_block, []

    def block(*arguments, **options):
        if len(done) == 2:
            raise EndedError
        done.append(0)
        return inner(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(table, "_predict_block", block)
        with pytest.raises(EndedError):
            predict(run, paths, load_backbone, out=tmp_path / "p.csv", device="cpu")
    assert not (tmp_path / "p.csv").exists()
    return tmp_path / "p.csv"


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_the_same_call_goes_on_and_writes_the_same_bytes(ended, run, paths, load_backbone, read, tmp_path):
    predict(run, paths, load_backbone, out=ended, device="cpu")
    assert read == names(paths[4:])
    predict(run, paths, load_backbone, out=tmp_path / "whole.csv", device="cpu")
    assert ended.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(ENDING)] == []


def test_a_file_that_has_changed_is_predicted_anew(ended, run, paths, load_backbone, read):
    np.save(paths[1], np.load(paths[1]) + 1)
    found = predict(run, paths, load_backbone, out=ended, device="cpu")
    assert read == names([paths[1], *paths[4:]])
    assert found["path"].tolist() == paths


@pytest.mark.parametrize("change", ["adapter", "batch size", "cut about"])
def test_what_is_kept_of_another_prediction_is_neither_taken_nor_lost(ended, run, paths, load_backbone, change):
    kept = ended.with_name(ended.name + ENDING)
    before = len(list(kept.iterdir()))
    if change == "adapter":
        record = json.loads((run / "adapter.json").read_text())
        record.pop("sha256")
        (run / "adapter.json").write_text(json.dumps(record | {"note": "another"}))
    if change == "cut about":
        (kept / "about.json").write_bytes(b"\xff")
    with pytest.raises(OutputError, match="holds what is kept of another prediction, or something else: give the same"):
        predict(run, paths, load_backbone, out=ended, device="cpu", batch_size=3 if change == "batch size" else 16)
    assert len(list(kept.iterdir())) == before
    assert not ended.exists()


@pytest.mark.parametrize("change", ["damage", "cut part", "other part"])
def test_a_part_that_cannot_be_read_is_predicted_again(ended, run, paths, load_backbone, read, caplog, change):
    kept = ended.with_name(ended.name + ENDING)
    for part in kept.glob("part-*"):
        if change == "damage":
            part.write_text(part.read_text().replace("prediction", "predictiom", 1))
        if change == "cut part":
            part.write_bytes(part.read_bytes()[:9])
        if change == "other part":
            part.write_text("{}")
    predict(run, paths, load_backbone, out=ended, device="cpu")
    assert read == names(paths)
    assert "what it held is predicted again" in caplog.text
    assert not kept.exists()


def test_a_folder_of_that_name_with_something_else_in_it_is_left_alone(run, paths, load_backbone, tmp_path):
    own = tmp_path / "p.csv.unfinished" / "notes.txt"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(OutputError, match="or something else"):
        predict(run, paths, load_backbone, out=tmp_path / "p.csv", device="cpu")
    assert own.read_text() == "mine"


def test_a_header_whose_data_have_changed_is_another_file(tmp_path):
    (tmp_path / "scan.hdr").write_bytes(b"header")
    (tmp_path / "scan.img").write_bytes(b"one")
    before = file_state(File(str(tmp_path / "scan.hdr")))
    (tmp_path / "scan.img").write_bytes(b"other")
    assert file_state(File(str(tmp_path / "scan.hdr"))) != before
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "gone").symlink_to(tmp_path / "nowhere")
    assert len(file_state(File(str(tmp_path / "series")))) == 1


def test_after_a_file_that_cannot_be_read_the_others_are_not_predicted_again(run, paths, load_backbone, read, tmp_path):
    broken, good = paths[5], tmp_path / "good.npy"
    shutil.move(broken, good)
    with open(broken, "wb") as file:
        file.write(b"no array")
    with pytest.raises(UnreadableError, match=os.path.basename(broken)):
        predict(run, paths, load_backbone, out=tmp_path / "p.csv", device="cpu")
    shutil.move(good, broken)
    read.clear()
    found = predict(run, paths, load_backbone, out=tmp_path / "p.csv", device="cpu")
    assert read == names(paths[4:])
    assert found["prediction"].notna().all()


def test_files_that_were_skipped_are_read_again_and_no_other(run, paths, load_backbone, monkeypatch, read, tmp_path):
    with open(paths[0], "wb") as file:
        file.write(b"no array")
    options = {"out": tmp_path / "p.csv", "device": "cpu", "skip_unreadable": True}
    with monkeypatch.context() as patched:
        patched.setattr("graftwork.core.runs.predict._write_tables", lambda *tables: (_ for _ in ()).throw(EndedError))
        with pytest.raises(EndedError):
            predict(run, paths, load_backbone, **options)
    read.clear()
    found = predict(run, paths, load_backbone, **options)
    assert read == names(paths[:1])
    assert found["error"].notna().tolist() == [True] + [False] * 6
    assert found["prediction"].isna().tolist() == [True] + [False] * 6
