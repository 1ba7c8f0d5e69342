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
from graftwork.core.model.strategies import BACKBONE_RATE, STRATEGIES, Strategy, parse_strategy

LABELS = [record.label for record in STRATEGIES.values()]
STEM = {"stem.0.weight", "stem.1.weight", "stem.1.bias"}
FIRST = {"layer1.0.weight", "layer1.1.weight", "layer1.1.bias"}
TENTH = {"layer10.0.weight", "layer10.1.weight", "layer10.1.bias"}


@pytest.mark.parametrize(
    ("text", "names", "frontier", "training_stages", "solver"),
    [
        ("probe", set(), 4, (), "convex"),
        ("partial:1", TENTH, 2, (2, 3), "gradient"),
        ("partial:2", FIRST | TENTH, 1, (1, 2, 3), "gradient"),
        ("partial:3", STEM | FIRST | TENTH, 0, (0, 1, 2, 3), "gradient"),
        ("full", STEM | FIRST | TENTH, 0, (0, 1, 2, 3), "gradient"),
        ("scratch", STEM | FIRST | TENTH, 0, (0, 1, 2, 3), "gradient"),
    ],
)
def test_the_plan_names_exactly_what_may_change(backbone, text, names, frontier, training_stages, solver):
    head = Head(8, 3)
    plan = make_plan(parse_strategy(text), backbone, head)
    assert set(plan.trainable) == names
    assert (plan.frontier, plan.training_stages, plan.solver) == (frontier, training_stages, solver)
    assert plan.start == ("random" if text == "scratch" else "pretrained")
    grouped = [name for group in plan.groups for name in group.tensors]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {f"backbone.{name}" for name in names} | {
        f"head.{name}" for name, _ in head.named_parameters()
    }
    assert str(plan.strategy) == text


def test_pretrained_tensors_learn_at_a_tenth_and_random_ones_at_the_whole_rate(backbone):
    for text, scale in (("full", 0.1), ("scratch", 1.0)):
        plan = make_plan(parse_strategy(text), backbone, Head(8, 3))
        assert {group.scale for group in plan.groups if group.name.startswith("backbone")} == {scale}
        assert {group.scale for group in plan.groups if group.name.startswith("head")} == {1.0}
    assert BACKBONE_RATE == 0.1


def test_a_probe_of_a_perceptron_has_no_single_optimum(backbone):
    assert make_plan(Strategy("probe"), backbone, Head(8, 3, "mlp")).solver == "gradient"


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


def test_making_a_plan_changes_nothing(backbone):
    before = [parameter.requires_grad for parameter in backbone.network.parameters()]
    make_plan(parse_strategy("probe"), backbone, Head(8, 3))
    assert [parameter.requires_grad for parameter in backbone.network.parameters()] == before


def test_gradual_begins_with_the_head_and_thaws_one_stage_at_a_time_from_the_top(backbone):
    plan = make_plan(parse_strategy("gradual"), backbone, Head(8, 3))
    assert [phase.start for phase in plan.phases] == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2])
    assert [phase.frontier for phase in plan.phases] == [4, 2, 1, 0]
    head = {"head", "head, no decay"}
    stages = [{f"backbone {name}", f"backbone {name}, no decay"} for name in ("layer10", "layer1", "stem")]
    assert [set(phase.groups) for phase in plan.phases] == [head | set().union(*stages[:count]) for count in range(4)]
    assert plan.frontier == 0
    assert [plan.phase_at(done).frontier for done in (0, 0.16, 0.17, 0.4, 0.9)] == [4, 4, 2, 1, 0]


@pytest.mark.parametrize(("text", "top"), [("full", BACKBONE_RATE), ("gradual", BACKBONE_RATE), ("bias", 1.0)])
def test_with_stage_decay_each_stage_learns_slower_than_the_one_above(backbone, text, top):
    plan = make_plan(parse_strategy(text), backbone, Head(8, 3), stage_decay=0.5)
    scales = {backbone.stages[group.stage].name: group.scale for group in plan.groups if group.stage is not None}
    assert scales == pytest.approx({"layer10": top, "layer1": top / 2, "stem": top / 4})
    assert {group.scale for group in plan.groups if group.stage is None} == {1.0}


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
