"""From the options of a command to a recipe, a manifest and a backbone."""

import pytest

from graftwork.core.cli.inputs import asked_backbone, asked_manifest, asked_recipe, read_inputs
from graftwork.core.cli.options import SOURCE
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe


@pytest.fixture
def options(table):
    """As `train` gets them where nothing but a table is named."""
    return {"manifest": str(table), "backbone": "tiny:net", "weights": None, "target": None, "group": None,
            "group_from": None, "task": None, "order": None, "vocabulary": None, "folds": None,
            "device": "cpu", **{one.name: one.default for one in SOURCE}}  # fmt: skip


def test_a_recipe_has_what_was_asked_for_and_its_defaults_otherwise():
    found = asked_recipe({"epochs": 3, "batch_size": None, "device": "cpu", "manifest": "x"})
    assert found == Recipe(epochs=3, device="cpu")
    with pytest.raises(SettingsError, match="fp16 needs a GPU"):
        asked_recipe({"device": "cpu", "precision": "fp16"})


def test_with_folds_the_split_column_is_not_looked_at(commands, options, table):
    lines = table.read_text().splitlines()
    parts = ["split", *["train"] * 30, *["val"] * 15, *["test"] * 15]
    split = "\n".join(f"{line},{part}" for line, part in zip(lines, parts, strict=True))
    (table.parent / "parts.csv").write_text(split)
    options["manifest"] = str(table.parent / "parts.csv")
    assert set(asked_manifest(commands, options).parts) == {"train", "val", "test"}
    assert asked_manifest(commands, {**options, "folds": 3}).parts is None


def test_a_checkpoints_characters_are_for_texts_and_for_backbones_that_have_some(commands, options):
    with pytest.raises(SettingsError, match="is not learnt as text"):
        read_inputs(commands, {**options, "vocabulary": "checkpoint"}, 0)
    with pytest.raises(SettingsError, match="tiny backbones have no characters"):
        read_inputs(commands, {**options, "target": "text", "vocabulary": "checkpoint"}, 0)


def test_random_weights_are_those_of_the_seed(commands, options):
    backbone, manifest = read_inputs(commands, {**options, "weights": "random"}, 0)
    assert (backbone.id, backbone.weights, len(manifest)) == ("tiny:net", "random", 60)
    plain = asked_backbone(commands, options, "tiny:net", None, manifest, 0)
    assert backbone.digest() != plain.digest()
