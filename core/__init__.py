"""Freeze, fine-tune, evaluate: what both domains stand on. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graftwork.core.versions import version_of

if TYPE_CHECKING:
    from graftwork.core.data.examples import Examples, read_examples
    from graftwork.core.data.manifest import Manifest
    from graftwork.core.data.near_duplicates import NearDuplicates, with_near_duplicates
    from graftwork.core.data.tables import read_manifest
    from graftwork.core.domain import BackboneEntry, Domain
    from graftwork.core.errors import BackboneError, ContractError
    from graftwork.core.evaluation.comparison import Comparison
    from graftwork.core.evaluation.decisions import DecisionReport
    from graftwork.core.evaluation.evaluation import (
        EvaluatedPart,
        Evaluation,
        compare_predictions,
        evaluate_predictions,
    )
    from graftwork.core.evaluation.subgroups import Subgroups, find_subgroups
    from graftwork.core.example import (
        ArchiveRow,
        Channels,
        Example,
        File,
        Series,
        Span,
        Text,
        WithMask,
        parse_example,
    )
    from graftwork.core.inference.adapter import Adapter, load_adapter
    from graftwork.core.inference.predict import evaluate, evaluate_part, predict_examples
    from graftwork.core.inference.vector_shards import each_shard, read_vectors
    from graftwork.core.model.backbone import Backbone, Stage
    from graftwork.core.model.plan import Plan, make_plan
    from graftwork.core.model.strategies import Strategy, parse_strategy
    from graftwork.core.recipe import Recipe
    from graftwork.core.runs.check import Overview, check
    from graftwork.core.runs.compare import compare
    from graftwork.core.runs.cross_validation import CrossValidation, cross_validate
    from graftwork.core.runs.embed import Embedded, embed
    from graftwork.core.runs.predict import predict, segment
    from graftwork.core.runs.push import push
    from graftwork.core.runs.rank import Candidate, rank
    from graftwork.core.runs.report.document import report
    from graftwork.core.runs.stages import stages
    from graftwork.core.runs.train import TrainResult, train
    from graftwork.core.runs.tune import tune
    from graftwork.core.runs.tuning import Tuning
    from graftwork.core.runs.watch import watch
    from graftwork.core.serving.server import make_server, serve
    from graftwork.core.training.finetuning import Run, finetune, frozen_features
    from graftwork.core.types import Features, InputContract, padding_mask

_HOMES = {
    "Adapter": "inference.adapter",
    "load_adapter": "inference.adapter",
    "Backbone": "model.backbone",
    "Features": "model.backbone",
    "InputContract": "model.backbone",
    "Stage": "model.backbone",
    "DecisionReport": "evaluation.decisions",
    "Evaluation": "evaluation.evaluation",
    "Subgroups": "evaluation.subgroups",
    "find_subgroups": "evaluation.subgroups",
    "compare_predictions": "evaluation.evaluation",
    "evaluate_predictions": "evaluation.evaluation",
    "Examples": "data.examples",
    "read_examples": "data.examples",
    "evaluate": "inference.predict",
    "predict_examples": "inference.predict",
    "CrossValidation": "runs.cross_validation",
    "cross_validate": "runs.cross_validation",
    "TrainResult": "runs.train",
    "train": "runs.train",
    "tune": "runs.tune",
    "make_server": "serving.server",
    "serve": "serving.server",
    "Tuning": "runs.tuning",
    "watch": "runs.watch",
    "check": "runs.check",
    "Overview": "runs.check",
    "frozen_features": "training.finetuning",
    "compare": "runs.compare",
    "Candidate": "runs.rank",
    "rank": "runs.rank",
    "report": "runs.report.document",
    "Embedded": "runs.embed",
    "embed": "runs.embed",
    "each_shard": "inference.vector_shards",
    "read_vectors": "inference.vector_shards",
    "stages": "runs.stages",
    "predict": "runs.predict",
    "push": "runs.push",
    "segment": "runs.predict",
    "evaluate_part": "inference.predict",
    "Comparison": "evaluation.comparison",
    "EvaluatedPart": "evaluation.evaluation",
    "Run": "training.finetuning",
    "finetune": "training.finetuning",
    "Manifest": "data.manifest",
    "NearDuplicates": "data.near_duplicates",
    "with_near_duplicates": "data.near_duplicates",
    "Recipe": "recipe",
    "Plan": "model.plan",
    "Strategy": "model.strategies",
    "make_plan": "model.plan",
    "parse_strategy": "model.strategies",
    "read_manifest": "data.tables",
    "BackboneEntry": "domain",
    "Domain": "domain",
    "BackboneError": "errors",
    "ContractError": "errors",
    "ArchiveRow": "example",
    "Channels": "example",
    "Example": "example",
    "File": "example",
    "Series": "example",
    "Span": "example",
    "Text": "example",
    "WithMask": "example",
    "parse_example": "example",
    "padding_mask": "types",
}
"""Where each public name lives: torch alone takes seconds, and asking for help should not."""

__all__ = [
    "Adapter",
    "ArchiveRow",
    "Backbone",
    "BackboneEntry",
    "BackboneError",
    "Candidate",
    "Channels",
    "Comparison",
    "ContractError",
    "CrossValidation",
    "DecisionReport",
    "Domain",
    "Embedded",
    "EvaluatedPart",
    "Evaluation",
    "Example",
    "Examples",
    "Features",
    "File",
    "InputContract",
    "Manifest",
    "NearDuplicates",
    "Overview",
    "Plan",
    "Recipe",
    "Run",
    "Series",
    "Span",
    "Stage",
    "Strategy",
    "Subgroups",
    "Text",
    "TrainResult",
    "Tuning",
    "WithMask",
    "check",
    "compare",
    "compare_predictions",
    "cross_validate",
    "each_shard",
    "embed",
    "evaluate",
    "evaluate_part",
    "evaluate_predictions",
    "find_subgroups",
    "finetune",
    "frozen_features",
    "load_adapter",
    "make_plan",
    "make_server",
    "padding_mask",
    "parse_example",
    "parse_strategy",
    "predict",
    "predict_examples",
    "push",
    "rank",
    "read_examples",
    "read_manifest",
    "read_vectors",
    "report",
    "segment",
    "serve",
    "stages",
    "train",
    "tune",
    "watch",
    "with_near_duplicates",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version_of("graftwork")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
