"""TIFFs as microscopes and film scanners write them; the bytes are put together here, as Pillow writes few kinds."""

import struct

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from graftwork.core.errors import UnreadableError
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.preprocessing.intensity import parse_intensity, scale_intensity


@pytest.fixture
def write_tiff(tmp_path):
    """One uncompressed strip; `tags` add to the usual ones, or replace them."""

    def write(stored, bits, kind=1, photometric=1, content=None, **tags):
        channels = stored.shape[2] if stored.ndim == 3 else 1
        content = content or stored.tobytes()
        fields = {256: stored.shape[1], 257: stored.shape[0], 258: bits, 259: 1, 262: photometric, 273: 8,
                  277: channels, 278: stored.shape[0], 279: len(content), 339: kind}  # fmt: skip
        fields |= {int(tag[1:]): value for tag, value in tags.items()}
        place = 8 + len(content) + len(content) % 2
        header = struct.pack("<2sHI", b"II", 42, place) + content.ljust(place - 8, b"\0")
        entries = [struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
                   for tag, value in sorted(fields.items())]  # fmt: skip
        if channels > 1:  # one value a channel, which fits into an entry for two
            place_of = {258: bits, 339: kind}
            entries = [struct.pack("<HHIHH", tag, 3, 2, value, value) if (value := place_of.get(tag)) else entry
                       for entry, tag in zip(entries, sorted(fields), strict=True)]  # fmt: skip
        (tmp_path / "a.tif").write_bytes(header + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
        return str(tmp_path / "a.tif")

    return write


RAMP = np.arange(20).reshape(4, 5)


@pytest.mark.parametrize(("dtype", "bits", "step"), [(np.uint8, 8, 12), (np.uint16, 16, 3000)])
def test_white_stored_as_zero_is_bright(write_tiff, dtype, bits, step):
    stored = (RAMP * step).astype(dtype)
    found = read_scan(write_tiff(stored, bits, photometric=0))
    np.testing.assert_array_equal(found.values[0], 2.0**bits - 1 - stored)
    assert found.full_range == (0, 2**bits - 1)
    np.testing.assert_array_equal(read_scan(write_tiff(stored, bits)).values[0], stored)


@pytest.mark.parametrize(("dtype", "kind", "bits"), [(np.uint32, 1, 32), (np.int32, 2, 32), (np.float32, 3, 32),
                                                     (np.int16, 2, 16)])  # fmt: skip
def test_measurements_keep_their_sign(write_tiff, dtype, kind, bits):
    stored = RAMP.astype(dtype) * {1: 200_000_000, 2: 1000, 3: 0.5}[kind]
    stored = (stored - (9000 if kind == 2 else 0)).astype(dtype)
    found = read_scan(write_tiff(stored, bits, kind))
    np.testing.assert_allclose(found.values[0], stored, rtol=1e-6)
    assert found.full_range is None


def test_packed_bits_fill_their_own_range(write_tiff):
    stored = (np.arange(24).reshape(4, 6) * 178).astype(np.uint16)
    content = b"".join(int((int(a) << 12) + int(b)).to_bytes(3, "big") for a, b in stored.reshape(-1, 2))
    found = read_scan(write_tiff(stored, 12, content=content))
    np.testing.assert_array_equal(found.values[0], stored)
    np.testing.assert_allclose(scale_intensity(found, parse_intensity("auto"))[0], stored / 4095, rtol=1e-6)


@pytest.mark.parametrize(("stored", "bits", "kind", "said"), [
    (RAMP.astype(np.float16), 16, 3, "a TIFF of 1 floating-point channel of 16 bits"),
    (RAMP.astype(np.float64), 64, 3, "a TIFF of 1 floating-point channel of 64 bits"),
    (np.stack([RAMP] * 2, -1).astype(np.uint8), 8, 1, "has 2 channels, of which 1 would be read.* with | between"),
])  # fmt: skip
def test_what_pillow_does_not_read_whole_is_refused_with_its_kind(write_tiff, stored, bits, kind, said):
    with pytest.raises(UnreadableError, match=rf"a\.tif: (is |){said}"):
        read_scan(write_tiff(stored, bits, kind, t338=0) if stored.ndim == 3 else write_tiff(stored, bits, kind))


def test_floating_point_with_white_as_zero_is_refused(write_tiff):
    with pytest.raises(UnreadableError, match="which value is black is not known"):
        read_scan(write_tiff(RAMP.astype(np.float32), 32, 3, photometric=0))


def test_the_orientation_of_a_tiff_is_applied_once(write_tiff):
    stored = RAMP.astype(np.uint16)
    np.testing.assert_array_equal(read_scan(write_tiff(stored, 16, t274=6)).values[0], np.rot90(stored, -1))


def test_a_scan_of_more_pixels_than_pillow_takes_for_harmless_is_read(tmp_path, monkeypatch):
    Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_scan(str(tmp_path / "large.png")).spatial_shape == (30, 30)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_picture_that_does_not_fit_in_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    import psutil

    Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(tmp_path / "large.png")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 900})())
    with pytest.raises(UnreadableError, match=r"large\.png: its header claims 1 x 30 x 30 pixels.*make it smaller"):
        read_scan(str(tmp_path / "large.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stack_of_pages_is_the_volume_that_simpleitk_reads(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 250, (4, 5, 6)).astype(dtype)
    pages = [Image.fromarray(page) for page in values]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    found = read_scan(str(tmp_path / "stack.tif"))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "stack.tif")))
    np.testing.assert_array_equal(found.values[0], expected)
    np.testing.assert_array_equal(found.values[0], values)
    assert found.full_range == {np.uint8: (0, 255), np.uint16: (0, 65535), np.float32: None}[dtype]
    assert (found.spacing_mm, found.affine) == (None, None)


def test_a_stack_in_colour_has_three_channels(tmp_path):
    values = np.random.default_rng(0).integers(0, 250, (2, 5, 6, 3)).astype(np.uint8)
    pages = [Image.fromarray(page) for page in values]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    found = read_scan(str(tmp_path / "stack.tif"))
    np.testing.assert_array_equal(found.values, values.transpose(3, 0, 1, 2))
    assert found.rgb


def test_pages_that_are_no_slices_of_one_volume_are_refused(tmp_path):
    large, small = Image.new("L", (8, 6)), Image.new("L", (4, 3))
    large.save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    with pytest.raises(UnreadableError, match=r"pyramid\.tif: its pages differ: 8 x 6 pixels \(L\) and 4 x 3"):
        read_scan(str(tmp_path / "pyramid.tif"))
    large.save(tmp_path / "hyper.tif", save_all=True, append_images=[large],
               description="ImageJ=1.53\nimages=2\nchannels=2\nhyperstack=true")  # fmt: skip
    with pytest.raises(UnreadableError, match=r"hyper\.tif: is a stack of 2 channels"):
        read_scan(str(tmp_path / "hyper.tif"))
