"""Damaged NIfTI files and odd headers: each gives one message, or is read as nibabel reads it."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform

from graftwork.core.errors import UnreadableError
from graftwork.imaging import read_scan

DIM, PIXDIM, DATATYPE, SROW = 40, 76, 70, 280
"""Where these stand in a NIfTI-1 header."""


@pytest.fixture
def stored(tmp_path, rng):
    """The bytes of an uncompressed file of noise, and its values."""
    values = rng.normal(size=(6, 7, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "whole.nii")
    return bytearray((tmp_path / "whole.nii").read_bytes()), values


@pytest.mark.parametrize(
    ("place", "kind", "numbers", "said"),
    [
        (DIM, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1), "claims 32767 x 32767 x 32767 voxels, more than"),
        (DIM, "<8h", (3, -5, 7, 8, 1, 1, 1, 1), "claims -5 x 7 x 8 voxels: is it damaged"),
        (DIM, "<8h", (3, 0, 7, 8, 1, 1, 1, 1), "claims 0 x 7 x 8 voxels: is it damaged"),
        (DATATYPE, "<h", (1234,), "data code 1234 not recognized"),
        (SROW, "<12f", (0.0,) * 12, "voxels have no volume"),
        (SROW, "<12f", (float("nan"),) * 12, "or numbers are not finite"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_headers_that_cannot_be_are_refused_before_memory_is_taken(
    stored, tmp_path, place, kind, numbers, said, ending
):
    content, _ = stored
    struct.pack_into(kind, content, place, *numbers)
    (tmp_path / f"odd{ending}").write_bytes(gzip.compress(content) if "gz" in ending else content)
    with pytest.raises(UnreadableError, match=rf"odd\{ending}.*{said}"):
        read_scan(str(tmp_path / f"odd{ending}"))


def test_a_compressed_file_whose_checksum_is_wrong_is_refused(stored, tmp_path):
    """Otherwise a byte that flipped on the way would be another grey value."""
    content, _ = stored
    packed = bytearray(gzip.compress(content, compresslevel=0))
    packed[len(packed) // 2] ^= 1
    (tmp_path / "flipped.nii.gz").write_bytes(packed)
    with pytest.raises(UnreadableError, match=r"flipped\.nii\.gz: cannot be read as NIfTI: CRC check failed"):
        read_scan(str(tmp_path / "flipped.nii.gz"))


def test_bytes_behind_the_image_are_no_damage(stored, tmp_path):
    content, values = stored
    (tmp_path / "more.nii.gz").write_bytes(gzip.compress(bytes(content) + bytes(500)))
    np.testing.assert_array_equal(read_scan(str(tmp_path / "more.nii.gz")).values[0], values.T)


def test_complex_numbers_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(UnreadableError, match=r"c\.nii: .*complex numbers; save their magnitude"):
        read_scan(str(tmp_path / "c.nii"))


@pytest.mark.parametrize("lengths", [(-1.0, 2.0, 3.0), (float("nan"), 2.0, 3.0), (9.0, 9.0, 9.0)])
def test_spacing_is_that_of_the_orientation_where_the_header_contradicts_it(stored, tmp_path, lengths):
    content, _ = stored
    struct.pack_into("<4f", content, PIXDIM, 1.0, *lengths)
    (tmp_path / "odd.nii").write_bytes(content)
    assert read_scan(str(tmp_path / "odd.nii")).spacing_mm == (3, 2, 1)


@pytest.mark.parametrize("codes", ["LAS", "PSR", "RAS", "IPL"])
@pytest.mark.parametrize("forms", [(1, 0), (0, 1), (1, 1), (2, 1)])
def test_every_voxel_lies_where_nibabel_says(tmp_path, rng, codes, forms):
    """qform alone, sform alone, both, and both with different offsets, of which nibabel takes the sform."""
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-7, 8, 9)
    canonical = nibabel.Nifti1Image(rng.integers(0, 99, (4, 5, 6)).astype(np.int16), affine)
    image = canonical.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))
    other = image.affine.copy()
    other[:3, 3] += 100 * (forms == (2, 1))
    image.set_qform(other, forms[0])
    image.set_sform(image.affine if forms[1] else None, forms[1])
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "t.nii.gz")
    stored = nibabel.load(tmp_path / "t.nii.gz")
    assert "".join(aff2axcodes(stored.affine)) == codes
    scan = read_scan(str(tmp_path / "t.nii.gz"))
    assert scan.spacing_mm == pytest.approx((3, 2, 1))
    theirs = stored.get_fdata(dtype=np.float32)
    for _ in range(10):
        voxel = rng.integers(0, theirs.shape)
        place = stored.affine @ [*voxel, 1]
        own = np.rint(np.linalg.solve(scan.affine, place)[:3]).astype(int)
        assert scan.values[0][tuple(own[::-1])] == pytest.approx(theirs[tuple(voxel)])


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000), ("mm", 1), ("unknown", 1)])
@pytest.mark.parametrize("oriented", [True, False])
def test_lengths_in_other_units_are_millimetres(tmp_path, unit, factor, oriented):
    """SimpleITK takes the unit into account too."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) if oriented else None
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    image.header.set_zooms((2, 3, 4))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "u.nii")
    scan = read_scan(str(tmp_path / "u.nii"))
    np.testing.assert_allclose(scan.spacing_mm, np.array([4, 3, 2]) * factor)
    np.testing.assert_allclose(scan.spacing_mm[::-1], SimpleITK.ReadImage(str(tmp_path / "u.nii")).GetSpacing())
    if oriented:
        np.testing.assert_allclose(np.diag(scan.affine)[:3], np.array([2, 3, 4]) * factor)


@pytest.mark.parametrize("offset", [1e9, float("nan"), -5.0])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_puts_the_image_far_away_is_refused_before_anything_is_read(stored, tmp_path, ending, offset):
    content = bytearray(stored[0])
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / f"far{ending}").write_bytes(gzip.compress(content) if "gz" in ending else content)
    with pytest.raises(UnreadableError, match=rf"far\{ending}: its header puts the image .* behind the beginning"):
        read_scan(str(tmp_path / f"far{ending}"))


def test_a_small_file_that_unpacks_to_far_more_than_its_image_is_refused(stored, tmp_path, monkeypatch):
    monkeypatch.setattr("graftwork.imaging.formats.nifti.MOST_BEHIND_BYTES", 1 << 20)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(stored[0]) + bytes(1 << 22)))
    with pytest.raises(UnreadableError, match=r"bomb\.nii\.gz: unpacks to far more than the image"):
        read_scan(str(tmp_path / "bomb.nii.gz"))
