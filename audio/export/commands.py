"""The verb `export` of the audio command line."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.run_commands import RUN


def export_command(commands: CommandLine) -> Verb:
    """Name, command and help of `export`."""

    def export(**options: Any) -> None:
        from graftwork.audio.backbones.loading import load_backbone
        from graftwork.audio.export.onnx import export_onnx
        from graftwork.core.errors import OutputError
        from graftwork.core.inference.adapter import load_adapter

        place = Path(options["out"])
        if place.is_dir():
            raise OutputError(f"{place}: --out must be a file, this is a folder")
        difference = export_onnx(load_adapter(options["run"], load_backbone, options["weights"]), place)
        print(f"ONNX: {place}; onnxruntime's outputs differ by at most {difference:.1g}")

    return (
        "export",
        o.with_parameters(
            export,
            RUN,
            o.option("format", Literal["onnx"], "onnx", "What to write: a file that onnxruntime runs."),
            o.option("out", str, Parameter.empty, "File to write."),
            o.WEIGHTS,
        ),
        "Write an adapter and its backbone as one network for other programs, from waveforms to predictions, or to "
        "logits of characters for text. LoRA is merged into it, and the outputs are compared before the file is kept."
        "\n\n"
        f"Example: `graftwork-{commands.domain.name} export runs/first --out first.onnx`",
    )  # fmt: skip
