"""What headers say about patients appears nowhere: not in what is written, kept or printed."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from graftwork.imaging import cli

pytestmark = pytest.mark.reports

SECRETS = {
    "PatientName": "Zyxwona^Qertypol",
    "PatientID": "QX-99173",
    "OtherPatientIDs": "OTH-5561-B",
    "PatientBirthDate": "19310425",
    "PatientAddress": "Krumgasse 77",
    "PatientComments": "Qertypol fell in the Krumgasse",
    "StudyDate": "20170309",
    "SeriesDate": "20170310",
    "AcquisitionDate": "20170311",
    "ContentDate": "20170312",
    "AcquisitionDateTime": "20170313083015",
    "StudyTime": "083017",
    "AccessionNumber": "ACC-55821",
    "StudyID": "STU-40417",
    "ReferringPhysicianName": "Doktorwald^Ute",
    "OperatorsName": "Knopfdruck^Udo",
    "InstitutionName": "Spital Obertupfing",
    "StationName": "MRT-OBERT-2",
    "StudyDescription": "brain of Zyxwona",
    "SeriesDescription": "t1 Qertypol",
    "ProtocolName": "Zyxwona protocol",
    "ImageComments": "see 19310425",
    "DeviceSerialNumber": "SER-778812",
}
MARKS = ("Zyxwona", "Qertypol", "QX-99173", "OTH-5561", "19310425", "Krumgasse", "201703", "083017", "083015",
         "ACC-55821", "STU-40417", "Doktorwald", "Knopfdruck", "Obertupfing", "OBERT-2", "SER-778812", "PRIV-31337",
         "REQ-6612")  # fmt: skip


def write_series(folder, number, rng, **changes):
    """Three slices of 16 x 16 pixels, each with everything that names a patient."""
    folder.mkdir()
    for place in range(3):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{place}"
        own = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        own.SOPClassUID, own.SOPInstanceUID, own.SeriesInstanceUID = MRImageStorage, f"1.2.{number}.{place}", "1.2.9"
        for element, value in (SECRETS | changes).items():
            setattr(own, element, value)
        request = Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepDescription = "REQ-6612", "for Qertypol"
        own.RequestAttributesSequence = [request]
        own.private_block(0x0099, "graftwork test", create=True).add_new(1, "LO", "PRIV-31337")
        own.Modality, own.SamplesPerPixel, own.PhotometricInterpretation = "MR", 1, "MONOCHROME2"
        own.ImagePositionPatient, own.ImageOrientationPatient = [0, 0, 2 * place], [1, 0, 0, 0, 1, 0]
        own.PixelSpacing, own.SliceThickness = [1, 1], 2
        own.Rows = own.Columns = 16
        own.BitsAllocated = own.BitsStored = 16
        own.HighBit, own.PixelRepresentation = 15, 0
        values = rng.integers(0, 200, (16, 16)) + 300 * (number % 2) * (np.arange(16) > 7)
        own.PixelData = values.astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{place}.dcm", own)


def written(folder, given):
    """Every byte below a folder except the files that were given, compressed ones both ways, with their names."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(path.is_relative_to(one) for one in given):
            content = path.read_bytes()
            yield str(path), content + (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b"")


@pytest.mark.slow(reason="goes through every verb")
def test_nothing_that_names_a_patient_is_written_kept_or_printed(imaging_bench, monkeypatch):
    bench, rng = imaging_bench, np.random.default_rng(0)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(bench.folder / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom about values that break the standard
        for number in range(8):
            write_series(bench.folder / f"s{number}", number, rng)
        write_series(bench.folder / "odd", 1, rng, PatientBirthDate="19310425?", StudyDate="201703.09x")
        write_series(bench.folder / "broken", 1, rng, PixelSpacing=[1, 3])
        (bench.folder / "broken" / "1.dcm").write_bytes((bench.folder / "broken" / "1.dcm").read_bytes()[:-300])
    table = bench.write_table([(f"s{number}", ("low", "high")[number % 2]) for number in range(8)])
    given = [bench.folder / name for name in (*(f"s{number}" for number in range(8)), "odd", "broken")]
    chosen = ("--backbone", "i3d:tiny:cnn2d", "--image-size", 32, "--folds", 2, "--spacing-mm", 1)
    commands = [
        ("check", table),
        ("train", table, *chosen, "--out", "run"),
        ("train", table, *chosen, "--strategy", "partial:1", "--epochs", 1, "--out", "tuned"),
        ("evaluate", "run", table, "--out", "evaluated"),
        ("report", "run"),
        ("predict", "run", "s0", "odd", "broken", "--skip-unreadable", "--out", "predicted.csv"),
        ("--debug", "predict", "run", "s1", "s1/0.dcm", "--skip-unreadable", "--json"),
        ("explain", "run", "s1", "odd", "broken", "--skip-unreadable", "--out", "explained"),
        ("export", "run", "--format", "monai-bundle", "--out", "bundle"),
    ]
    for command in commands:
        found = bench.run(*command)
        assert found.code == 0, found.err
        for mark in MARKS:
            assert mark not in found.out + found.err, (command, mark)
    assert (bench.folder / "explained" / "s1_map.nii.gz").is_file()
    places = dict(written(bench.folder, given))
    assert any("/cache/" in place for place in places)
    assert any(place.endswith("run/adapter.json") for place in places)
    for place, content in places.items():
        for mark in MARKS:
            assert mark.encode() not in content, (place, mark)
            assert mark not in Path(place).name


def test_the_search_finds_what_is_there(tmp_path):
    write_series(tmp_path / "s0", 0, np.random.default_rng(0))
    everything = b"".join(content for _, content in written(tmp_path, []))
    assert all(mark.encode() in everything for mark in MARKS)


def test_what_pydicom_quotes_from_headers_is_not_printed(monkeypatch):
    def quoting(domain):
        warnings.warn_explicit("Invalid value 'QX-99173'", UserWarning, "valuerep.py", 1, module="pydicom.valuerep")

    monkeypatch.setattr(cli, "run_app", quoting)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cli.main()
    assert caught == []
