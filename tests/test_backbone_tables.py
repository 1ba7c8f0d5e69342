"""The two tables of backbones in the documentation: every source that can be loaded stands in both."""

from pathlib import Path

import pytest

from graftwork import audio, imaging

PAGE = (Path(__file__).parent.parent / "docs" / "howto" / "backbones.md").read_text(encoding="utf-8")
SOURCES, WEIGHTS = (PAGE.partition(head)[2].partition("\n\n")[0] for head in (
    "| source | what |\n", "| name | where from | licence | trained on | layout tested with |\n"))  # fmt: skip
WITHOUT_WEIGHTS = {"i3d", "acs", "slices"}
"""They make networks of other rows take volumes."""


@pytest.mark.parametrize("table", [SOURCES, WEIGHTS], ids=["sources", "weights"])
def test_every_source_of_backbones_stands_in_the_table(table: str) -> None:
    listed = {entry.id.partition(":")[0] for entry in (*imaging.list_backbones(), *audio.list_backbones())}
    assert {"timm", "monai", "speechbrain", "wespeaker"} <= listed
    missing = [source for source in sorted(listed - WITHOUT_WEIGHTS) if f"`{source}:" not in table]
    assert not missing


def test_every_row_says_all_five_things() -> None:
    rows = [line for line in WEIGHTS.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(len([cell for cell in line.strip("|").split("|") if cell.strip()]) == 5 for line in rows)
