"""The model card of an adapter: `README.md` of its folder, with the header by which the Hugging Face hub knows it."""

from __future__ import annotations

import html
import json
import math
import re
from typing import TYPE_CHECKING, Any

from graftwork.core.model.stage_outputs import choice_from_json

if TYPE_CHECKING:
    from graftwork.core.domain import Domain
    from graftwork.core.evaluation.evaluation import Evaluation

HUB_METRICS = {"auroc": "roc_auc", "quadratic_kappa": "cohen_kappa", "mae": "mae", "rmse": "rmse", "r2": "r_squared",
               "brier": "brier_score", "wer": "wer", "cer": "cer", "f1": "f1", "accuracy": "accuracy"}  # fmt: skip
"""What the hub calls metrics; others keep their name."""


def card_header(record: dict[str, Any], evaluation: Evaluation | None, domain: Domain) -> list[str]:
    """Lines of YAML between rules: library, tags, the base model where the hub has it, the kind of task where the hub
    knows it, and the metrics of the evaluation. The licence is the user's to name. Scalars are written as JSON, which
    is YAML, so that no name can be anything else than text."""
    lines = ["---", "library_name: graftwork", f"tags: {json.dumps(_tags(record, domain))}"]
    about = record["backbone"]
    base = None if domain.hub_model is None or about["weights"] is not None else domain.hub_model(about["id"])
    if base is not None:
        lines.append(f"base_model: {json.dumps(base)}")
    pipeline = domain.pipeline_tags.get(record["task"])
    if pipeline is not None:
        lines.append(f"pipeline_tag: {pipeline}")
    if evaluation is not None:
        index = model_index(record, evaluation, pipeline)
        if index is not None:
            lines.append(f"model-index: {json.dumps(index, ensure_ascii=False)}")
    return [*lines, "---"]


def model_index(record: dict[str, Any], evaluation: Evaluation, pipeline: str | None) -> list[dict[str, Any]] | None:
    """The evaluation as the hub's `model-index`; None where no metric is defined."""
    found = []
    for name, interval in evaluation.metrics.items():
        if math.isnan(interval.value):
            continue
        metric: dict[str, Any] = {"type": HUB_METRICS.get(name, name), "name": name, "value": interval.value}
        if not math.isnan(interval.low):
            metric["args"] = {"interval_95": [interval.low, interval.high]}
        found.append(metric)
    if not found:
        return None
    task = {"type": pipeline or "other", "name": f"{record['task']}: {record['target']}"}
    # What the rows are called stays with the run: a card may be shared, and a path may name somebody.
    dataset = {"type": "own", "name": f"{evaluation.rows} rows"}
    named = f"{record['target']} on {record['backbone']['id']}"
    return [{"name": named, "results": [{"task": task, "dataset": dataset, "metrics": found}]}]


def as_text(name: str) -> str:
    """A name in a line of Markdown, of which nothing is markup or HTML: a class may be called anything."""
    plain = html.escape(" ".join(name.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#|~])", r"\\\1", plain)


def as_code(name: str) -> str:
    """A name as code, also in a cell of a table; as text where it could end the code."""
    return as_text(name) if "`" in name or "\n" in name else f"`{name}`".replace("|", "\\|")


def _tags(record: dict[str, Any], domain: Domain) -> list[str]:
    return ["transfer-learning", domain.name, record["task"], record["strategy"].partition(":")[0]]


def model_card(record: dict[str, Any], evaluation: Evaluation | None, domain: Domain) -> str:
    """A Markdown card: what the adapter is for, what it was made from, its evaluation, under the header that the
    Hugging Face hub reads."""
    about, training = record["backbone"], record["training"]
    classes = ", ".join(map(as_text, record["classes"])) or "a number"
    parameters, computed = record["parameters"], training.get("computed")  # earlier versions did not say it
    lines = [
        *card_header(record, evaluation, domain),
        "",
        f"# {as_text(record['target'])} on {as_text(about['id'])}",
        "",
        f"Predicts {as_code(record['target'])} ({record['task']}: {classes}).",
        "",
        "| | |",
        "|---|---|",
        f"| backbone | {as_code(about['id'])}, frozen part SHA-256 `{about['frozen_digest'][:16]}…` |",
        f"| strategy | {as_code(record['strategy'])} |",
        *([f"| features | {as_text(str(choice_from_json(record['features'])))} |"] if record.get("features") else []),
        f"| trained | {parameters['trained']:,} of {parameters['all']:,} parameters |",
        f"| training rows | {training['rows']}"
        + (f" in {training['groups']} groups |" if training["groups"] else " |"),
        f"| input | {as_code(json.dumps(record['input'], sort_keys=True))} |",
        *([f"| computed on | {as_text(computed['device'])}, {computed['precision']} |"] if computed else []),
        f"| made with | graftwork {record['made_with']['graftwork']}, torch {record['made_with']['torch']} |",
        "",
    ]
    if evaluation is None:
        lines += ["It has not been evaluated.", ""]
    else:
        lines += ["## Evaluation", "", "```", str(evaluation).replace("```", "'''"), "```", ""]
    lines += [
        "## Limits",
        "",
        *(f"- {as_text(caution)}" for caution in record.get("cautions", [])),
        *([""] if record.get("cautions") else []),
        "Numbers hold for data like that of the evaluation. Not a medical device; check on your own data first.",
        "",
    ]
    return "\n".join(lines)
