"""Training on labels of which some are not known, however it learns: only known cells count."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from graftwork.core.data.tables import read_manifest
from graftwork.core.model.heads import Head
from graftwork.core.model.neighbour_head import NeighbourHead
from graftwork.core.recipe import Recipe
from graftwork.core.runs.compare import compare
from graftwork.core.tasks import MULTI_LABEL
from graftwork.core.training.linear_probe import fit_probe, standardisation
from graftwork.core.training.neighbours import fit_neighbours


@pytest.fixture
def partly(table, tmp_path):
    """The shared table with every fourth cell of `bright`, and every fifth of `striped`, uncertain."""
    cells = pd.read_csv(table)
    cells["path"] = [str(table.parent / name) for name in cells["path"]]
    cells[["bright", "striped"]] = cells[["bright", "striped"]].astype(int)
    cells.loc[::4, "bright"] = -1
    cells.loc[::5, "striped"] = -1
    cells.to_csv(tmp_path / "partly.csv", index=False)
    return read_manifest(tmp_path / "partly.csv", target="bright,striped", uncertain="ignore")


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)


def test_a_probe_is_scikit_learns_on_the_known_rows(partly, vectors):
    head = Head(6, 2)
    fit = fit_probe(head, vectors, partly, balanced=False, seed=0)
    centre, spread = standardisation(vectors)
    data = (vectors - centre) / spread
    for label, strength in enumerate(fit.strengths):
        truth = np.asarray(partly.values)[:, label]
        known = ~np.isnan(truth)
        expected = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(data[known], truth[known])
        np.testing.assert_allclose(head.layers[-1].weight[label].detach(), expected.coef_[0], atol=1e-4)
        np.testing.assert_allclose(head.layers[-1].bias[label].detach(), expected.intercept_[0], atol=1e-4)


def test_neighbours_vote_where_they_are_known(partly, vectors):
    head = NeighbourHead(6, 2, MULTI_LABEL.vote, 60)
    fit = fit_neighbours(head, vectors, partly, seed=0)
    assert np.isfinite(fit.scores).all()
    tested = head.get_buffer("vectors")[:3] + head.get_buffer("centre")
    near, cosines = head.nearest(tested)
    weights = np.exp(cosines.double().numpy() / 0.07)
    weights /= weights.sum(1, keepdims=True)
    outputs = head(tested).sigmoid().numpy()
    for row in range(3):
        for label in range(2):
            own = np.asarray(partly.values)[near[row], label]
            counted = weights[row][~np.isnan(own)]
            voters = counted.sum() ** 2 / (counted**2).sum() if len(counted) else 0
            vote = (counted * own[~np.isnan(own)]).sum() / counted.sum() if len(counted) else 0
            expected = (vote * voters + np.nanmean(np.asarray(partly.values)[:, label])) / (voters + 1)
            assert outputs[row, label] == pytest.approx(expected, abs=1e-5)


def test_strategies_are_compared_on_known_cells_alone_and_write_empty_targets(partly, load_backbone, tmp_path):
    recipe = Recipe(epochs=2, batch_size=16, device="cpu", workers=0, memory_format="contiguous")
    found = compare(load_backbone("tiny:net"), partly, strategies=("probe", "knn", "full"), recipe=recipe, folds=3,
                    out=tmp_path / "out")  # fmt: skip
    assert {one.strategy for one in found.results} == {"probe", "knn", "full"}
    for one in found.results:
        assert np.isfinite(one.metrics["auroc"].value), one.strategy
        assert np.isfinite(one.metrics["auroc_bright"].low), one.strategy
    for row in pd.read_csv(next((tmp_path / "out").rglob("predictions.csv"))).to_dict("records"):
        assert np.isnan(row["target_bright"]) == (row["row"] % 4 == 2), row
