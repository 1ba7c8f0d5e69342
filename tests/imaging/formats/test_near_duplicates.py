"""One picture under many forms is found; different pictures of one kind are not."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graftwork import imaging
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.example import as_examples
from graftwork.imaging.formats.near_duplicates import near_duplicates, similar_thumbnails
from graftwork.imaging.formats.thumbnails import SIDE, thumbnails
from graftwork.imaging.scan import Scan

SCRIPT = Path(__file__).parents[3] / "examples" / "benchmarks" / "near_duplicates.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("near_duplicates_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_every_form_of_a_picture_is_found_and_no_other_picture_is(benchmark):
    pictures = benchmark.generated_pictures(40, seed=3)
    for kind, change in benchmark.PICTURE_KINDS.items():
        found = benchmark.judge_pictures(pictures, change, pairs=20, seed=0)
        assert (kind, found.precision) == (kind, 1.0)
        assert found.recall >= 0.9, kind


def test_thumbnails_are_means_over_the_area_of_a_pixel(rng):
    values = rng.random((1, 2 * SIDE, 3 * SIDE)).astype(np.float32)
    expected = values[0].reshape(SIDE, 2, SIDE, 3).mean((1, 3))
    expected = 255 * (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(thumbnails(Scan(values, "a"))[0], expected, atol=0.51)


def test_a_picture_of_one_value_is_like_nothing(tmp_path):
    assert thumbnails(Scan(np.full((1, 5, 5), 7, np.float32), "a")) is None
    for name in ("a", "b"):
        Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert near_duplicates(as_examples([str(tmp_path / f"{name}.png") for name in "abc"])) == []


def test_volumes_are_one_where_their_middle_slices_across_all_axes_are(benchmark):
    rng = np.random.default_rng(0)
    fine = np.fft.rfftn(rng.normal(size=(3, 24, 24, 24)), axes=(1, 2, 3))
    steps = np.fft.fftfreq(24)[:, None, None] ** 2 + np.fft.fftfreq(24)[:, None] ** 2 + np.fft.rfftfreq(24) ** 2
    volumes = np.fft.irfftn(fine * np.exp(-150 * steps), (24, 24, 24), axes=(1, 2, 3)).astype(np.float32)
    other = volumes[0].copy()
    other[:, :, 11:13] = volumes[1][:, :, 11:13]  # one of three middle slices differs
    scans = [*volumes, 3 * volumes[0] + 7, volumes[2][:, :, ::-1], other]
    assert similar_thumbnails([thumbnails(Scan(one[None], "a")) for one in scans]) == [(0, 3), (2, 4)]


def test_a_manifest_of_scans_keeps_a_picture_and_its_crop_together(benchmark, tmp_path):
    pictures = benchmark.generated_pictures(12, seed=1)
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for place, picture in enumerate([*pictures, benchmark.PICTURE_KINDS["crop"](pictures[0], rng)]):
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{place}.png")
        lines.append(f"{place}.png,{'xy'[place % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found, said = with_near_duplicates(imaging.DOMAIN, imaging.read_manifest(tmp_path / "t.csv"), "together")
    assert said.sets == ((str(tmp_path / "0.png"), str(tmp_path / "12.png")),)
    for seed in range(5):
        folds = found.fold_numbers(4, seed)
        assert folds[0] == folds[12]


def test_slices_of_the_brain_that_were_saved_anew_are_found_and_patients_stay_apart(real_data):
    manifest = imaging.read_manifest(real_data / "brain_mri" / "manifest.csv")
    _, said = with_near_duplicates(imaging.DOMAIN, manifest, "together")
    assert said.same == 22
    assert 36 <= len(said.sets) <= 40
    truth = dict(zip(manifest.paths, manifest.targets.tolist(), strict=True))
    assert all(len({truth[path] for path in one}) == 1 for one in said.sets)
