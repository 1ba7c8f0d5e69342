"""Freeze, fine-tune, evaluate: what both domains stand on. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graftwork.core.adapter import Adapter, load_adapter
    from graftwork.core.backbone import Backbone, Stage
    from graftwork.core.evaluation import Evaluation, compare_predictions, evaluate_predictions
    from graftwork.core.examples import Examples, read_examples
    from graftwork.core.finetuning import Run, finetune
    from graftwork.core.judging import evaluate, predict
    from graftwork.core.manifest import Manifest
    from graftwork.core.plan import Plan, make_plan
    from graftwork.core.recipe import Recipe
    from graftwork.core.strategies import Strategy, parse_strategy
    from graftwork.core.tables import read_manifest
    from graftwork.core.types import Features, InputContract

_HOMES = {
    "Adapter": "adapter",
    "load_adapter": "adapter",
    "Backbone": "backbone",
    "Features": "backbone",
    "InputContract": "backbone",
    "Stage": "backbone",
    "Evaluation": "evaluation",
    "compare_predictions": "evaluation",
    "evaluate_predictions": "evaluation",
    "Examples": "examples",
    "read_examples": "examples",
    "evaluate": "judging",
    "predict": "judging",
    "Run": "finetuning",
    "finetune": "finetuning",
    "Manifest": "manifest",
    "Recipe": "recipe",
    "Plan": "plan",
    "Strategy": "strategies",
    "make_plan": "plan",
    "parse_strategy": "strategies",
    "read_manifest": "tables",
}
"""Where each public name lives: torch alone takes seconds, and asking for help should not."""

__all__ = [
    "Adapter",
    "Backbone",
    "Evaluation",
    "Examples",
    "Features",
    "InputContract",
    "Manifest",
    "Plan",
    "Recipe",
    "Run",
    "Stage",
    "Strategy",
    "compare_predictions",
    "evaluate",
    "evaluate_predictions",
    "finetune",
    "load_adapter",
    "make_plan",
    "parse_strategy",
    "predict",
    "read_examples",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
