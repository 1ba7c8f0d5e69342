"""The beam search against the sum over all paths, on frames few enough to go through every path."""

import itertools

import numpy as np
import pytest
import torch

from graftwork.audio.recognition.beam_search import best_text
from graftwork.audio.recognition.recogniser import beam_decoder, greedy_decoder
from graftwork.core.types import Features


def shares(frames, classes, seed, sharpness=1.0):
    logits = sharpness * np.random.default_rng(seed).normal(size=(frames, classes))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def text_shares(log_shares):
    """The share of every text: the sum over all paths that spell it."""
    frames, classes = log_shares.shape
    found = {}
    for path in itertools.product(range(classes), repeat=frames):
        text = tuple(key for key, _ in itertools.groupby(path) if key)
        found[text] = found.get(text, 0.0) + float(np.exp(log_shares[range(frames), list(path)].sum()))
    return found


@pytest.mark.parametrize("seed", range(30))
def test_the_text_found_is_the_most_probable_over_all_its_paths(seed):
    given = shares(6, 3, seed)
    found = text_shares(given)
    assert sum(found.values()) == pytest.approx(1.0)
    assert tuple(best_text(given, width=10_000)) == max(found, key=found.get)


def test_paths_count_together_where_no_single_one_is_best():
    # Every best frame is a blank, and yet the letter is more probable: 1 - 0.6 ** 2 = 0.64.
    given = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert best_text(given) == [1]
    outputs = Features(torch.from_numpy(given)[None])
    assert (greedy_decoder(["", "a"])(outputs), beam_decoder(["", "a"])(outputs)) == ([""], ["a"])


def test_a_letter_twice_needs_a_blank_between():
    sure = np.log(np.array([[0.02, 0.98], [0.98, 0.02], [0.02, 0.98]]))
    assert best_text(sure) == [1, 1]
    assert best_text(sure[[0, 2]]) == [1]


def test_a_narrow_beam_finds_what_is_clear_in_long_clips():
    generator = np.random.default_rng(0)
    path = generator.integers(0, 6, 400)
    given = shares(400, 6, 1)
    given[range(400), path] += 8
    given -= np.log(np.exp(given).sum(1, keepdims=True))
    assert best_text(given, width=4) == [int(key) for key, _ in itertools.groupby(path) if key]


def test_padding_is_not_read_and_spaces_are_single():
    given = torch.from_numpy(np.stack([shares(9, 4, seed) for seed in (3, 4)]))
    classes = ["", " ", "a", "b"]
    both = beam_decoder(classes)(Features(given, torch.tensor([9, 5])))
    alone = [beam_decoder(classes)(Features(given[:1]))[0], beam_decoder(classes)(Features(given[1:, :5]))[0]]
    assert both == alone
    assert all(text == " ".join(text.split()) for text in both)
