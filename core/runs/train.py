"""`train`: a strategy on a backbone, learnt from a manifest, evaluated, and all that in a folder."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.core.activation_cache.eviction import parse_size
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.memory import peak_device_memory_mb, peak_memory_mb
from graftwork.core.compute.runtime import Runtime, start_runtime
from graftwork.core.data.examples import Unreadable
from graftwork.core.data.folds import Folds, asked_folds
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.patches import with_batch_size
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.decisions import DecisionOptions, DecisionReport, Recalibrate, check_decisions
from graftwork.core.evaluation.evaluation import EvaluatedPart, Evaluation
from graftwork.core.evaluation.leakage import Leakage
from graftwork.core.evaluation.subgroups import Subgroups, find_all_subgroups, subgroups_to_json
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.adapter_record import FOLDS_KEPT
from graftwork.core.inference.segmentation import draw_worst_and_best
from graftwork.core.model.backbone import Backbone, suited
from graftwork.core.model.strategies import Strategy, parse_strategy
from graftwork.core.recipe import EXECUTION_FIELDS, Recipe
from graftwork.core.runs.audit import write_audit
from graftwork.core.runs.check import check
from graftwork.core.runs.cross_validation import cross_validate_setup, with_epochs_of_folds
from graftwork.core.runs.decisions import decide
from graftwork.core.runs.hold_out import hold_out
from graftwork.core.runs.learnt_rows import DIGEST, write_learnt_rows
from graftwork.core.runs.provenance import provenance, write_costs
from graftwork.core.runs.report.document import REPORT, report_on_finished
from graftwork.core.runs.rows import RowOptions, Rows, read_rows
from graftwork.core.runs.run_folder import FINISHED, check_same_run, goes_on, mark, write_evaluated, writing_run
from graftwork.core.runs.setup import RandomSplit, Setup, check_setup, run_setup
from graftwork.core.runs.tracking import PLOTS, LogOptions, LogTo, check_tracker, tracking
from graftwork.core.runs.vector_rows import recipe_for_vectors
from graftwork.core.training.finetuning import Run
from graftwork.core.training.history import not_finished
from graftwork.core.types import NearDuplicatesMode

log = logging.getLogger(__name__)


SINGLE_MODELS = ("the models of the folds are kept: the out-of-fold metrics are of single models, and of predictions "
                 "of them together (predict --ensemble) there are none")  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """How rows become parts. folds: evaluate by cross-validation with so many, then train on everything; leave_out: the
    same with a fold for every value of that column; without either, evaluate on a part that training never saw.
    repeats: how often folds are drawn anew. keep_folds: the models of the (first) folds are kept, for predictions of
    them together. val_fraction, test_fraction: shares of the rows, where no split column names them. random_split: with
    groups, evaluate a second time with rows of a group on both sides; "auto" where it costs little.
    """

    folds: int | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    random_split: RandomSplit = "auto"
    leave_out: str | None = None
    repeats: int = 1
    keep_folds: bool = False

    def __post_init__(self) -> None:
        drawn = asked_folds(self.folds, self.leave_out, self.repeats)
        if self.keep_folds and drawn is None:
            raise SettingsError("--keep-folds: there are no folds; give --folds or --leave-out")

    @property
    def drawn(self) -> Folds | None:
        """The folds; None where a part is held out."""
        return asked_folds(self.folds, self.leave_out, self.repeats)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """parts: the evaluated parts with their predictions, the test last. run: the training whose adapter is kept.
    leakage: what groups have to do with the score, where that was asked for. left_out: examples that could not be
    read. cautions: sentences that the metrics must not be read without. subgroups: evaluations of the last part by the
    values of the columns that were asked for. decisions: what they are worth; None where nothing is decided."""

    parts: tuple[EvaluatedPart, ...]
    run: Run
    leakage: Leakage | None = None
    left_out: tuple[Unreadable, ...] = ()
    cautions: tuple[str, ...] = ()
    subgroups: tuple[Subgroups, ...] = ()
    decisions: DecisionReport | None = None

    @property
    def adapter(self) -> Adapter:
        return self.run.adapter

    @property
    def evaluation(self) -> Evaluation:
        """Of the test part, or of the validation part where there is no other."""
        return self.parts[-1].evaluation

    def __repr__(self) -> str:
        return f"TrainResult({self.run!r})\n{self.parts[-1].part}: {self.evaluation}"


@undisturbed()
def train(
    backbone: Backbone, manifest: Manifest, *, strategy: str | Strategy = "probe", recipe: Recipe | None = None,
    folds: int | None = None, leave_out: str | None = None, repeats: int = 1, keep_folds: bool = False,
    val_fraction: float = 0.2, test_fraction: float = 0.2, random_split: RandomSplit = "auto",
    near_duplicates: NearDuplicatesMode = "together", allow_leaks: bool = False,
    skip_unreadable: bool = False, by: Sequence[str] = (), sensitivity: float | None = None,
    specificity: float | None = None, youden: bool = False, positive: str | None = None,
    recalibrate: Recalibrate = "off", vectors: str | Path | None = None, out: str | Path | None = None,
    resume: bool = False, restart: bool = False, log_to: LogTo | None = None, log_names: bool = False,
    command: Sequence[str] | None = None,
) -> TrainResult:  # fmt: skip
    """Adapts the backbone to the manifest's rows and evaluates the result, with intervals.

    Without `folds` the manifest's own split, or one that is drawn, names the parts; groups stay together. folds:
    evaluate by cross-validation with so many, then train on everything; a split column is ignored. leave_out: the same
    with a fold for every value of a column that the manifest was read with. repeats: how often folds are drawn anew;
    metrics are means over them, and their intervals include how much they differ. keep_folds: keep the model of every
    fold (of the first repeat) in `folds/1`, …, for `predict(..., ensemble=True)`. val_fraction, test_fraction: shares
    of the rows that choose the best epoch, and that are kept for the test. random_split: with groups, evaluate a second
    time with rows of a group on both sides; "auto" where that costs little. near_duplicates, allow_leaks,
    skip_unreadable: as of `RowOptions`. by: columns that the manifest was read with, of whose values each is evaluated.
    sensitivity, specificity, youden, positive, recalibrate: as of `DecisionOptions`. vectors: a
    folder that `embed` wrote, whose vectors stand for the files: none is decoded. out: folder for adapter, metrics,
    predictions, plots and the report; by default nothing is written. An unfinished run of the same settings that is
    there goes on. resume: there must be one. restart: it is removed, and begun anew. log_to: a tracker that gets
    settings, history, metrics with their intervals and plots as well, on this machine; log_names: it gets names of
    files and the report, too. command: words of the command line that asks for this, for the record.

    Nothing is written before everything has been read and checked. Raises SettingsError for what cannot work,
    MissingPackageError for a tracker that is not installed, OutputError for a folder that holds something else,
    UnreadableError that lists the files that cannot be read, and what `finetune` raises; ReportError,
    when everything else has been written, where the report cannot be.

    >>> backbone = imaging.load_backbone("tiny:cnn2d", image_size=32)
    >>> result = core.train(backbone, imaging.read_manifest("scans.csv"), folds=3)
    >>> print(result.evaluation.metrics["auroc"])  # doctest: +ELLIPSIS
    1.000 [...]
    """
    place, parts = (
        None if out is None else Path(out),
        Parts(folds, val_fraction, test_fraction, random_split, leave_out, repeats, keep_folds),
    )
    recipe, options = recipe or Recipe(), DecisionOptions(sensitivity, specificity, youden, positive, recalibrate)
    logged = LogOptions(log_to, log_names)
    if keep_folds and place is None:
        raise SettingsError("--keep-folds: needs the folder of a run (out), found none")
    check_tracker(logged, place)
    resume = place is not None and goes_on(place, resume=resume, restart=restart)
    runtime = start_run(recipe)
    backbone, manifest, recipe = prepared(backbone, manifest, recipe, parts)
    check_decisions(options, manifest)
    asked = parse_strategy(strategy) if isinstance(strategy, str) else strategy
    if vectors is not None:
        recipe = recipe_for_vectors(backbone, manifest, asked, recipe)
    row_options = RowOptions(skip_unreadable, near_duplicates, allow_leaks, leave_out, vectors)
    rows = read_rows(backbone, manifest, runtime, row_options)
    setup = Setup(backbone, asked, recipe, place, resume, restart, random_split, keep_folds=keep_folds)
    with tracking(logged, "" if place is None else place.resolve().name) as tracked:
        result = train_on(dataclasses.replace(setup, tracked=tracked), rows, parts, by, options, command)
        if place is not None and runtime.rank == 0:
            report_on_finished(place, result.adapter)
            tracked.files(place, [REPORT])
    return result


def start_run(recipe: Recipe) -> Runtime:
    """The runtime of a recipe. Raises SettingsError, before anything is read, for a device that is not there and a
    size that is none."""
    if recipe.cache_limit is not None:
        parse_size(recipe.cache_limit)
    return start_runtime(recipe)


def prepared(backbone: Backbone, manifest: Manifest, recipe: Recipe, parts: Parts) -> tuple[Backbone, Manifest, Recipe]:
    """All three as the run takes them: the backbone as the target needs it, the manifest without its split where folds
    are asked for, the recipe with a batch size."""
    backbone = suited(backbone, manifest.task)
    manifest = manifest if parts.drawn is None else dataclasses.replace(manifest, parts=None)
    return backbone, manifest, with_batch_size(recipe, manifest.task, backbone.contract)


def train_on(
    setup: Setup, rows: Rows, parts: Parts, by: Sequence[str] = (), options: DecisionOptions | None = None,
    command: Sequence[str] | None = None, known: tuple[str, ...] = (),
) -> TrainResult:  # fmt: skip
    """Trains and evaluates on rows that have been read, and writes into the setup's folder, if it has one, all but the
    report. by, command: as of `train`. options: of its decisions. known: cautions that its metrics must not be read
    without, beside those that are found."""
    started = time.monotonic()
    examples, out = rows.examples, setup.folder
    for column in by:
        examples.manifest.column(column)
    record = run_settings_record(setup, rows, parts)
    if options is not None and options.asks:
        record["decisions"] = dataclasses.asdict(options)
    if setup.resume and out is not None:
        check_same_run(out, record)
    drawn = parts.drawn
    check_setup(setup, examples.manifest, drawn, parts.val_fraction, parts.test_fraction)
    runtime = start_runtime(setup.recipe)
    runtime.wait()  # every process has looked at the folder before the first one writes into it
    writes = out is not None and runtime.rank == 0
    record |= provenance("train", command, record["examples"])
    with writing_run(out, record, setup.resume, setup.restart) if out is not None and writes else nullcontext():
        learnt_rows = None
        if setup.tracked is not None and out is not None:
            setup.tracked.begin(out, record)
        if drawn is not None:
            found = cross_validate_setup(setup, examples, drawn, parts.val_fraction)
            final = dataclasses.replace(setup, recipe=with_epochs_of_folds(setup.recipe, found.best_epochs))
            run = run_setup(final, found.ready or examples, None)
            cautions = (
                known + rows.cautions + found.cautions + not_finished(found.still_improving, len(found.best_epochs))
            )
            if parts.keep_folds:
                run.adapter.record[FOLDS_KEPT] = len(found.part.evaluation.folds)
                cautions += (SINGLE_MODELS,)
            result = TrainResult((found.part,), run, found.leakage, examples.left_out, cautions)
        else:
            held_out = hold_out(setup, examples, parts.val_fraction, parts.test_fraction)
            learnt_rows = held_out.learnt
            cautions = known + rows.cautions + held_out.cautions + not_finished(held_out.run.still_improving, 1)
            run = held_out.run
            result = TrainResult(held_out.parts, run, held_out.leakage, examples.left_out, cautions)
        evaluated, report = decide(setup, options or DecisionOptions(), result.parts, learnt_rows)
        cautions += _of_strategy(setup, run) + _of_decisions(options, report)
        if cautions:
            result.adapter.record["cautions"] = list(cautions)
        if report is not None:
            result.adapter.record["decisions"] = report.decisions.to_json()
        result = dataclasses.replace(result, parts=evaluated, decisions=report, cautions=cautions,
                                     subgroups=find_all_subgroups(evaluated[-1], by))  # fmt: skip
        if out is not None and writes:
            learnt = _write(out, setup.recipe, result, rows, parts)
            write_costs(out, started)
            proof = dataclasses.asdict(result.run.proof)
            mark(out, record | {"frozen": proof, DIGEST: learnt}, FINISHED)
            if setup.tracked is not None:
                setup.tracked.histories(result.run.history, out)
                setup.tracked.metrics(result.parts, result.cautions)
                setup.tracked.files(out, PLOTS)
        runtime.wait()
    device_mb = peak_device_memory_mb()
    log.info("%.1f s, peak memory %.0f MB%s", time.monotonic() - started, peak_memory_mb(),
             "" if device_mb is None else f", on the GPU {device_mb:.0f} MB")  # fmt: skip
    return result


def _of_strategy(setup: Setup, run: Run) -> tuple[str, ...]:
    """A caution where a strategy has learnt more than its name says."""
    if str(setup.strategy) != "partial:1" or run.proof.tensors:
        return ()
    return ("partial:1 is full here: all weights of the backbone are in one stage, and nothing was frozen",)


def _of_decisions(options: DecisionOptions | None, report: DecisionReport | None) -> tuple[str, ...]:
    """A caution where an operating point or a recalibration was asked for, and nothing was held out to fit it on."""
    if options is None or not options.asks or report is not None:
        return ()
    return ("decisions were asked for and are not there: no rows were held out that they could be fitted on",)


def run_settings_record(setup: Setup, rows: Rows, parts: Parts) -> dict[str, Any]:
    """What was asked for, without where it is written or how long it took: equal commands give equal bytes."""
    backbone, manifest = setup.backbone, rows.examples.manifest
    asked_parts = dataclasses.asdict(parts)
    if not parts.keep_folds:
        del asked_parts["keep_folds"]  # runs that earlier versions began do not have it
    return {
        "manifest": manifest.source,
        "rows": len(manifest),
        "examples": manifest.fingerprints(),
        "backbone": {"id": backbone.id, "digest": backbone.digest(), "weights": backbone.weights},
        "strategy": str(setup.strategy),
        "data": {"target": manifest.target, "task": manifest.task.name, **asked_parts},
        "input": backbone.contract.to_json(),
        "recipe": {name: value for name, value in dataclasses.asdict(setup.recipe).items()
                   if name not in EXECUTION_FIELDS},
    }  # fmt: skip


def _write(out: Path, recipe: Recipe, result: TrainResult, rows: Rows, parts: Parts) -> str:
    """Writes everything that a run's folder holds but its record; returns the digest of the list of learnt rows."""
    examples, run, folded = rows.examples, result.run, parts.drawn is not None
    notes = rows.notes()
    if result.cautions:
        notes["cautions"] = list(result.cautions)
    if result.leakage is not None:
        notes |= result.leakage.to_json()
    notes |= subgroups_to_json(result.subgroups)
    if result.decisions is not None:
        notes |= result.decisions.to_json()
    write_evaluated(out, result.parts, notes)
    if examples.manifest.task.output == "maps" and not folded:
        draw_worst_and_best(run.adapter.graft, result.parts[-1], out, run.adapter.prediction_recipe(recipe.device))
    own = {"all": run.rows} if folded else {"train": run.rows} | ({} if run.val is None else {"val": run.val})
    own |= {} if folded else {part.part: part.manifest for part in result.parts}
    write_audit(out, own, split=_split(examples.manifest, parts), left_out=examples.left_out, alike=rows.alike,
                conflicting=check(examples.manifest).conflicting, cautions=result.cautions)  # fmt: skip
    summary = rows.training_summary(run.rows)
    if summary is not None:
        run.adapter.record["seen"] = summary
    run.adapter.save(out, result.evaluation)
    return write_learnt_rows(out, run.rows, run.val)


def _split(manifest: Manifest, parts: Parts) -> str:
    """In words, how rows came into parts."""
    if parts.leave_out is not None:
        return f"a fold for every value of {parts.leave_out!r}"
    if parts.folds is not None:
        return f"{parts.folds} folds, drawn" + (f" {parts.repeats} times" if parts.repeats > 1 else "")
    return "drawn" if manifest.parts is None else "the split column"
