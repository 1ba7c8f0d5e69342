"""Slices and volumes lie where their files say, whatever kind of file they come from, and masks on their images."""

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset

from graftwork.core.errors import ContractError, UnreadableError
from graftwork.imaging.formats.dicom.image import SEGMENTATIONS
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.formats.volume_output import write_volume
from graftwork.imaging.preprocessing.contract import ImageContract
from graftwork.imaging.segmentation.mask_files import mask_values, read_mask, write_mask

AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
FLAT = ImageContract(2, 1, (8, 8), "auto", (0.0,), (1.0,))


def group(**elements):
    """A sequence of one item."""
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return [item]


def item(**elements):
    return group(**elements)[0]


@pytest.fixture
def write_frames(write_dicom):
    """Writes an enhanced file whose frames lie at `places` mm along the normal; `each` adds groups to frames."""

    def write(stored, places, name="multi.dcm", direction=AXIAL, each=None, **elements):
        normal = np.cross(direction[:3], direction[3:])
        shared = item(PixelMeasuresSequence=group(PixelSpacing=[0.5, 0.75], SliceThickness=9),
                      PlaneOrientationSequence=group(ImageOrientationPatient=direction))  # fmt: skip
        frames = [item(PlanePositionSequence=group(ImagePositionPatient=[float(x) for x in place * normal]), **more)
                  for place, more in zip(places, each or [{}] * len(places), strict=True)]  # fmt: skip
        return write_dicom(stored, name, SharedFunctionalGroupsSequence=[shared],
                           PerFrameFunctionalGroupsSequence=frames, **elements)  # fmt: skip

    return write


@pytest.fixture
def volume(rng):
    """(depth, height, width) with a bright block off centre on every axis."""
    found = rng.integers(0, 50, (5, 6, 7)).astype(np.uint16)
    found[1:3, 1:3, 4:6] += 900
    return found


LPS = np.diag([-0.75, -0.5, 3.0, 1.0])
"""Of the volume in the order of DICOM: width to the left, height to posterior."""


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]])
def test_frames_lie_where_they_say_whatever_their_order_in_the_file(write_frames, volume, order, tmp_path):
    scan = read_scan(write_frames(volume[order], [3.0 * place for place in order]))
    nibabel.save(nibabel.Nifti1Image(volume.T.astype(np.int16), LPS), tmp_path / "same.nii")
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "same.nii"))
    np.testing.assert_array_equal(scan.values[0], canonical.get_fdata().T)
    np.testing.assert_allclose(scan.affine, canonical.affine)
    np.testing.assert_allclose(scan.spacing_mm, (3, 0.5, 0.75))


@pytest.mark.parametrize(("places", "said"), [
    ((0, 0, 3, 3, 6), "slices lie where another does"),
    ((0, 3, 6, 12, 15), "but 6 mm behind 6 mm: slices are missing"),
])  # fmt: skip
def test_frames_of_two_times_and_lost_frames_are_no_volume(write_frames, volume, places, said):
    with pytest.raises(UnreadableError, match=rf"multi\.dcm.*{said}"):
        read_scan(write_frames(volume, places))


def test_frames_of_which_some_say_no_place_tiles_and_parts_are_refused(write_frames, volume, tmp_path):
    path = write_frames(volume, range(5))
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    dataset.save_as(path)
    with pytest.raises(UnreadableError, match="1 of 5 frames do not say where they lie, the first is frame 4"):
        read_scan(path)
    with pytest.raises(UnreadableError, match="tiles of one slide"):
        read_scan(write_frames(volume, range(5), TotalPixelMatrixRows=60))
    with pytest.raises(UnreadableError, match="a concatenation"):
        read_scan(write_frames(volume, range(5), InConcatenationTotalNumber=3))


def test_the_sign_of_a_distance_is_a_direction_and_zero_is_none(write_dicom, volume):
    scan = read_scan(write_dicom(volume, PixelSpacing=[1, 2], SpacingBetweenSlices=-4))
    assert scan.spacing_mm == (4, 1, 2)
    for elements in ({"PixelSpacing": [0, 0]}, {"PixelSpacing": [1, 2], "SpacingBetweenSlices": 0},
                     {"PixelSpacing": [-1, 2]}):  # fmt: skip
        with pytest.raises(UnreadableError, match=r"slice\.dcm: (PixelSpacing|SpacingBetweenSlices) is"):
            read_scan(write_dicom(volume, **elements))


@pytest.mark.parametrize("sign", [1, -1])
def test_nuclear_medicine_counts_slices_from_its_detector(write_dicom, volume, sign):
    detector = group(ImagePositionPatient=[10, 20, 30], ImageOrientationPatient=AXIAL)
    scan = read_scan(write_dicom(volume, PixelSpacing=[1, 2], SpacingBetweenSlices=4 * sign,
                                 DetectorInformationSequence=detector))  # fmt: skip
    np.testing.assert_array_equal(scan.values[0], volume[::sign, ::-1, ::-1])
    last = 0 if sign == 1 else 4  # RAS index of the slice that the file begins with
    np.testing.assert_allclose(scan.affine @ [6, 5, last, 1], [-10, -20, 30, 1])


def test_a_dose_grid_counts_frames_by_its_offsets(write_dicom, volume):
    scan = read_scan(write_dicom(volume, PixelSpacing=[1, 2], ImagePositionPatient=[10, 20, 30], DoseGridScaling=0.5,
                                 ImageOrientationPatient=AXIAL, GridFrameOffsetVector=[0, 2, 4, 6, 8]))  # fmt: skip
    np.testing.assert_allclose(scan.values[0], volume[:, ::-1, ::-1] * 0.5)
    assert scan.spacing_mm == (2, 1, 2)
    np.testing.assert_allclose(scan.affine @ [6, 5, 0, 1], [-10, -20, 30, 1])


@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, CORONAL, [1, 0, 0, 0, 0.98, -0.19], [-1, 0, 0, 0, -1, 0],
                                       [0, 1, 0, 1, 0, 0]])  # fmt: skip
@pytest.mark.parametrize("order", ["as SimpleITK writes", "RAS", "LAS"])
def test_one_slice_is_one_picture_from_every_kind_of_file(write_dicom, rng, tmp_path, direction, order):
    direction = [*direction[:3], *np.array(direction[3:]) / np.linalg.norm(direction[3:])]
    stored = rng.integers(0, 900, (6, 9)).astype(np.uint16)
    path = write_dicom(stored, PixelSpacing=[0.5, 0.75], ImagePositionPatient=[3, 4, 5], SliceThickness=2,
                       ImageOrientationPatient=[f"{x:.8f}" for x in direction])  # fmt: skip
    SimpleITK.WriteImage(SimpleITK.ReadImage(path), str(tmp_path / "volume.nii.gz"))
    image = nibabel.load(tmp_path / "volume.nii.gz")
    if len(order) == 3:
        image = nibabel.as_closest_canonical(image)
        if order == "LAS":
            image = image.as_reoriented([[0, -1], [1, 1], [2, 1]])
        nibabel.save(image, tmp_path / "volume.nii.gz")
    scans = {path: FLAT.scan(path), "volume": FLAT.scan(str(tmp_path / "volume.nii.gz"))}
    if image.shape[2] == 1:
        flat = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine)
        nibabel.save(flat, tmp_path / "flat.nii.gz")
        scans["flat"] = FLAT.scan(str(tmp_path / "flat.nii.gz"))
    for scan in scans.values():
        np.testing.assert_array_equal(scan.values, scans[path].values)
        np.testing.assert_allclose(scan.affine[:, [0, 1, 3]], scans[path].affine[:, [0, 1, 3]], atol=1e-4)
    if direction[0] > 0 or (direction[1:3] == [1, 0] and direction[5] == -1):  # as scanners store them
        np.testing.assert_array_equal(scans[path].values[0], stored)


def test_every_pixel_of_a_turned_slice_lies_where_the_header_says(write_dicom, rng):
    stored = rng.permutation(54).reshape(6, 9).astype(np.uint16)
    scan = read_scan(write_dicom(stored, PixelSpacing=[0.5, 0.75], ImagePositionPatient=[3, 4, 5],
                                 ImageOrientationPatient=[0, -1, 0, 0, 0, 1]))  # fmt: skip
    for row, column in ((0, 0), (5, 8), (2, 3)):
        place = np.array([3, 4, 5]) + 0.75 * column * np.array([0, -1, 0]) + 0.5 * row * np.array([0, 0, 1])
        width, height, depth, _ = np.rint(np.linalg.solve(scan.affine, [-place[0], -place[1], place[2], 1])).astype(int)
        assert (scan.values[0, height, width], depth) == (stored[row, column], 0)


def test_a_map_over_one_slice_is_written_in_the_order_of_its_file(tmp_path, rng):
    values = rng.normal(size=(7, 1, 5)).astype(np.float32)  # a coronal slice, stored towards left
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-2.0, 3.0, 4.0, 1.0])), tmp_path / "slice.nii")
    scan = FLAT.scan(str(tmp_path / "slice.nii"))
    write_volume(tmp_path / "map.nii.gz", scan.values[0], scan)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "map.nii.gz").get_fdata(dtype=np.float32), values)


@pytest.fixture
def pairs(tmp_path, volume, write_frames, write_dicom):
    """Image and mask of one volume in files that say where they lie, and in files that do not."""
    mask = (volume > 500).astype(np.uint8)
    for name, values in (("image", volume.astype(np.int16)), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(values.T, LPS), tmp_path / f"{name}.nii")
        nibabel.save(nibabel.Nifti1Image(values.T, None), tmp_path / f"{name}-nowhere.nii")
        write_frames(values, [3.0 * place for place in range(5)], f"{name}.dcm")
        write_dicom(values, f"{name}-nowhere.dcm")
    return tmp_path


@pytest.mark.parametrize("image", ["image.nii", "image.dcm"])
@pytest.mark.parametrize("mask", ["mask.nii", "mask.dcm"])
def test_masks_lie_on_their_images_whatever_the_kinds_of_file(pairs, image, mask):
    scan = read_scan(str(pairs / image))
    np.testing.assert_array_equal(read_mask(str(pairs / mask), scan, (0, 1)) == 1, scan.values[0] > 500)


@pytest.mark.parametrize(("image", "mask"), [
    ("image.nii", "mask-nowhere.nii"), ("image-nowhere.nii", "mask.nii"), ("image.dcm", "mask-nowhere.nii"),
    ("image-nowhere.dcm", "mask.nii"), ("image-nowhere.dcm", "mask.dcm"),
])  # fmt: skip
def test_of_image_and_mask_one_alone_that_says_where_it_lies_is_refused_or_taken_as_stored(pairs, image, mask):
    scan = read_scan(str(pairs / image))
    with pytest.raises(ContractError, match=r"does not say where it lies, and .*--mask-order stored"):
        read_mask(str(pairs / mask), scan, (0, 1))
    with pytest.raises(UnreadableError, match=r"1 of 1 masks.*\n.*does not say where it lies"):
        mask_values([f"{pairs / image}#mask={pairs / mask}"])
    found = read_mask(str(pairs / mask), scan, (0, 1), order="stored")
    np.testing.assert_array_equal(found == 1, scan.values[0] > 500)
    assert mask_values([f"{pairs / image}#mask={pairs / mask}"], "stored") == [(0, 1)]


def test_frames_in_no_order_cannot_be_taken_as_stored(write_frames, volume, pairs):
    scan = read_scan(write_frames(volume, [3, 0, 12, 6, 9]))
    with pytest.raises(ContractError, match="holds slices in an order of its own"):
        read_mask(str(pairs / "mask-nowhere.nii"), scan, (0, 1), order="stored")


def test_frames_from_the_other_end_are_taken_as_stored(write_frames, write_dicom, volume):
    scan = read_scan(write_frames(volume[::-1], [12, 9, 6, 3, 0]))
    mask = write_dicom((volume[::-1] > 500).astype(np.uint8), "mask.dcm")
    np.testing.assert_array_equal(read_mask(mask, scan, (0, 1), order="stored") == 1, scan.values[0] > 500)


def test_a_picture_is_the_mask_of_a_dicom_slice_as_it_is_stored(write_dicom, rng, tmp_path):
    stored = rng.integers(0, 900, (6, 9)).astype(np.uint16)
    Image.fromarray((stored > 400).astype(np.uint8)).save(tmp_path / "mask.png")
    for direction in (AXIAL, [-1, 0, 0, 0, -1, 0], [0, 1, 0, 1, 0, 0]):
        scan = read_scan(write_dicom(stored, PixelSpacing=[1, 1], ImagePositionPatient=[3, 4, 5],
                                     ImageOrientationPatient=direction))  # fmt: skip
        np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.png"), scan, (0, 1)) == 1, scan.values[0] > 400)


def test_a_picture_and_a_nifti_slice_that_says_where_it_lies_are_refused(rng, tmp_path):
    values = rng.integers(0, 2, (6, 9)).astype(np.uint8)
    Image.fromarray(values * 99).save(tmp_path / "image.png")
    for shape in ((9, 6), (9, 6, 1)):
        nibabel.save(nibabel.Nifti1Image(values.T.reshape(shape), np.eye(4)), tmp_path / "mask.nii")
        scan = read_scan(str(tmp_path / "image.png"))
        with pytest.raises(ContractError, match="--mask-order stored"):
            read_mask(str(tmp_path / "mask.nii"), scan, (0, 1))
        found = read_mask(str(tmp_path / "mask.nii"), scan, (0, 1), order="stored")
        np.testing.assert_array_equal(found, values)


@pytest.fixture
def write_segments(write_frames):
    def write(stored, places, segments=None, **elements):
        each = None if segments is None else [
            {"SegmentIdentificationSequence": group(ReferencedSegmentNumber=number)} for number in segments
        ]  # fmt: skip
        settings = {"SOPClassUID": SEGMENTATIONS[0], "SegmentationType": "FRACTIONAL", "MaximumFractionalValue": 1}
        return write_frames(stored, places, "seg.dcm", each=each, **settings | elements)

    return write


def test_segments_lie_on_the_slices_that_they_name_and_others_are_empty(write_segments, pairs, volume):
    scan = read_scan(str(pairs / "image.nii"))
    marked = (volume > 500).astype(np.uint8)
    other = np.zeros_like(marked)
    other[3, 4, :2] = 1
    path = write_segments(np.stack([marked[2], other[3], marked[1]]), [6, 9, 3], [2, 5, 2])
    expected = (2 * marked + 5 * other)[:, ::-1, ::-1]
    np.testing.assert_array_equal(read_mask(path, scan, (0, 2, 5)), np.searchsorted((0, 2, 5), expected))
    alone = write_segments(np.stack([marked[1]]), [3])  # one segment, on one slice, without a number
    np.testing.assert_array_equal(read_mask(alone, scan, (0, 1))[1], marked[1, ::-1, ::-1])
    assert read_mask(alone, scan, (0, 1)).sum() == marked[1].sum()


def test_bits_of_a_binary_segmentation_are_pixels(write_segments, pairs, volume):
    marked = (volume > 500).astype(np.uint8)[1:3]
    path = write_segments(marked, [3, 6], [1, 1], SegmentationType="BINARY")
    dataset = pydicom.dcmread(path)
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = pydicom.pixels.pack_bits(marked)
    dataset.save_as(path)
    scan = read_scan(str(pairs / "image.nii"))
    np.testing.assert_array_equal(read_mask(path, scan, (0, 1)) == 1, scan.values[0] > 500)


def test_segments_on_every_other_slice_stay_on_these(write_segments, pairs, volume):
    marked = np.ones((3, 6, 7), np.uint8)
    found = read_mask(write_segments(marked, [0, 6, 12], [1, 1, 1]), read_scan(str(pairs / "image.nii")), (0, 1))
    assert found.any(axis=(1, 2)).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize(("filled", "places", "settings", "error", "said"), [
    (1, (0, 0), {}, UnreadableError, "share pixels"),
    (60, (0, 3), {"MaximumFractionalValue": 255}, UnreadableError, "holds fractions"),
    (1, (0, 30), {}, ContractError, "42 marked voxels outside of its image"),
    (1, (1, 4), {}, ContractError, "lies up to 1 mm off"),
])  # fmt: skip
def test_segmentations_that_are_no_mask_say_why(write_segments, pairs, filled, places, settings, error, said):
    path = write_segments(np.full((2, 6, 7), filled, np.uint8), places, [1, 2], **settings)
    with pytest.raises(error, match=said):
        read_mask(path, read_scan(str(pairs / "image.nii")), (0, 1, 2))


@pytest.mark.parametrize("direction", [AXIAL, [0, -1, 0, 0, 0, 1], None])
def test_the_predicted_mask_of_a_dicom_slice_lies_on_it(write_dicom, rng, tmp_path, direction):
    place = {"ImagePositionPatient": [3, 4, 5], "ImageOrientationPatient": direction} if direction else {}
    scan = FLAT.scan(write_dicom(rng.integers(0, 900, (6, 9)).astype(np.uint16), PixelSpacing=[0.5, 0.75], **place))
    classes = (scan.values[0] > 400).astype(np.int64)
    write_mask(tmp_path / "mask.nii.gz", classes, (0, 1), scan)
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.nii.gz"), scan, (0, 1)), classes)


def test_an_orientation_that_is_none_is_said_and_the_slice_read_as_it_is_stored(write_dicom, rng, caplog):
    stored = rng.integers(0, 900, (6, 9)).astype(np.uint16)
    scan = read_scan(write_dicom(stored, PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 0],
                                 ImageOrientationPatient=[0, 0, 0, 0, 0, 0]))  # fmt: skip
    np.testing.assert_array_equal(scan.values[0], stored)
    assert scan.affine is None
    assert "ImageOrientationPatient is no orientation" in caplog.text
