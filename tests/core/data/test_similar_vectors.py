"""Vectors that point the same way, against comparing all of them."""

import numpy as np

from graftwork.core.data.similar_vectors import CELL_ROWS, in_cells, similar_rows, unit, whitening


def test_similar_vectors_are_those_that_comparing_all_of_them_finds():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(5 * CELL_ROWS, 32)))
    near = unit(vectors[:200] + 0.05 * rng.normal(size=(200, 32)))
    vectors = np.concatenate([vectors, near])
    asking, answer, cosine = similar_rows(in_cells(vectors), vectors, 0.9)
    every = vectors @ vectors.T
    np.fill_diagonal(every, 0)
    expected = set(zip(*map(np.ndarray.tolist, np.nonzero(every >= 0.9)), strict=True))
    found = set(zip(asking.tolist(), answer.tolist(), strict=True))
    assert found <= expected
    assert len(found) >= 0.98 * len(expected) >= 390
    np.testing.assert_allclose(cosine, every[asking, answer], rtol=1e-5)


def test_whitened_vectors_vary_as_much_in_every_direction_that_is_kept():
    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(20000, 4)) * [5, 2, 1, 0.001] + 3).astype(np.float32)
    mean, matrix = whitening(vectors, 3, floor=0.0)
    np.testing.assert_allclose(np.cov(((vectors - mean) @ matrix).T), np.eye(3), atol=0.02)
