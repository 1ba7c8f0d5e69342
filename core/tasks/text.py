"""Transcripts as targets: characters, learnt by CTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.tasks.cells import single_column
from graftwork.core.tasks.labels import class_tensor
from graftwork.core.tasks.plots import new_figure
from graftwork.core.tasks.task import Drawn, Floats, TargetCells, Task, Values
from graftwork.core.tasks.transcripts import (
    best_path,
    decode,
    encode,
    error_counts,
    normalise_text,
    spelt,
    summed_ctc,
    vocabulary,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from graftwork.core.types import Features


def _read(
    rows: TargetCells, names: Sequence[str], columns: list[list[str]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Values]:
    single_column(rows, names, "transcripts")
    texts = [normalise_text(cell) for cell in columns[0]]
    known = vocabulary(texts) if classes is None else tuple(classes)
    texts = [spelt(text, known) for text in texts]
    for index, text in enumerate(texts):
        strange = sorted(set(text) - set(known))
        if strange:
            rows.note(f"characters outside the vocabulary: {' '.join(map(repr, strange))}", index, names[0])
    return known, encode(texts, known)


def _texts(values: Values, classes: Sequence[str]) -> Values:
    return np.array(decode(values, classes), dtype=object)


def _summary(values: Values, classes: Sequence[str]) -> list[str]:
    words = [text.split() for text in decode(values, classes)]
    return [f"{sum(map(len, words))} words, {len({word for text in words for word in text})} different; "
            f"{len(classes) - 1} characters: {''.join(classes)!r}"]  # fmt: skip


def _ctc(outputs: Features, targets: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    return summed_ctc(outputs, targets, weights)


def _character_errors(outputs: Tensor, values: Values, found: Mapping[str, float], scale: Tensor) -> float:
    """The answers are characters already, of which there is no loss any more."""
    return found["cer"]


def _best_path(outputs: Features) -> Tensor:
    return best_path(outputs).float()


def _numbers(outputs: Tensor) -> Floats:
    numbers: Floats = outputs.double().numpy()
    return numbers


def _columns(predictions: Floats, classes: Sequence[str]) -> dict[str, Any]:
    return {"prediction": decode(predictions, classes)}


def _measures(truth: Values, predictions: Floats, classes: Sequence[str]) -> Metrics:
    """Word and character error rates, errors over all rows divided by what there is in all rows."""
    counts = error_counts(decode(truth, classes), decode(predictions, classes))

    def measure(weights: Floats) -> dict[str, Floats]:
        rates = {name: metrics.rate(errors, lengths, weights) for name, (errors, lengths) in counts.items()}
        return rates | {"word_accuracy": 1.0 - rates["wer"]}

    return measure


def _draw(drawn: Drawn) -> Figure:
    """How many transcripts have which word and character error rate; rates above 1 stand with 1."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    counts = error_counts(decode(drawn.values, drawn.classes), decode(drawn.predictions, drawn.classes))
    rates = [np.minimum(errors / np.maximum(lengths, 1), 1.0) for errors, lengths in counts.values()]
    axes.hist(rates, bins=[tenth / 10 for tenth in range(11)], label=[name.upper() for name in counts])
    axes.set(xlabel="error rate of a transcript", ylabel="transcripts")
    axes.legend()
    return figure


TEXT = Task(
    name="text",
    metric="word_accuracy",
    shown_metrics=("word_accuracy", "cer"),
    output="frames",
    in_characters=True,
    read_targets=_read,
    cells=_texts,
    summary=_summary,
    loss_targets=class_tensor,
    summed_loss=_ctc,
    validation_loss=_character_errors,
    validation_column="val_cer",
    loss_hint=" (a clip that its transcript only just fits is too short at a higher speed: --augment off)",
    answers=_best_path,
    predictions=_numbers,
    prediction_columns=_columns,
    measures=_measures,
    draw=_draw,
)
