"""The verb `push` of both command lines."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb


def push_command(commands: CommandLine) -> Verb:
    """Name, command and help of `push`."""
    domain = commands.domain

    def push(**options: Any) -> None:
        from graftwork.core.runs.push import push

        name = push(options["run"], options["repository"], private=options["private"])
        print(f"uploaded; whoever may read it: graftwork-{domain.name} predict {name} new/*")

    return (
        "push",
        o.with_parameters(
            push,
            o.argument("run", str, "Folder that train wrote."),
            o.argument("repository", str, "OWNER/NAME on the Hugging Face hub."),
            o.option("private", bool, True, "Make the repository private; where it exists, it must be."),
        ),
        "Upload an adapter to the Hugging Face hub: its three files, and nothing else of the run's folder. Refused "
        "where record or card would tell absolute paths, or names of patients, speakers and files.\n\n"
        f"Example: `graftwork-{domain.name} push runs/first OWNER/NAME`, then "
        f"`graftwork-{domain.name} predict hub:OWNER/NAME new/*`",
    )
