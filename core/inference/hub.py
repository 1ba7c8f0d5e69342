"""Adapters on the Hugging Face hub: `hub:OWNER/NAME[@REVISION]` in the place of a run's folder."""

from __future__ import annotations

import logging
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.core.errors import AdapterError, DownloadError, MissingPackageError, SettingsError
from graftwork.core.inference.adapter_record import RECORD

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hub:
    """huggingface_hub, and its modules of constants and of errors."""

    client: Any
    constants: Any
    errors: Any


HUB = "hub:"
FILES = (RECORD, "adapter.safetensors", "README.md")
"""The files of an adapter, its record first."""

ANSWER_WITHIN_S = 5.0


def on_hub(place: str | Path) -> bool:
    """Whether that is an adapter of the hub, not a folder."""
    return str(place).startswith(HUB)


def adapter_folder(place: str | Path) -> Path:
    """The folder of an adapter: `place` itself, or where the files of `hub:OWNER/NAME[@REVISION]` are on this computer,
    downloaded if need be. Without a network what was downloaded before is taken, which is said.

    Raises SettingsError for what is no such name, DownloadError where nothing is to be had, AdapterError for a
    repository without an adapter, MissingPackageError without huggingface_hub.
    """
    if not on_hub(place):
        return Path(place)
    repository, revision = split_name(str(place))
    hub = hub_client()
    there = None if hub.constants.HF_HUB_OFFLINE else unreachable(hub.constants.ENDPOINT)
    local = there is not None or hub.constants.HF_HUB_OFFLINE
    try:
        first = Path(_file(hub, repository, RECORD, revision, local))
        # The commit of the first file is that of the others, whatever a branch has moved to meanwhile.
        commit = first.parent.name
        for name in FILES[1:]:
            _file(hub, repository, name, commit, local)
    except hub.errors.LocalEntryNotFoundError as error:
        cause = "HF_HUB_OFFLINE is set" if there is None and local else there or str(error)
        raise DownloadError(
            f"{place}: is not on this computer and could not be downloaded.\n  cause: {cause}\n"
            "  Go online once to fetch it, or name a folder with the adapter's three files."
        ) from error
    except hub.errors.EntryNotFoundError as error:
        raise AdapterError(f"{place}: no adapter there: expected {', '.join(FILES)} ({error})") from error
    except (hub.errors.HfHubHTTPError, OSError) as error:
        raise DownloadError(f"{place}: could not be downloaded ({error})\n  Is it spelt rightly, and if it is private, "
                            "do you have a token (hf auth login)?") from error  # fmt: skip
    if local:
        log.warning("%s: the hub was not asked (%s): taken from what was downloaded before, commit %s", place,
                    there or "HF_HUB_OFFLINE is set", commit[:12])  # fmt: skip
    return first.parent


def split_name(place: str) -> tuple[str, str | None]:
    """Repository and revision of `hub:OWNER/NAME[@REVISION]`, or of the same without `hub:`. Raises SettingsError."""
    repository, _, revision = place.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        raise SettingsError(f"{place}: expected OWNER/NAME on the hub, found {repository!r}")
    return repository, revision or None


def hub_client() -> Hub:
    """The hub's own client. Raises MissingPackageError."""
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise MissingPackageError("the hub needs huggingface_hub: pip install huggingface_hub") from error
    return Hub(huggingface_hub, constants, errors)


def unreachable(address: str) -> str | None:
    """Why nothing answers at an address within seconds; None where something does, be it a refusal. The hub's client
    would try for a minute."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_WITHIN_S):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'reason', error)}"


def _file(hub: Hub, repository: str, name: str, revision: str | None, local: bool) -> str:
    found: str = hub.client.hf_hub_download(
        repository, name, revision=revision, cache_dir=hub.constants.HF_HUB_CACHE, endpoint=hub.constants.ENDPOINT,
        etag_timeout=ANSWER_WITHIN_S, local_files_only=local,
    )  # fmt: skip
    return found
