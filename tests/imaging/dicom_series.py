"""Series of DICOM slices and structure sets that are drawn on them, made by pydicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

FRAME = "1.2.826.0.1.3680043.8.498.1"
SERIES = "1.2.826.0.1.3680043.8.498.2"
STUDY = "1.2.826.0.1.3680043.8.498.3"


def series(
    folder: Path, shape: tuple[int, int, int] = (5, 12, 10), *, origin: Sequence[float] = (-20.0, -30.0, 40.0),
    spacing: tuple[float, float] = (1.5, 2.0), step: float = 3.0, down: int = 1, seed: int = 0,
) -> Path:  # fmt: skip
    """Axial CT slices (depth, height, width) in files; down: -1 has the first file at the head."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(-200, 300, shape).astype(np.int16)
    for place in range(shape[0]):
        dataset = _dataset(CTImageStorage, f"{SERIES}.{place + 1}")
        dataset.Modality, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "CT", SERIES, FRAME
        dataset.InstanceNumber, dataset.SeriesNumber = place + 1, 4
        dataset.Rows, dataset.Columns = shape[1:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.ImagePositionPatient = [origin[0], origin[1], origin[2] + down * step * place]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = list(spacing), step
        dataset.PixelData = values[place].tobytes()
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    return folder


def structure_set(
    path: Path, structures: Mapping[str, Sequence[NDArray[np.float64]]], *, numbers: Sequence[int] = (),
    kind: str = "CLOSED_PLANAR", frame: str = FRAME,
) -> Path:  # fmt: skip
    """Contours (points, 3) in mm by the name of their structure."""
    dataset = _dataset(RTStructureSetStorage, generate_uid())
    dataset.Modality, dataset.SeriesInstanceUID, dataset.StructureSetLabel = "RTSTRUCT", generate_uid(), "drawn"
    rois, contoured = [], []
    for place, (name, contours) in enumerate(structures.items()):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber = drawn.ReferencedROINumber = numbers[place] if numbers else place + 1
        roi.ROIName, roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = name, frame, "MANUAL"
        items = []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f"{value:.6g}" for value in np.asarray(points).ravel()]
            items.append(item)
        drawn.ContourSequence = Items(items)
        rois.append(roi)
        contoured.append(drawn)
    dataset.StructureSetROISequence, dataset.ROIContourSequence = Items(rois), Items(contoured)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _dataset(kind: str, uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ExplicitVRLittleEndian, kind, uid)  # fmt: skip
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = kind, uid, STUDY
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = (
        "Muster^Erika",
        "P-4711",
        "",
        "F",
    )
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20200101", "120000", "", "1"
    dataset.ReferringPhysicianName = ""
    return dataset
