"""Pictures, npz rows, NIfTI and DICOM as scans, against what nibabel, Pillow and pydicom say."""

import io
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.orientations import aff2axcodes
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from graftwork.core.data.content import content_digests
from graftwork.core.errors import MissingPackageError, UnreadableError
from graftwork.core.example import as_examples
from graftwork.imaging import read_scan


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK", "YCbCr"])
def test_pictures_have_pillows_values_in_every_mode(tmp_path, rng, mode):
    picture = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).convert(mode)
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "YCbCr") else "picture.png")
    picture.save(path)
    grey = mode in ("1", "L")
    expected = np.asarray(Image.open(path).convert("L" if grey else "RGB"), dtype=np.float32)
    scan = read_scan(str(path))
    np.testing.assert_array_equal(scan.values, expected[None] if grey else expected.transpose(2, 0, 1))
    assert scan.values.dtype == np.float32
    assert (scan.full_range, scan.rgb, scan.spacing_mm, scan.affine) == ((0, 255), not grey, None, None)


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("RGBA", 3), ("PA", 3)])
def test_transparent_pixels_turn_black_and_opaque_ones_stay(tmp_path, mode, channels):
    picture = Image.new("RGBA", (4, 2), (200, 200, 200, 255))
    picture.putpixel((0, 0), (200, 200, 200, 0))
    picture.convert(mode).save(tmp_path / ("p.tif" if mode == "PA" else "p.png"))
    values = read_scan(str(tmp_path / ("p.tif" if mode == "PA" else "p.png"))).values
    assert values.shape == (channels, 2, 4)
    assert (values[:, 0, 0] == 0).all()
    assert (values[:, 1, :] == 200).all()


@pytest.mark.parametrize(
    ("name", "dtype", "full_range"),
    [
        ("a.png", np.uint16, (0, 65535)),
        ("a.tif", np.uint16, (0, 65535)),
        ("a.tif", np.float32, None),
        ("b.tif", np.int32, None),
    ],
)
def test_deep_grey_pictures_keep_every_bit(tmp_path, rng, name, dtype, full_range):
    stored = rng.integers(0, 65536, (6, 4)).astype(dtype)
    Image.fromarray(stored).save(tmp_path / name)
    scan = read_scan(str(tmp_path / name))
    np.testing.assert_array_equal(scan.values[0], stored.astype(np.float32))
    assert scan.full_range == full_range


def test_exif_orientation_turns_the_picture_upright(tmp_path):
    picture = Image.new("L", (6, 4))
    picture.putpixel((5, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    values = read_scan(str(tmp_path / "turned.png")).values
    assert values.shape == (1, 6, 4)
    assert values[0, 5, 3] == 255


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.tif", "cut.nii.gz", "cut.nii"])
def test_truncated_files_are_named_with_the_cause(tmp_path, rng, name):
    whole = tmp_path / f"whole{name[3:]}"
    if ".nii" in name:
        nibabel.save(nibabel.Nifti1Image(rng.normal(size=(9, 9, 9)).astype(np.float32), np.eye(4)), whole)
    else:
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableError, match=name):
        read_scan(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "no such file"),
        ("empty.png", b"", "is empty"),
        ("text.png", b"hello", "not a picture"),
        ("notes.txt", b"hello", "unknown format; readable are .png"),
        ("x.npz", b"hello", r"x\.npz#train/0"),
        ("x.dcm", b"hello" * 99, "DICM is missing"),
    ],
)
def test_files_that_cannot_be_scans_say_why(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError, match=message):
        read_scan(str(tmp_path / name))


@pytest.mark.parametrize(
    ("shape", "expected", "rgb"),
    [((4, 5, 6), (1, 5, 6), False), ((4, 5, 6, 3), (3, 5, 6), True), ((4, 5, 6, 7), (1, 5, 6, 7), False)],
)
def test_npz_rows_are_the_arrays_rows(tmp_path, rng, shape, expected, rgb):
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    np.savez_compressed(tmp_path / "m.npz", train_images=images)
    scan = read_scan(f"{tmp_path}/m.npz#train/2")
    row = images[2].transpose(2, 0, 1) if rgb else images[2][None]
    np.testing.assert_array_equal(scan.values, row)
    assert scan.values.shape == expected
    assert (scan.full_range, scan.rgb) == ((0, 255), rgb)


def test_an_npz_written_anew_is_read_anew(tmp_path):
    for value in (1, 2):
        np.savez(tmp_path / "m.npz", train_images=np.full((3 + value, 4, 4), value, dtype=np.uint8))
        assert read_scan(f"{tmp_path}/m.npz#train/0").values.max() == value


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train/3", "rows 0 to 2"),
        ("test/0", "has no array 'test_images'; it has train_images"),
        ("train", r"expected a row such as .*m\.npz#train/17"),
    ],
)
def test_npz_rows_that_do_not_exist_say_what_does(tmp_path, row, message):
    np.savez(tmp_path / "m.npz", train_images=np.zeros((3, 4, 4), dtype=np.uint8))
    with pytest.raises(UnreadableError, match=message):
        read_scan(f"{tmp_path}/m.npz#{row}")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL"])
def test_nifti_in_any_orientation_gives_the_same_scan(tmp_path, rng, codes):
    canonical = nibabel.Nifti1Image(rng.normal(size=(3, 4, 5)).astype(np.float32), np.diag([2.0, 3.0, 4.0, 1.0]))
    transform = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(canonical.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    turned = canonical.as_reoriented(transform)
    assert "".join(aff2axcodes(turned.affine)) == codes
    nibabel.save(turned, tmp_path / "t.nii.gz")
    scan = read_scan(str(tmp_path / "t.nii.gz"))
    np.testing.assert_array_equal(scan.values, canonical.get_fdata(dtype=np.float32).T[None])
    np.testing.assert_allclose(scan.affine, canonical.affine)
    assert scan.spacing_mm == (4, 3, 2)


def test_nifti_without_orientation_stays_as_stored_and_no_affine_is_made_up(tmp_path, rng):
    values = rng.normal(size=(3, 4, 5)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, None), tmp_path / "n.nii")
    scan = read_scan(str(tmp_path / "n.nii"))
    assert scan.affine is None
    np.testing.assert_array_equal(scan.values, values.T[None])


def test_nifti_slope_is_applied_and_the_fourth_axis_becomes_channels(tmp_path, rng):
    stored = rng.integers(0, 100, (3, 4, 5, 2)).astype(np.int16)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(2, -7)
    nibabel.save(image, tmp_path / "s.nii")
    expected = nibabel.load(tmp_path / "s.nii").get_fdata(dtype=np.float32)
    scan = read_scan(str(tmp_path / "s.nii"))
    assert scan.values.shape == (2, 5, 4, 3)
    np.testing.assert_allclose(scan.values[1], expected[..., 1].T)
    assert expected.min() < 0


def test_dicom_is_rescaled_with_the_spacing_of_the_patient(write_dicom, rng):
    stored = rng.integers(-100, 100, (4, 6)).astype(np.int16)
    path = write_dicom(stored, RescaleSlope=2, RescaleIntercept=-1024, PixelSpacing=[0.5, 0.7])
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.values[0], stored * 2.0 - 1024)
    assert scan.spacing_mm == (0.5, 0.7)
    assert read_scan(write_dicom(stored, ImagerPixelSpacing=[1, 1])).spacing_mm is None


def test_dicom_where_low_is_bright_is_inverted(write_dicom):
    stored = np.array([[0, 10], [4000, 4095]], dtype=np.uint16)
    scan = read_scan(write_dicom(stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(scan.values[0], [[4095, 4085], [95, 0]])


def test_dicom_frames_become_depth_in_their_order(write_dicom, rng):
    stored = rng.integers(0, 99, (3, 4, 5)).astype(np.uint16)
    scan = read_scan(write_dicom(stored, PixelSpacing=[1, 2]))
    np.testing.assert_array_equal(scan.values, stored[None])
    assert scan.spacing_mm is None
    assert read_scan(write_dicom(stored, PixelSpacing=[1, 2], SpacingBetweenSlices=5)).spacing_mm == (5, 1, 2)


def test_dicom_colour_is_red_green_blue(write_dicom, rng):
    stored = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    scan = read_scan(write_dicom(stored, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0))
    np.testing.assert_array_equal(scan.values, stored.transpose(2, 0, 1))
    assert scan.rgb


def test_dicom_is_recognised_without_an_ending_and_says_nothing_of_the_patient(write_dicom, rng):
    scan = read_scan(write_dicom(rng.integers(0, 99, (4, 5)).astype(np.uint16), name="IM0001"))
    assert scan.values.shape == (1, 4, 5)
    for secret in ("Muster", "Erika", "4711", "1960"):
        assert secret not in repr(scan)


def test_dicom_without_an_image_or_with_a_missing_decompressor_says_so(write_dicom, rng, monkeypatch):
    from pydicom.pixels import get_decoder

    path = write_dicom(rng.integers(0, 99, (4, 5)).astype(np.uint16))
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(UnreadableError, match="no PixelData"):
        read_scan(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    monkeypatch.setattr(get_decoder(JPEG2000Lossless), "_available", {})
    with pytest.raises(MissingPackageError, match=r"JPEG 2000.*pylibjpeg"):
        read_scan(path)


def test_compressed_dicom_holds_the_values_of_the_uncompressed(write_dicom, rng):
    stored = np.cumsum(rng.integers(-9, 10, (40, 50)), axis=1).astype(np.int16) + 1000
    path = write_dicom(stored, RescaleSlope=2.0, RescaleIntercept=-1024.0)
    plain = read_scan(path).values
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path.replace("slice", "rle"))
    np.testing.assert_array_equal(read_scan(path.replace("slice", "rle")).values, plain)

    picture = io.BytesIO()
    Image.fromarray(stored.astype(np.uint16)).save(picture, "JPEG2000", irreversible=False, no_jp2=True)
    dataset = pydicom.dcmread(path)
    dataset.PixelRepresentation = 0
    dataset.PixelData = pydicom.encaps.encapsulate([picture.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path.replace("slice", "j2k"))
    np.testing.assert_array_equal(read_scan(path.replace("slice", "j2k")).values, plain)


def test_real_files_of_every_kind_are_read(real_data):
    names = [
        *sorted((real_data / "brain_mri").rglob("*.*"))[:60],
        *sorted((real_data / "dicom").rglob("*.dcm"))[:10],
        *sorted((real_data / "hippocampus" / "images").glob("*"))[:5],
    ]
    scans = [read_scan(str(name)) for name in names if name.suffix != ".csv"]
    assert len(scans) > 60
    assert all(np.isfinite(scan.values).all() for scan in scans)


@pytest.fixture
def sequences(tmp_path, rng):
    """t1.nii and t2.nii on one grid, the second stored in another orientation; and their values in RAS order."""
    values = rng.normal(size=(2, 4, 5, 6)).astype(np.float32)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values[0], affine), tmp_path / "t1.nii")
    turned = nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], [[2, -1], [0, 1], [1, -1]])
    nibabel.save(nibabel.Nifti1Image(values[1], affine).as_reoriented(turned), tmp_path / "t2.nii")
    return tmp_path, values


def test_several_files_are_channels_of_one_scan(sequences):
    folder, values = sequences
    scan = read_scan(f"{folder}/t1.nii|{folder}/t2.nii")
    np.testing.assert_array_equal(scan.values, values.transpose(0, 3, 2, 1))
    assert (scan.spacing_mm, scan.rgb) == ((3, 1, 1), False)
    np.testing.assert_allclose(scan.affine, np.diag([1.0, 1.0, 3.0, 1.0]))


@pytest.mark.parametrize(
    ("shape", "affine", "said"),
    [
        ((4, 5, 7), np.diag([1.0, 1.0, 3.0, 1.0]), "6 x 5 x 4 against 7 x 5 x 4 voxels"),
        ((4, 5, 6), np.diag([1.0, 1.0, 3.1, 1.0]), "they lie up to 0.5 mm apart"),
        ((4, 5, 6), None, r"t2\.nii does not say where it lies"),
    ],
)
def test_channels_that_do_not_lie_on_each_other_are_named(sequences, shape, affine, said):
    folder, _ = sequences
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), affine), folder / "t2.nii")
    with pytest.raises(UnreadableError, match=rf"t1\.nii and .*t2\.nii: channels of one scan.*{said}"):
        read_scan(f"{folder}/t1.nii|{folder}/t2.nii")


def test_an_npz_that_claims_more_than_fits_is_refused_before_it_is_unpacked(tmp_path):
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**3, 10**3)}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(1000))
    path = f"{tmp_path}/bomb.npz#train/0"
    for read in (read_scan, lambda path: content_digests(as_examples([path]))):
        with pytest.raises(UnreadableError, match=r"bomb\.npz: train_images claims 10000 GB"):
            read(path)
