"""JSON as tables: by line, as a list and by name, compared with the json module."""

import json

import pytest

from graftwork.core.data.json_tables import read_json_table
from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError

ROWS = [{"path": "a.png", "label": "ä", "age": 1.50}, {"path": "b.png", "label": None, "ill": True}]


def expected(names):
    written = {True: "true", None: ""}
    return [[str(written.get(row.get(name, ""), row.get(name, ""))) for name in names] for row in ROWS]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "lines.json", "list.json", "named.json"])
def test_objects_are_rows_however_they_are_put_together(tmp_path, name):
    texts = {"list.json": json.dumps(ROWS), "named.json": json.dumps({f"u{i}": row for i, row in enumerate(ROWS)})}
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"
    (tmp_path / name).write_text(texts.get(name, lines), encoding="utf-8")
    table = read_json_table(tmp_path / name)
    if name == "named.json":
        assert table.pop("id").tolist() == ["u0", "u1"]
    names = ["path", "label", "age", "ill"]
    assert list(table.columns) == names
    assert table.to_numpy().tolist() == expected(names)


def test_numbers_stay_as_they_are_written(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": 0012e0, "x": 1}'.replace("0012e0", "12e0") + '\n{"id": 1.50, "x": NaN}\n')
    assert read_json_table(tmp_path / "t.jsonl").to_numpy().tolist() == [["12e0", "1"], ["1.50", "NaN"]]


def test_a_manifest_of_lines_counts_its_rows_from_one(write):
    source = write('{"path": "a.png", "label": "x"}\n\n{"path": "b.png", "label": "y"}\n', "t.jsonl")
    found = read_manifest(source)
    assert found.rows == (1, 3)
    assert found.targets.tolist() == ["x", "y"]


def test_speechbrains_wav_object_is_its_file(tmp_path):
    (tmp_path / "t.json").write_text('{"u": {"wav": {"file": "a.wav", "start": 100, "stop": 900}, "spk_id": "s"}}')
    row = read_json_table(tmp_path / "t.json").iloc[0].to_dict()
    assert row == {"id": "u", "wav": "a.wav", "start": "100", "stop": "900", "spk_id": "s"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a"}\n"b"\n{"path"\n', 'row 2: expected one JSON object: expected an object of cells, found "b"'),
        ('{"path": "a"}\n{"path"\n', "row 2: expected one JSON object"),
        ('{"path": "a", " path": "b"}\n', "row 1: .*two cells of an object have one name"),
        ("\n", "it is empty"),
    ],
)
def test_what_is_no_object_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_json_table(tmp_path / "t.jsonl")
