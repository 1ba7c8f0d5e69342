"""The verb `pretrain` of the audio command line: what it asks for, and the folder that it writes."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
import dataclasses
import json
from collections.abc import Sequence
from contextlib import nullcontext
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graftwork.audio.domain import DOMAIN
from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.errors import SettingsError

if TYPE_CHECKING:
    from graftwork.audio.pretraining.loop import Pretraining
    from graftwork.core.data.manifest import Manifest
    from graftwork.core.example import Example
    from graftwork.core.model.backbone import Backbone
    from graftwork.core.training.history import HistoryRow

SETTINGS = {
    "clusters": (int, 100, "Number of units."),
    "updates": (int, 2000, "Updates of each round."),
    "batch_seconds": (float, 48.0, "Sound per update."),
    "crop_seconds": (float, 4.0, "Length of the random part of each clip that is drawn."),
    "learning_rate": (float, 5e-4, "At its peak."),
    "mask_share": (float, 0.08, "Share of the frames at which a masked span starts."),
    "mask_frames": (int, 10, "Length of a masked span, in frames of 20 ms."),
    "seen_weight": (float, 0.5, "Weight of the loss at frames that are not hidden, which small networks learn sooner."),
    "spectrum_weight": (float, 0.0, "Weight of telling each frame's MFCC, which a small network begun afresh needs."),
    "channels": (str, "off", "'on' passes every part through a random channel: equaliser, room, noise, codec."),
    "seed": (int, 0, "Of weights, order and masks."),
    "device": (str, "auto", "auto, cpu, cuda, cuda:1, …"),
    "precision": (str, "auto", "auto: bf16 on GPUs that have it, fp32 on a CPU."),
    "checkpoint_minutes": (float, 5.0, "Minutes after which the unfinished run is kept again; 0: after every update."),
}
"""Type, default and help of the settings that have an option of the same name."""


def pretrain_command(commands: CommandLine) -> Verb:
    """Name, command and help of `pretrain`."""

    def pretrain(**options: Any) -> None:
        given = {name: options[name] for name in SETTINGS}
        units = tuple(part.strip() for part in options["units"].split(","))
        weight = options["speaker_weight"] if options["speaker"] else 0.0
        run_pretraining(options, given | {"units": units, "speaker_weight": weight})

    sources = Annotated[
        list[str],
        typer.Argument(help="Sound files, patterns, folders, or tables with a column `path`."),
    ]
    return (
        "pretrain",
        o.with_parameters(
            pretrain,
            Parameter("sources", Parameter.POSITIONAL_OR_KEYWORD, annotation=sources),
            o.option("out", str, Parameter.empty, "Folder for the backbone; every command takes it as hf:FOLDER."),
            o.option("backbone", str | None, None, "Backbone to go on from.", show=False),
            o.option("config", str | None, None, "Instead, a Hugging Face config.json of a network to begin afresh.",
                     show=False),
            o.WEIGHTS,
            o.option("units", str, "mfcc", "What units are found in, one round each: mfcc, cepstra (MFCC without their "
                     "differences), or layerN of what the round before has learnt, as in mfcc,layer4."),
            o.option("speaker", str | None, None, "Column of a table that names the speaker: speakers are learnt too.",
                     show=False),
            o.option("speaker_weight", float, 0.2, "Weight of the speakers' loss."),
            *(o.option(name, kind, default, help) for name, (kind, default, help) in SETTINGS.items()),
            o.SKIP_UNREADABLE,
            *o.AGAIN,
        ),
        "Pretrain a backbone, or go on pretraining one, on recordings without transcripts: it learns to name the unit "
        "(a cluster of frames) of what it cannot see, as HuBERT does.\n\n"
        f"Example: `graftwork-{commands.domain.name} pretrain recordings/ --config config.json --updates 2000 --out "
        "backbones/own`",
    )  # fmt: skip


@undisturbed()
def run_pretraining(options: dict[str, Any], settings: dict[str, Any]) -> None:
    """Pretrains, and writes a folder that `hf:FOLDER` loads, with the history and a model card."""
    from graftwork.audio.backbones.huggingface import write_files
    from graftwork.audio.pretraining.loop import Pretraining, pretrain
    from graftwork.core.compute.runtime import seed_everything, start_runtime
    from graftwork.core.data.examples import read_examples
    from graftwork.core.files import write_text
    from graftwork.core.recipe import Recipe
    from graftwork.core.runs.run_folder import FINISHED, check_same_run, goes_on, mark, writing_run
    from graftwork.core.training.history import write_history

    asked, out = Pretraining(**settings), Path(options["out"])
    resume = goes_on(out, resume=options["resume"], restart=options["restart"])
    clips = _clips(options["sources"], options["speaker"])
    seed_everything(asked.seed)
    backbone = _start(options)
    unreadable = "skip" if options["skip_unreadable"] else "stop"
    examples = read_examples(clips, backbone.contract, unreadable=unreadable)  # type: ignore[arg-type]
    record = {"backbone": {"id": backbone.id, "digest": backbone.digest(), "weights": backbone.weights},
              "rows": len(examples), "examples": examples.manifest.fingerprints(), "input": backbone.contract.to_json(),
              "recipe": {name: value for name, value in dataclasses.asdict(asked).items()
                         if name not in ("device", "checkpoint_minutes")}}  # fmt: skip
    record = json.loads(json.dumps(record))
    if resume:
        check_same_run(out, record)
    runtime = start_runtime(Recipe(device=asked.device))
    runtime.wait()  # every process has looked at the folder before the first one writes into it
    with writing_run(out, record, resume, options["restart"]) if runtime.rank == 0 else nullcontext():
        made, history = pretrain(backbone, examples, asked, out, speakers=options["speaker"] is not None,
                                 resume=resume)  # fmt: skip
        if runtime.rank > 0:
            return
        write_history(out, history)
        write_text(out / "README.md", pretraining_card(backbone, asked, examples.manifest, history))
        write_files(made.network, made.network.architecture, made.contract, out)  # type: ignore[arg-type]
        mark(out, record, FINISHED)
    print(f"backbone: hf:{out}")


def pretraining_card(
    start: "Backbone", settings: "Pretraining", clips: "Manifest", history: Sequence["HistoryRow"]
) -> str:
    """A Markdown card: what the backbone was made from, and how well it names units at the end."""
    last = history[-1]
    return "\n".join([
        f"# Pretrained on {len(clips)} clips", "",
        f"Masked prediction of {settings.clusters} units ({', '.join(settings.units)}), beginning with `{start.id}` "
        + ("at random weights." if start.weights == "random" else "at its pretrained weights."), "",
        "| | |", "|---|---|",
        f"| updates | {settings.updates} a round, {settings.batch_seconds:g} s of sound each |",
        f"| masked units right, clips held out | {last['val_unit_accuracy']:.3f} |",
        f"| held-out loss | {last['val_loss']:.3f} (chance {_chance(settings.clusters):.3f}) |",
        f"| settings | `{json.dumps(dataclasses.asdict(settings), sort_keys=True)}` |", "",
        "It has the licence that its recordings and its first weights allow. How well it serves a task shows only in "
        "that task.", "",
    ])  # fmt: skip


def _chance(clusters: int) -> float:
    import math

    return math.log(clusters)


def _start(options: dict[str, Any]) -> "Backbone":
    from graftwork.audio.backbones.loading import load_backbone, new_backbone
    from graftwork.core.files import read_json

    backbone, config = options["backbone"], options["config"]
    if (backbone is None) == (config is None):
        raise SettingsError("give either --backbone to go on from, or --config for a network to begin afresh")
    if config is not None:
        if options["weights"] is not None:
            raise SettingsError("--weights belongs to --backbone; a network of --config begins at random weights")
        return new_backbone(read_json(Path(config)))
    return load_backbone(backbone, weights=options["weights"])


def _clips(sources: Sequence[str], speaker: str | None) -> "Manifest":
    """The recordings; labelled by speaker where that is asked for, and with their rows where all are of one table."""
    from graftwork.core.data.class_folders import files_below
    from graftwork.core.data.table_files import TABLES
    from graftwork.core.data.tables import read_manifest, read_unlabelled
    from graftwork.core.inference.inputs import find_inputs
    from graftwork.core.tasks import SINGLE_LABEL

    if speaker is not None:
        if len(sources) != 1:
            raise SettingsError(f"--speaker needs one table, found {len(sources)} sources")
        return read_manifest(sources[0], target=speaker, task=SINGLE_LABEL, split=None, suffixes=DOMAIN.suffixes,
                             kinds=DOMAIN.kinds, path_columns=DOMAIN.path_columns, corpora=DOMAIN.corpora)  # fmt: skip
    first = Path(sources[0]).expanduser()
    if len(sources) == 1 and first.suffix.lower() in TABLES and first.is_file():
        numbered = read_unlabelled(first, DOMAIN.kinds, path_columns=DOMAIN.path_columns)
        return _unlabelled(str(first), [clip for clip, _ in numbered], [row for _, row in numbered])
    files: list[str] = []
    for source in sources:
        folder = Path(source).expanduser()
        if folder.is_dir():
            found = files_below(folder, DOMAIN.suffixes)
            if not found:
                raise SettingsError(f"{source}: no file in it ends in {', '.join(DOMAIN.suffixes)}")
            files += found
        else:
            files.append(source)
    return _unlabelled(", ".join(sources), find_inputs(files, DOMAIN), [])


def _unlabelled(source: str, clips: Sequence["Example"], rows: Sequence[int]) -> "Manifest":
    import numpy as np

    from graftwork.core.data.manifest import Manifest
    from graftwork.core.tasks import SINGLE_LABEL

    values = np.zeros(len(clips), dtype=np.int64)
    return Manifest(source, tuple(clips), SINGLE_LABEL, "", ("",), values, rows=tuple(rows))
