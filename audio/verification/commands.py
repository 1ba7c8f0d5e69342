"""The verbs `enroll`, `verify`, `identify` and `trials` of the audio command line."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import json
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.console import print_table
from graftwork.core.domain import Domain
from graftwork.core.errors import SettingsError

if TYPE_CHECKING:
    from graftwork.audio.verification.scoring import DetectionCost
    from graftwork.audio.verification.verbs import Voice

Command = tuple[str, Callable[..., None], str]

SOURCE = o.argument("source", str, "Folder that train wrote, or a backbone's id to use it as it is.")
SPEAKER = o.option("speaker", str, "speaker", "Column that names the speaker.")
COHORT = o.option("cohort", str | None, None, "Clips of other speakers (a folder, a pattern, or a table with a column "
                  "`path`): their mean is taken from every vector.", show=False)  # fmt: skip
POOLING = o.option("pooling", str | None, None, "Of a backbone without training: 'mean', or by default 'mean+std'.",
                   show=False)  # fmt: skip
COSTS = (
    o.option("p_target", float, 0.01, "Prior of the operating point: share of trials in which it is the same speaker."),
    o.option("c_miss", float, 1.0, "Cost of refusing the right speaker."),
    o.option("c_false_alarm", float, 1.0, "Cost of accepting another speaker."),
)
THRESHOLD = o.option("threshold", float | None, None, "Accept from this score on, instead of the operating point.",
                     show=False)  # fmt: skip
COMPUTED = (o.WEIGHTS, POOLING, o.BATCH_SIZE, o.DEVICE)


def enroll_command(commands: CommandLine) -> Command:
    """Name, command and help of `enroll`."""

    def enroll(**options: Any) -> None:
        from graftwork.audio.verification.verbs import enroll

        prints = enroll(_voice(commands.domain, options), options["manifest"], options["speaker"], Path(options["out"]),
                        cohort=options["cohort"], calibration=options["calibration"])  # fmt: skip
        print(f"{len(prints.speakers)} speakers from {sum(prints.clips)} clips: {options['out']}")

    return (
        "enroll",
        o.with_parameters(
            enroll,
            SOURCE,
            o.argument("manifest", str, "Table with the clips of every speaker, or a folder per speaker."),
            o.option("out", str, Parameter.empty, "File for the speakers' prints (.safetensors)."),
            SPEAKER,
            COHORT,
            o.option("calibration", str | None, None, "calibration.json that `trials --out` wrote: scores then have a "
                     "probability.", show=False),
            o.SKIP_UNREADABLE,
            *COMPUTED,
        ),
        "Make one print of every speaker from several clips of each.\n\n"
        f"Example: `graftwork-{commands.domain.name} enroll runs/voices clips.csv --out prints.safetensors`",
    )  # fmt: skip


def verify_command(commands: CommandLine) -> Command:
    """Name, command and help of `verify`."""

    def verify(**options: Any) -> None:
        from graftwork.audio.verification.verbs import verify

        named = options["prints"] is not None
        if named != (options["speaker"] is not None) or named == (options["other"] is not None):
            raise SettingsError("give either a second clip, or --prints with --speaker")
        voice = _voice(commands.domain, options)
        found = verify(voice, options["clip"], other=options["other"], prints=options["prints"],
                       speaker=options["speaker"], cost=_cost(options), threshold=options["threshold"])  # fmt: skip
        if options["json"]:
            print(json.dumps(found, indent=2))
            return
        print(f"score {found['score']:.4f}")
        if found["probability"] is not None:
            print(f"probability of the same speaker {found['probability']:.4f}")
        if found["accepted"] is None:
            print("scores are not calibrated: decide with --threshold, or enroll with --calibration")
        else:
            print(f"{'accepted' if found['accepted'] else 'refused'} ({found['operating_point']})")

    other = Annotated[str | None, typer.Argument(help="A second clip, to be compared with the first.")]
    return (
        "verify",
        o.with_parameters(
            verify,
            SOURCE,
            o.argument("clip", str, "The clip in question."),
            Parameter("other", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=other),
            o.option("prints", str | None, None, "File that enroll wrote.", show=False),
            o.option("speaker", str | None, None, "The enrolled speaker who it should be.", show=False),
            *COSTS,
            THRESHOLD,
            *COMPUTED,
            o.JSON,
        ),
        "Say whether a clip is from an enrolled speaker, or two clips from the same one.\n\n"
        f"Example: `graftwork-{commands.domain.name} verify runs/voices new.wav --prints prints.safetensors "
        "--speaker anna`",
    )


def identify_command(commands: CommandLine) -> Command:
    """Name, command and help of `identify`."""

    def identify(**options: Any) -> None:
        from graftwork.audio.verification.verbs import identify
        from graftwork.core.files import whole_file

        table = identify(_voice(commands.domain, options), options["prints"], options["inputs"], cost=_cost(options),
                         threshold=options["threshold"])  # fmt: skip
        if options["json"]:
            print(table.to_json(orient="records", indent=2))
        elif options["out"] is None:
            print(table.to_csv(index=False, float_format="%.6g"), end="")
        else:
            with whole_file(Path(options["out"])) as beside:
                table.to_csv(beside, index=False, float_format="%.6g")
            print(f"{len(table)} clips: {options['out']}")

    return (
        "identify",
        o.with_parameters(
            identify,
            SOURCE,
            o.argument("prints", str, "File that enroll wrote."),
            o.argument("inputs", list[str], "Files, patterns, or tables with a column `path`."),
            o.option("out", str | None, None, "CSV file to write; by default the table goes to stdout.", show=False),
            *COSTS,
            THRESHOLD,
            *COMPUTED,
            o.JSON,
        ),
        "Name the enrolled speaker of every clip, or `unknown`. Files that cannot be read have an `error` instead.\n\n"
        f"Example: `graftwork-{commands.domain.name} identify runs/voices prints.safetensors new/*.wav`",
    )


def trials_command(commands: CommandLine) -> Command:
    """Name, command and help of `trials`."""

    def trials(**options: Any) -> None:
        from graftwork.audio.verification.verbs import judge_trials

        out = None if options["out"] is None else Path(options["out"])
        cost = _cost(options)
        judged = judge_trials(_voice(commands.domain, options), options["trials"], speaker=options["speaker"],
                              cohort=options["cohort"], cost=cost, folder=options["folder"], out=out)  # fmt: skip
        if options["json"]:
            print(json.dumps(judged.to_json(), indent=2))
            return
        known = next(iter(judged.results.values()))
        speakers = "speakers not known, no intervals" if known.speakers is None else f"{known.speakers} speakers"
        print(f"{known.trials} trials, {known.targets} of the same speaker, {speakers}")
        print_table(
            ["score", "EER", f"minDCF({known.cost.p_target:g}, {known.cost.c_miss:g}, {known.cost.c_false_alarm:g})",
             "minCllr", "Cllr"],
            [(name, *("" if one is None else str(one) for one in (r.eer, r.min_dcf, r.min_cllr, r.cllr)))
             for name, r in judged.results.items()],
        )  # fmt: skip
        if out is not None:
            print(f"scores, metrics, calibration and picture: {out}")

    return (
        "trials",
        o.with_parameters(
            trials,
            SOURCE,
            o.argument("trials", str, "List of lines `1 one.wav other.wav`, or a table of which all pairs are tried."),
            SPEAKER,
            COHORT,
            o.option("folder", str | None, None, "Folder of the list's paths; by default the list's own.", show=False),
            *COSTS,
            o.option("out", str | None, None, "Folder for scores, metrics, calibration and a DET curve.", show=False),
            o.SKIP_UNREADABLE,
            *COMPUTED,
            o.JSON,
        ),
        "Judge speaker verification: EER, minDCF, minCllr and Cllr with intervals by speaker, as cosines, and with a "
        "cohort also with AS-norm.\n\n"
        f"Example: `graftwork-{commands.domain.name} trials runs/voices test.csv --cohort others/ --out runs/verified`",
    )


def _voice(domain: Domain, options: dict[str, Any]) -> "Voice":
    from graftwork.audio.verification.verbs import Voice
    from graftwork.core.recipe import Recipe

    recipe = Recipe(batch_size=options["batch_size"], device=options["device"])
    unreadable: Literal["stop", "skip"] = "skip" if options.get("skip_unreadable") else "stop"
    return Voice(domain, options["source"], options["weights"], options["pooling"], recipe, unreadable)


def _cost(options: dict[str, Any]) -> "DetectionCost":
    from graftwork.audio.verification.scoring import DetectionCost

    return DetectionCost(options["p_target"], options["c_miss"], options["c_false_alarm"])
