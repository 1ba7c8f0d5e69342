"""`evaluate`: the adapter of a run on a manifest, and what that shares with the rows it has learnt from."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.data.examples import Examples, Unreadable, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import cut_windows
from graftwork.core.errors import SettingsError
from graftwork.core.evaluation.decisions import DecisionReport, apply_decisions, evaluate_decisions
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.evaluation.subgroups import Subgroups, find_all_subgroups, subgroups_to_json
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.predict import evaluate_part, predict_examples, with_predictions
from graftwork.core.inference.segmentation import draw_worst_and_best, mask_scores
from graftwork.core.inference.together import GraftGroup, predict_together
from graftwork.core.recipe import Recipe
from graftwork.core.runs.audit import write_audit
from graftwork.core.runs.corruptions import Corrupted, corrupted_to_json, evaluate_corruptions
from graftwork.core.runs.learnt_rows import Overlap, find_overlap
from graftwork.core.runs.provenance import provenance, write_costs
from graftwork.core.runs.report.document import report_on_finished
from graftwork.core.runs.run_folder import FINISHED, mark, write_evaluated

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RunEvaluation:
    """part: the rows with their predictions and evaluation. left_out: examples that could not be read. overlap: what
    the rows share with those that the run has learnt from; None where its folder does not say which. models: whose mean
    the predictions are."""

    part: EvaluatedPart
    left_out: tuple[Unreadable, ...]
    overlap: Overlap | None
    subgroups: tuple[Subgroups, ...] = ()
    decisions: DecisionReport | None = None
    corruptions: tuple[Corrupted, ...] = ()
    models: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {self.part.part: self.part.evaluation.to_json()} | self.notes()

    def notes(self) -> dict[str, Any]:
        """What has to be known of the numbers."""
        return {"left_out": [dataclasses.asdict(one) for one in self.left_out],
                "overlap": None if self.overlap is None else self.overlap.to_json(),
                **subgroups_to_json(self.subgroups),
                **({} if self.decisions is None else self.decisions.to_json()),
                **({} if self.models == 1 else {"models": self.models}),
                **corrupted_to_json(self.corruptions)}  # fmt: skip


@undisturbed()
def evaluate_run(
    run: str | Path, adapter: Adapter, manifest: Manifest, *, part: str = "test", skip_unreadable: bool = False,
    by: Sequence[str] = (), corruptions: bool = False, out: str | Path | None = None, batch_size: int = 16,
    device: str = "auto", command: Sequence[str] | None = None, ensemble: Sequence[GraftGroup] = (),
) -> RunEvaluation:  # fmt: skip
    """Evaluates the adapter of the run in that folder on the manifest's rows.

    part: what they are called in the result. by: columns that the manifest was read with, of whose values each is
    evaluated. corruptions: evaluate the same rows made worse in the domain's ways, too. out: folder for metrics,
    predictions, plots and the report; by default nothing is written. command: words of the command line that asks for
    this, for the record. ensemble: models whose mean is evaluated in place of the adapter, as `open_groups` opens those
    of `kept_folds`; its operating point and recalibration are of single models, and not applied.

    Raises SettingsError for corruptions of an ensemble, UnreadableError that lists the files that cannot be read,
    unless they are skipped; ReportError, when everything else has been written, where the report cannot be.
    """
    started = time.monotonic()
    if ensemble and corruptions:
        raise SettingsError("--ensemble: --corruptions are of a single model; leave one of them out")
    rows = cut_windows(adapter.backbone.domain, manifest, adapter.backbone.contract)
    examples = read_examples(rows, adapter.backbone.contract, unreadable="skip" if skip_unreadable else "stop")
    overlap = find_overlap(run, examples.manifest)
    if overlap is None:
        log.info("%s: does not say which rows it has learnt from: whether these are new to it is not known", run)
    elif overlap.caution is not None:
        log.warning("%s", overlap.caution)
    if ensemble:
        found = _mean_predictions(ensemble, examples, adapter.prediction_recipe(device, batch_size))
    else:
        found = predict_examples(adapter, examples, batch_size=batch_size, device=device)
    evaluated, report = evaluate_part(part, examples.manifest, found), None
    if ensemble and adapter.record.get("decisions") is not None:
        log.warning("%s: its operating point and recalibration were chosen for single models: the ensemble is "
                    "evaluated without", run)  # fmt: skip
    elif adapter.record.get("decisions") is not None:
        decisions = adapter.decisions
        applied = apply_decisions(decisions, evaluated.predictions)
        positive = 0 if decisions.point is None else decisions.point.positive
        report = evaluate_decisions(evaluated, applied, decisions, positive)
        evaluated = with_predictions(evaluated, applied.probabilities)
    worse: tuple[Corrupted, ...] = ()
    if corruptions:
        worse = evaluate_corruptions(adapter, examples, evaluated, batch_size=batch_size, device=device)
    subgroups = find_all_subgroups(evaluated, by)
    models = sum(len(group.grafts) for group in ensemble) or 1
    result = RunEvaluation(evaluated, examples.left_out, overlap, subgroups, report, worse, models)
    if out is not None:
        _write(Path(out), result, adapter, device)
        record = evaluation_record(run, adapter, result)
        mark(Path(out), record | provenance("evaluate", command, record["examples"]), FINISHED)
        write_costs(Path(out), started)
        report_on_finished(Path(out), adapter)
    return result


def _mean_predictions(groups: Sequence[GraftGroup], examples: Examples, recipe: Recipe) -> NDArray[np.float64]:
    """The mean of all grafts' predictions, (rows, …); of masks the measures of the mean of their probabilities."""
    grafts = [graft for group in groups for graft in group.grafts]
    if examples.manifest.task.output == "maps":
        first, *others = grafts
        return mask_scores(first, examples.manifest, groups[0].runtime, recipe.rows_together, others=others)
    every = [found for group in groups for found in predict_together(group, examples, recipe)]
    mean: NDArray[np.float64] = np.stack(every).mean(axis=0)
    return mean


def evaluation_record(run: str | Path, adapter: Adapter, result: RunEvaluation) -> dict[str, Any]:
    """What was asked for: the run, what is known of its adapter, and the rows."""
    manifest = result.part.manifest
    return {"run": str(run), "manifest": manifest.source, "rows": len(manifest), "examples": manifest.fingerprints(),
            **({} if result.models == 1 else {"models": result.models}),
            "adapter": {name: adapter.record[name] for name in KEPT}}  # fmt: skip


KEPT = ("backbone", "input", "strategy", "task", "target", "classes", "parameters", "training")
"""Fields of an adapter's record that an evaluation of it keeps."""


def _write(out: Path, result: RunEvaluation, adapter: Adapter, device: str) -> None:
    part = result.part
    write_evaluated(out, [part], result.notes())
    caution = None if result.overlap is None else result.overlap.caution
    write_audit(out, {part.part: part.manifest}, split="rows for evaluation alone", left_out=result.left_out,
                cautions=() if caution is None else (caution,))  # fmt: skip
    if part.manifest.task.output == "maps" and result.models == 1:  # they are drawn as one model predicts them
        draw_worst_and_best(adapter.graft, part, out, adapter.prediction_recipe(device))
