"""The folder of a run: whether it may be written to, and everything that is written into it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.csv_cells import escaped
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.files import OURS, atomic_write, locked, refuse_special, remove_leftovers, write_json
from graftwork.core.recipe import EXECUTION_FIELDS
from graftwork.core.versions import advice_on_schema

if TYPE_CHECKING:
    import pandas as pd

RUN = "run.json"
SCHEMA = 1
"""Of the record; earlier ones have none, and are read alike."""

FINISHED, UNFINISHED = "finished", "unfinished"

STRATEGIES = "strategies"
"""The field by which the record of a comparison is told from that of a run."""

WRITTEN = (
    "checkpoint*.safetensors", "folds", "folds-[0-9]*", "calibration", "random_split", "round[0-9]*", "history.csv",
    "loss.png", "metrics.json", "predictions.csv", "evaluation.png", "cases.png", "data.json", "costs.json",
    "learnt_rows.csv", "tensorboard", "wandb", "adapter.json", "adapter.safetensors", "report.html", "README.md",
    "config.json", "model.safetensors", "preprocessor_config.json",
)  # fmt: skip
"""What runs of all verbs write, beside their record."""

INNER = ("recipe", "data", "examples")
"""Fields of a run's record that hold fields of their own."""


def claim_folder(folder: Path) -> None:
    """Checks that something new may be written here; makes nothing. Raises OutputError for a run's folder or a file."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: --out must be a folder, this is a file")
    state = run_state(folder)
    if state == FINISHED:
        raise OutputError(f"{folder}: holds a finished run; name another --out, or delete it first")
    if state == UNFINISHED:
        raise OutputError(f"{folder}: holds an unfinished run; name another --out, or delete it first")
    if folder.exists() and any(not path.name.startswith(OURS) for path in folder.iterdir()):
        raise OutputError(f"{folder}: is not empty; name another --out")


def goes_on(folder: Path, *, resume: bool, restart: bool) -> bool:
    """Whether a run that is asked for goes on with an unfinished one here; makes nothing.

    resume: there must be one. restart: it is begun anew. Raises OutputError as `claim_folder` does, but for an
    unfinished run.
    """
    if resume and restart:
        raise SettingsError("--resume goes on with an unfinished run, --restart begins it anew: give one of them")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: --out must be a folder, this is a file")
    record = run_record(folder) or {}
    if STRATEGIES in record:
        raise OutputError(f"{folder}: holds a comparison; name another --out")
    if record.get("state") == UNFINISHED:
        return not restart
    if resume:
        found = "a finished run" if record.get("state") == FINISHED else "no run"
        raise OutputError(f"{folder}: --resume goes on with an unfinished run, found {found}")
    claim_folder(folder)
    return False


def check_same_run(folder: Path, record: dict[str, Any]) -> None:
    """Raises OutputError that names what differs where the folder's unfinished run was asked for otherwise: its
    finished folds would be taken for folds of this run. Device and workers may change."""
    begun, asked = (_settings(one) for one in (run_record(folder) or {}, json.loads(json.dumps(record))))
    if record.get("examples") and "examples" not in (run_record(folder) or {}):
        raise OutputError(f"{folder}: the interrupted run was begun by an earlier version, which did not note what its "
                          "files held; name another --out, or begin anew with --restart")  # fmt: skip
    changed = sorted(name for name in asked if begun.get(name) != asked[name])
    if changed:
        raise OutputError(f"{folder}: the interrupted run had another {', '.join(changed)}; ask for the same, "
                          "name another --out, or begin anew with --restart")  # fmt: skip


@contextmanager
def writing_run(folder: Path, record: dict[str, Any], resume: bool, restart: bool = False) -> Iterator[None]:
    """While the block runs, the folder is this run's, and says that it is unfinished.

    resume: it goes on with the unfinished run here; restart: that one is removed. What a killed run has left
    half-written is removed. Raises OutputError where another process is writing there, or has done so since it was
    looked at.
    """
    with locked(folder):
        if resume != goes_on(folder, resume=resume, restart=restart):
            raise OutputError(f"{folder}: holds an unfinished run that has just been begun; give the command again")
        remove_leftovers(folder)
        if restart and run_state(folder) == UNFINISHED:
            remove_run(folder)
        mark(folder, record, UNFINISHED)
        yield


def remove_run(folder: Path) -> None:
    """Removes what runs write into their folder, and nothing else; the record last, lest a half-removed run be taken
    for none."""
    for pattern in WRITTEN:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / RUN).unlink(missing_ok=True)


def mark(folder: Path, record: dict[str, Any], state: str) -> None:
    """Writes the run's record with its state."""
    write_json(folder / RUN, {**record, "schema": SCHEMA, "state": state})


def write_evaluated(folder: Path, parts: Sequence[EvaluatedPart], extra: dict[str, Any]) -> None:
    """Writes `metrics.json`, `predictions.csv` and the plots of the last part given (the test's)."""
    write_json(folder / "metrics.json", {part.part: part.evaluation.to_json() for part in parts} | extra)
    write_predictions(folder / "predictions.csv", parts)
    if parts:
        figure = parts[-1].plot()
        with atomic_write(folder / "evaluation.png") as temporary:
            # Without metadata the same numbers are the same bytes.
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def write_predictions(path: Path, parts: Sequence[EvaluatedPart]) -> None:
    """Writes `prediction_table` as CSV."""
    if parts:
        with atomic_write(path) as temporary:
            escaped(prediction_table(parts)).to_csv(temporary, index=False, float_format="%.9g")


def prediction_table(parts: Sequence[EvaluatedPart]) -> pd.DataFrame:
    """One row for every evaluated example, and of repeated folds one for every repeat: path, row, part, repeat, fold,
    group, target, prediction and probabilities."""
    import pandas as pd

    tables = []
    for part, repeat in ((one, repeat) for one in parts for repeat in range(len(one.repeats) + 1)):
        manifest = part.manifest
        again = part.repeats[repeat - 1] if repeat else part
        table = pd.DataFrame(
            {"path": [str(example) for example in manifest.inputs], "row": list(manifest.rows or range(len(manifest)))}
        )
        table["part"] = part.part
        if part.repeats:
            table["repeat"] = repeat + 1
        if again.folds is not None:
            table["fold"] = again.folds + 1
        if manifest.groups is not None:
            table["group"] = list(manifest.groups)
        columns = manifest.task.target_columns(manifest.targets, manifest.classes)
        columns |= manifest.task.prediction_columns(again.predictions, manifest.classes)
        tables.append(table.assign(**columns))
    return pd.concat(tables, ignore_index=True)


def strategy_folder(out: Path, strategy: str) -> Path:
    """Where a comparison has the run of a strategy; a colon is not allowed in file names everywhere."""
    return out / strategy.replace(":", "-")


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    flat = dict(record)
    for name in INNER:
        flat |= record.get(name, {})
    return {name: value for name, value in flat.items() if name not in ("schema", "state", *INNER, *EXECUTION_FIELDS)}


def run_state(folder: Path) -> str | None:
    """`FINISHED` or `UNFINISHED`; None where there is no run."""
    record = run_record(folder)
    return None if record is None else str(record.get("state"))


def run_record(folder: Path) -> dict[str, Any] | None:
    """What `run.json` says, None where there is none. Raises OutputError if it is broken."""
    try:
        refuse_special(folder / RUN)
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("expected an object")
        schema = record.get("schema", SCHEMA)
        if schema != SCHEMA:
            advice = advice_on_schema(schema, SCHEMA, "name another --out")
            raise OutputError(f"{folder / RUN}: expected schema {SCHEMA}, found {schema!r}: {advice}")
        wrong = [name for name in INNER if not isinstance(record.get(name, {}), dict)]
        if wrong:
            raise ValueError(f"expected an object in {', '.join(wrong)}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{folder / RUN}: cannot be read ({error}); name another --out") from error
    return record
