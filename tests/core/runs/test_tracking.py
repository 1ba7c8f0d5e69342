"""Runs in trackers: TensorBoard's event files read back, the others against stand-ins with their true signatures."""

import dataclasses
import inspect
import json
import logging
import math
import sys
import types

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import MissingPackageError, SettingsError
from graftwork.core.metrics.intervals import Interval
from graftwork.core.runs.compare import compare
from graftwork.core.runs.tracking import LogOptions, flat_settings, tracking
from graftwork.core.runs.train import train

PART = types.SimpleNamespace(part="test", evaluation=types.SimpleNamespace(metrics={
    "auroc": Interval(0.8, 0.7, 0.9), "ece": Interval(0.1, math.nan, math.nan)}))  # fmt: skip
RECORD = {"strategy": "partial:1", "manifest": "/data/secret.csv", "recipe": {"seed": 0}}


def logged(to, out, *, names=False):
    """A short run told to a tracker, as `train` does."""
    (out / "report.html").write_text("<p>secret.png</p>")
    (out / "evaluation.png").write_bytes(b"")
    with tracking(LogOptions(to, names), "first") as tracked:
        tracked.begin(out, RECORD)
        for epoch in (1, 2):
            tracked.epoch({"epoch": epoch, "train_loss": 0.5 / epoch})
        tracked.histories([{"epoch": 1, "train_loss": 0.5}], out)  # told already
        tracked.metrics([PART], ["few rows"])
        tracked.files(out, ["evaluation.png", "report.html"])


@pytest.fixture
def run(load_backbone, table, recipe, tmp_path):
    def run(name="first", strategy="partial:1", **options):
        return train(load_backbone("tiny:net"), read_manifest(table), strategy=strategy, recipe=recipe,
                     out=tmp_path / name, random_split="off", **options)  # fmt: skip

    return run


def test_tensorboard_has_settings_history_metrics_and_plots_but_no_names_of_files(run, tmp_path, table):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result, folder = run(log_to="tensorboard"), tmp_path / "first"
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    losses = [(one.step, one.value) for one in events.Scalars("train_loss")]
    assert losses == [(row["epoch"], pytest.approx(row["train_loss"], rel=1e-6)) for row in result.run.history
                      if row.get("train_loss") is not None]  # fmt: skip
    found = json.loads((folder / "metrics.json").read_text())["test"]["auroc"]
    for end, name in (("value", "auroc"), ("low", "auroc_low"), ("high", "auroc_high")):
        assert events.Scalars(f"test/{name}")[-1].value == pytest.approx(found[end], rel=1e-6)
    assert set(events.Tags()["images"]) == {"loss", "evaluation"}
    settings = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| strategy | partial:1 |" in settings
    assert "| recipe.learning_rate | 0.001 |" in settings
    content = b"".join(path.read_bytes() for path in (folder / "tensorboard").rglob("*") if path.is_file())
    assert b".npy" not in content
    assert table.name.encode() not in content


def test_weights_are_named_as_a_local_file():
    record = {"backbone": {"id": "a:b", "weights": "/home/jo/w.pt"}, "manifest": "/data/t.csv", "examples": {"x": "1"}}
    assert flat_settings(record, names=False) == {"backbone.id": "a:b", "backbone.weights": "a local file"}
    assert flat_settings(record, names=True)["backbone.weights"] == "/home/jo/w.pt"


class Calls(list):
    """What a stand-in was asked for: names and arguments, bound to the client's own signatures."""

    def method(self, name, declared, gives=None):
        signature = inspect.signature(declared)

        def called(*given, **named):
            bound = signature.bind(*given, **named)
            self.append((name, dict(bound.arguments)))
            return gives

        return called

    def of(self, name):
        return [arguments for called, arguments in self if called == name]


def stand_in_wandb(calls):
    """wandb 0.31, as far as it is used."""
    run = types.SimpleNamespace(
        log=calls.method("log", lambda data, step=None, commit=None: None),
        define_metric=calls.method("define_metric", lambda name, step_metric=None, step_sync=None, hidden=None,
                                   summary=None, goal=None, overwrite=None: None),
        summary=types.SimpleNamespace(update=calls.method("summary", lambda d: None)),
        finish=calls.method("finish", lambda exit_code=None, quiet=None: None),
    )  # fmt: skip

    def init(entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None, config=None, mode=None,
             force=None, reinit=None, resume=None, settings=None):  # fmt: skip
        pass

    def settings(*, console="auto", disable_code=False, disable_git=False, x_disable_meta=False,
                 x_disable_machine_info=False, x_disable_stats=False, x_save_requirements=True,
                 silent=False):  # fmt: skip
        pass

    return types.SimpleNamespace(
        init=calls.method("init", init, run),
        Settings=calls.method("Settings", settings, "settings"),
        Image=calls.method("Image", lambda data_or_path, mode=None, caption=None: None, "image"),
        Html=calls.method("Html", lambda data, inject=True, data_is_not_path=False: None, "html"),
    )


def stand_in_trackio(calls):
    """trackio 0.43, as far as it is used."""
    run = types.SimpleNamespace(log=calls.method("log", lambda metrics, step=None: None))

    def init(project, name=None, group=None, space_id=None, server_url=None, config=None, resume="never",
             settings=None, private=None, embed=True, auto_log_gpu=None, auto_log_cpu=None):  # fmt: skip
        print("* Trackio project initialized")

    def begun(*given, **named):
        init(*given, **named)
        return calls.method("init", init, run)(*given, **named)

    return types.SimpleNamespace(
        init=begun, finish=calls.method("finish", lambda: None), TRACKIO_DIR="/own/trackio",
        Image=calls.method("Image", lambda value, caption=None: None, "image"),
        Html=calls.method("Html", lambda data: None, "html"),
    )  # fmt: skip


def stand_in_mlflow(calls):
    """mlflow 3.17, as far as it is used."""
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))
    client = types.SimpleNamespace(
        get_experiment_by_name=calls.method("get_experiment_by_name", lambda name: None),
        create_experiment=calls.method("create_experiment", lambda name, artifact_location=None, tags=None: None, "7"),
        create_run=calls.method("create_run", lambda experiment_id, start_time=None, tags=None, run_name=None: None,
                                run),
        log_batch=calls.method("log_batch", lambda run_id, metrics=(), params=(), tags=(), synchronous=None: None),
        set_tag=calls.method("set_tag", lambda run_id, key, value, synchronous=None: None),
        log_artifact=calls.method("log_artifact", lambda run_id, local_path, artifact_path=None: None),
        set_terminated=calls.method("set_terminated", lambda run_id, status=None, end_time=None: None),
    )  # fmt: skip
    opened = calls.method("MlflowClient", lambda tracking_uri=None, registry_uri=None: None, client)
    return types.SimpleNamespace(MlflowClient=opened)


@dataclasses.dataclass
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclasses.dataclass
class Param:
    key: str
    value: str


@pytest.fixture
def calls(monkeypatch):
    """The stand-ins in place of the packages; what all of them are asked for."""
    found = Calls()
    made = {"wandb": stand_in_wandb, "trackio": stand_in_trackio, "mlflow": stand_in_mlflow}
    for name, make in made.items():
        monkeypatch.setitem(sys.modules, name, make(found))
    monkeypatch.setitem(sys.modules, "mlflow.entities", types.SimpleNamespace(Metric=Metric, Param=Param))
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_wandb_is_offline_and_notes_nothing_by_itself(calls, tmp_path):
    logged("wandb", tmp_path)
    begun = calls.of("init")[0]
    assert begun["mode"] == "offline"
    assert begun["dir"] == str(tmp_path)
    assert begun["config"] == {"strategy": "partial:1", "recipe.seed": 0}
    assert calls.of("Settings")[0] == {"console": "off", "disable_code": True, "disable_git": True,
                                       "x_disable_meta": True, "x_disable_machine_info": True,
                                       "x_disable_stats": True, "x_save_requirements": False,
                                       "silent": True}  # fmt: skip
    epochs = [one["data"] for one in calls.of("log") if "train_loss" in one["data"]]
    assert [one["epoch"] for one in epochs] == [1, 2]
    assert calls.of("summary") == [{"d": {"test/auroc": 0.8, "test/auroc_low": 0.7, "test/auroc_high": 0.9,
                                          "test/ece": 0.1}}, {"d": {"cautions": "few rows"}}]  # fmt: skip
    assert len(calls.of("Image")) == 1
    assert not calls.of("Html")
    assert calls.of("finish")[0]["exit_code"] == 0


def test_trackio_prints_nothing_where_results_are_printed(calls, capsys, tmp_path):
    logged("trackio", tmp_path, names=True)
    assert capsys.readouterr().out == ""
    assert [one["step"] for one in calls.of("log") if "train_loss" in one["metrics"]] == [1, 2]
    assert {"cautions": "few rows"} in [one["metrics"] for one in calls.of("log")]
    assert calls.of("Html") == [{"data": "<p>secret.png</p>"}]
    assert calls.of("init")[0]["config"]["manifest"] == "/data/secret.csv"
    assert calls.of("init")[0]["auto_log_cpu"] is False
    assert len(calls.of("finish")) == 1


def test_mlflow_is_a_database_beside_the_run_with_the_histories_of_folds(calls, run, tmp_path):
    run(log_to="mlflow", folds=2)
    assert calls.of("MlflowClient")[0]["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    metrics = [one for given in calls.of("log_batch") for one in given.get("metrics", ())]
    assert {one.step for one in metrics if one.key == "folds/1/train_loss"} == {1, 2}
    assert {"folds/1/train_loss", "folds/2/train_loss", "out-of-fold/auroc_high"} <= {one.key for one in metrics}
    assert calls.of("log_artifact") == [{"run_id": "r1", "local_path": str(tmp_path / "first" / "evaluation.png")}]
    assert calls.of("set_terminated")[0]["status"] == "FINISHED"


def test_a_comparison_has_a_run_for_every_strategy_and_one_of_its_own(calls, load_backbone, table, recipe, tmp_path):
    compare(load_backbone("tiny:net"), read_manifest(table), ["probe"], recipe=recipe, out=tmp_path / "both",
            random_split="off", log_to="mlflow")  # fmt: skip
    assert [one["run_name"] for one in calls.of("create_run")] == ["both/probe", "both"]
    keys = {one.key for given in calls.of("log_batch") for one in given.get("metrics", ())}
    assert {"probe/auroc", "probe/auroc_low", "test/auroc"} <= keys


def test_a_tracker_that_fails_loses_no_run(calls, run, monkeypatch, caplog, tmp_path):
    def broken(run_id, metrics=(), params=(), tags=(), synchronous=None):
        if metrics:
            raise ConnectionError("database is locked")

    client = sys.modules["mlflow"].MlflowClient()
    client.log_batch = broken
    with caplog.at_level(logging.WARNING):
        run(log_to="mlflow", strategy="probe")
    assert [record.message for record in caplog.records if "log-to" in record.message] == [
        "--log-to mlflow: no more is logged, the run goes on without: ConnectionError: database is locked"]  # fmt: skip
    assert (tmp_path / "first" / "adapter.json").is_file()


def test_a_tracker_that_cannot_begin_is_said_once(calls, monkeypatch, caplog, tmp_path):
    def refuse(*given, **named):
        raise OSError("no room")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with caplog.at_level(logging.WARNING):
        logged("wandb", tmp_path)
    assert [record.message for record in caplog.records] == [
        "--log-to wandb: nothing is logged, the run goes on without: OSError: no room"]  # fmt: skip


def test_a_run_that_breaks_off_is_logged_as_failed(calls, tmp_path):
    def broken():
        with tracking(LogOptions("mlflow"), "first") as tracked:
            tracked.begin(tmp_path / "first", {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert calls.of("set_terminated")[0]["status"] == "FAILED"


def test_what_cannot_be_logged_is_refused_before_anything_is_read(run, monkeypatch, load_backbone, table, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'graftwork\[wandb\]'"):
        run(log_to="wandb")
    assert not (tmp_path / "first").exists()
    with pytest.raises(SettingsError, match="needs the folder of a run"):
        train(load_backbone("tiny:net"), read_manifest(table), log_to="tensorboard")
    with pytest.raises(SettingsError, match="expected one of tensorboard"):
        run(log_to="comet")
    with pytest.raises(SettingsError, match="--log-names says what"):
        run(log_names=True)
