"""Folders with a metadata table, as Hugging Face's imagefolder and audiofolder have them."""

import logging

import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError
from tests.core.data.conftest import problems


@pytest.fixture
def folder(tmp_path):
    def folder(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return folder


def test_a_table_in_every_folder_of_a_part_is_read_with_its_part(folder, caplog):
    source = folder({
        "train/1.png": "1", "train/deep/2.png": "2", "validation/3.png": "3",
        "train/metadata.jsonl": '{"file_name": "1.png", "label": "x"}\n{"file_name": "deep/2.png", "label": "y"}\n',
        "validation/metadata.csv": "file_name,label\n3.png,x\n",
    })  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found = read_manifest(source)
    assert found.paths == tuple(str(source / name) for name in ("train/1.png", "train/deep/2.png", "validation/3.png"))
    assert found.targets.tolist() == ["x", "y", "x"]
    assert found.parts == ("train", "train", "val")
    assert "its examples are those of train/metadata.jsonl, validation/metadata.csv" in caplog.text


def test_one_table_of_the_whole_names_files_in_parts(folder):
    source = folder({"train/1.png": "1", "train/2.png": "2", "test/3.png": "3",
                     "metadata.csv": "file_name,label\ntrain/1.png,x\ntrain/2.png,y\ntest/3.png,x\n"})  # fmt: skip
    assert read_manifest(source).parts == ("train", "train", "test")


def test_a_problem_names_the_table_and_its_own_row(folder):
    source = folder({"train/1.png": "1", "test/2.png": "2", "train/4.png": "4",
                     "train/metadata.csv": "file_name,label\n1.png,x\n4.png,y\n",
                     "test/metadata.csv": "file_name,label\n2.png,x\n3.png,x\n"})  # fmt: skip
    assert problems(source) == [
        f"column 'path': no such file: 'test/3.png' (looked for {source}/test/3.png) (test/metadata.csv, row 3)"
    ]


def test_only_files_like_the_pattern_are_taken(folder):
    source = folder({"1.png": "1", "2.png": "2", "3.jpg": "3",
                     "metadata.csv": "file_name,label\n1.png,x\n2.png,y\n3.jpg,x\n"})  # fmt: skip
    assert len(read_manifest(source, files="*.png")) == 2
    with pytest.raises(ManifestError, match=r"is like \*\.bmp"):
        read_manifest(source, files="*.bmp")


def test_a_metadata_table_without_file_names_is_none(folder):
    source = folder({"x/1.png": "1", "y/2.png": "2", "metadata.csv": "what,value\nlicence,free\n"})
    assert read_manifest(source, suffixes=(".png",)).targets.tolist() == ["x", "y"]
