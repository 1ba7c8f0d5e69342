"""What a manifest is said to hold before anything is trained."""

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.runs.check import check


@pytest.fixture
def look(tmp_path):
    """The overview of rows (label, group), each a file of its own."""

    def look(*rows):
        lines = ["path,label,group"]
        for number, (label, group) in enumerate(rows):
            (tmp_path / f"{number}.npy").write_bytes(bytes([number]))
            lines.append(f"{number}.npy,{label},{group}")
        (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
        return check(read_manifest(tmp_path / "table.csv"))

    return look


@pytest.mark.parametrize(("rows", "said"), [
    ([("a", "p"), ("b", "p")], "1 group of 2 rows"),
    ([("a", "p"), ("b", "q")], "2 groups of 1 row"),
    ([("a", "p"), ("b", "p"), ("b", "q")], "2 groups of 1 to 2 rows"),
])  # fmt: skip
def test_groups_are_counted_in_words(look, rows, said):
    assert said in str(look(*rows)).splitlines()


def test_classes_of_few_groups_that_have_no_other_are_named_and_many_need_no_word(look):
    found = look(*[("a", f"p{number % 6}") for number in range(12)], ("b", "q"), ("b", "q"), ("b", "r"))
    assert (found.classes_per_group, found.single_group_classes, found.few_group_classes) == (1, (), ("b",))
    assert "each group has one class only, and fewer than 5 have 'b'" in str(found)
    many = look(*[("ab"[number % 2], f"p{number % 10}") for number in range(20)])
    assert (many.classes_per_group, many.few_group_classes) == (1, ())
    assert str(many).splitlines()[-1] == "10 groups of 2 rows"


def test_a_class_of_one_group_cannot_be_kept_apart_and_is_named(look):
    found = look(("a", "p"), ("a", "q"), ("b", "r"), ("b", "r"))
    assert found.single_group_classes == ("b",)
    assert "only one group has 'b': no split keeps groups apart" in str(found)


def test_it_is_named_also_where_other_groups_have_several_classes(look):
    found = look(("a", "p"), ("b", "p"), ("a", "q"))
    assert found.single_group_classes == ("b",)
    assert "each group has one class" not in str(found)


def test_groups_that_share_their_classes_need_no_word(look):
    found = look(("a", "p"), ("b", "p"), ("a", "q"), ("b", "q"))
    assert found.single_group_classes == ()
    assert str(found).splitlines()[-1] == "2 groups of 2 rows"


def test_files_of_the_same_content_with_different_targets_are_named(tmp_path):
    lines = ["path,label"]
    for name, content, label in [("a", 1, "x"), ("b", 1, "y"), ("c", 2, "x"), ("d", 2, "x"), ("e", 3, "y")]:
        (tmp_path / f"{name}.npy").write_bytes(bytes([content]))
        lines.append(f"{name}.npy,{label}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    found = check(read_manifest(tmp_path / "table.csv"))
    pair = {f"{tmp_path}/a.npy": "x", f"{tmp_path}/b.npy": "y"}
    assert found.same_content == 2
    assert (found.conflicts, found.conflicting) == (1, (pair,))
    assert found.to_json()["conflicting"] == (pair,)
    assert f"1 of these sets have different targets:\n    {tmp_path}/a.npy: x, {tmp_path}/b.npy: y" in str(found)
