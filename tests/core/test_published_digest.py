"""Files of the hub's cache are called by their SHA-256, which what was downloaded must have."""

import hashlib

import pytest

from graftwork.core.errors import DownloadError
from graftwork.core.published_digest import check_hub_digest


def cached(folder, content, name):
    """A file as the hub's client keeps it: a link to a blob that is called by its digest."""
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "blobs" / name).write_bytes(content)
    (folder / "model.safetensors").symlink_to(folder / "blobs" / name)
    return folder / "model.safetensors"


def test_a_damaged_download_is_removed_and_named(tmp_path):
    file = cached(tmp_path, b"damaged", hashlib.sha256(b"whole").hexdigest())
    with pytest.raises(DownloadError, match=r"model\.safetensors: was damaged on its way"):
        check_hub_digest(file)
    assert not list((tmp_path / "blobs").iterdir())


@pytest.mark.parametrize("name", [hashlib.sha256(b"whole").hexdigest(), "0" * 40, "model.bin"])
def test_a_whole_file_and_one_without_a_published_digest_pass(tmp_path, name):
    check_hub_digest(cached(tmp_path, b"whole", name))
