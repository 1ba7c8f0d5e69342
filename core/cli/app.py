"""The program: the verbs of one domain put together, and how they end."""

import errno
import logging
import os
import sys
from typing import Annotated

import typer

from graftwork.core.cli.cache_command import cache_command
from graftwork.core.cli.command_line import CommandLine
from graftwork.core.cli.console import accept_all_text
from graftwork.core.cli.embed_command import embed_command
from graftwork.core.cli.help_text import FoldedHelp
from graftwork.core.cli.hub_command import push_command
from graftwork.core.cli.inspection_commands import rank_command, stages_command
from graftwork.core.cli.interruption import interruptible
from graftwork.core.cli.listing_commands import backbones_command, check_command
from graftwork.core.cli.report_command import report_command
from graftwork.core.cli.run_commands import evaluate_command, predict_command
from graftwork.core.cli.serve_command import serve_command
from graftwork.core.cli.training_commands import compare_command, train_command
from graftwork.core.cli.tune_command import tune_command
from graftwork.core.errors import GraftworkError
from graftwork.core.progress import StderrHandler, silence
from graftwork.core.versions import version_of

USER_ERROR = 2
"""Exit status for what the user can mend; faults of the program exit with 1."""

QUIET = ("-q", "--quiet")

WHAT_GOES_ON = "the same train, compare, tune, pretrain, embed or predict goes on from what it has kept, if anything"
INTERRUPTED = f"interrupted; {WHAT_GOES_ON}"
PREEMPTED = f"asked to end; {WHAT_GOES_ON} (exit status 75)"


def build_app(commands: CommandLine) -> typer.Typer:
    """The command line of one domain."""
    domain = commands.domain
    app = typer.Typer(
        name=f"graftwork-{domain.name}",
        help=f"Graft a small trained part onto a frozen pretrained backbone, for {domain.name}. "
        "Begin with `check`, then `train`, `evaluate` and `predict`. `--debug` shows where an error came from, "
        "`--quiet` (`-q`) nothing but warnings and results.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    shared = (backbones_command, check_command, stages_command, rank_command, train_command, compare_command,
              tune_command, evaluate_command, report_command, predict_command, serve_command, embed_command,
              push_command, cache_command)  # fmt: skip
    for verb in (*shared, *commands.verbs):
        name, command, text = verb(commands)
        app.command(name, cls=FoldedHelp, help=text, no_args_is_help=name not in ("backbones", "cache"))(command)
    app.callback()(_main)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(version_of("graftwork"))
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options in front of every verb."""


def run_app(commands: CommandLine) -> None:
    """Runs the command line and exits: 0 done, 2 for what the user can mend, 1 for a fault of the program, 75 asked to
    end by SIGTERM or SIGUSR1, 130 interrupted."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--debug", *QUIET)]
    debug, quiet = "--debug" in sys.argv[1:], any(word in sys.argv[1:] for word in QUIET)
    if quiet:
        silence()
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("graftwork")
    log.addHandler(handler)
    first = os.environ.get("RANK", "0") == "0"  # under torchrun one process speaks for all
    level = logging.WARNING if quiet else logging.INFO
    log.setLevel(logging.ERROR if not first else logging.DEBUG if debug else level)
    accept_all_text()
    try:
        with interruptible(INTERRUPTED, PREEMPTED):
            build_app(commands)(arguments)
    except GraftworkError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except OSError as error:
        if debug or error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: {error.filename}: no file can have so long a name; give a shorter one", file=sys.stderr)
        sys.exit(USER_ERROR)
    finally:
        log.removeHandler(handler)
