"""Masks in a folder: those of an earlier prediction may be replaced, others not."""

import pytest

from graftwork.core.errors import OutputError
from graftwork.core.inference.segmentation import TABLE, _check_free


def test_masks_that_an_earlier_prediction_wrote_may_be_replaced(tmp_path):
    (tmp_path / TABLE).write_text("path,mask\n/a.nii.gz,a_mask.nii.gz\n")
    (tmp_path / "a_mask.nii.gz").touch()
    (tmp_path / "b_mask.nii.gz").touch()
    _check_free(tmp_path, ["a_mask.nii.gz", "c_mask.nii.gz"])
    with pytest.raises(OutputError, match="would be lost: b_mask"):
        _check_free(tmp_path, ["a_mask.nii.gz", "b_mask.nii.gz"])


@pytest.mark.parametrize(("content", "said"), [
    (b"path,error\n/a.nii.gz,damaged\n", "expected a column 'mask', found 'path', 'error'"),
    (b"", "No columns to parse"), (b"\xff\xfe\x00", "codec can't decode"), (b'a,b\n1,"2', "EOF inside string"),
])  # fmt: skip
def test_a_table_that_does_not_say_which_masks_is_named_with_what_to_do(tmp_path, content, said):
    (tmp_path / TABLE).write_bytes(content)
    with pytest.raises(OutputError, match=f"segmentations.csv: does not say which .*{said}.*name another --out"):
        _check_free(tmp_path, ["a_mask.nii.gz"])
