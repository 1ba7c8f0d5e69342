"""What an adapter says of examples, and what that is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.data.windows import has_windows, join_windows
from graftwork.core.evaluation.evaluation import EvaluatedPart, Evaluation, evaluate_predictions
from graftwork.core.inference.outputs import graft_outputs
from graftwork.core.inference.segmentation import mask_scores
from graftwork.core.model.adapter import Adapter


@undisturbed()
def predict(adapter: Adapter, examples: Examples, *, batch_size: int = 16, device: str = "auto") -> NDArray[np.float64]:
    """Probabilities (rows, classes) or (rows, labels), or numbers (rows,), for every example in order; for masks what
    the predicted ones are worth, (rows, classes without the background, measures)."""
    recipe = adapter.prediction_recipe(device, batch_size)
    runtime = start_runtime(recipe)
    runtime.place(adapter.graft)
    if adapter.task.output == "maps":
        scores = mask_scores(adapter, examples.manifest, runtime, batch_size)
        runtime.release(adapter.graft)
        return scores
    outputs = graft_outputs(adapter.graft, examples, runtime, recipe, "predicting")
    runtime.release(adapter.graft)
    return adapter.task.predictions(outputs)


def evaluate(adapter: Adapter, data: Manifest | Examples, *, batch_size: int = 16, device: str = "auto") -> Evaluation:
    """What the adapter is worth on these rows, every number with its interval."""
    examples = data if isinstance(data, Examples) else read_examples(data, adapter.backbone.contract)
    predictions = predict(adapter, examples, batch_size=batch_size, device=device)
    return evaluate_part("test", examples.manifest, predictions).evaluation


def evaluate_part(
    part: str, manifest: Manifest, predictions: NDArray[np.float64], folds: NDArray[np.int64] | None = None
) -> EvaluatedPart:
    """Predictions with their evaluation, with intervals by group where the manifest has groups; windows of a recording
    count as one."""
    if has_windows(manifest):
        manifest, predictions, folds = join_windows(manifest, predictions, folds)
    evaluation = evaluate_predictions(manifest.task, manifest.classes, manifest.values, predictions, manifest.groups)
    return EvaluatedPart(part, manifest, predictions, evaluation, folds)
