"""A model evaluated on a part of the rows that training never saw."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.core.data.examples import Examples
from graftwork.core.data.sentences import sentence_caution, shared_sentences
from graftwork.core.evaluation.evaluation import EvaluatedPart
from graftwork.core.evaluation.leakage import Leakage, find_leakage
from graftwork.core.inference.predict import evaluate_part
from graftwork.core.runs.setup import (
    MIXED,
    Setup,
    after_frozen_stages,
    check_setup,
    evaluated_with_groups_mixed,
    part_rows,
    predict_with,
    run_setup,
    warn_of_absent_classes,
    without_groups,
)
from graftwork.core.training.finetuning import Run


@dataclass(frozen=True, eq=False)
class HeldOut:
    """parts: the evaluated parts, the test last. learnt: the rows of the training part, after the frozen stages.
    leakage: what groups have to do with the score, where that was asked for. cautions: sentences that the metrics must
    not be read without."""

    parts: tuple[EvaluatedPart, ...]
    run: Run
    learnt: Examples
    leakage: Leakage | None
    cautions: tuple[str, ...] = ()


def hold_out(setup: Setup, examples: Examples, val_fraction: float, test_fraction: float) -> HeldOut:
    """Trains on the training part, with the validation part choosing the epoch; evaluates val and test. Raises
    SettingsError for what cannot work."""
    plan = check_setup(setup, examples.manifest, None, val_fraction, test_fraction)
    recipe, own = setup.recipe, examples.manifest.parts
    tested = test_fraction > 0 if own is None else "test" in own
    if tested and plan.solver != "gradient":
        val_fraction = 0.0  # there is no epoch to choose: all rows but the test's are for training
    parts = part_rows(examples.manifest, recipe.seed, val_fraction, test_fraction)
    shared = shared_sentences(examples.manifest, parts["train"], parts["test" if len(parts["test"]) else "val"])
    cautions = warn_of_absent_classes([examples.manifest.subset(parts["train"])]) + sentence_caution([shared])
    ready = after_frozen_stages(setup, examples)
    learnt = ready.subset(parts["train"])
    run = run_setup(setup, learnt, ready.subset(parts["val"]))
    evaluated = []
    for part in ("val", "test"):
        if len(parts[part]):
            rows = ready.subset(parts[part])
            evaluated.append(evaluate_part(part, rows.manifest, predict_with(run, rows, recipe)))
    leakage = None
    if evaluated_with_groups_mixed(setup, plan, examples.manifest) and own is None and len(parts["test"]):
        mixed = without_groups(ready)
        drawn = part_rows(mixed.manifest, recipe.seed, val_fraction, test_fraction)
        other = run_setup(setup.below(MIXED), mixed.subset(drawn["train"]), mixed.subset(drawn["val"]))
        rows = ready.subset(drawn["test"])
        found = predict_with(other, rows, recipe)
        leakage = find_leakage(evaluated[-1], evaluate_part("test", rows.manifest, found))
    return HeldOut(tuple(evaluated), run, learnt, leakage, cautions)
