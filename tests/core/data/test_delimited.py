"""Tables of text with and without quotation marks around cells: no row is lost, whichever it is."""

import csv
import os

import pytest

from graftwork.core.data.delimited import read_delimited
from graftwork.core.errors import ManifestError

HEADER = ["path", "sentence", "speaker"]


def write(tmp_path, text, name="table.tsv"):
    (tmp_path / name).write_bytes(text.encode())
    return tmp_path / name


def plain(tmp_path, sentences, separator="\t", name="table.tsv"):
    """A table whose writer does not quote."""
    rows = [HEADER, *([f"{place}.mp3", text, f"s{place % 2}"] for place, text in enumerate(sentences))]
    return write(tmp_path, "".join(separator.join(row) + "\n" for row in rows), name)


@pytest.mark.parametrize("changed", [
    {1: '"hello there', 3: '"and again'},
    {1: '"well', 3: 'said he"'},
    {1: '"hello'},
    {1: '"hello", said she', 2: '"hello"'},
    {1: '"hello"'},
    {5: '"hello'},
    {0: '"', 2: '""', 4: '"""'},
])  # fmt: skip
def test_sentences_that_begin_with_a_quotation_mark_lose_no_row_of_a_table_with_tabs(tmp_path, changed, caplog):
    path = plain(tmp_path, [changed.get(place, "hello there") for place in range(6)])
    with path.open(newline="", encoding="utf-8") as file:
        expected = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert read_delimited(path).to_numpy().tolist() == expected[1:]
    marked = sum(row[1].startswith('"') for row in expected)
    assert f"{marked} cells begin with one, the first in row {min(changed) + 2}" in caplog.text


@pytest.mark.parametrize(("separator", "quoting"), [
    (",", csv.QUOTE_MINIMAL), (",", csv.QUOTE_ALL), (";", csv.QUOTE_MINIMAL), ("\t", csv.QUOTE_MINIMAL),
    ("\t", csv.QUOTE_ALL),
])  # fmt: skip
@pytest.mark.parametrize("sentence", [
    "one, two; three\tfour", "first\nsecond", 'he said "no"', '"no" said he', "a, b\nc, d, e\nf, g, h", "", "plain",
    'x.wav",\n"y.wav', "one, two\r\nthree",
])  # fmt: skip
def test_what_a_writer_that_quotes_has_written_is_read_back(tmp_path, separator, quoting, sentence):
    path = tmp_path / "table.csv"
    rows = [["0.mp3", "hello", "s0"], ["1.mp3", sentence, "s1"], ["2.mp3", 'so "quoted"', "s0"]]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows([HEADER, *rows])
    expected = [[cell.replace("\r\n", "\n") for cell in row] for row in rows]
    assert read_delimited(path).to_numpy().tolist() == expected


@pytest.mark.parametrize("text", ['path\tlabel\n"a.wav"\tx\n"b.wav"\ty\n', '"path"\tlabel\n"a.wav"\tx\nb.wav\ty\n'])
def test_a_column_in_quotation_marks_is_read_without_them_from_a_table_with_tabs(tmp_path, text, caplog):
    path = write(tmp_path, text)
    assert read_delimited(path)["path"].tolist() == ["a.wav", "b.wav"]
    assert not caplog.text


def test_rows_of_a_csv_that_an_open_quotation_mark_would_swallow_are_kept(tmp_path, caplog):
    for closing in ("said he", 'said he"'):
        path = plain(tmp_path, ["hello", '"well', "hello", closing, "hello"], ",", "table.csv")
        assert len(read_delimited(path)) == 5
        assert "the first in row 3" in caplog.text


@pytest.mark.parametrize(("text", "row"), [
    ('path,label\na.wav,"x\nb.wav,"y, z"\nc.wav,y\n', 2),
    ('path,label\na.wav,"x, y"\nb.wav,"z\nc.wav,y\n', 3),
    ('path\tlabel\na.wav\tx\nb.wav\t"z\nc.wav\n', 3),
    ('path,label,by\na.wav,"x\nb.wav,y,s\nc.wav,z",s\nd.wav,z,s\n', 2),
])  # fmt: skip
def test_a_table_whose_quotation_marks_fit_neither_way_is_refused_with_the_row(tmp_path, text, row):
    with pytest.raises(ManifestError, match=f"row {row}: a cell begins with a quotation mark"):
        read_delimited(write(tmp_path, text))


def test_only_a_regular_file_of_text_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", "/dev/zero"):
        with pytest.raises(ManifestError, match="no regular file"):
            read_delimited(type(tmp_path)(path))
    with pytest.raises(ManifestError, match="zero bytes"):
        read_delimited(write(tmp_path, "path,label\0\n"))
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(ManifestError, match=r"has 2\.1 GB"):
        read_delimited(tmp_path / "large.csv")


def test_a_name_of_two_columns_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="column 'label': two columns have this name"):
        read_delimited(write(tmp_path, "path\tlabel\t label\na\tx\ty\n"))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way(tmp_path, newline):
    path = write(tmp_path, newline.join(["path,label", "a.wav,one\u2028line", "", "b.wav,y", ""]), "table.csv")
    assert read_delimited(path).to_numpy().tolist() == [["a.wav", "one\u2028line"], ["", ""], ["b.wav", "y"]]
