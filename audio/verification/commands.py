"""The verbs `enroll`, `verify`, `identify` and `trials` of the audio command line."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verbs.
import json
import math
import sys
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb, command_words
from graftwork.core.cli.console import print_table
from graftwork.core.csv_cells import escaped

if TYPE_CHECKING:
    from graftwork.audio.verification.decisions import Decision
    from graftwork.audio.verification.identify import Identification
    from graftwork.audio.verification.trial_evaluation import TrialEvaluation
    from graftwork.core.metrics.intervals import Interval


SOURCE = o.argument("source", str, "Folder that train wrote, or a backbone's id to use it as it is.")
SPEAKER = o.option("speaker", str, "speaker", "Column that names the speaker.")
COHORT = o.option("cohort", str | None, None, "Clips of other speakers (a folder, a pattern, or a table with a column "
                  "`path`): their mean is taken from every vector.", show=False)  # fmt: skip
POOLING = o.option("pooling", str | None, None, "Of a backbone without training: 'mean', or by default 'mean+std'.",
                   show=False)  # fmt: skip
THRESHOLD = o.option("threshold", float | None, None, "Accept from this cosine on, instead of the operating point.",
                     show=False)  # fmt: skip
COMPUTED = (o.WEIGHTS, POOLING, o.BATCH_SIZE, o.DEVICE)


def _costs(p_target: float, prior: str) -> tuple[Parameter, ...]:
    return (
        o.option("p_target", float, p_target, f"Prior of the operating point: {prior}."),
        o.option("c_miss", float, 1.0, "Cost of refusing the right speaker."),
        o.option("c_false_alarm", float, 1.0, "Cost of accepting another speaker."),
    )


def enroll_command(commands: CommandLine) -> Verb:
    """Name, command and help of `enroll`."""

    def enroll(**options: Any) -> None:
        from graftwork.audio.verification.enroll import enroll

        made = enroll(**_arguments(options))
        known = made.calibration
        calibrated = "not calibrated" if known is None else f"calibrated on {known.speakers} speakers"
        print(f"{len(made.speakers)} speakers from {sum(made.clips)} clips, {calibrated}: {options['out']}")

    return (
        "enroll",
        o.with_parameters(
            enroll,
            SOURCE,
            o.argument("clips", str, "Table with the clips of every speaker, or a folder per speaker."),
            o.option("out", str, Parameter.empty, "File for the speakers' profiles (.safetensors)."),
            SPEAKER,
            COHORT,
            o.option("calibration", str | None, None, "calibration.json that `trials --out` wrote for other clips; by "
                     "default the clips enrolled here calibrate, each against the others.", show=False),
            o.SKIP_UNREADABLE,
            *COMPUTED,
        ),
        "Make a profile of every speaker: the average of the embeddings of several clips.\n\n"
        f"Example: `graftwork-{commands.domain.name} enroll runs/voices clips.csv --out speakers.safetensors`",
    )  # fmt: skip


def verify_command(commands: CommandLine) -> Verb:
    """Name, command and help of `verify`."""

    def verify(**options: Any) -> None:
        from graftwork.audio.verification.verify import verify

        found = verify(**_arguments(options))
        if options["json"]:
            print(json.dumps(found.to_json(), indent=2))
        else:
            print(_said_of_decision(found))
        if found.caution is not None:
            print(found.caution, file=sys.stderr)

    other = Annotated[str | None, typer.Argument(help="A second clip, to be compared with the first.")]
    return (
        "verify",
        o.with_parameters(
            verify,
            SOURCE,
            o.argument("clip", str, "The clip in question."),
            Parameter("other", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=other),
            o.option("profiles", str | None, None, "File that enroll wrote.", show=False),
            o.option("speaker", str | None, None, "The enrolled speaker who it should be.", show=False),
            o.option("calibration", str | None, None, "For two clips: calibration.json that `trials --out` wrote.",
                     show=False),
            *_costs(0.5, "how probable the claim is before the clip is heard"),
            THRESHOLD,
            *COMPUTED,
            o.JSON,
        ),
        "Say whether a clip is from an enrolled speaker, or two clips from the same one.\n\n"
        f"Example: `graftwork-{commands.domain.name} verify runs/voices new.wav --profiles speakers.safetensors "
        "--speaker anna`",
    )  # fmt: skip


def _said_of_decision(found: "Decision") -> str:
    lines = [f"cosine {found.score:.4f}"]
    if found.llr is not None:
        lines += [f"log-likelihood ratio {found.llr:.2f}",
                  f"probability of the same speaker {found.probability:.4f}"]  # fmt: skip
    if found.accepted is None:
        return "\n".join([*lines, "scores are not calibrated: decide with --threshold, or give --calibration"])
    limit = f"accepted from cosine {found.threshold:.4f} on"
    if found.threshold_llr is not None:
        limit += f", a log-likelihood ratio of {found.threshold_llr:.2f}"
    word = "accepted" if found.accepted else "refused"
    return "\n".join([*lines, f"{word} ({found.operating_point}: {limit})"])


def identify_command(commands: CommandLine) -> Verb:
    """Name, command and help of `identify`."""

    def identify(**options: Any) -> None:
        from graftwork.audio.verification.identify import identify
        from graftwork.core.files import atomic_write

        found = identify(**_arguments({name: value for name, value in options.items() if name != "out"}))
        table, said = found.table, _said_of_names(found)
        if options["json"]:
            print(table.to_json(orient="records", indent=2))
        elif options["out"] is None:
            print(escaped(table).to_csv(index=False, float_format="%.6g"), end="")
        else:
            with atomic_write(Path(options["out"])) as temporary:
                escaped(table).to_csv(temporary, index=False, float_format="%.6g")
            print(f"{said}: {options['out']}")
            return
        print(said, file=sys.stderr)

    return (
        "identify",
        o.with_parameters(
            identify,
            SOURCE,
            o.argument("profiles", str, "File that enroll wrote."),
            o.argument("inputs", list[str], "Files, patterns, or tables with a column `path`."),
            o.option("out", str | None, None, "CSV file to write; by default the table goes to stdout.", show=False),
            *_costs(0.5, "share of clips that are of an enrolled speaker, whoever it is"),
            THRESHOLD,
            *COMPUTED,
            o.JSON,
        ),
        "Name the enrolled speaker of every clip, or `unknown`. Files that cannot be read have an `error` instead.\n\n"
        f"Example: `graftwork-{commands.domain.name} identify runs/voices speakers.safetensors new/*.wav`",
    )


def _said_of_names(found: "Identification") -> str:
    said = f"{found.unknown} of {len(found.table)} clips unknown"
    if found.threshold is None:
        return said
    if found.threshold_llr is None:
        return f"{said}, named from cosine {found.threshold:.4f} on"
    return (
        f"{said}, named from cosine {found.threshold:.4f} or so on, a log-likelihood ratio of {found.threshold_llr:.2f}"
    )


def trials_command(commands: CommandLine) -> Verb:
    """Name, command and help of `trials`."""

    def trials(**options: Any) -> None:
        from graftwork.audio.verification.trial_evaluation import trials

        evaluated = trials(**_arguments(options), command=command_words(commands.domain.name))
        if options["json"]:
            print(json.dumps(evaluated.to_json(), indent=2))
            return
        _print_evaluation(evaluated)
        if options["out"] is not None:
            print(f"scores, metrics, calibration and plot: {options['out']}")

    return (
        "trials",
        o.with_parameters(
            trials,
            SOURCE,
            o.argument("trials", str, "List of lines `1 one.wav other.wav`, or a table of which all pairs are tried."),
            SPEAKER,
            COHORT,
            o.option("folder", str | None, None, "Folder of the list's paths; by default the list's own.", show=False),
            *_costs(0.01, "share of trials in which it is the same speaker"),
            o.option("out", str | None, None, "Folder for scores, metrics, calibration and a DET curve.", show=False),
            o.SKIP_UNREADABLE,
            *COMPUTED,
            o.JSON,
        ),
        "Evaluate speaker verification: EER, minDCF, minCllr and Cllr with intervals by speaker, of clips and of "
        "speakers averaged from several, open-set identification, and with a cohort also AS-norm.\n\n"
        f"Example: `graftwork-{commands.domain.name} trials runs/voices test.csv --cohort others/ --out runs/verified`",
    )


def _print_evaluation(evaluated: "TrialEvaluation") -> None:
    known = next(iter(evaluated.results.values()))
    cost = known.cost
    speakers = "speakers not known" if known.speakers is None else f"{known.speakers} speakers"
    print(f"{known.trials} trials, {known.targets} of the same speaker, {speakers}")
    print_table(
        ["score", "EER", f"minDCF({cost.p_target:g}, {cost.c_miss:g}, {cost.c_false_alarm:g})", "actual DCF", "minCllr",
         "Cllr"],
        [(name, *map(_short, (one.eer, one.min_dcf, one.act_dcf, one.min_cllr, one.cllr)))
         for name, one in [*evaluated.results.items(),
                           *((f"profiles of {one.clips}", one.verification) for one in evaluated.profiles)]],
    )  # fmt: skip
    if evaluated.profiles:
        print("identification, clips of strangers among them")
        print_table(
            ["score", "speakers",
             *(f"DIR at FAR {one.false_alarm_rate:.0%}" for one in evaluated.profiles[0].detections)],
            [(f"profiles of {one.clips}", str(one.speakers), *(_short(rate.rate) for rate in one.detections))
             for one in evaluated.profiles],
        )  # fmt: skip
    intervals = [one.verification for one in evaluated.profiles] + list(evaluated.results.values())
    reasons = {measured.method for result in intervals
               for measured in (result.eer, result.min_dcf, result.act_dcf, result.min_cllr, result.cllr)
               if measured is not None and math.isnan(measured.low) and measured.method}  # fmt: skip
    if reasons:
        print(f"no interval (*): {'; '.join(sorted(reasons))}")


def _short(interval: "Interval | None") -> str:
    """With a star where there is no interval."""
    if interval is None:
        return ""
    return f"{interval.value:.3f} *" if math.isnan(interval.low) else str(interval)


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What the verb takes in Python: costs are a value, and how the result is shown is none of its business."""
    from graftwork.audio.verification.scoring import DetectionCost

    found = dict(options)
    found.pop("json", None)
    if "p_target" in found:
        found["cost"] = DetectionCost(*(found.pop(name) for name in ("p_target", "c_miss", "c_false_alarm")))
    if "skip_unreadable" in found:
        found["unreadable"] = "skip" if found.pop("skip_unreadable") else "stop"
    return found
