"""The decisions that an adapter's record holds, and whether they can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.evaluation.decisions import Decisions, decisions_from_json


def recorded_decisions(record: Mapping[str, Any], source: str | Path) -> Decisions:
    """The decisions of an adapter's record. source: its folder. Raises AdapterError for what says nothing usable of
    them."""
    try:
        return decisions_from_json(record.get("decisions"), len(record["classes"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AdapterError(f"{source}: decisions: not what this version writes ({error}); train it again") from error


def check_abstain(abstain: float | None, runs: Mapping[str, Decisions]) -> None:
    """Raises SettingsError for a share that is none, and where a run has no held-out predictions to abstain by."""
    if abstain is None:
        return
    if not 0 < abstain < 1:
        raise SettingsError(f"--abstain: expected above 0 and below 1, found {abstain}")
    for name, decisions in runs.items():
        if decisions.conformal is None:
            raise SettingsError(f"--abstain: {name} has no predictions of held-out rows to go by: train it with "
                                "--folds, or with a validation part, for single labels or grades")  # fmt: skip
