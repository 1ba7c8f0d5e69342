"""Releases of Common Voice as tables: their parts, their speakers, and their clips."""

import pandas as pd
import pytest

from graftwork import audio
from graftwork.core.errors import ManifestError

HEADER = "client_id\tpath\tsentence_id\tsentence\taccents\n"
ROWS = {
    "train.tsv": [("s1", "a.mp3", 'He said "yes".', "us"), ("s2", "b.mp3", '"No', "uk")],
    "dev.tsv": [("s3", "c.mp3", "Maybe", "us")],
    "test.tsv": [("s4", "d.mp3", "Never", "uk")],
}


@pytest.fixture
def release(tmp_path):
    (tmp_path / "clips").mkdir()
    for name, rows in ROWS.items():
        lines = [f"{speaker}\t{path}\t{number}\t{said}\t{accent}" for number, (speaker, path, said, accent)
                 in enumerate(rows)]  # fmt: skip
        (tmp_path / name).write_text(HEADER + "\n".join(lines) + "\n")
        for _, path, _, _ in rows:
            (tmp_path / "clips" / path).write_bytes(path.encode())
    return tmp_path


def test_a_release_is_its_three_tables_with_their_clips(release):
    found = audio.read_manifest(release, target="accents")
    assert found.paths == tuple(str(release / "clips" / name) for name in ("a.mp3", "b.mp3", "c.mp3", "d.mp3"))
    assert found.parts == ("train", "train", "val", "test")
    assert found.groups == ("s1", "s2", "s3", "s4")
    assert found.sentences == ('he said "yes".', '"no', "maybe", "never")
    assert found.targets.tolist() == ["us", "uk", "us", "uk"]


def test_one_of_its_tables_alone_has_its_clips_too(release):
    found = audio.read_manifest(release / "train.tsv", target="sentence")
    table = pd.read_csv(release / "train.tsv", sep="\t", quoting=3)
    assert found.paths == tuple(str(release / "clips" / name) for name in table["path"])
    assert found.groups == tuple(table["client_id"])


def test_problems_name_the_table_and_its_row(release):
    (release / "clips" / "c.mp3").unlink()
    with pytest.raises(ManifestError, match=r"no such file: 'c.mp3' .*\(dev.tsv, row 2\)"):
        audio.read_manifest(release, target="accents")


def test_other_folders_and_tables_are_none(release, tmp_path):
    (release / "mine.tsv").write_text("path\tclient_id\tlabel\nclips/a.mp3\ts1\tx\nclips/b.mp3\ts2\ty\n")
    assert audio.read_manifest(release / "mine.tsv").paths[0] == str(release / "clips" / "a.mp3")
