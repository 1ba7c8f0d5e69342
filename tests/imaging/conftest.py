"""Tiny generated scans for the imaging tests, and the folder of real data where there is one."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

# Two threads wait for each other at every small operation when the machine is busy.
torch.set_num_threads(1)


@pytest.fixture
def real_data():
    folder = Path(os.environ.get("GRAFTWORK_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder}; GRAFTWORK_DATA names another folder")
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write_dicom(tmp_path):
    """Writes an uncompressed DICOM file with an identified patient; keyword arguments become elements."""

    def write(stored, name="slice.dcm", **elements):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = (
            "Muster^Erika",
            "P-4711",
            "19600812",
        )
        dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "1.2.3"
        colour = elements.get("SamplesPerPixel", 1) == 3
        shape = stored.shape[:-1] if colour else stored.shape
        if len(shape) == 3:
            dataset.NumberOfFrames = shape[0]
        dataset.Rows, dataset.Columns = shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = stored.dtype.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        dataset.PixelData = stored.tobytes()
        for element, value in elements.items():
            setattr(dataset, element, value)
        path = tmp_path / name
        pydicom.dcmwrite(path, dataset)
        return str(path)

    return write
