"""Archives and Parquet files as tables of texts, damaged ones included."""

import numpy as np
import pandas as pd
import pytest

from graftwork.core.data.tables import read_manifest
from tests.core.data.conftest import problems


def test_an_archive_in_medmnists_layout_is_read_with_its_parts(tmp_path):
    np.savez(
        tmp_path / "set.npz",
        **{f"{part}_images": np.zeros((rows, 4, 4)) for part, rows in (("train", 3), ("val", 1), ("test", 2))},
        train_labels=np.array([[2], [10], [2]], np.uint8),
        val_labels=np.array([[10]], np.uint8),
        test_labels=np.array([[2], [10]], np.uint8),
    )
    found = read_manifest(tmp_path / "set.npz")
    assert found.classes == ("2", "10")
    assert list(found.values) == [0, 1, 0, 1, 0, 1]
    assert found.parts == ("train",) * 3 + ("val",) + ("test",) * 2
    assert found.paths[3:5] == (f"{tmp_path}/set.npz#val/0", f"{tmp_path}/set.npz#test/0")


def test_several_columns_of_an_archive_are_several_labels(tmp_path):
    labels = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    np.savez(tmp_path / "set.npz", train_images=np.zeros((2, 4, 4)), train_labels=labels)
    found = read_manifest(tmp_path / "set.npz")
    assert (found.task.name, found.classes) == ("multi-label", ("label0", "label1", "label2"))
    np.testing.assert_array_equal(found.values, labels)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"words"])
def test_a_damaged_archive_is_a_problem_of_the_manifest(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    assert problems(tmp_path / "set.npz")[0].startswith("cannot be read as an archive of arrays")


def test_an_archive_without_labels_says_what_medmnist_has(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros(3))
    assert "expected arrays train_images, train_labels" in problems(tmp_path / "set.npz")[0]


def test_a_file_that_is_not_a_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    assert problems(tmp_path / "t.parquet")[0].startswith("cannot be read as a table")
    assert problems(tmp_path / "none.csv") == ["no such file or folder"]


def test_the_columns_of_a_parquet_table_may_be_its_index(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"]})
    table.set_index("path").to_parquet(tmp_path / "named.parquet")
    table.set_axis(["one", "two"]).to_parquet(tmp_path / "text.PARQUET")
    for name in ("named.parquet", "text.PARQUET"):
        found = read_manifest(tmp_path / name)
        assert (found.targets.tolist(), found.rows) == (["x", "y"], (2, 3))


def test_labels_that_unpack_to_gigabytes_are_refused_before_they_are_read(tmp_path):
    import io
    import zipfile

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (300_000_000,)})
    with (
        zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("train_labels.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(300):
            member.write(bytes(1_000_000))
    assert "train_labels.npy has 0.3 GB" in problems(tmp_path / "set.npz")[0]
