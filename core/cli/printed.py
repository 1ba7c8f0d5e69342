"""What training and evaluating print beside the metrics: decisions, and subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graftwork.core.cli.console import print_table

if TYPE_CHECKING:
    from graftwork.core.evaluation.decisions import DecisionReport
    from graftwork.core.evaluation.subgroups import Subgroups
    from graftwork.core.runs.corruptions import Corrupted


def print_decisions(found: DecisionReport | None) -> None:
    """What an operating point and recalibration are worth, where there are any."""
    if found is not None and str(found):
        print(f"{found}\n")


def print_subgroups(found: Sequence[Subgroups]) -> None:
    """A table for every column, and its largest gap."""
    for one in found:
        print_table(*one.table())
        print(f"{one.sentence()}\n")


def print_corruptions(found: Sequence[Corrupted]) -> None:
    """How much the first metrics lose by every corruption."""
    if not found:
        return
    names = list(found[0].metrics)[:2]
    rows = [(one.name.replace("_", " "), str(one.strength),
             *(str(one.metrics[name]) for name in names), *(str(one.differences[name]) for name in names[:1]))
            for one in found]  # fmt: skip
    print_table(["corruption", "strength", *names, f"difference in {names[0]}"], rows)
