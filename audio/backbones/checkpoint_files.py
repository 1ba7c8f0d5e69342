"""The files of a checkpoint in Hugging Face's layout: local, in the hub's cache, or fetched from the hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from graftwork.audio.backbones.feature_extractor import SETTINGS_FILES
from graftwork.core.errors import BackboneError, DownloadError, MissingPackageError, UnreadableError
from graftwork.core.files import read_json
from graftwork.core.published_digest import check_hub_digest

log = logging.getLogger(__name__)

INDEX = ".index.json"
"""End of the name of a table that says which of several files holds a tensor."""

WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
VOCABULARY = "vocab.json"
TIMEOUT_S = 10


def checkpoint_folder(name: str, needed: Sequence[str] = SETTINGS_FILES, extra: Sequence[str] = ()) -> Path:
    """The folder of a checkpoint: `name` itself where it is a local folder, or the hub's cache for OWNER/NAME or
    OWNER/NAME@REVISION, a commit, tag or branch.

    A hub checkpoint that is in the cache is taken as it is, without asking the hub for a newer one; where none of the
    `needed` small files is there, as after transformers' AutoModel, the hub is asked for those of the same version.
    extra: the first of these files is fetched as well; whether there is one is not looked at here. Raises
    BackboneError for a folder without config.json or an id the hub does not know, DownloadError without a
    network, MissingPackageError without huggingface_hub.
    """
    folder = Path(name).expanduser()
    if os.path.isdir(folder):
        if not (folder / "config.json").is_file():
            found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
            raise BackboneError(f"hf:{name}: the folder has no config.json, found {found}")
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BackboneError(f"hf:{name}: no such folder")
    name, _, revision = name.partition("@")
    asked = revision or None
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingPackageError(
            f"hf:{name} is not a local folder; fetching it needs huggingface_hub: pip install huggingface_hub"
        ) from error
    # The hub's HTTP library changes with its version; that library's errors are the base of the hub's own.
    no_connection: tuple[type[Exception], ...] = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        cached = Path(huggingface_hub.snapshot_download(name, revision=asked, local_files_only=True))
        if (cached / "config.json").is_file() and _has_weights(cached) and _has_one(cached, extra):
            if not _has_one(cached, needed):
                _fetch_small_files(name, cached)
            return cached
    except errors.LocalEntryNotFoundError:
        pass  # not in the cache: fetched below
    except errors.HFValidationError as error:
        raise BackboneError(f"hf:{name}: neither a local folder nor an id of the hub ({error})") from error
    try:
        # Asked first, because a download would try for half a minute before it gives up on a dead network.
        there = huggingface_hub.HfApi().model_info(name, revision=asked, timeout=TIMEOUT_S)
        files = {entry.rfilename for entry in there.siblings or ()}
        small = ["config.json", *SETTINGS_FILES, VOCABULARY]
        small += [file for file in extra if file in files][:1]
        chosen = next((file for file in WEIGHT_FILES if file in files), None)
        wanted = [*small, *filter(None, [chosen])]
        fetched = Path(huggingface_hub.snapshot_download(name, revision=asked, allow_patterns=wanted))
        if chosen is not None and chosen.endswith(INDEX):
            wanted += sorted(set(weight_parts(fetched / chosen).values()))
            fetched = Path(huggingface_hub.snapshot_download(name, revision=asked, allow_patterns=wanted))
        for file in wanted:
            if (fetched / file).is_file():
                check_hub_digest(fetched / file)
        return fetched
    except errors.RepositoryNotFoundError as error:
        raise BackboneError(
            f"hf:{name}: the hub has no such checkpoint, or not for you; check the id, or give a local folder"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BackboneError(f"hf:{name}: the hub has no revision {revision!r} of it") from error
    except no_connection as error:
        raise DownloadError(_offline(name, error)) from error


def _has_one(folder: Path, files: Collection[str]) -> bool:
    """Whether one of the files is there, or none is asked for."""
    return not files or any((folder / file).is_file() for file in files)


def _has_weights(folder: Path) -> bool:
    """Whether the first weights that would be read are whole."""
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None or not file.name.endswith(INDEX):
        return file is not None
    return all((folder / part).is_file() for part in weight_parts(file).values())


def _fetch_small_files(name: str, cached: Path) -> None:
    """The small files of the version in the cache, as far as the hub can be reached and has them."""
    import huggingface_hub

    no_answer: tuple[type[Exception], ...] = (OSError, *huggingface_hub.errors.HfHubHTTPError.__bases__)
    small = (*SETTINGS_FILES, VOCABULARY)
    try:
        there = huggingface_hub.HfApi().model_info(name, revision=cached.name, timeout=TIMEOUT_S)
        found = [entry.rfilename for entry in there.siblings or () if entry.rfilename in small]
        if found:
            huggingface_hub.snapshot_download(name, revision=cached.name, allow_patterns=found)
    except no_answer as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("hf:%s: of %s none is in the cache, and the hub gave none (%s)", name, ", ".join(small), reason)


def _offline(name: str, error: Exception) -> str:
    from huggingface_hub import constants

    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"hf:{name} needs config.json and {' or '.join(WEIGHT_FILES[::2])}, which could not be fetched from "
        f"{constants.ENDPOINT}/{name} ({reason}). Fetch them where there is a network, put them into "
        "a folder and give hf:FOLDER"
    )


def weights_file(folder: Path) -> Path:
    """The file of weights in a checkpoint folder, or the table of several. Raises BackboneError where there is none."""
    for file in WEIGHT_FILES:
        if (folder / file).is_file():
            return folder / file
    raise BackboneError(f"{folder}: expected {' or '.join(WEIGHT_FILES[::2])}, found neither; add one, or give "
                        "--weights FILE")  # fmt: skip


def weight_parts(index: Path) -> dict[str, str]:
    """Of weights in several files, the name of each tensor's file, which lies beside the table `index`.

    Raises UnreadableError for a table that names none, or files elsewhere.
    """
    table: Any = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(file, str) for file in table.values()):
        raise UnreadableError(f"{index}: expected a weight_map of tensors and the files that hold them; fetch it again")
    outside = sorted({file for file in table.values() if Path(file).name != file or file in (".", "..")})
    if outside:
        raise UnreadableError(f"{index}: names files outside of its folder ({outside[0]}), which are not read")
    return dict(table)
