"""The verbs that look at backbones before anything is trained: stages and rank."""

# Heavy packages are imported by the verbs, so that help is shown at once.
from __future__ import annotations

import json
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.core.cli import options as o
from graftwork.core.cli.console import print_table
from graftwork.core.domain import Domain

if TYPE_CHECKING:
    from graftwork.core.runs.inspection import Inspection


RECIPE = ("class_weights", "batch_size", "seed", "device", "precision", "compile", "workers", "cache", "cache_limit",
          "cache_dtype")  # fmt: skip
"""Fields of the recipe that matter where nothing is trained."""


def stages_command(domain: Domain) -> tuple[str, Callable[..., None], str]:
    """Name, function and help of `stages`."""

    def stages(**options: Any) -> None:
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.stages import inspect_stages, write_depth

        out = _out(options)
        depth = inspect_stages(_inspection(domain, options), options["backbone"], options["weights"])
        if not is_first():
            return
        if out is not None:
            write_depth(out, depth)
        if options["json"]:
            print(json.dumps(depth.to_json(), indent=2, sort_keys=True))
            return
        shown = depth.task.shown_metrics
        rows = [
            (str(place), stage.name, str(stage.width), *(str(stage.evaluation.metrics[name]) for name in shown))
            for place, stage in enumerate(depth.stages, start=1)
        ]
        print_table(["depth", "stage", "width", *shown], rows)

    return (
        "stages",
        o.with_parameters(
            stages,
            *_shared(domain, "Folder for stages.json and stages.png; by default nothing is written."),
            o.option("backbone", str, domain.default_backbone, "Backbone id, as `backbones` lists them."),
            o.WEIGHTS,
        ),
        "Judge a linear probe at every stage of a backbone, pooled to one vector, by cross-validation: how deep to "
        "graft. Every example runs through the network once.\n\n"
        f"Example: `graftwork-{domain.name} stages {domain.example}s.csv --backbone {domain.default_backbone}`",
    )


def rank_command(domain: Domain) -> tuple[str, Callable[..., None], str]:
    """Name, function and help of `rank`."""

    def rank(**options: Any) -> None:
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.rank import rank_backbones, split_weights, write_ranking

        out = _out(options)
        chosen = [split_weights(text) for text in options["backbone"]]
        ranking = rank_backbones(_inspection(domain, options), chosen)
        if not is_first():
            return
        if out is not None:
            write_ranking(out, ranking)
        if options["json"]:
            print(json.dumps(ranking.to_json(), indent=2, sort_keys=True))
            return
        shown = ranking.task.shown_metrics
        rows = [
            (
                _with_weights(one.backbone, one.weights),
                *(str(one.evaluation.metrics[name]) for name in shown),
                f"{one.logme:.4f}",
                str(one.feature_dim),
                str(one.evaluation.rows),
                f"{one.seconds:.1f}",
            )
            for one in ranking.ranked
        ]
        print_table(["backbone", *shown, "logme", "width", "rows", "seconds"], rows)
        for lost in ranking.unusable:
            print(f"{_with_weights(lost.backbone, lost.weights)}: not judged: {lost.reason}")

    return (
        "rank",
        o.with_parameters(
            rank,
            *_shared(domain, "Folder for ranking.json; by default nothing is written."),
            o.option(
                "backbone",
                list[str],
                Parameter.empty,
                "Backbone id, or ID=FILE with local weights, or ID=random for none; once for each.",
            ),
        ),
        "Compare backbones on the examples of a manifest without training them: LogME, and a linear probe in the same "
        "folds for all, the best first.\n\n"
        f"Example: `graftwork-{domain.name} rank {domain.example}s.csv --backbone {domain.default_backbone} "
        "--backbone ID2`",
    )


def _shared(domain: Domain, out: str) -> tuple[Parameter, ...]:
    """Parameters of both verbs; `out` is the help of --out."""
    return (
        o.MANIFEST,
        o.TARGET,
        o.GROUP,
        o.GROUP_FROM,
        o.NEAR_DUPLICATES,
        o.TASK,
        o.ORDER,
        o.SKIP_UNREADABLE,
        o.option("folds", int, 5, "Parts of the cross-validation; a split column is ignored."),
        o.option("out", str | None, None, out),
        *domain.parameters,
        *(parameter for parameter in o.recipe_options() if parameter.name in RECIPE),
        o.JSON,
    )


def _inspection(domain: Domain, options: dict[str, Any]) -> Inspection:
    from graftwork.core.data.tables import split_order
    from graftwork.core.recipe import Recipe
    from graftwork.core.runs.inspection import Inspection

    return Inspection(
        domain=domain,
        manifest=options["manifest"],
        folds=options["folds"],
        target=options["target"],
        group=options["group"],
        group_from=options["group_from"],
        near_duplicates=options["near_duplicates"],
        task=options["task"],
        order=split_order(options["order"]),
        skip_unreadable=options["skip_unreadable"],
        input={parameter.name: options[parameter.name] for parameter in domain.parameters},
        recipe=Recipe(**{name: options[name] for name in RECIPE if options[name] is not None}),
    )


def _out(options: dict[str, Any]) -> Path | None:
    """The folder to write to, which must not hold anything yet."""
    from graftwork.core.runs.run_folder import claim_folder

    if options["out"] is None:
        return None
    folder = Path(options["out"])
    claim_folder(folder, resume=False)
    return folder


def _with_weights(id: str, weights: str | None) -> str:
    return id if weights is None else f"{id}={weights}"
