"""Volumes out of folders of DICOM files, against the geometry they were written with, and against SimpleITK."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread as read_slice
from pydicom.uid import BasicTextSRStorage

from graftwork.core.data.content import content_digests
from graftwork.core.errors import UnreadableError
from graftwork.core.example import as_examples
from graftwork.imaging import load_backbone, read_manifest, read_scan
from graftwork.imaging.formats.dicom.series import list_series

TILTED = [0.8, 0.6, 0, 0, 0, -1]
"""Rows towards left and posterior, columns towards the feet: a coronal scan turned by 37 degrees."""


@pytest.fixture
def series(write_dicom, tmp_path, rng):
    """Writes slices in shuffled file order; returns the folder and the stored volume (slices, rows, columns)."""

    def write(folder="study", uid="1.2.3.4", places=range(6), direction=(1, 0, 0, 0, 1, 0), shift=0.0, **elements):
        (tmp_path / folder).mkdir(exist_ok=True)
        volume = rng.integers(0, 900, (len(places), 5, 7)).astype(np.uint16)
        normal = np.cross(direction[:3], direction[3:])
        names = rng.permutation(len(places))
        for number, place in enumerate(places):
            position = np.array([10.0, -20.0, 30.0]) + 2.5 * place * normal + [shift * place, 0, 0]
            write_dicom(volume[number], f"{folder}/{uid}-{names[number]}.dcm", SeriesInstanceUID=uid,
                        ImagePositionPatient=[f"{x:.6g}" for x in position], PixelSpacing=[0.5, 0.75],
                        ImageOrientationPatient=list(direction), **elements)  # fmt: skip
        return str(tmp_path / folder), volume

    return write


def test_slices_are_in_the_order_of_their_positions_with_their_spacing(series):
    folder, volume = series(RescaleSlope=2, RescaleIntercept=-1024)
    scan = read_scan(folder)
    # Towards left and posterior in the file, towards right and anterior here.
    np.testing.assert_array_equal(scan.values[0], volume[:, ::-1, ::-1] * 2.0 - 1024)
    assert scan.spacing_mm == pytest.approx((2.5, 0.5, 0.75))
    np.testing.assert_allclose(scan.affine @ [6, 4, 0, 1], [-10, 20, 30, 1])


def test_the_affine_finds_every_voxel_where_its_slice_says(series):
    folder, volume = series(direction=TILTED)
    scan = read_scan(folder)
    normal = np.cross(TILTED[:3], TILTED[3:])
    for number, row, column in [(0, 0, 0), (5, 4, 6), (3, 1, 2)]:
        place = np.array([10.0, -20.0, 30.0]) + 2.5 * number * normal
        place += np.array(TILTED[:3]) * 0.75 * column + np.array(TILTED[3:]) * 0.5 * row
        index = np.linalg.solve(scan.affine, [-place[0], -place[1], place[2], 1])[:3]
        width, height, depth = np.round(index).astype(int)
        np.testing.assert_allclose(index, [width, height, depth], atol=1e-3)
        assert scan.values[0, depth, height, width] == volume[number, row, column]


def test_two_series_in_a_folder_are_distinguished(series):
    folder, _ = series(uid="1.2.3.4")
    _, second = series(uid="1.2.3.5", places=range(3))
    assert {uid: len(files) for uid, files in list_series(folder).items()} == {"1.2.3.4": 6, "1.2.3.5": 3}
    with pytest.raises(UnreadableError, match=r"holds 2 series; name one of .*study#series=1\.2\.3\.4 \(6 files\)"):
        read_scan(folder)
    np.testing.assert_array_equal(read_scan(f"{folder}#series=1.2.3.5").values[0], second[:, ::-1, ::-1])
    with pytest.raises(UnreadableError, match="there is no such series"):
        read_scan(f"{folder}#series=9")
    digests = content_digests(as_examples([f"{folder}#series=1.2.3.4", f"{folder}#series=1.2.3.5", folder]))
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"places": [0, 1, 2, 4, 5]}, r"5 slices usually 2\.5 mm apart, but 5 mm behind 35 mm: slices are missing"),
        ({"places": [0, 1, 1, 2]}, r"2 slices lie where another does"),
        ({"shift": 0.5}, r"shifted against each other \(a tilted gantry\)"),
    ],
)
def test_a_stack_that_is_no_volume_is_refused(series, options, message):
    folder, _ = series(**options)
    with pytest.raises(UnreadableError, match=message):
        read_scan(folder)


def test_slices_of_another_orientation_size_or_without_a_place_are_refused(series, write_dicom):
    folder, _ = series()
    series(places=[7], direction=TILTED)
    with pytest.raises(UnreadableError, match="different orientations"):
        read_scan(folder)
    other, _ = series(folder="other")
    write_dicom(np.ones((5, 7), np.uint16), "other/more.dcm", SeriesInstanceUID="1.2.3.4")
    with pytest.raises(UnreadableError, match=r"more\.dcm: does not say where it lies \(ImagePositionPatient, "):
        read_scan(other)
    third, _ = series(folder="third")
    write_dicom(np.ones((5, 8), np.uint16), "third/more.dcm", SeriesInstanceUID="1.2.3.4",
                ImagePositionPatient=[10, -20, 45], PixelSpacing=[0.5, 0.75],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0])  # fmt: skip
    with pytest.raises(UnreadableError, match=r"more\.dcm: has 5 x 8 pixels"):
        read_scan(third)


def test_a_folder_without_images_and_a_file_cut_short_say_so(series, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(UnreadableError, match="a folder without DICOM images"):
        read_scan(str(tmp_path / "empty"))
    folder, _ = series()
    whole = tmp_path / "study" / "1.2.3.4-2.dcm"
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(UnreadableError, match=r"1\.2\.3\.4-2\.dcm: its pixels cannot be decoded"):
        read_scan(folder)


def test_a_slice_cut_short_before_its_image_is_not_left_out_of_the_volume(series, tmp_path, write_dicom):
    """Two slices would be left of three, as evenly apart as before."""
    folder, _ = series(places=(0, 1, 2))
    middle = next(path for path in (tmp_path / "study").iterdir() if read_slice(path).ImagePositionPatient[2] == 32.5)
    whole = middle.read_bytes()
    middle.write_bytes(whole[: whole.index(b"Muster")])
    with pytest.raises(UnreadableError, match=rf"{middle.name}: is of the kind of the images beside it, but ends"):
        read_scan(folder)
    middle.write_bytes(whole)
    report = read_slice(middle)
    del report.Rows, report.Columns, report.PixelData
    report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "study" / "report.dcm")
    assert read_scan(folder).spatial_shape == (3, 5, 7)


def test_a_manifest_names_folders_and_nothing_of_the_patient_is_kept(series, tmp_path):
    rows = ["path,label"]
    for number in range(4):
        folder, _ = series(folder=f"case{number}")
        rows.append(f"{folder},{number % 2}")
    (tmp_path / "scans.csv").write_text("\n".join(rows))
    manifest = read_manifest(tmp_path / "scans.csv")
    assert len(set(content_digests(manifest.examples))) == 4
    contract = load_backbone("i3d:tiny:cnn2d", image_size=16).contract
    assert contract.read(manifest.paths[0]).shape == (3, 16, 16, 16)
    assert "Muster" not in repr(read_scan(manifest.paths[0]))


def test_real_series_are_what_simpleitk_reads(real_data):
    sitk = pytest.importorskip("SimpleITK")
    folders = sorted({file.parent for file in (real_data / "dicom").rglob("*.dcm")})
    assert len(folders) == 5
    for folder in folders:
        scan = read_scan(str(folder))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = sitk.DICOMOrient(reader.Execute(), "RAS")
        np.testing.assert_array_equal(scan.values[0], sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(scan.spacing_mm, image.GetSpacing()[::-1], rtol=1e-6)
        np.testing.assert_allclose(scan.affine[:3, 3], np.array(image.GetOrigin()) * [-1, -1, 1], atol=1e-3)


@pytest.mark.parametrize(("name", "values"), [("PixelSpacing", [0.5]), ("ImageOrientationPatient", [1, 0, 0, 0, 1]),
                                              ("ImagePositionPatient", [1.0, 2.0])])  # fmt: skip
def test_a_position_that_is_none_is_named_without_its_value(series, name, values):
    folder, _ = series()
    path = next(iter(list_series(folder).values()))[2]
    header = read_slice(path)
    setattr(header, name, values)
    header.save_as(path)
    with pytest.raises(UnreadableError, match=f"{name} is not . finite numbers"):
        read_scan(folder)


@pytest.mark.parametrize(("element", "value", "numbers", "said"), [
    ("ImagesInAcquisition", "4", "123", r"says that it has 4 slices \(ImagesInAcquisition\), and 3 are here"),
    ("NumberOfSlices", 4, "123", r"says that it has 4 slices \(NumberOfSlices\), and 3 are here"),
    ("StudyDescription", "x", "234", "numbered from 2 to 4: are the first missing"),
    ("ImagesInAcquisition", "3", "123", None),
    ("StudyDescription", "x", "012", None),
])  # fmt: skip
def test_a_series_that_says_it_has_more_slices_is_named_once(
    write_dicom, tmp_path, caplog, element, value, numbers, said
):
    """A slice that is lost at an end leaves no gap."""
    for height, number in enumerate(numbers):
        write_dicom(np.full((3, 4), height, np.uint16), f"{height}.dcm", SeriesInstanceUID="1.2", PixelSpacing=[1, 1],
                    ImagePositionPatient=[0, 0, height], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                    InstanceNumber=number, **{element: value})  # fmt: skip
    for _ in range(2):
        assert read_scan(str(tmp_path)).spatial_shape == (3, 3, 4)
    assert len(caplog.messages) == (said is not None)
    assert said is None or re.search(said, caplog.messages[0])


def test_a_series_whose_numbers_are_no_numbers_is_read(write_dicom, tmp_path):
    for height in range(2):
        path = write_dicom(np.full((3, 4), height, np.uint16), f"{height}.dcm", SeriesInstanceUID="1.2",
                           PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, height], InstanceNumber="7777",
                           ImageOrientationPatient=[1, 0, 0, 0, 1, 0])  # fmt: skip
        Path(path).write_bytes(Path(path).read_bytes().replace(b"7777", b"none"))
    assert read_scan(str(tmp_path)).spatial_shape == (2, 3, 4)
