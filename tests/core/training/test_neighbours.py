"""Nearest neighbours against scikit-learn, and how many of them are taken."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import nn

from graftwork.core.data.manifest import Manifest
from graftwork.core.data.splits import fold_numbers
from graftwork.core.errors import TrainingError
from graftwork.core.model.neighbour_head import TEMPERATURE, NeighbourHead
from graftwork.core.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from graftwork.core.training.neighbours import COUNTS, fit_neighbours

ROWS = 90


@pytest.fixture
def vectors():
    """Three clouds around different directions, (ROWS, 7), far from the origin."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(3, 7)) * 0.9
    return (5 + centres[np.arange(ROWS) % 3] + rng.normal(size=(ROWS, 7))).astype(np.float32)


@pytest.fixture
def manifest_of(tmp_path):
    def make(values, task="single-label", classes=("a", "b", "c", "never"), groups=None):
        paths = []
        for row in range(len(values)):
            path = tmp_path / f"{row}.bin"
            path.write_bytes(row.to_bytes(2, "big"))
            paths.append(str(path))
        return Manifest("t", tuple(paths), task, "label", classes, np.asarray(values), groups)

    return make


def weigh(distances):
    return np.exp((1 - distances) / TEMPERATURE)


def test_votes_are_scikit_learns_with_one_more_of_the_prior(vectors, manifest_of):
    labels = np.arange(ROWS) % 3
    head = NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS)
    fit = fit_neighbours(head, vectors, manifest_of(labels), seed=0)
    assert fit.count == int(head.count)
    centred = vectors - vectors.mean(0)
    reference = KNeighborsClassifier(fit.count, metric="cosine", weights=weigh).fit(centred, labels)
    queries = vectors[::2] + 0.3
    shares = reference.predict_proba(queries - vectors.mean(0))
    weights = weigh(reference.kneighbors(queries - vectors.mean(0))[0].astype(np.float64))
    voters = (weights.sum(1) ** 2 / (weights**2).sum(1))[:, None]
    expected = (shares * voters + np.bincount(labels) / ROWS) / (voters + 1)
    found = head(torch.from_numpy(queries)).softmax(1).numpy()
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-5)
    assert (found[:, 3] < 1e-9).all()


def test_numbers_are_scikit_learns_weighted_mean(vectors, manifest_of):
    values = vectors @ np.arange(7.0)
    head = NeighbourHead(7, 1, REGRESSION.vote, ROWS)
    fit = fit_neighbours(head, vectors, manifest_of(values, "regression", ()), seed=0)
    reference = KNeighborsRegressor(fit.count, metric="cosine", weights=weigh).fit(vectors - vectors.mean(0), values)
    queries = vectors[:20] + 0.3
    np.testing.assert_allclose(head(torch.from_numpy(queries))[:, 0], reference.predict(queries - vectors.mean(0)),
                               rtol=1e-4)  # fmt: skip


def test_labels_of_several_columns_are_voted_on_one_by_one(vectors, manifest_of):
    columns = np.stack([np.arange(ROWS) % 3 == 0, np.arange(ROWS) % 2 == 0], axis=1).astype(np.float64)
    head = NeighbourHead(7, 2, MULTI_LABEL.vote, ROWS)
    fit_neighbours(head, vectors, manifest_of(columns, "multi-label", ("x", "y")), seed=0)
    both = head(torch.from_numpy(vectors)).sigmoid().detach()
    alone = NeighbourHead(7, 1, MULTI_LABEL.vote, ROWS)
    fit_neighbours(alone, vectors, manifest_of(columns[:, :1], "multi-label", ("x",)), seed=0)
    alone.count.copy_(head.count)
    torch.testing.assert_close(both[:, :1], alone(torch.from_numpy(vectors)).sigmoid())


def test_noise_takes_many_neighbours_and_clear_classes_few(vectors, manifest_of):
    rng = np.random.default_rng(0)
    noise, clear = (
        NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS),
        NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS),
    )
    blind = fit_neighbours(noise, vectors, manifest_of(rng.integers(0, 3, ROWS)), seed=0)
    apart = np.eye(7, dtype=np.float32)[np.arange(ROWS) % 3] * 10 + rng.normal(0, 0.1, (ROWS, 7)).astype(np.float32)
    sure = fit_neighbours(clear, apart, manifest_of(np.arange(ROWS) % 3), seed=0)
    assert blind.count == max(COUNTS)
    assert sure.count < blind.count


def test_rows_of_a_group_do_not_choose_the_number_for_each_other(vectors, manifest_of, monkeypatch):
    drawn = []

    def spy(*arguments):
        drawn.append(fold_numbers(*arguments))
        return drawn[-1]

    monkeypatch.setattr("graftwork.core.training.neighbours.fold_numbers", spy)
    pairs = tuple(f"p{row // 2}" for row in range(ROWS))
    manifest = manifest_of(np.arange(ROWS) % 3, groups=pairs)
    fit_neighbours(NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS), vectors, manifest, seed=0)
    assert len({(pair, fold) for pair, fold in zip(pairs, drawn[0], strict=True)}) == ROWS // 2


def test_one_group_alone_is_refused(vectors, manifest_of):
    with pytest.raises(TrainingError, match="at least two groups"):
        fit_neighbours(NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS), vectors, manifest_of(np.arange(ROWS) % 3,
                       groups=("p",) * ROWS), seed=0)  # fmt: skip


def test_nothing_in_it_is_learnt_by_gradients():
    assert not list(NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS).parameters())
    assert isinstance(NeighbourHead(7, 4, SINGLE_LABEL.vote, ROWS), nn.Module)
