"""What a strategy means for a backbone: exact names, the frontier, the groups."""

import re
import subprocess
import sys

import pytest
from torch import nn

from graftwork.core.cli.app import build_app
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone, Stage
from graftwork.core.model.graft import plan_run
from graftwork.core.model.head_records import HEADS
from graftwork.core.model.heads import Head
from graftwork.core.model.plan import make_plan
from graftwork.core.model.strategies import STRATEGIES, parse_strategy

LABELS = [record.label for record in STRATEGIES.values()]
STEM = {"stem.0.weight", "stem.1.weight", "stem.1.bias"}
FIRST = {"layer1.0.weight", "layer1.1.weight", "layer1.1.bias"}
TENTH = {"layer10.0.weight", "layer10.1.weight", "layer10.1.bias"}


def test_stages_without_weights_do_not_count():
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    same = lambda net, features: features  # noqa: E731
    stages = (Stage("a", same, ("a",)), Stage("act", same), Stage("b", same, ("b",)), Stage("pool", same))
    plan = make_plan(parse_strategy("partial:2"), Backbone("t:t", network, stages, None, 2), Head(2, 2))
    assert (plan.frontier, plan.training_stages) == (0, (0, 1, 2, 3))


def test_more_stages_than_there_are_lists_them(backbone):
    with pytest.raises(SettingsError, match=r"partial:9: tiny:net has 3 stages with weights: stem, layer1, layer10$"):
        make_plan(parse_strategy("partial:9"), backbone, Head(8, 3))


def test_training_from_scratch_needs_to_know_how_to_build(backbone):
    bare = Backbone(backbone.id, backbone.network, backbone.stages, backbone.contract, 8)
    with pytest.raises(SettingsError, match="not known how to build tiny:net afresh"):
        make_plan(parse_strategy("scratch"), bare, Head(8, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prob", "unknown strategy 'prob'; there are " + ", ".join(map(re.escape, LABELS))),
        ("full:2", "takes no argument, found '2'"),
        ("partial", "needs a whole number of at least 1"),
        ("partial:0", "needs a whole number of at least 1"),
        ("layers:", "needs a whole number of at least 0"),
        ("partial:two", "needs a whole number of at least 1"),
    ],
)
def test_a_strategy_that_does_not_exist_says_what_does(text, message):
    with pytest.raises(SettingsError, match=message):
        parse_strategy(text)


@pytest.mark.parametrize("module", ["model.strategies", "model.head_records", "cli.options"])
def test_the_tables_that_help_texts_are_drawn_from_are_read_without_torch(module):
    code = f"import sys, graftwork.core.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_texts_name_every_strategy_and_every_head_with_its_meaning(commands):
    command = build_app(commands).registered_commands
    train = next(one.callback for one in command if one.name == "train")
    texts = {name: annotation.__metadata__[0].help for name, annotation in train.__annotations__.items()}
    for record in STRATEGIES.values():
        assert f"{record.label}: {record.meaning}" in texts["strategy"]
    for head in HEADS.values():
        assert f"{head.name}: {head.meaning}" in texts["head"]


def test_every_strategy_is_read_from_its_own_example_and_keeps_it():
    for record in STRATEGIES.values():
        assert parse_strategy(record.example).record is record
        assert str(parse_strategy(record.example)) == record.example


def test_a_plan_of_a_run_changes_neither_the_backbone_nor_its_memory(backbone, manifest, recipe):
    before = backbone.digest()
    learning = [parameter.requires_grad for parameter in backbone.network.parameters()]
    for record in STRATEGIES.values():
        if record.name != "layers":  # it needs a network of sequences
            assert plan_run(backbone, parse_strategy(record.example), recipe, manifest).strategy.record is record
    assert backbone.digest() == before
    assert [parameter.requires_grad for parameter in backbone.network.parameters()] == learning
