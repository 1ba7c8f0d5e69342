"""Files that appear in a folder are predicted once each, when they are whole."""

import os
import shutil
import signal
import threading

import pandas as pd
import pytest

from graftwork.core.cli.interruption import ended_by_request
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.recipe import Recipe
from graftwork.core.runs.predict import predict
from graftwork.core.runs.train import train
from graftwork.core.runs.watch import watch


@pytest.fixture
def run(load_backbone, table, tmp_path):
    train(load_backbone("tiny:net"), read_manifest(table), random_split="off", out=tmp_path / "run",
          recipe=Recipe(device="cpu", workers=0, memory_format="contiguous"))  # fmt: skip
    return tmp_path / "run"


def polls(*between):
    """What happens between two polls, one after another, and then the end."""
    steps = list(between)

    def wait(seconds):
        if not seconds:
            return False
        if not steps:
            return True
        steps.pop(0)()
        return False

    return wait


def test_files_are_predicted_once_when_they_have_stopped_growing(run, load_backbone, table, tmp_path):
    folder, out, source = tmp_path / "new", tmp_path / "found.csv", table.parent
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(source / "00.npy", folder / "a.npy")
    (folder / "notes.txt").write_text("no array")
    half = (source / "01.npy").read_bytes()
    grows = folder / "deeper" / "b.npy"
    seen = []

    def rows():
        seen.append([path.rpartition("/")[2] for path in pd.read_csv(out)["path"]])

    done = watch(run, folder, load_backbone, out, device="cpu", wait=polls(
        lambda: (rows(), grows.write_bytes(half[:50])),  # a.npy has been there for one poll only
        lambda: (rows(), grows.write_bytes(half)),  # a.npy is done; b.npy grows
        rows,
        lambda: (rows(), (folder / "c.npy").write_bytes(b"broken")),
        lambda: None,
    ))  # fmt: skip
    assert seen == [[], ["a.npy"], ["a.npy"], ["a.npy", "b.npy"]]
    assert (done.predicted, done.unreadable) == (2, 1)
    table_ = pd.read_csv(out)
    assert list(table_) == ["path", "prediction", "probability_a", "probability_b", "probability_c", "error", "outside"]
    expected = predict(run, [str(folder / "a.npy"), str(grows)], load_backbone, device="cpu")
    pd.testing.assert_series_equal(table_["probability_a"][:2], expected["probability_a"], rtol=1e-5, check_dtype=False)
    assert "cannot be read" in table_["error"][2]

    # A later start goes on where this one ended.
    shutil.copy(source / "02.npy", folder / "d.npy")
    before = out.read_bytes()
    again = watch(run, folder, load_backbone, out, device="cpu", wait=polls(lambda: None))
    assert out.read_bytes().startswith(before)
    assert (again.predicted, again.unreadable) == (3, 1)
    assert list(pd.read_csv(out)["path"])[3:] == [str(folder / "d.npy")]
    with out.open("a") as file:
        file.write("/new/e.npy,a,0.")
    with pytest.raises(OutputError, match="last line is cut off"):
        watch(run, folder, load_backbone, out, device="cpu", wait=polls())


def test_tables_of_other_columns_and_folders_that_are_none_are_refused(run, load_backbone, tmp_path):
    (tmp_path / "other.csv").write_text("path,size\na,1\n")
    with pytest.raises(OutputError, match=r"expected the columns path, prediction.*found path, size"):
        watch(run, tmp_path, load_backbone, tmp_path / "other.csv", wait=polls(), device="cpu")
    with pytest.raises(SettingsError, match="expected a folder, found nothing"):
        watch(run, tmp_path / "none", load_backbone, tmp_path / "x.csv", wait=polls(), device="cpu")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_request_end_the_wait_and_nothing_else(number):
    before = signal.getsignal(number)
    with ended_by_request() as wait:
        assert not wait(0)
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        assert wait(10)
    assert signal.getsignal(number) is before
