"""Predict examples with an adapter, and evaluate the predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import cut_windows, has_windows, join_windows
from graftwork.core.evaluation.evaluation import EvaluatedPart, Evaluation, Repeat, evaluate_predictions
from graftwork.core.inference.adapter import Adapter
from graftwork.core.inference.outputs import graft_outputs
from graftwork.core.inference.segmentation import mask_scores
from graftwork.core.types import Segmenter


@undisturbed()
def predict_examples(
    adapter: Adapter, examples: Examples, *, batch_size: int = 16, device: str = "auto"
) -> NDArray[np.float64]:
    """Predict with an adapter: one row for every example, in their order, in double precision.

    Probabilities (rows, classes) or (rows, labels), numbers (rows,) in the target's unit, or of masks the metrics of
    the predicted ones, (rows, classes without the background, metrics).

    batch_size: examples that the network is given at once. device: "auto", "cpu", "cuda", "cuda:1", … Raises
    SettingsError for a device that is not there, TrainingError where outputs are not finite.
    """
    if adapter.task.output == "maps":
        return predict_masks(adapter, examples.manifest, batch_size=batch_size, device=device)
    recipe = adapter.prediction_recipe(device, batch_size)
    runtime = start_runtime(recipe)
    runtime.place(adapter.graft)
    outputs = graft_outputs(adapter.graft, examples, runtime, recipe, "predicting")
    runtime.release(adapter.graft)
    return adapter.task.predictions(outputs)


@undisturbed()
def predict_masks(
    adapter: Adapter, manifest: Manifest, segmenter: Segmenter | None = None, *, batch_size: int = 16,
    device: str = "auto",
) -> NDArray[np.float64]:  # fmt: skip
    """Measures of the predicted mask of every row, (rows, classes without the background, measures). segmenter: in
    place of the backbone's."""
    runtime = start_runtime(adapter.prediction_recipe(device, batch_size))
    runtime.place(adapter.graft)
    scores = mask_scores(adapter.graft, manifest, runtime, batch_size, segmenter)
    runtime.release(adapter.graft)
    return scores


def evaluate(adapter: Adapter, data: Manifest | Examples, *, batch_size: int = 16, device: str = "auto") -> Evaluation:
    """Predict with an adapter and evaluate the predictions: every metric with its interval, resampled by group where
    the rows have groups.

    data: rows with their targets, or the same as read; of a manifest whose backbone cuts windows, windows are cut.
    batch_size, device: as of `predict_examples`. Raises UnreadableError that lists the files that cannot be read, and
    what `predict_examples` raises.
    """
    if isinstance(data, Manifest):
        data = cut_windows(adapter.backbone.domain, data, adapter.backbone.contract)
        data = read_examples(data, adapter.backbone.contract)
    part = evaluate_part("test", data.manifest, predict_examples(adapter, data, batch_size=batch_size, device=device))
    return with_predictions(part, adapter.decisions.recalibration.apply(part.predictions)).evaluation


def with_predictions(
    part: EvaluatedPart, predictions: NDArray[np.float64], repeats: Sequence[Repeat] = ()
) -> EvaluatedPart:
    """The part with other predictions of its rows, evaluated; itself where they are the same."""
    if np.array_equal(part.predictions, predictions):
        return part
    return evaluate_part(part.part, part.manifest, predictions, part.folds, repeats)


def evaluate_part(
    part: str, manifest: Manifest, predictions: NDArray[np.float64], folds: NDArray[np.int64] | None = None,
    repeats: Sequence[Repeat] = (),
) -> EvaluatedPart:  # fmt: skip
    """Predictions with their evaluation, with intervals by group where the manifest has groups; windows of a recording
    count as one.

    part: what the rows are called, as "test". predictions: (rows, …), as `predict_examples` gives them. folds: (rows,),
    the fold that predicted every row, where several models did. repeats: predictions of the same
    rows by folds that were drawn anew.
    """
    if has_windows(manifest):
        cut = manifest
        manifest, predictions, folds = join_windows(cut, predictions, folds)
        joined = [join_windows(cut, one.predictions, one.folds)[1:] for one in repeats]
        repeats = [Repeat(own, number) for own, number in joined if number is not None]
    evaluation = evaluate_predictions(manifest.task, manifest.classes, manifest.values, predictions, manifest.groups,
                                      folds, repeats)  # fmt: skip
    return EvaluatedPart(part, manifest, predictions, evaluation, folds, tuple(repeats))
