"""Structure sets as masks, compared with matplotlib's paths, pixel by pixel, in the geometry of their series."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from matplotlib.path import Path as Outline

from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from graftwork.imaging import read_scan
from graftwork.imaging.formats.dicom.structures import even_odd, read_structures, structures_on
from graftwork.imaging.formats.volume_output import volume_bytes
from graftwork.imaging.segmentation.class_tables import class_table
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask
from tests.imaging.dicom_series import series, structure_set

ORIGIN, SPACING, STEP = np.array([-20.0, -30.0, 40.0]), np.array([2.0, 1.5]), 3.0  # along a row, down a column


def ring(radius: float, place: float, centre: tuple[float, float] = (4.3, 5.2), corners: int = 17) -> np.ndarray:
    """A polygon about a pixel (column, row) of slice `place`, in mm; radius in pixels."""
    angles = 2 * np.pi * np.arange(corners) / corners + 0.1
    flat = ORIGIN[:2] + SPACING * (np.array(centre) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return np.column_stack([flat, np.full(corners, ORIGIN[2] + STEP * place)])


def inside(points: np.ndarray, shape: tuple[int, int] = (12, 10)) -> np.ndarray:
    """(height, width) by matplotlib: pixels whose centre lies in the polygon."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = ORIGIN[:2] + SPACING * np.stack([columns.ravel(), rows.ravel()], axis=1)
    return Outline(np.vstack([points[:, :2], points[:1, :2]])).contains_points(centres).reshape(shape)


def test_a_square_counted_by_hand() -> None:
    square = np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]])
    assert even_odd([square], (4, 5)).astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("down", [1, -1])
def test_contours_become_the_voxels_that_matplotlib_finds_inside(tmp_path: Path, down: int) -> None:
    scan = read_scan(series(tmp_path / "ct", down=down))
    drawn = {"liver": [ring(3.2, 1), ring(2.1, 2)], "spleen": [ring(1.2, 4 * (down > 0), (8.1, 2.2))]}
    if down < 0:  # then slices lie below the first
        drawn = {name: [points * (1, 1, -1) + (0, 0, 2 * ORIGIN[2]) for points in one] for name, one in drawn.items()}
    path = structure_set(tmp_path / "rs.dcm", drawn)
    found = structures_on(read_structures(str(path)), str(path), scan)
    expected = np.zeros((5, 12, 10), dtype=int)  # as the files hold them: rows towards the back, slices by number
    for number, contours in enumerate(drawn.values(), start=1):
        for points in contours:
            place = round(abs(points[0, 2] - ORIGIN[2]) / STEP)
            expected[place][inside(points)] = number
    assert set(np.unique(expected)) == {0, 1, 2}
    # In RAS order rows go to the front, columns to the right, slices to the head.
    np.testing.assert_array_equal(found, expected[::down, ::-1, ::-1])


def test_a_contour_inside_another_is_a_hole_and_an_island_in_it_is_not(tmp_path: Path) -> None:
    scan = read_scan(series(tmp_path / "ct"))
    outer, hole, island = ring(4.4, 2), ring(2.9, 2), ring(1.2, 2)
    path = structure_set(tmp_path / "rs.dcm", {"wall": [outer, hole, island]})
    found = structures_on(read_structures(str(path)), str(path), scan)
    expected = inside(outer) ^ inside(hole) ^ inside(island)
    assert 0 < inside(island).sum() < inside(hole).sum() < inside(outer).sum()
    np.testing.assert_array_equal(found[2], expected[::-1, ::-1])
    assert not found[[0, 1, 3, 4]].any()


def test_the_same_mask_lies_on_the_series_as_nifti(tmp_path: Path) -> None:
    scan = read_scan(series(tmp_path / "ct"))
    path = structure_set(tmp_path / "rs.dcm", {"liver": [ring(3.2, 1)]})
    (tmp_path / "ct.nii.gz").write_bytes(volume_bytes(scan.values[0], scan))
    whole = nibabel.load(tmp_path / "ct.nii.gz")
    turned = whole.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))  # another order and direction of every axis
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    by_series = read_mask(path, scan, (0, 1))
    np.testing.assert_array_equal(read_mask(path, read_scan(tmp_path / "turned.nii.gz"), (0, 1)), by_series)
    single = read_scan(tmp_path / "ct" / "1.dcm")
    np.testing.assert_array_equal(read_mask(path, single, (0, 1)), by_series[1][::-1, ::-1])


def test_structures_are_classes_by_name_whatever_their_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = read_scan(series(tmp_path / "ct"))
    liver, tumour, body = ring(3.2, 1), ring(1.2, 3), ring(4.6, 1)
    one = structure_set(tmp_path / "one.dcm", {"body": [body], "Liver": [liver], "GTV": [tumour]})
    two = structure_set(tmp_path / "two.dcm", {"gtv_1": [tumour], "body": [body], "Liver": [liver]})
    table = class_table(structures="Liver:liver,GTV+gtv_1:tumour")
    assert table is not None
    assert table.names == ("background", "liver", "tumour")
    assert mask_values([one, two], table=table) == [(0, 1, 2), (0, 1, 2)]
    np.testing.assert_array_equal(*(read_mask(path, scan, (0, 1, 2), table=table) for path in (one, two)))
    assert set(np.unique(read_mask(one, scan, (0, 1, 2), table=table)).tolist()) == {0, 1, 2}
    with pytest.raises(SettingsError, match=r"structure 1 is 'gtv_1', and 'body' in .*one.dcm"):
        mask_values([one, two])
    with pytest.raises(ContractError, match=r"'Liver' shares \d+ voxels with structures before it"):
        read_mask(one, scan, (0, 1, 2, 3))
    without = structure_set(tmp_path / "three.dcm", {"Liver": [liver]})
    with caplog.at_level(logging.WARNING):
        assert mask_values([without], table=table) == [(0, 1)]
    assert "three.dcm: has no structure for tumour, which is taken for absent; it has Liver" in caplog.text


def test_slices_that_nobody_drew_in_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = read_scan(series(tmp_path / "ct"))
    path = structure_set(tmp_path / "gaps.dcm", {"liver": [ring(3.2, 0), ring(3.2, 3)]})
    with caplog.at_level(logging.WARNING):
        structures_on(read_structures(str(path)), str(path), scan)
    assert "'liver' has no contour in 2 slices between its first and its last" in caplog.text


@pytest.mark.parametrize(
    ("contours", "options", "reason"),
    [
        ([ring(3.2, 1), ring(3.2, 1.4), ring(3.2, 2.3)], {}, "2 of 3 contours lie off the slices of .*by up to 1.2 mm"),
        ([ring(3.2, 1), ring(3.2, 5)], {}, "1 of 2 contours lie beside the slices"),
        ([ring(3.2, 1)], {"frame": "1.2.3"}, r"1 of 1 structures \(liver\) are in another frame of reference"),
    ],
)
def test_contours_of_another_place_are_refused_with_their_number(
    tmp_path: Path, contours: list[np.ndarray], options: dict[str, str], reason: str
) -> None:
    scan = read_scan(series(tmp_path / "ct"))
    path = structure_set(tmp_path / "rs.dcm", {"liver": contours}, **options)
    with pytest.raises(ContractError, match=reason):
        read_mask(path, scan, (0, 1))


def test_damaged_contours_are_refused_and_points_are_no_region(tmp_path: Path) -> None:
    two = structure_set(tmp_path / "two.dcm", {"liver": [ring(3.2, 1)[:2]]})
    with pytest.raises(UnreadableError, match="a closed contour has 6 numbers"):
        read_structures(str(two))
    points = structure_set(tmp_path / "points.dcm", {"isocentre": [ring(3.2, 1)]}, kind="POINT")
    assert read_structures(str(points)) == []
    twice = structure_set(tmp_path / "twice.dcm", {"a": [ring(1, 1)], "b": [ring(1, 1)]}, numbers=(1, 1))
    with pytest.raises(UnreadableError, match="ROI 1 has no name, has two sets"):
        read_structures(str(twice))
