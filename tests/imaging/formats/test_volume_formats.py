"""One volume written in every format is one scan: values, spacing and place, against nibabel's reading of its NIfTI."""

import nibabel
import numpy as np
import pytest
import SimpleITK

from graftwork.core.data.content import content_digests
from graftwork.core.errors import UnreadableError
from graftwork.core.example import File
from graftwork.imaging import read_scan
from graftwork.imaging.formats.volume_output import volume_bytes

SHAPE = (5, 6, 7)
ENDINGS = (".nii", ".hdr", ".img", ".mgh", ".mgz", ".mha", ".mhd", ".nrrd", ".nhdr")


def oblique():
    """An affine that turns, mirrors and stretches: columns towards left, then head, then anterior."""
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]) @ np.diag([0.8, 1.5, 2.0])
    affine[:3, 3] = (12.5, -30.0, 7.25)
    return affine


def save(folder, ending, values, affine):
    """The volume (x, y, z) by the library that owns the format."""
    path = folder / f"volume{ending}"
    if ending in (".mgh", ".mgz"):
        nibabel.save(nibabel.MGHImage(values, affine), path)
    elif ending in (".nii", ".hdr", ".img"):
        kind = nibabel.Nifti1Image if ending == ".nii" else nibabel.Nifti1Pair
        image = kind(values, affine)
        image.set_sform(affine, 1)
        nibabel.save(image, path)
    else:
        image = SimpleITK.GetImageFromArray(values.T)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        SimpleITK.WriteImage(image, str(path))
    return str(path)


@pytest.fixture
def values(rng):
    return rng.normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_and_place_are_those_that_nibabel_and_simpleitk_read(tmp_path, values, ending):
    affine = oblique()
    path = save(tmp_path, ending, values, affine)
    found = read_scan(path)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    np.testing.assert_array_equal(found.values[0], expected.get_fdata(dtype=np.float32).T)
    np.testing.assert_allclose(found.affine, expected.affine, atol=2e-5)
    np.testing.assert_allclose(found.spacing_mm, expected.header.get_zooms()[::-1], rtol=1e-5)
    # A voxel lies where ITK says that the same value lies.
    reader = SimpleITK.ReadImage(path) if ending not in (".mgh", ".mgz") else None
    if reader is not None:
        place = np.diag([-1, -1, 1]) @ reader.TransformIndexToPhysicalPoint((1, 2, 3))
        index = np.linalg.inv(found.affine) @ [*place, 1]
        x, y, z = np.round(index[:3]).astype(int)
        np.testing.assert_allclose(index[:3], (x, y, z), atol=1e-3)
        assert found.values[0, z, y, x] == values[1, 2, 3]


@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_of_them_are_written_where_they_lie(tmp_path, values, ending):
    scan = read_scan(save(tmp_path, ending, values, oblique()))
    (tmp_path / "mask.nii.gz").write_bytes(volume_bytes(scan.values[0], scan))
    again = read_scan(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(again.values, scan.values)
    np.testing.assert_allclose(again.affine, scan.affine, atol=2e-5)


@pytest.mark.parametrize("ending", [".mgz", ".mha", ".nrrd", ".nii"])
def test_a_fourth_axis_is_the_channels(tmp_path, rng, ending):
    values = rng.normal(size=(*SHAPE, 3)).astype(np.float32)
    path = tmp_path / f"volume{ending}"
    if ending == ".mgz":
        nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)
    elif ending == ".nii":
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    else:
        image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0, 3), isVector=True)
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        SimpleITK.WriteImage(image, str(path))
    np.testing.assert_array_equal(read_scan(str(path)).values, values.T)


def test_pictures_of_two_axes_say_how_large_but_not_where(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    image.SetSpacing((0.5, 2.0))
    SimpleITK.WriteImage(image, str(tmp_path / "slice.mha"))
    found = read_scan(str(tmp_path / "slice.mha"))
    np.testing.assert_array_equal(found.values, np.arange(12).reshape(1, 3, 4))
    assert (found.spacing_mm, found.affine) == ((2.0, 0.5), None)


def test_an_orientation_is_never_made_up(tmp_path, values):
    """ITK takes identity, FreeSurfer coronal slices."""
    (tmp_path / "plain.nrrd").write_bytes(
        b"NRRD0004\ntype: float\ndimension: 3\nsizes: 5 6 7\nspacings: 1 2 3\nendian: little\nencoding: raw\n\n"
        + values.T.tobytes()
    )
    (tmp_path / "plain.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 5 6 7\nElementSpacing = 1 2 3\nElementType = MET_FLOAT\n"
        b"ElementByteOrderMSB = False\nElementDataFile = LOCAL\n" + values.T.tobytes()
    )
    content = bytearray(nibabel.MGHImage(values, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / "plain.mgh").write_bytes(content)
    nibabel.save(nibabel.AnalyzeImage(values, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "plain.img")
    for name in ("plain.nrrd", "plain.mha", "plain.mgh", "plain.img"):
        found = read_scan(str(tmp_path / name))
        np.testing.assert_array_equal(found.values[0], values.T, err_msg=name)
        # FreeSurfer's lengths of voxels are behind its flag, too.
        assert (found.spacing_mm, found.affine) == (None if name == "plain.mgh" else (3.0, 2.0, 1.0), None), name


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-posterior-superior", "left-anterior-superior"])
def test_spaces_of_nrrd_are_turned_to_ours(tmp_path, values, space):
    (tmp_path / "space.nrrd").write_bytes(
        f"NRRD0004\ntype: float\ndimension: 3\nspace: {space}\nsizes: 5 6 7\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3)\n"
        "endian: little\nencoding: raw\nspace origin: (10,20,30)\n\n".encode()
        + values.T.tobytes()
    )
    found = read_scan(str(tmp_path / "space.nrrd"))
    signs = np.array([-1 if word in space else 1 for word in ("left", "posterior", "inferior")])
    affine = np.diag([*(signs * [1, 2, 3]), 1.0])
    affine[:3, 3] = signs * [10, 20, 30]
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    np.testing.assert_allclose(found.affine, expected.affine)
    np.testing.assert_array_equal(found.values[0], expected.get_fdata(dtype=np.float32).T)


@pytest.mark.parametrize("ending", [".img", ".mgh", ".mgz", ".mha", ".nrrd"])
def test_damaged_files_are_named(tmp_path, values, ending):
    path = tmp_path / f"volume{ending}"
    save(tmp_path, ending, values, oblique())
    path.write_bytes(path.read_bytes()[:-40] if ending == ".mgz" else path.read_bytes()[:500])
    with pytest.raises(UnreadableError, match=rf"volume\{ending}"):
        read_scan(str(path))


def test_a_file_of_data_that_is_not_there_is_named(tmp_path, values):
    for ending, data in ((".mhd", "volume.raw"), (".hdr", "volume.img")):
        path = save(tmp_path, ending, values, oblique())
        (tmp_path / data).unlink()
        with pytest.raises(UnreadableError, match=r"is not (there|beside it)"):
            read_scan(path)


@pytest.mark.parametrize("ending", [".hdr", ".img", ".mhd", ".nhdr"])
def test_what_is_in_a_header_and_its_data_is_told_from_others_by_both(tmp_path, values, ending):
    """The cache would otherwise give one volume the features of another."""
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder, content in zip(folders, (values, values, values + 1), strict=True):
        folder.mkdir()
        if ending == ".nhdr":
            header = "NRRD0004\ntype: float\ndimension: 3\nsizes: 5 6 7\nencoding: raw\nendian: little\n"
            (folder / "volume.nhdr").write_text(f"{header}data file: v.raw\n")
            (folder / "v.raw").write_bytes(content.T.tobytes())
        else:
            save(folder, ending, content, oblique())
    one, same, other = content_digests([File(str(folder / f"volume{ending}")) for folder in folders])
    assert one == same
    assert one != other


def test_without_simpleitk_the_extra_is_named(tmp_path, values, monkeypatch):
    from graftwork.core.errors import MissingPackageError

    path = save(tmp_path, ".mha", values, oblique())
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'graftwork\[itk\]'"):
        read_scan(path)
