"""From a file to the tensor a network takes: intensity, dimensions, channels, size."""

import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.imaging import ImageContract
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.preprocessing.contract import resize
from graftwork.imaging.preprocessing.intensity import Intensity, parse_intensity, scale_intensity
from graftwork.imaging.scan import Scan

PLAIN = ImageContract(2, 1, (8, 8), "auto", (0.0,), (1.0,))
COLOUR = ImageContract(2, 3, (8, 8), "auto", (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
VOLUME = ImageContract(3, 1, (4, 5, 6), "auto", (0.0,), (1.0,))


@pytest.fixture
def write_png(tmp_path):
    def write(values, name="picture.png"):
        Image.fromarray(values).save(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def write_nifti(tmp_path):
    def write(values, name="volume.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.asarray(values, dtype=np.float32), np.eye(4)), tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("size", [(17, 9), (224, 224), (300, 200)])
def test_resizing_is_pillows_antialiased_bilinear(write_png, rng, size):
    picture = rng.integers(0, 256, (90, 120), dtype=np.uint8)
    contract = ImageContract(2, 1, size, "range", (0.0,), (1.0,))
    reference = Image.fromarray(picture.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(contract.read(write_png(picture))[0], np.asarray(reference) / 255, atol=2e-5)


def test_a_volume_is_resized_by_the_same_filter_along_each_axis(rng):
    volume = rng.normal(size=(20, 9, 8)).astype(np.float32)
    found = resize(torch.from_numpy(volume)[None], (7, 9, 8))[0].numpy()
    for column in range(9):
        plane = Image.fromarray(volume[:, column, :]).resize((8, 7), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found[:, column, :], np.asarray(plane), atol=1e-5)


def test_mean_and_std_are_applied_channel_by_channel(write_png, rng):
    picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = (picture.transpose(2, 0, 1) / 255 - np.array(COLOUR.mean)[:, None, None]) / np.array(COLOUR.std)[
        :, None, None
    ]
    np.testing.assert_allclose(COLOUR.read(write_png(picture)), expected, rtol=1e-5, atol=1e-6)


def test_grey_is_repeated_for_three_channels_and_colour_becomes_luminance_for_one(write_png, rng):
    grey = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    flat = ImageContract(2, 3, (8, 8), "range", (0.0,) * 3, (1.0,) * 3).read(write_png(grey))
    assert (flat == flat[:1]).all()
    colour = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    reference = np.asarray(Image.fromarray(colour).convert("L")) / 255
    np.testing.assert_allclose(PLAIN.read(write_png(colour))[0], reference, atol=1 / 255)


def test_measured_channels_are_never_mixed_into_one(write_nifti, rng):
    with pytest.raises(ContractError, match=r"has 3 channels, and the backbone takes 1.*--channels 3"):
        VOLUME.read(write_nifti(rng.normal(size=(4, 4, 4, 3))))


def test_dimensions_that_do_not_fit_are_named_with_a_way_out(write_png, write_nifti, rng):
    with pytest.raises(ContractError, match=r"volume\.nii\.gz: is a volume of 6 x 5 x 4 voxels.*3D backbone"):
        PLAIN.read(write_nifti(rng.normal(size=(4, 5, 6))))
    with pytest.raises(ContractError, match=r"picture\.png: is a 2D image of 5 x 4 pixels.*2D backbone"):
        VOLUME.read(write_png(rng.integers(0, 256, (5, 4), dtype=np.uint8)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_counts_as_2d(write_nifti, rng, axis):
    plane = rng.normal(size=(8, 8)).astype(np.float32)
    flat = PLAIN.read(write_nifti(plane, "flat.nii"))
    np.testing.assert_array_equal(PLAIN.read(write_nifti(np.expand_dims(plane, axis))), flat)


def test_values_that_teach_nothing_are_refused(write_png, write_nifti):
    with pytest.raises(UnreadableError, match=r"picture\.png: every value is 7"):
        PLAIN.read(write_png(np.full((5, 5), 7, dtype=np.uint8)))
    broken = np.zeros((3, 3, 3))
    broken[0, 0, 0], broken[1, 1, 1] = np.nan, np.inf
    with pytest.raises(UnreadableError, match="2 of 27 values are not finite"):
        VOLUME.read(write_nifti(broken))


def test_auto_is_the_full_range_for_pictures_and_quantiles_for_measurements(rng):
    values = rng.normal(size=(1, 30, 30)).astype(np.float32) * 40 + 100
    auto = parse_intensity("auto")
    picture = Scan(values, "p", full_range=(0, 255))
    np.testing.assert_allclose(scale_intensity(picture, auto), values / 255, rtol=1e-6)
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(scale_intensity(Scan(values, "m"), auto), expected, atol=1e-5)


def test_window_and_zscore_follow_their_formulas(rng):
    values = rng.normal(size=(1, 30, 30)).astype(np.float32) * 500
    window = scale_intensity(Scan(values, "m"), parse_intensity("window:-1000:400"))
    np.testing.assert_allclose(window, np.clip((values + 1000) / 1400, 0, 1), atol=1e-6)
    scaled = scale_intensity(Scan(values, "m"), parse_intensity("zscore"))
    np.testing.assert_allclose(scaled, (values - values.mean()) / values.std(), atol=1e-5)


def test_a_small_bright_object_survives_quantiles_that_see_only_background():
    values = np.zeros((1, 100, 100), dtype=np.float32)
    values[0, 3, 3] = 9
    assert scale_intensity(Scan(values, "m"), parse_intensity("quantile")).max() == 1


def test_scaling_leaves_the_scan_as_it_was(rng):
    for text in ("range", "quantile", "window:0:1", "zscore"):
        values = rng.normal(size=(1, 5, 5)).astype(np.float32)
        before = values.copy()
        scale_intensity(Scan(values, "m", full_range=(0, 255)), parse_intensity(text))
        np.testing.assert_array_equal(values, before)


def test_range_of_a_measurement_is_refused(rng):
    with pytest.raises(ContractError, match="'range' needs an 8- or 16-bit picture"):
        scale_intensity(Scan(rng.normal(size=(1, 3, 3)).astype(np.float32), "m"), parse_intensity("range"))


@given(st.floats(-5000, 5000), st.floats(0.1, 5000))
def test_every_window_is_read_back(low, width):
    assert parse_intensity(f"window:{low}:{low + width}") == Intensity("window", low, low + width)


@pytest.mark.parametrize(
    "text",
    ["", "windw:0:1", "window", "window:5:1", "window:a:b", "window:0:inf", "quantile:-1:50", "range:1:2"],
)
def test_intensities_that_mean_nothing_are_refused(text):
    with pytest.raises(SettingsError, match="intensity"):
        parse_intensity(text)


@settings(max_examples=25)
@given(
    st.sampled_from([2, 3]),
    st.integers(1, 4),
    st.integers(1, 512),
    st.sampled_from(["auto", "window:-10.5:4", "zscore"]),
)
def test_a_contract_survives_json(dims, channels, size, intensity):
    contract = ImageContract(dims, channels, (size,) * dims, intensity, (0.5,) * channels, (0.25,) * channels)
    assert ImageContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_json_of_something_else_is_refused():
    with pytest.raises(SettingsError, match="not an image contract"):
        ImageContract.from_json({"sample_rate_hz": 16000})


def test_a_batch_is_the_stack_of_its_examples(write_png, rng):
    examples = [PLAIN.read(write_png(rng.integers(0, 256, (9, 9), dtype=np.uint8))) for _ in range(3)]
    batch = PLAIN.collate(examples)
    assert batch.lengths is None
    assert torch.equal(batch.values, torch.stack(examples))


def test_measured_channels_are_scaled_one_by_one_and_colours_together(rng):
    values = rng.random((3, 20, 20)).astype(np.float32) * np.array([1, 10, 100], dtype=np.float32)[:, None, None]
    rule = parse_intensity("quantile:0:100")
    apart = scale_intensity(Scan(values, "m"), rule).max(axis=(1, 2))
    together = scale_intensity(Scan(values, "p", rgb=True), rule).max(axis=(1, 2))
    np.testing.assert_allclose(apart, 1)
    np.testing.assert_allclose(together, [0.01, 0.1, 1], rtol=0.05)


def test_at_a_spacing_scans_keep_their_size_and_are_cut_or_padded_about_their_centre(tmp_path):
    values = np.zeros((12, 20, 8), np.float32)
    values[4:8, 8:12, 2:6] = 7.0
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 1.0, 1.0, 1.0])), path)
    contract = ImageContract(3, 1, (16, 16, 16), "window:0:7", (0.0,), (1.0,), spacing_mm=1.0)
    found = contract.read(str(path))[0]
    assert found.shape == (16, 16, 16)
    inside = (found > 0.5).nonzero()
    # 4 voxels of 1 mm from inferior to superior and from front to back, 4 of 2 mm across.
    assert (inside.max(0).values - inside.min(0).values + 1).tolist() == [4, 4, 8]
    assert ((inside.max(0).values + inside.min(0).values + 1) / 2).tolist() == [8, 8, 8]
    assert ImageContract.from_json(contract.to_json()) == contract
    with pytest.raises(SettingsError, match="spacing_mm must be above 0"):
        replace(contract, spacing_mm=0.0)


def test_a_scan_that_does_not_say_its_spacing_has_none_invented(tmp_path, rng):
    path = tmp_path / "picture.png"
    Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).save(path)
    contract = ImageContract(2, 1, (16, 16), "auto", (0.0,), (1.0,), spacing_mm=1.0)
    with pytest.raises(ContractError, match=r"picture\.png: does not say its spacing in mm"):
        contract.read(str(path))


def test_a_header_that_claims_more_than_fits_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "huge.nii.gz"
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).header.copy()
    header["dim"][1:4] = 32767
    path.write_bytes(gzip.compress(header.binaryblock + bytes(100)))
    with pytest.raises(UnreadableError, match=r"huge\.nii\.gz: its header claims 32767 x 32767 x 32767 voxels"):
        read_scan(str(path))
