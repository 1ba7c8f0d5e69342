"""The verb `serve` of both command lines."""

# Typer reads annotations as objects, so they are not postponed here; heavy packages are imported by the verb.
from typing import Any

from graftwork.core.cli import options as o
from graftwork.core.cli.command_line import CommandLine, Verb
from graftwork.core.cli.run_commands import RUN


def serve_command(commands: CommandLine) -> Verb:
    """Name, function and help of `serve`."""

    def serve(**options: Any) -> None:
        from graftwork.core.cli.interruption import ended_by_request
        from graftwork.core.serving.server import make_server, serve

        run = options.pop("run")
        server = make_server(run, commands.load_backbone, **options)
        print(f"{server.address} shows {run}, until Ctrl-C", flush=True)
        with ended_by_request() as wait:
            serve(server, wait)

    domain = commands.domain
    return (
        "serve",
        o.with_parameters(
            serve,
            RUN,
            o.option("host", str, "127.0.0.1", "Address at which the page is; by default of this machine alone. "
                     "There is no password."),
            o.option("port", int, 8765, "Its port; 0 for any that is free."),
            o.option("max_mb", float, 512.0, "Largest file that is taken, in MB."),
            o.ABSTAIN,
            o.WEIGHTS,
            o.DEVICE,
        ),
        f"Show a run as a page on this machine: drop a {domain.example} there, and see what the run says of it. "
        "Nothing is sent to other machines, and no file is kept.\n\n"
        f"Example: `graftwork-{domain.name} serve runs/first`",
    )  # fmt: skip
