"""Characters as numbers and back, the best path against a direct collapse, and error rates against a recursion."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graftwork.core.evaluation.evaluation import evaluate_predictions
from graftwork.core.tasks.transcripts import (
    best_path,
    decode,
    encode,
    error_counts,
    frames_needed,
    normalise_text,
    spelt,
    summed_ctc,
    vocabulary,
)
from graftwork.core.types import Features

TEXTS = st.lists(st.text("ab c", max_size=12).map(normalise_text), min_size=1, max_size=6)


@given(TEXTS)
def test_texts_survive_becoming_numbers(texts):
    classes = vocabulary(texts)
    assert decode(encode(texts, classes), classes) == texts


def distance(one, other):
    @cache
    def between(a, b):
        if not a or not b:
            return a + b
        same = one[a - 1] == other[b - 1]
        return min(between(a - 1, b) + 1, between(a, b - 1) + 1, between(a - 1, b - 1) + (not same))

    return between(len(one), len(other))


@given(TEXTS, st.randoms())
def test_errors_are_the_fewest_edits(texts, random):
    others = [normalise_text("".join(random.choices("ab c", k=8))) for _ in texts]
    counts = error_counts(texts, others)
    for row, (one, other) in enumerate(zip(texts, others, strict=True)):
        assert counts["wer"][0][row] == distance(one.split(), other.split())
        assert counts["cer"][0][row] == distance(list(one), list(other))
        assert (counts["wer"][1][row], counts["cer"][1][row]) == (len(one.split()), len(one))


def test_rates_are_errors_of_all_over_words_of_all():
    truth, predicted = ["a b c d", "a"], ["a x c", "a b"]
    classes = vocabulary([*truth, *predicted])
    found = evaluate_predictions("text", classes, encode(truth, classes), encode(predicted, classes), ["s", "t"])
    assert found.metrics["wer"].value == pytest.approx(3 / 5)
    assert found.metrics["word_accuracy"].value == pytest.approx(2 / 5)
    assert found.metrics["wer"].low < 0.5 < 1.0 < found.metrics["wer"].high  # two speakers tell little
    assert found.groups == 2


def test_the_best_path_is_that_of_a_direct_collapse():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 15, 4, generator=generator)
    lengths = torch.tensor([15, 9, 1, 4, 15, 2])
    found = best_path(Features(logits, lengths))
    for row, length in enumerate(lengths.tolist()):
        runs = [key for key, _ in itertools.groupby(logits[row, :length].argmax(1).tolist())]
        assert [int(number) for number in found[row] if number] == [key for key in runs if key]


def test_a_logit_that_is_not_finite_spoils_its_row_alone():
    logits = torch.randn(2, 5, 3)
    logits[1, 2, 0] = float("nan")
    found = best_path(Features(logits))
    assert bool(found[0].isfinite().all())
    assert bool(found[1].isnan().all())


def test_the_loss_is_minus_the_logarithm_of_the_sum_over_all_paths():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3)
    shares = logits[0].softmax(1)
    total = sum(
        float(torch.prod(shares[range(4), list(path)]))
        for path in itertools.product(range(3), repeat=4)
        if [key for key, _ in itertools.groupby(path) if key] == [1, 2]
    )
    found = summed_ctc(Features(logits), torch.tensor([[1, 2, 0]]), torch.tensor([3.0]))
    assert float(found) == pytest.approx(-3 * np.log(total) / 2, rel=1e-5)


def test_padding_does_not_count_in_the_loss():
    torch.manual_seed(0)
    logits = torch.randn(2, 9, 3)
    targets, ones = torch.tensor([[1, 2], [2, 0]]), torch.ones(2)
    both = summed_ctc(Features(logits, torch.tensor([9, 5])), targets, ones)
    alone = [summed_ctc(Features(logits[:1]), targets[:1], ones[:1]),
             summed_ctc(Features(logits[1:, :5]), targets[1:, :1], ones[:1])]  # fmt: skip
    torch.testing.assert_close(both, sum(alone))


@given(st.text("abc", max_size=7))
def test_the_frames_that_a_text_needs_are_the_fewest_with_a_finite_loss(text):
    classes = ("", *"abc")
    numbers = encode([text], classes)
    needed = int(frames_needed(numbers)[0])
    for frames in range(1, needed + 2):
        loss = summed_ctc(Features(torch.zeros(1, frames, 4)), torch.from_numpy(numbers), torch.ones(1))
        assert bool(loss.isfinite()) == (frames >= needed)


def test_letters_with_accents_are_one_text_in_either_form_of_unicode():
    nfd, nfc = "fu\u0308nf", "fünf"
    assert normalise_text(nfd) == normalise_text(nfc) == nfc
    assert [error_counts([nfc], [nfd])[name][0].tolist() for name in ("wer", "cer")] == [[0.0], [0.0]]
    assert normalise_text("İki I\u0307ki ISPARTA") == "iki iki isparta"


def test_a_vocabulary_with_loose_accents_writes_and_reads_composed_letters():
    classes = ("", "f", "n", "u", "\u0308")
    numbers = encode([spelt("fünf", classes)], classes)
    assert numbers.tolist() == [[1, 3, 4, 2, 1]]
    assert decode(numbers, classes) == ["fünf"]
    assert spelt("fáx", classes) == "fáx"
