"""What `check` says of scans, against what was written."""

import nibabel
import numpy as np
from PIL import Image

from graftwork.core.example import File
from graftwork.imaging.formats.description import describe_scan


def test_size_spacing_and_range_are_those_that_were_written(tmp_path):
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5) - 7
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 2.5, 1])), tmp_path / "a.nii.gz")
    found = describe_scan(File(str(tmp_path / "a.nii.gz")))
    assert found.numbers == {"lowest": -7.0, "highest": 52.0}
    assert found.words == {"size": "5 x 4 x 3", "channels": "1", "spacing_mm": "2.5 x 2 x 1"}
    assert found.faults == ()


def test_scans_without_content_or_with_values_that_are_no_numbers_are_named_as_such(tmp_path):
    Image.new("L", (4, 3), 9).save(tmp_path / "a.png")
    found = describe_scan(File(str(tmp_path / "a.png")))
    assert (found.faults, found.words["spacing_mm"]) == (("one value only",), "not said")
    values = np.full((2, 2, 2), np.nan, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "b.nii")
    assert describe_scan(File(str(tmp_path / "b.nii"))).faults == ("values that are not finite", "one value only")
