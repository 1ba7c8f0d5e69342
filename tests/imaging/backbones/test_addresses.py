"""Weights by address: what their name publishes of their SHA-256 is looked at."""

import hashlib

import pytest

from graftwork.core.errors import DownloadError
from graftwork.imaging.backbones.hub import cached_address, fetch_address


@pytest.mark.parametrize(("content", "whole"), [(b"weights", True), (b"weightz", False)])
def test_a_file_with_another_digest_than_its_name_says_is_refused(tmp_path, monkeypatch, content, whole):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    place = tmp_path / f"net-{hashlib.sha256(b'weights').hexdigest()[:10]}.pth"
    place.write_bytes(content)
    if whole:
        assert fetch_address(place.as_uri(), "x").read_bytes() == content
    else:
        with pytest.raises(DownloadError, match="invalid hash value"):
            fetch_address(place.as_uri(), "x")
        assert cached_address(place.as_uri()) is None
