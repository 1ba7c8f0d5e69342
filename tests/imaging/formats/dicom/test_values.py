"""What a DICOM file stores becomes values as other readers give them, and what is outside of a scan its background."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.preprocessing.intensity import parse_intensity, scale_intensity


@pytest.fixture
def tissue(rng):
    return rng.integers(900, 1200, (8, 9)).astype(np.int16)


@pytest.mark.parametrize("kind", ["auto", "zscore"])
def test_padding_is_background_and_leaves_the_scale_of_the_rest_alone(write_dicom, tissue, kind):
    tissue[0] = 900
    padded = tissue.copy()
    padded[0] = -2000
    plain = scale_intensity(read_scan(write_dicom(tissue, RescaleIntercept=-1024)), parse_intensity(kind))
    path = write_dicom(padded, RescaleIntercept=-1024, PixelPaddingValue=-2000)
    lowest = padded[1:].min() - 1024
    assert (read_scan(path).values[0, 0] == lowest).all()
    np.testing.assert_allclose(scale_intensity(read_scan(path), parse_intensity(kind)), plain, atol=0.02)


def test_a_range_of_padding_and_one_without_its_sign_are_padding(write_dicom, tissue):
    tissue[0], tissue[1] = -2000, -1500
    scan = read_scan(write_dicom(tissue, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1400))
    assert scan.values.min() == tissue[2:].min()
    path = write_dicom(tissue)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00280120, "US", 2**16 - 2000)
    dataset.save_as(path)
    assert read_scan(path).values.min() == -1500


def test_padding_is_not_the_brightest_where_low_is_bright(write_dicom):
    stored = np.array([[0, 0, 100], [3000, 3500, 4000]], dtype=np.uint16)
    scan = read_scan(write_dicom(stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11,
                                 PixelPaddingValue=0))  # fmt: skip
    np.testing.assert_array_equal(scan.values[0], [[95, 95, 3995], [1095, 595, 95]])


def test_padding_of_a_series_is_the_lowest_of_the_whole_volume(write_dicom, tissue, tmp_path):
    for place, lowest in enumerate((900, 800, 850)):
        stored = tissue.copy()
        stored[0], stored[1] = -2000, lowest
        write_dicom(stored, f"{place}.dcm", SeriesInstanceUID="1.2", PixelSpacing=[1, 1], PixelPaddingValue=-2000,
                    ImagePositionPatient=[0, 0, place], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])  # fmt: skip
    assert (read_scan(str(tmp_path)).values[0, :, -1] == 800).all()


def table(entries, first=0, bits=16):
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [len(entries), first, bits], "US"
    item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return [item]


def test_the_table_of_the_modality_is_applied_as_pydicom_does(write_dicom, rng):
    stored = rng.integers(0, 12, (4, 5)).astype(np.uint16)
    entries = [int(x) for x in np.linspace(0, 4000, 10)]
    path = write_dicom(stored, ModalityLUTSequence=table(entries, first=1))
    expected = apply_modality_lut(stored, pydicom.dcmread(path))
    np.testing.assert_array_equal(read_scan(path).values[0], expected)
    path = write_dicom(stored, PhotometricInterpretation="MONOCHROME1",
                       ModalityLUTSequence=table(entries, first=1, bits=12))  # fmt: skip
    np.testing.assert_array_equal(read_scan(path).values[0], 4095.0 - expected)


def test_slopes_of_a_dose_and_of_every_frame_are_applied(write_dicom, rng):
    stored = rng.integers(0, 99, (2, 4, 5)).astype(np.uint16)
    np.testing.assert_allclose(read_scan(write_dicom(stored, DoseGridScaling="0.25")).values[0], stored * 0.25)
    frames = []
    for slope, intercept in ((2, -5), (3, 7)):
        transformation, frame = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, intercept
        frame.PixelValueTransformationSequence = [transformation]
        frames.append(frame)
    found = read_scan(write_dicom(stored, PerFrameFunctionalGroupsSequence=frames)).values[0]
    np.testing.assert_array_equal(found, [stored[0] * 2.0 - 5, stored[1] * 3.0 + 7])


@pytest.mark.parametrize(("dtype", "element"), [(np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")])
def test_floating_point_pixels_are_read_with_their_padding(write_dicom, rng, dtype, element):
    stored = rng.normal(size=(4, 5)).astype(dtype)
    stored[0, 0] = -999
    path = write_dicom(stored)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData, dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit
    setattr(dataset, element, stored.tobytes())
    prefix = "Double" if dtype is np.float64 else ""
    setattr(dataset, f"{prefix}FloatPixelPaddingValue", -999.0)
    dataset.save_as(path)
    expected = stored.copy()
    expected[0, 0] = stored.ravel()[1:].min()
    np.testing.assert_array_equal(read_scan(path).values[0], expected.astype(np.float32))


@pytest.mark.parametrize(("bits", "factor", "entry_bits"), [(16, 257, 16), (8, 1, 8), (16, 1, 16), (12, 16, 16)])
def test_palettes_of_all_bits_become_red_green_blue_to_255(write_dicom, rng, bits, factor, entry_bits):
    stored = rng.integers(0, 256, (4, 5)).astype(np.uint8)
    ramp = np.arange(256)
    colours = {"Red": ramp, "Green": ramp[::-1], "Blue": np.full(256, 128)}
    elements = {}
    for name, entries in colours.items():
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{name}PaletteColorLookupTableData"] = (entries * factor).astype(f"<u{entry_bits // 8}").tobytes()
    path = write_dicom(stored, PhotometricInterpretation="PALETTE COLOR", **elements)
    scan = read_scan(path)
    expected = np.stack([colours[name][stored] for name in ("Red", "Green", "Blue")])
    np.testing.assert_allclose(scan.values, expected, atol=1)
    if bits != 12:  # which pydicom does not read
        looked_up = apply_color_lut(stored, pydicom.dcmread(path))
        np.testing.assert_allclose(scan.values, np.moveaxis(looked_up, -1, 0) / factor, atol=0.5)
    assert (scan.rgb, scan.full_range) == (True, (0, 255))


@pytest.mark.parametrize(("element", "wrong"), [
    ("PixelSpacing", b"0,5\\0,5 "), ("PixelSpacing", b"N/A "), ("PixelSpacing", b"0\\0 "), ("PixelSpacing", b"0.5 "),
    ("RescaleSlope", b"1\\2 "), ("RescaleSlope", b"0 "), ("RescaleIntercept", b"none"), ("PixelSpacing", b"nan\\1 "),
    ("ImagePositionPatient", b"1\\2 "), ("ImageOrientationPatient", b"a\\b "), ("SpacingBetweenSlices", b"x "),
])  # fmt: skip
def test_numbers_in_a_header_that_are_none_are_named_with_their_file(write_dicom, rng, element, wrong):
    stored = rng.integers(0, 99, (2, 4, 5) if element == "SpacingBetweenSlices" else (4, 5)).astype(np.uint16)
    count = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}.get(element, 1)
    path = write_dicom(stored, **{"PixelSpacing": [1, 1], element: "\\".join(["7"] * count)})
    content = Path(path).read_bytes()
    tag = pydicom.datadict.tag_for_keyword(element)
    start = content.index(tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + b"DS")
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    changed = content[: start + 6] + len(wrong).to_bytes(2, "little") + wrong + content[start + 8 + length :]
    Path(path).write_bytes(changed)
    with pytest.raises(UnreadableError, match=rf"slice\.dcm.*{element} is ") as caught:
        read_scan(path)
    assert wrong == b"0 " or wrong.decode().strip() not in str(caught.value)


def test_a_transfer_syntax_that_is_none_is_named(write_dicom, rng):
    path = write_dicom(rng.integers(0, 99, (4, 5)).astype(np.uint16))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    with pytest.raises(UnreadableError, match=r"slice\.dcm: its transfer syntax is none that DICOM has"):
        read_scan(path)


def test_a_deflated_file_is_read_unless_it_unpacks_to_more_than_fits(write_dicom, rng, monkeypatch):
    stored = np.zeros((500, 500), np.uint16)
    stored[3, 4] = 7
    path = write_dicom(stored)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert Path(path).stat().st_size < 5000
    np.testing.assert_array_equal(read_scan(path).values[0], stored)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 400_000})())
    with pytest.raises(UnreadableError, match=r"slice\.dcm: unpacks to more than the 0\.0004 GB"):
        read_scan(path)


@pytest.mark.parametrize(("said", "held"), [(None, 2), (2, 3), (1, 2)])
def test_more_frames_than_the_header_says_are_refused(write_dicom, said, held):
    """pydicom hands out all that the data hold, with a warning."""
    stored = np.zeros((held, 6, 8), np.uint16)
    path = write_dicom(stored)
    dataset = pydicom.dcmread(path)
    if said is None:
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = said
    dataset.save_as(path)
    with pytest.raises(UnreadableError, match=rf"its header says {said or 1} frames?, and it holds {held}"):
        read_scan(path)
