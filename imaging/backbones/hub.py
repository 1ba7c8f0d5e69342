"""Weights on the Hugging Face hub and by address: what is here already, and fetching what is not."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from graftwork.core.errors import BackboneError, DownloadError
from graftwork.core.published_digest import check_hub_digest

ANSWER_WITHIN_S = 5.0


def repository_file(place: str, names: Sequence[str], backbone: str) -> Path:
    """The first of these files in a local folder, or in a repository of the hub: `OWNER/NAME`, or `OWNER/NAME@REVISION`
    with a commit, a tag or a branch.

    backbone: the id it is for, named in messages. Raises BackboneError for a folder that has none of them and for what
    is neither a folder nor a repository, DownloadError where a file is neither in the cache nor to be had.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        for name in names:
            if (folder / name).is_file():
                return folder / name
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise BackboneError(f"{backbone}: expected {' or '.join(names)} in the folder {folder}, found {found}")
    repository, _, revision = place.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or repository.startswith("."):
        raise BackboneError(f"{backbone}: {place} is neither a folder nor OWNER/NAME[@REVISION] on the hub")
    return fetch_file(repository, names, backbone, revision or None)


def cached_file(repository: str, names: Sequence[str], revision: str | None = None) -> Path | None:
    """The first of these files of a hub repository that is in the local cache; None if none is. No network."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def cached_address(address: str) -> Path | None:
    """Where torch.hub keeps the file of an address, if it is there. No network."""
    import torch

    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(address).path).name
    return place if place.is_file() else None


def fetch_file(repository: str, names: Sequence[str], backbone: str, revision: str | None = None) -> Path:
    """The first of these files that a hub repository has, from the cache or downloaded into it.

    backbone: the id it is for, named in the message. revision: a commit, a tag or a branch, by default the main one.
    Raises DownloadError, also for a file whose SHA-256 is not the published one; without a network after seconds, as
    the hub's own client would try for a minute.
    """
    found = cached_file(repository, names, revision)
    if found is not None:
        return found
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise _refusal(backbone, f"{repository} on the Hugging Face hub", "HF_HUB_OFFLINE is set")
    _require_answer(f"{constants.ENDPOINT}/{repository}", backbone)
    for name in names:
        try:
            fetched = Path(hf_hub_download(repository, name, revision=revision, etag_timeout=ANSWER_WITHIN_S))
            check_hub_digest(fetched)
            return fetched
        except LocalEntryNotFoundError as error:
            raise _refusal(backbone, f"{repository}/{name}", str(error)) from error
        except EntryNotFoundError:
            continue  # the repository answers and lacks this name: the next one may be there
        except (HfHubHTTPError, OSError) as error:
            raise _refusal(backbone, f"{repository}/{name}", str(error)) from error
    raise _refusal(backbone, repository, f"it has none of {', '.join(names)}")


def fetch_address(address: str, backbone: str) -> Path:
    """The file at an address, from torch.hub's cache or downloaded into it. Raises DownloadError."""
    found = cached_address(address)
    if found is not None:
        return found
    import torch

    _require_answer(address, backbone)
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(address).path).name
    place.parent.mkdir(parents=True, exist_ok=True)
    # Names such as resnet50-0676ba61.pth end in the beginning of a SHA-256, as torch.hub has it.
    published = re.search(r"-([a-f0-9]{8,})\.", place.name)
    try:
        torch.hub.download_url_to_file(address, str(place), published[1] if published else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise _refusal(backbone, address, str(error)) from error
    return place


def _require_answer(address: str, backbone: str) -> None:
    """One question with a time limit; any answer will do, even a refusal, since the download itself reports those."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_WITHIN_S):
            pass
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError) as error:
        raise _refusal(backbone, address, str(getattr(error, "reason", error))) from error


def _refusal(backbone: str, tried: str, cause: str) -> DownloadError:
    return DownloadError(
        f"{backbone}: its weights are not on this computer and could not be downloaded.\n"
        f"  tried: {tried}\n  cause: {cause}\n"
        "  Go online once to fill the cache, or give a local file with weights= (--weights FILE), or a folder "
        "of such files in place of OWNER/NAME."
    )
