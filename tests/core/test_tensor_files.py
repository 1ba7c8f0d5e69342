"""Tensors come back as they were written, or not at all."""

import os
import stat

import pytest
import torch
from safetensors import SafetensorError

from graftwork.core.errors import OutputError
from graftwork.core.files import DamagedFileError
from graftwork.core.tensor_files import read_tensors, write_tensors

TENSORS = {"a": torch.arange(12.0).reshape(3, 4).t(), "b": torch.tensor(3), "c": torch.zeros(0, 2)}


def test_tensors_of_any_layout_come_back_with_what_was_said_of_them(tmp_path):
    digest = write_tensors(tmp_path / "a.safetensors", TENSORS, {"epoch": 3, "of": ["é", None]})
    found, about = read_tensors(tmp_path / "a.safetensors", digest)
    assert about == {"epoch": 3, "of": ["é", None]}
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


@pytest.mark.parametrize(("access", "mode"), [("shared", 0o640), ("private", 0o600)])
def test_tensors_are_as_open_as_the_umask_says_or_their_owners_alone(tmp_path, access, mode):
    """Whatever safetensors itself makes of it: colleagues read the adapters in a folder that is shared."""
    usual = os.umask(0o027)
    try:
        write_tensors(tmp_path / "a.safetensors", TENSORS, access=access)
    finally:
        os.umask(usual)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode


def test_a_digest_that_is_kept_elsewhere_tells_other_tensors(tmp_path):
    digest = write_tensors(tmp_path / "a.safetensors", TENSORS)
    assert read_tensors(tmp_path / "a.safetensors", digest)[1] is None
    write_tensors(tmp_path / "a.safetensors", TENSORS | {"b": torch.tensor(4)})
    with pytest.raises(DamagedFileError, match="its sha256 differs"):
        read_tensors(tmp_path / "a.safetensors", digest)


def test_a_full_disk_is_an_error_of_the_place_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("graftwork.core.tensor_files.save_file", full)
    with pytest.raises(OutputError, match=r"a\.safetensors: cannot be written .*No space left.* make room or name"):
        write_tensors(tmp_path / "a.safetensors", TENSORS)
    assert list(tmp_path.iterdir()) == []
