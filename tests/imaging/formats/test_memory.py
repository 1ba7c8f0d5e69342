"""What a header claims is compared with the memory, and with the bytes that are there."""

import gzip

import nibabel
import numpy as np
import psutil
import pytest

from graftwork.core.errors import UnreadableError
from graftwork.imaging import read_scan
from graftwork.imaging.formats.memory import check_room


def test_a_file_cannot_hold_more_than_its_bytes_can_unpack_to(tmp_path):
    file = tmp_path / "small.dcm"
    file.write_bytes(b"0" * 100_000)
    check_room((400, 400, 600), str(file), whole=True)  # 384 MB of float32, as a mask of one value may be packed
    check_room((9000, 9000), str(file), whole=False)
    with pytest.raises(UnreadableError, match=r"claims 1000 x 1000 x 200 voxels, more than 100,000 bytes can hold"):
        check_room((1000, 1000, 200), str(file), whole=True)
    with pytest.raises(UnreadableError, match=r"claims 0 x 5 voxels: is it damaged"):
        check_room((0, 5), str(file), whole=True)
    with pytest.raises(UnreadableError, match="GB of memory are free"):
        check_room((psutil.virtual_memory().available, 2), str(file), whole=False)


def test_a_mask_of_one_value_is_read_and_a_claim_beyond_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("graftwork.imaging.formats.memory.BYTES_ANYWAY", 1000)
    volume = nibabel.Nifti1Image(np.zeros((120, 120, 120), np.uint8), np.eye(4)).to_bytes()
    (tmp_path / "empty.nii.gz").write_bytes(gzip.compress(volume, 9))
    assert read_scan(tmp_path / "empty.nii.gz").values.shape == (1, 120, 120, 120)
    header = bytearray(volume[:400])
    header[42:48] = np.array([200, 200, 200], "<i2").tobytes()
    (tmp_path / "claims.nii.gz").write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(UnreadableError, match="bytes can hold"):
        read_scan(tmp_path / "claims.nii.gz")
