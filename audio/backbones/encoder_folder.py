"""The folder of a published speaker encoder: a local one, or that of a checkpoint of the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from graftwork.audio.backbones.checkpoint_files import TIMEOUT_S
from graftwork.core.errors import BackboneError, DownloadError, MissingPackageError
from graftwork.core.published_digest import check_hub_digest


def encoder_folder(source: str, name: str, files: Sequence[str]) -> Path:
    """`name` itself where it is a local folder, else the hub's cache with these files of the checkpoint of that id,
    OWNER/NAME or OWNER/NAME@REVISION.

    What is in the cache is taken as it is, without asking the hub for a newer version. Raises BackboneError for a
    folder that is not there or an id that the hub does not know, DownloadError without a network, MissingPackageError
    without huggingface_hub.
    """
    folder = Path(name).expanduser()
    if os.path.isdir(folder):
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise BackboneError(f"{source}:{name}: no such folder; give one with {' and '.join(files)}, or an id of the "
                            "Hugging Face hub")  # fmt: skip
    name, _, revision = name.partition("@")
    asked = revision or None
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingPackageError(f"{source}:{name} is not a local folder; fetching it needs huggingface_hub: pip "
                                  "install huggingface_hub") from error  # fmt: skip
    no_connection: tuple[type[Exception], ...] = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        cached = Path(huggingface_hub.snapshot_download(name, revision=asked, local_files_only=True))
        if all((cached / file).is_file() for file in files):
            return cached
    except errors.LocalEntryNotFoundError:
        pass  # not in the cache: fetched below
    except errors.HFValidationError as error:
        raise BackboneError(f"{source}:{name}: neither a local folder nor an id of the hub ({error})") from error
    try:
        # Asked first, because a download would try for half a minute before it gives up on a dead network.
        there = huggingface_hub.HfApi().model_info(name, revision=asked, timeout=TIMEOUT_S)
        held = {entry.rfilename for entry in there.siblings or ()}
        missing = [file for file in files if file not in held]
        if missing:
            raise BackboneError(f"{source}:{name}: the checkpoint has no {' and no '.join(missing)}; is it "
                                f"{source}'s?")  # fmt: skip
        fetched = Path(huggingface_hub.snapshot_download(name, revision=asked, allow_patterns=list(files)))
        for file in files:
            check_hub_digest(fetched / file)
        return fetched
    except errors.RepositoryNotFoundError as error:
        raise BackboneError(
            f"{source}:{name}: the hub has no such checkpoint, or not for you; check the id, or give a local folder"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BackboneError(f"{source}:{name}: the hub has no revision {revision!r} of it") from error
    except no_connection as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(
            f"{source}:{name} needs {' and '.join(files)}, which could not be fetched ({reason}). Fetch them where "
            f"there is a network, put them into a folder and give {source}:FOLDER"
        ) from error
