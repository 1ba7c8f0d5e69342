"""The trackers that runs can be logged to, each through its own client, and where each keeps what it gets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Settings = Mapping[str, str | int | float | bool]

PROJECT = "graftwork"

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "trackio": "trackio", "wandb": "wandb"}
"""The package that each needs."""


@dataclass(frozen=True)
class Tracker:
    """An open run of a tracker. place: where it is, for people. write_values: of an epoch, by name, with its number.
    write_metrics: final values by name. write_text: a name and lines. write_file: a .png or .html. close: with whether
    the run has finished."""

    place: str
    write_values: Callable[[Mapping[str, float], int], None]
    write_metrics: Callable[[Mapping[str, float]], None]
    write_text: Callable[[str, str], None]
    write_file: Callable[[Path], None]
    close: Callable[[bool], None]


def open_tensorboard(out: Path, name: str, settings: Settings) -> Tracker:
    """Event files in the run's folder `tensorboard`: `tensorboard --logdir` takes any folder above it."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    place = out / "tensorboard"
    writer: Any = SummaryWriter(str(place))
    rows = [f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in settings.items()]
    writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def write_values(values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    def write_file(path: Path) -> None:
        if path.suffix == ".png":
            with Image.open(path) as image:
                writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")
        else:
            writer.add_text(path.stem, f"{path.name} lies beside this folder")

    def write_metrics(values: Mapping[str, float]) -> None:
        write_values(values, 0)
        writer.add_hparams(dict(settings), dict(values), run_name=".")

    return Tracker(str(place), write_values, write_metrics,
                   lambda key, text: writer.add_text(key, "\n\n".join(text.splitlines())), write_file,
                   lambda finished: writer.close())  # fmt: skip


def open_mlflow(out: Path, name: str, settings: Settings) -> Tracker:
    """A run in the database `mlflow/mlflow.db` beside the run's folder, which runs beside it share; in the store of
    MLFLOW_TRACKING_URI where that is set. The client is used without MLflow's own state of the process."""
    import mlflow
    from mlflow.entities import Metric, Param

    address = os.environ.get("MLFLOW_TRACKING_URI")
    artifacts = None
    if not address:
        folder = out.resolve().parent / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        address, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
    client = mlflow.MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(PROJECT)
    number = client.create_experiment(PROJECT, artifacts) if experiment is None else experiment.experiment_id
    run = client.create_run(number, run_name=name).info.run_id
    client.log_batch(run, params=[Param(_mlflow_name(key), str(value)) for key, value in settings.items()])

    def write_values(values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        client.log_batch(run, metrics=[Metric(_mlflow_name(key), value, now, step) for key, value in values.items()])

    return Tracker(address, write_values, lambda values: write_values(values, 0),
                   lambda key, text: client.set_tag(run, key, text),
                   lambda path: client.log_artifact(run, str(path)),
                   lambda finished: client.set_terminated(run, "FINISHED" if finished else "FAILED"))  # fmt: skip


def open_trackio(out: Path, name: str, settings: Settings) -> Tracker:
    """A run in Trackio's own folder on this machine, where `trackio show` looks for it; TRACKIO_DIR moves that,
    TRACKIO_SPACE_ID or TRACKIO_SERVER_URL send it elsewhere."""
    import trackio

    # Its measurements of the machine would be lines in every run, and a notebook's dashboard nobody asked for.
    run = trackio.init(PROJECT, name=name, config=dict(settings), embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def write_file(path: Path) -> None:
        shown = trackio.Image(str(path)) if path.suffix == ".png" else trackio.Html(path.read_text(encoding="utf-8"))
        run.log({path.stem: shown})

    elsewhere = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
    return Tracker(elsewhere or str(trackio.TRACKIO_DIR), lambda values, step: run.log(dict(values), step=step),
                   lambda values: run.log(dict(values)), lambda key, text: run.log({key: text}), write_file,
                   lambda finished: trackio.finish())  # fmt: skip


def open_wandb(out: Path, name: str, settings: Settings) -> Tracker:
    """An offline run in the folder `wandb` of the run's folder, which `wandb sync` sends; WANDB_MODE says otherwise."""
    import wandb

    # What it notes by itself holds the command with its names of files, the machine, and what is printed.
    quiet = wandb.Settings(console="off", disable_code=True, disable_git=True, x_disable_meta=True,
                           x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False,
                           silent=True)  # fmt: skip
    mode: Any = os.environ.get("WANDB_MODE") or "offline"
    run = wandb.init(project=PROJECT, name=name, dir=str(out), config=dict(settings), mode=mode, settings=quiet,
                     reinit="create_new")  # fmt: skip
    # Rows of folds come after those of the last training, with numbers of epochs that begin again.
    run.define_metric("*", step_metric="epoch")

    def write_file(path: Path) -> None:
        if path.suffix == ".png":
            run.log({path.stem: wandb.Image(str(path))})
        else:
            run.log({path.stem: wandb.Html(path.read_text(encoding="utf-8"), inject=False)})

    return Tracker(f"{out / 'wandb'} ({mode})", lambda values, step: run.log({**values, "epoch": step}),
                   lambda values: run.summary.update(dict(values)),
                   lambda key, text: run.summary.update({key: text}), write_file,
                   lambda finished: run.finish(exit_code=0 if finished else 1))  # fmt: skip


OPENERS: dict[str, Callable[[Path, str, Settings], Tracker]] = {
    "tensorboard": open_tensorboard,
    "mlflow": open_mlflow,
    "trackio": open_trackio,
    "wandb": open_wandb,
}


def _mlflow_name(name: str) -> str:
    """A name as MLflow takes it: letters, digits and _-. /: alone."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)
