"""Names of what flows through the whole program, for annotations. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

TaskName = Literal["single-label", "multi-label", "ordinal", "regression", "text", "mask"]
"""What a target may be, as `--task` and files say it; `core.tasks` has the value behind each."""
