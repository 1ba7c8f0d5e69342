"""Tables in other encodings than UTF-8, compared with pandas' reader, which is told the encoding."""

import logging

import pandas as pd
import pytest

from graftwork.core.data.delimited import read_delimited
from graftwork.core.errors import ManifestError

TEXT = "path,label\na.png,Müller\nb.png,naïve „Prüfung“ – 5 €\n"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", None), ("utf-8-sig", None), ("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"),
     ("utf-16-be", "UTF-16")],
)  # fmt: skip
def test_cells_are_those_of_pandas_that_knows_the_encoding(tmp_path, caplog, encoding, said):
    file = tmp_path / "table.csv"
    file.write_bytes(TEXT.encode(encoding))
    with caplog.at_level(logging.WARNING):
        found = read_delimited(file)
    pd.testing.assert_frame_equal(found, pd.read_csv(file, encoding=encoding, dtype=object))
    assert [said in message for message in caplog.messages] == ([] if said is None else [True])
    if said == "Windows-1252":
        assert "'Müller'" in caplog.messages[0]


def test_latin_1_is_read(tmp_path):
    (tmp_path / "table.csv").write_text("path,label\na.png,é\n", encoding="latin-1")
    assert read_delimited(tmp_path / "table.csv")["label"].tolist() == ["é"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("path,label\na.png,Müller\nb.png,Ärztin\n".encode() + b"c.png,\xff\n", "damaged UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x01\x02\x90\x81,\xff", "not UTF-8 text, nor"),
        (b"path,label\na.png,\x81\n", "not UTF-8 text, nor"),
        (b"path,label\na\0.png,x\n", "zero bytes"),
        (b"\xff\xfea\x00b\x00\x00\xd8", "damaged UTF-16"),
    ],
)
def test_what_is_no_text_or_damaged_is_refused(tmp_path, data, message):
    (tmp_path / "table.csv").write_bytes(data)
    with pytest.raises(ManifestError, match=message):
        read_delimited(tmp_path / "table.csv")
