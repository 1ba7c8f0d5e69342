"""The verb `export` of the imaging command line."""

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
        from graftwork.core.errors import OutputError
        from graftwork.core.inference.adapter import CARD, load_adapter
        from graftwork.core.inference.hub import adapter_folder
        from graftwork.imaging.backbones.loading import load_backbone

        place = Path(options["out"])
        if options["format"] == "onnx" and place.is_dir():
            raise OutputError(f"{place}: --out must be a file for onnx, this is a folder")
        adapter = load_adapter(options["run"], load_backbone, options["weights"])
        if options["format"] == "onnx":
            from graftwork.imaging.export.onnx import export_onnx

            difference = export_onnx(adapter, place)
            print(f"ONNX: {place}; onnxruntime's outputs differ by at most {difference:.1g}")
        else:
            from graftwork.imaging.export.monai_bundle import export_bundle

            card = adapter_folder(options["run"]) / CARD
            export_bundle(adapter, place, card.read_text(encoding="utf-8") if card.is_file() else None)
            print(f"MONAI bundle: {place}; docs/README.md says how to run it")

    return (
        "export",
        o.with_parameters(
            export,
            RUN,
            o.option("format", Literal["onnx", "monai-bundle"], Parameter.empty, "What to write: a file that "
                     "onnxruntime runs, or a folder that MONAI runs.", show=False),
            o.option("out", str, Parameter.empty, "File (onnx) or folder (monai-bundle) to write."),
            o.WEIGHTS,
        ),
        "Write an adapter and its backbone as one network for other programs. LoRA is merged into ONNX, and the "
        "outputs are compared before the file is kept.\n\n"
        f"Example: `graftwork-{commands.domain.name} export runs/first --format onnx --out first.onnx`",
    )  # fmt: skip
