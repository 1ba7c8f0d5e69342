"""DICOM files without preamble and mark, read as the same file with them is."""

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from graftwork.core.errors import UnreadableError
from graftwork.imaging import read_scan


def bare(path, syntax, meta):
    """pydicom's own CT slice without preamble and mark; meta: with the group that names the transfer syntax."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = syntax
    whole = path.with_name("whole.dcm")
    dataset.save_as(whole, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
    content = whole.read_bytes()[132:]
    if not meta:
        length = int.from_bytes(content[8:12], "little")
        content = content[12 + length :]
    path.write_bytes(content)
    return str(path), str(whole)


@pytest.mark.parametrize("name", ["bare.dcm", "IM0001"])
@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"])
def test_a_file_without_the_mark_is_the_scan_that_it_is_with_it(tmp_path, name, meta, syntax):
    path, whole = bare(tmp_path / name, syntax, meta)
    found, expected = read_scan(path), read_scan(whole)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.affine, expected.affine)
    stored = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    assert found.values.min() == stored.pixel_array.min() * stored.RescaleSlope + stored.RescaleIntercept


def test_a_folder_of_such_files_is_a_series(tmp_path):
    (tmp_path / "series").mkdir()
    bare(tmp_path / "series" / "IM1", ImplicitVRLittleEndian, False)
    (tmp_path / "series" / "whole.dcm").unlink()
    (tmp_path / "series" / "notes.txt").write_text("none")
    assert read_scan(str(tmp_path / "series")).spatial_shape == (128, 128)


def test_other_files_are_still_no_dicom(tmp_path):
    contents = {"a.dcm": b"\x89PNG\r\n" * 40, "b.dcm": b"\x08\0\x08\0", "c.dcm": b"\x08\0\x08\0" + b"\xff" * 99}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError, match="is not a DICOM file: the mark DICM is missing"):
            read_scan(str(tmp_path / name))
