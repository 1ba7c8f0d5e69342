"""The command line `graftwork-imaging`: the shared verbs, told about this domain."""

from graftwork.core.commands import run_app
from graftwork.imaging.domain import DOMAIN


def main() -> None:
    """Runs the command line and exits."""
    run_app(DOMAIN)
