"""Heads that learn from vectors that were computed before: the same as from files, which are not decoded."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.example import File
from graftwork.core.recipe import Recipe
from graftwork.core.runs.embed import embed
from graftwork.core.runs.train import train


@pytest.fixture
def files(manifest, tmp_path):
    """Copies: what is changed here, other tests read."""
    (tmp_path / "copies").mkdir()
    copies = [File(shutil.copy(path, tmp_path / "copies")) for path in manifest.paths]
    return replace(manifest, groups=None, examples=tuple(copies))


@pytest.fixture
def vectors(backbone, files, tmp_path):
    embed(backbone, list(files.paths), tmp_path / "vectors", recipe=Recipe(device="cpu"), shard_rows=7)
    return tmp_path / "vectors"


@pytest.fixture
def unread(backbone):
    """The backbone, of which nothing can be read."""

    class Unread(type(backbone.contract)):
        def read(self, example):
            raise AssertionError(f"{example} was read")

    return replace(backbone, contract=Unread())


@pytest.mark.parametrize("strategy", ["probe", "knn"])
def test_a_head_on_kept_vectors_is_the_one_on_the_last_stage(backbone, unread, files, vectors, recipe, strategy):
    options = {"strategy": strategy, "folds": 3}
    recipe = replace(recipe, features="last")
    by_files = train(backbone, files, recipe=recipe, **options)
    by_vectors = train(unread, files, recipe=replace(recipe, features="auto"), vectors=vectors, **options)
    learnt = by_vectors.adapter.graft.learnt()
    for name, tensor in by_files.adapter.graft.learnt().items():
        np.testing.assert_array_equal(tensor.detach(), learnt[name].detach(), err_msg=name)
    np.testing.assert_array_equal(by_vectors.parts[0].predictions, by_files.parts[0].predictions)


def test_files_without_vectors_and_changed_ones_are_named(backbone, files, vectors, tmp_path):
    more = replace(files, examples=tuple(replace(one, path=one.path.replace("00", "missing", 1)) if not place else one
                                         for place, one in enumerate(files.examples)))  # fmt: skip
    with pytest.raises(OutputError, match=r"no vectors of 1 files: .*missing"):
        train(backbone, more, vectors=vectors)
    np.save(files.paths[3], np.load(files.paths[3]) + 1)
    with pytest.raises(OutputError, match="1 files have changed since their vectors were computed"):
        train(backbone, files, vectors=vectors)


def test_what_vectors_cannot_serve_is_refused(backbone, make_manifest, files, vectors):
    for options, said in (
        ({"strategy": "full"}, "full changes the network"),
        ({"recipe": Recipe(augment="on")}, "probe changes the network or its input"),
        ({"recipe": Recipe(features="all")}, "--features all asks for others"),
    ):
        with pytest.raises(SettingsError, match=said):
            train(backbone, files, vectors=vectors, **options)
    with pytest.raises(OutputError, match="no vectors here"):
        train(backbone, files, vectors=vectors.parent)


def test_vectors_of_other_weights_are_refused(backbone, files, vectors):
    other = backbone.copy()
    next(other.network.parameters()).data.add_(1)
    with pytest.raises(OutputError, match="vectors of another weights"):
        train(other, files, vectors=vectors)
