"""Transcripts as targets: characters, learnt by CTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.core.metrics import scores as metrics
from graftwork.core.metrics.intervals import Metrics
from graftwork.core.tasks.cells import single_column
from graftwork.core.tasks.labels import class_tensor
from graftwork.core.tasks.plots import Panel, rates_panel
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


def _read_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[Values, Floats]:
    truth, found = (encode(list(columns[name]), tuple(classes)) for name in ("target", "prediction"))
    return truth, np.asarray(found, dtype=np.float64)


def _rates(truth: Values, predictions: Floats, classes: Sequence[str]) -> dict[str, Floats]:
    """Error rates (rows,) of every transcript, words and characters."""
    counts = error_counts(decode(truth, classes), decode(predictions, classes))
    return {name: errors / np.maximum(lengths, 1) for name, (errors, lengths) in counts.items()}


def _errors(truth: Values, predictions: Floats, classes: Sequence[str]) -> Floats:
    return _rates(truth, predictions, classes)["cer"]


def _mostly_empty(predictions: Floats, classes: Sequence[str]) -> tuple[str, ...]:
    """A sentence where most predicted texts hold nothing: then error rates near 1 say that nothing has been learnt yet,
    not that words are wrong."""
    empty = sum(not text for text in decode(predictions, classes))
    if not empty or empty <= MOSTLY * len(predictions):
        return ()
    return (f"{empty} of {len(predictions)} predicted texts are empty: training has not got beyond silence, for which "
            "more epochs or a higher --learning-rate are the first things to try",)  # fmt: skip


def _panels(drawn: Drawn) -> list[Panel]:
    """How many transcripts have which word and character error rate; rates above 1 stand with 1."""
    rates = _rates(drawn.values, drawn.predictions, drawn.classes)
    return [rates_panel({name.upper(): np.minimum(values, 1.0) for name, values in rates.items()})]


MOSTLY = 0.5
"""Share of empty texts from which on that is said."""

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
    read_columns=_read_columns,
    measures=_measures,
    panels=_panels,
    doubts=_mostly_empty,
    row_errors=_errors,
    row_error="character error rate",
)
