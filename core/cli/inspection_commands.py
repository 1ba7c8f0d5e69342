"""The verbs that look at backbones before anything is trained: stages and rank."""

# Heavy packages are imported by the verbs, so that help is shown at once.
from __future__ import annotations

import json
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.console import print_table

RECIPE = ("class_weights", "batch_size", "seed", "device", "precision", "compile", "workers", "cache", "cache_limit",
          "cache_dtype")  # fmt: skip
"""Fields of the recipe that matter where nothing is trained."""


def stages_command(commands: CommandLine) -> Verb:
    """Name, function and help of `stages`."""
    domain = commands.domain

    def stages(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_backbone, asked_manifest, asked_recipe
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.stages import stages

        recipe = asked_recipe(options)
        _claim(options)
        manifest = asked_manifest(commands, options)
        backbone = asked_backbone(commands, options, options["backbone"], options["weights"], None, recipe.seed)
        found = stages(backbone, manifest, folds=options["folds"], recipe=recipe, out=options["out"],
                       near_duplicates=options["near_duplicates"],
                       skip_unreadable=options["skip_unreadable"])  # fmt: skip
        if not is_first():
            return
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2, sort_keys=True))
            return
        shown = found.task.shown_metrics
        rows = [
            (str(place), stage.name, str(stage.width), *(str(stage.evaluation.metrics[name]) for name in shown))
            for place, stage in enumerate(found.stages, start=1)
        ]
        print_table(["depth", "stage", "width", *shown], rows)

    return (
        "stages",
        o.with_parameters(
            stages,
            *_shared(commands, "Folder for stages.json and stages.png; by default nothing is written."),
            o.option("backbone", str, commands.default_backbone, "Backbone id, as `backbones` lists them."),
            o.WEIGHTS,
        ),
        "Evaluate a linear probe at every stage of a backbone, pooled to one vector, by cross-validation: how deep to "
        "graft. Every example runs through the network once.\n\n"
        f"Example: `graftwork-{domain.name} stages {domain.example}s.csv --backbone {commands.default_backbone}`",
    )


def rank_command(commands: CommandLine) -> Verb:
    """Name, function and help of `rank`."""
    domain = commands.domain

    def rank(**options: Any) -> None:
        from graftwork.core.cli.inputs import asked_backbone, asked_manifest, asked_recipe
        from graftwork.core.compute.runtime import is_first
        from graftwork.core.runs.rank import Candidate, rank

        recipe = asked_recipe(options)
        _claim(options)
        manifest = asked_manifest(commands, options)
        backbones = []
        for text in options["backbone"]:
            id, _, weights = text.partition("=")
            load = partial(asked_backbone, commands, options, id, weights or None, None, recipe.seed)
            backbones.append(Candidate(text, load, domain))
        ranking = rank(backbones, manifest, folds=options["folds"], recipe=recipe, out=options["out"],
                       near_duplicates=options["near_duplicates"],
                       skip_unreadable=options["skip_unreadable"])  # fmt: skip
        if not is_first():
            return
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
            print(f"{lost.backbone}: not evaluated: {lost.reason}")

    return (
        "rank",
        o.with_parameters(
            rank,
            *_shared(commands, "Folder for ranking.json; by default nothing is written."),
            o.option(
                "backbone",
                list[str],
                Parameter.empty,
                "Backbone id, or ID=FILE with local weights, or ID=random for none; once for each.",
            ),
        ),
        "Compare backbones on the examples of a manifest without training them: LogME, and a linear probe in the same "
        "folds for all, the best first.\n\n"
        f"Example: `graftwork-{domain.name} rank {domain.example}s.csv --backbone {commands.default_backbone} "
        "--backbone ID2`",
    )


def _shared(commands: CommandLine, out: str) -> tuple[Parameter, ...]:
    """Parameters of both verbs; `out` is the help of --out."""
    return (
        o.MANIFEST,
        o.TARGET,
        o.GROUP,
        o.GROUP_FROM,
        *o.SOURCE,
        o.NEAR_DUPLICATES,
        o.TASK,
        o.ORDER,
        o.SKIP_UNREADABLE,
        o.option("folds", int, 5, "Parts of the cross-validation; a split column is ignored."),
        o.option("out", str | None, None, out),
        *commands.parameters,
        *(parameter for parameter in o.recipe_options() if parameter.name in RECIPE),
        o.JSON,
    )


def _claim(options: dict[str, Any]) -> None:
    """Checks, before anything is read, that the folder to write to does not hold anything yet."""
    from graftwork.core.runs.run_folder import claim_folder

    if options["out"] is not None:
        claim_folder(Path(options["out"]))


def _with_weights(id: str, weights: str | None) -> str:
    return id if weights is None else f"{id}={weights}"
