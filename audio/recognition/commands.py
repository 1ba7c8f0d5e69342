"""The verb `transcribe` of the audio command line."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
from typing import Any, Literal

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.csv_cells import escaped

LANGUAGE = o.option(
    "language", str | None, None, "Of an MMS checkpoint, the language whose adapters are used, as eng. Others have "
    "none.", show=False,
)  # fmt: skip


def transcribe_command(commands: CommandLine) -> Verb:
    """Name, command and help of `transcribe`."""

    def transcribe(**options: Any) -> None:
        from pathlib import Path

        from graftwork.audio.recognition.recogniser import transcribe_files
        from graftwork.core.files import atomic_write

        told = {name: options[name] for name in ("weights", "language", "decoder", "batch_size", "device")}
        table = transcribe_files(options["run"], options["inputs"], **told)
        if options["json"]:
            print(table.to_json(orient="records", indent=2, force_ascii=False))
        elif options["out"] is not None:
            with atomic_write(Path(options["out"])) as temporary:
                escaped(table).to_csv(temporary, index=False)
            print(f"{len(table)} transcripts: {options['out']}")
        else:
            print(escaped(table).to_csv(index=False), end="")

    return (
        "transcribe",
        o.with_parameters(
            transcribe,
            o.argument("run", str, "Folder that train wrote for a text target, or hf:… with a head for text."),
            o.argument("inputs", list[str], "Files, patterns, or tables with a column `path`."),
            o.option("decoder", Literal["greedy", "beam"], "greedy", "greedy: the most probable class of every frame; "
                     "beam: the most probable text, all its paths taken together."),
            o.option("out", str | None, None, "CSV file to write; by default the table goes to stdout.", show=False),
            o.WEIGHTS,
            LANGUAGE,
            o.BATCH_SIZE,
            o.DEVICE,
            o.JSON,
        ),
        "Write down what is said in new clips. Files that cannot be read have an `error` instead.\n\n"
        f"Example: `graftwork-{commands.domain.name} transcribe runs/words new/*.wav`",
    )  # fmt: skip
