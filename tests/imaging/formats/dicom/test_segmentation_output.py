"""Masks written as DICOM segmentations: read back by this package, by highdicom and by pydicom, where they belong."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from graftwork.core.errors import ContractError, SettingsError
from graftwork.core.example import parse_example
from graftwork.imaging import ImageContract, MaskContract, read_scan
from graftwork.imaging.formats.dicom.segmentation_output import write_segmentation
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.mask_files import read_mask
from graftwork.imaging.segmentation.segmenter import PatchSegmenter
from tests.imaging.dicom_series import FRAME, SERIES, series

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed (extra dicom-seg)")

LABELS = ("rest", "liver", "tumour")


def written(source: Path, path: Path, classes: NDArray[np.int64] | None = None) -> tuple[Scan, NDArray[np.int64]]:
    """The scan of a source and a mask of it that is not alike from any two sides, as a file at `path`."""
    scan = read_scan(source)
    if classes is None:
        classes = np.zeros(scan.spatial_shape, dtype=np.int64)
        classes[..., 1:5, 2:4] = 1
        classes[(*[slice(1, 2)] * (classes.ndim - 2), slice(3, 9), slice(6, 9))] = 2
    write_segmentation(path, classes, LABELS, scan, parse_example(str(source)))
    return scan, classes


@pytest.mark.parametrize("down", [1, -1])
def test_a_written_mask_is_read_back_at_the_same_voxels(tmp_path: Path, down: int) -> None:
    scan, classes = written(series(tmp_path / "ct", down=down), tmp_path / "mask.dcm")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.dcm", scan, (0, 1, 2)), classes)
    single, own = written(tmp_path / "ct" / "3.dcm", tmp_path / "slice.dcm")
    np.testing.assert_array_equal(read_mask(tmp_path / "slice.dcm", single, (0, 1, 2)), own)


@pytest.mark.parametrize("down", [1, -1])
def test_highdicom_finds_each_source_images_own_pixels(tmp_path: Path, down: int) -> None:
    _, classes = written(series(tmp_path / "ct", down=down), tmp_path / "mask.dcm")
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert [found.get_segment_description(number).segment_label for number in (1, 2)] == ["liver", "tumour"]
    headers = [pydicom.dcmread(tmp_path / "ct" / f"{place}.dcm") for place in range(5)]
    pixels = found.get_pixels_by_source_instance([one.SOPInstanceUID for one in headers], combine_segments=True,
                                                 assert_missing_frames_are_empty=True)  # fmt: skip
    # Rows of files go to the back, columns to the left; in RAS order both are the other way round.
    np.testing.assert_array_equal(pixels, classes[::down, ::-1, ::-1])
    assert set(np.unique(pixels)) == {0, 1, 2}


def test_patient_study_and_place_are_the_images(tmp_path: Path) -> None:
    written(series(tmp_path / "ct"), tmp_path / "mask.dcm")
    found, image = pydicom.dcmread(tmp_path / "mask.dcm"), pydicom.dcmread(tmp_path / "ct" / "0.dcm")
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert found[name].value == image[name].value
    assert found.FrameOfReferenceUID == FRAME
    assert (found.Modality, found.SegmentationType) == ("SEG", "BINARY")
    assert found.SeriesInstanceUID != image.SeriesInstanceUID
    (referred,) = found.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == SERIES
    assert len(referred.ReferencedInstanceSequence) == 5
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(one) for one in measures.PixelSpacing] == [1.5, 2.0]
    assert float(measures.SpacingBetweenSlices) == 3.0


def test_a_mask_without_a_finding_is_a_file_too(tmp_path: Path) -> None:
    source = series(tmp_path / "ct")
    scan, classes = written(source, tmp_path / "mask.dcm", np.zeros((5, 12, 10), dtype=np.int64))
    assert not read_mask(tmp_path / "mask.dcm", scan, (0, 1, 2)).any()
    assert not classes.any()


def test_images_without_their_patient_and_thickness_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = series(tmp_path / "ct")
    for file in source.glob("*.dcm"):
        header = pydicom.dcmread(file)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                     "AccessionNumber", "StudyID", "SliceThickness"):  # fmt: skip
            del header[name]
        header.save_as(file)
    with caplog.at_level(logging.WARNING):
        scan, classes = written(source, tmp_path / "mask.dcm")
    assert "does not say how thick its slices are: the segmentation has their distance, 3 mm" in caplog.text
    assert pydicom.dcmread(tmp_path / "mask.dcm").PatientName == ""
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.dcm", scan, (0, 1, 2)), classes)
    header = pydicom.dcmread(source / "0.dcm")
    del header.StudyInstanceUID
    header.save_as(source / "0.dcm")
    with pytest.raises(ContractError, match="has no StudyInstanceUID, to which a segmentation refers"):
        written(source, tmp_path / "mask.dcm")


def test_what_is_no_dicom_image_with_a_place_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(ContractError, match=r"scan.nii.gz: --format dicom-seg is for DICOM images.*leave --format out"):
        written(tmp_path / "scan.nii.gz", tmp_path / "mask.dcm")
    folder = series(tmp_path / "ct")
    header = pydicom.dcmread(folder / "0.dcm")
    del header.ImagePositionPatient
    header.save_as(tmp_path / "nowhere.dcm")
    with pytest.raises(ContractError, match=r"nowhere.dcm: does not say where it lies"):
        written(tmp_path / "nowhere.dcm", tmp_path / "mask.dcm")


def test_files_are_named_by_their_format_and_other_formats_are_refused() -> None:
    segmenter = PatchSegmenter(MaskContract(ImageContract(3, 1, (8, 8, 8), "auto", (0.0,), (1.0,)), (0, 1)))
    assert segmenter.names(["ct"]) == ["ct_mask.nii.gz"]
    assert segmenter.with_format("dicom-seg").names(["ct", "mr"]) == ["ct_mask.dcm", "mr_mask.dcm"]
    with pytest.raises(SettingsError, match="--format: expected dicom-seg, found 'png'"):
        segmenter.with_format("png")
