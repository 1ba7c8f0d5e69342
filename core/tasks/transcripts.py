"""Transcripts as numbers: characters and a blank (number 0), the CTC loss, the best path, and errors."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork.core.errors import MissingPackageError
from graftwork.core.names import composed

if TYPE_CHECKING:
    from torch import Tensor

    from graftwork.core.types import Features

BLANK = ""
"""The first class of every vocabulary: what CTC says between characters."""


def normalise_text(text: str) -> str:
    """Lower case in Unicode's normal form C, with single spaces between words: what is learnt and evaluated.

    The Turkish capital with a dot becomes i, and not, as Unicode has it without knowing the language, i with a second
    dot; one without a dot becomes i as well.
    """
    return composed(" ".join(composed(text).replace("\u0130", "i").lower().split()))


def spelt(text: str, classes: Sequence[str]) -> str:
    """The text (normal form C) in the characters of a vocabulary: one that it has in parts only, as a letter and an
    accent, is taken apart."""
    known = set(classes)
    if set(text) <= known:
        return text
    parts = {character: unicodedata.normalize("NFD", character) for character in set(text) - known}
    return "".join(parts[one] if one in parts and set(parts[one]) <= known else one for one in text)


def vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """The blank, and every character of the normalised texts in order."""
    return (BLANK, *sorted(set("".join(texts))))


def encode(texts: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Normalised texts as numbers (rows, longest), zeros behind each; characters without a class are passed over."""
    # Of characters that a vocabulary has twice, the first is the one that is learnt.
    number = {name: place for place, name in reversed(list(enumerate(classes))) if name != BLANK}
    rows = [[number[character] for character in text if character in number] for text in texts]
    table = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
    for row, numbers in enumerate(rows):
        table[row, : len(numbers)] = numbers
    return table


def frames_needed(numbers: NDArray[np.generic]) -> NDArray[np.int64]:
    """The fewest frames (rows,) in which CTC can say rows of numbers (rows, longest), zeros behind each: one a
    character, and a blank between two that are the same."""
    values = np.asarray(numbers, dtype=np.int64)
    repeated = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > 0)
    needed: NDArray[np.int64] = (values > 0).sum(axis=1) + repeated.sum(axis=1)
    return needed


def decode(numbers: NDArray[np.generic], classes: Sequence[str]) -> list[str]:
    """Rows of numbers (rows, longest), zeros behind each, as texts in normal form C with single spaces."""
    named = ["".join(classes[number] for number in row if number) for row in np.asarray(numbers, dtype=np.int64)]
    return [composed(" ".join(text.split())) for text in named]


def summed_ctc(outputs: Features, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over rows of weight times CTC loss (Graves et al. 2006), each divided by its number of characters.

    outputs: logits (batch, frames, classes) with lengths. targets (batch, longest), zeros behind each. The loss of a
    row whose frames are too few for its characters is infinite.
    """
    import torch
    from torch.nn import functional as F

    values = outputs.values.float().log_softmax(dim=2).transpose(0, 1)
    frames = torch.full((len(targets),), len(values)) if outputs.lengths is None else outputs.lengths.cpu()
    characters = (targets > 0).sum(dim=1)
    losses = F.ctc_loss(values, targets, frames, characters.cpu(), blank=0, reduction="none")
    return (losses / characters.clamp_min(1) * weights).sum()


def best_path(outputs: Features) -> Tensor:
    """The most probable class of every frame, repetitions and blanks taken out: numbers (batch, longest), zeros behind.

    outputs: logits (batch, frames, classes) with lengths. A row with a logit that is not finite is NaN.
    """
    import torch

    from graftwork.core.types import padding_mask

    values = outputs.values.float()
    best = values.argmax(dim=2)
    if outputs.lengths is not None:
        best = best.masked_fill(padding_mask(outputs.lengths, values.shape[1], values.device), 0)
    before = torch.nn.functional.pad(best, (1, 0))[:, :-1]
    kept = (best != before) & (best > 0)
    # Kept classes move to the front of their row in their order.
    order = torch.argsort(~kept, dim=1, stable=True)
    moved = torch.where(kept, best, 0).gather(1, order)
    answer = moved[:, : int(kept.sum(dim=1).max())].float()
    broken = ~values.isfinite().flatten(1).all(dim=1)
    if bool(broken.any()):
        answer = torch.nn.functional.pad(answer, (0, 1)).masked_fill(broken[:, None], float("nan"))
    return answer


def error_counts(
    truth: Sequence[str], predicted: Sequence[str]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For "wer" and "cer", errors and reference lengths (rows,) each: the fewest substitutions, deletions and
    insertions that turn the prediction into the truth (Levenshtein), in words and in characters."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise MissingPackageError("evaluating transcripts needs rapidfuzz: pip install 'graftwork[audio]'") from error
    found = {}
    for name, split in (("wer", str.split), ("cer", list)):
        pairs = [(split(composed(one)), split(composed(other))) for one, other in zip(truth, predicted, strict=True)]
        errors = np.array([Levenshtein.distance(one, other) for one, other in pairs], dtype=np.float64)
        found[name] = (errors, np.array([len(one) for one, _ in pairs], dtype=np.float64))
    return found
