"""The command line `graftwork-audio`: the shared verbs, told about this domain."""

from graftwork.audio.domain import DOMAIN
from graftwork.core.cli.commands import run_app


def main() -> None:
    """Runs the command line and exits."""
    run_app(DOMAIN)
