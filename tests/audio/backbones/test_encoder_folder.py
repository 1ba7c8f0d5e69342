"""Speaker encoders by an id of the hub: what is in the cache, what the hub lacks, and what to do without it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from graftwork.audio import load_backbone
from graftwork.core.errors import BackboneError, DownloadError, MissingPackageError
from tests.audio.speaker_folders import speechbrain_folder

ID = "speechbrain:speechbrain/spkrec-ecapa-voxceleb"


def not_cached(*args: object, **options: object) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    raise LocalEntryNotFoundError("not cached")


def test_a_cached_encoder_is_used_without_asking_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")
    speechbrain_folder(tmp_path, "ecapa")
    asked = []

    def cached(name: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((name, revision, local_files_only))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", cached)
    assert load_backbone(ID).id == ID
    load_backbone(f"{ID}@v1")
    assert asked == [
        ("speechbrain/spkrec-ecapa-voxceleb", None, True),
        ("speechbrain/spkrec-ecapa-voxceleb", "v1", True),
    ]


def test_only_the_two_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")
    speechbrain_folder(tmp_path, "ecapa")
    files = ["hyperparams.yaml", "embedding_model.ckpt", "classifier.ckpt"]
    fetched: list[object] = []

    def download(
        name: str, *, revision: str | None = None, local_files_only: bool = False, allow_patterns: object = None
    ) -> str:
        if local_files_only:
            not_cached()
        fetched.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    there = SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in files])
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *given, **named: there)
    load_backbone(ID)
    assert fetched == [["hyperparams.yaml", "embedding_model.ckpt"]]
    with pytest.raises(
        BackboneError, match=r"the checkpoint has no config.yaml and no avg_model.pt; is it wespeaker's"
    ):
        load_backbone("wespeaker:speechbrain/spkrec-ecapa-voxceleb")


def test_without_a_network_or_the_client_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub's client is optional")

    def unreachable(*args: object, **options: object) -> None:
        raise hub.errors.HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr(hub, "snapshot_download", not_cached)
    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(
        DownloadError, match=r"needs hyperparams.yaml and embedding_model.ckpt.*Name or service.*:FOLDER"
    ):
        load_backbone(ID)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match="pip install huggingface_hub"):
        load_backbone(ID)
