"""What a strategy means for a backbone: exact names, the frontier, the groups, the phases."""

import pytest

from graftwork.core.model.heads import Head
from graftwork.core.model.plan import make_plan
from graftwork.core.model.strategies import BACKBONE_RATE, Strategy, parse_strategy

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
