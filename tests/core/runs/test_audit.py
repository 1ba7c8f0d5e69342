"""What is counted of the rows of a run."""

import json

import pytest

from graftwork.core.data.examples import Unreadable
from graftwork.core.data.near_duplicates import NearDuplicates
from graftwork.core.runs.audit import MOST_SETS, part_summary, write_audit


def test_rows_groups_and_classes_of_a_part_are_counted(make_manifest):
    found = part_summary(make_manifest().subset(range(30)))
    assert found == {"rows": 30, "groups": {"count": 10, "smallest": 3, "largest": 3},
                     "classes": {"a": 10, "b": 10, "c": 10}, "range": None}  # fmt: skip


def test_numbers_have_a_range_and_labels_their_positive_rows(make_manifest):
    numbers = make_manifest("regression")
    low, high, mean = part_summary(numbers)["range"]
    assert (low, high) == (numbers.values.min(), numbers.values.max())
    assert mean == pytest.approx(numbers.values.mean())
    assert part_summary(make_manifest("multi-label"))["classes"] == {"bright": 30, "striped": 20}


def test_everything_that_was_found_is_written(manifest, tmp_path):
    sets = tuple((f"{place}.png", f"{place}b.png") for place in range(MOST_SETS + 5))
    alike = NearDuplicates("together", sets, 3, 2 * len(sets))
    write_audit(tmp_path, {"train": manifest.subset(range(40)), "test": manifest.subset(range(40, 60))}, split="drawn",
                left_out=[Unreadable("x.png", "is no picture", 7)], alike=alike, cautions=["careful"])  # fmt: skip
    found = json.loads((tmp_path / "data.json").read_text())
    assert [part["rows"] for part in found["parts"].values()] == [20, 40]
    assert (found["near_duplicates"]["sets"], len(found["near_duplicates"]["first"])) == (MOST_SETS + 5, MOST_SETS)
    assert found["left_out"] == [{"path": "x.png", "reason": "is no picture", "row": 7}]
    assert (found["split"], found["cautions"], found["target"]) == ("drawn", ["careful"], "label")
