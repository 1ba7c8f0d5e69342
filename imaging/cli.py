"""The command line `graftwork-imaging`: the shared verbs, told about this domain."""

import warnings

from graftwork.core.cli.commands import run_app
from graftwork.imaging.domain import DOMAIN


def main() -> None:
    """Runs the command line and exits."""
    # They quote what a header says where it breaks the standard, which may be about the patient.
    warnings.filterwarnings("ignore", module="pydicom")
    run_app(DOMAIN)
