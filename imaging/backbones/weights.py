"""Weights in local files: read without running code, and fitted to a network tensor by tensor, never partly."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import BackboneError, UnreadableError
from graftwork.imaging.preprocessing.channels import adapt_channels

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED)
NESTS = ("state_dict", "model", "network", "net", "teacher", "student")
"""Keys under which training programs put the tensors beside other things."""
SHOWN = 8


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt, .pth, .bin or .ckpt file by name, on the CPU.

    A state dict inside one of `NESTS` is found, and the `module.` that DataParallel puts
    before every name is taken off. Pickled files are read with weights_only=True, so that no code in them
    runs. Raises UnreadableError for a missing or damaged file, BackboneError for one without plain tensors.
    """
    place = Path(path)
    if not place.is_file():
        raise UnreadableError(f"{path}: no such weights file")
    if place.suffix.lower() not in SUFFIXES:
        raise BackboneError(f"{path}: weights are read from {', '.join(SUFFIXES)}, found {place.suffix or 'no ending'}")
    content: Any = _read_safetensors(path) if place.suffix.lower() == ".safetensors" else _read_pickled(path)
    if isinstance(content, nn.Module):
        raise BackboneError(f"{path}: holds a whole module; save its state_dict() instead")
    while isinstance(content, Mapping):
        inner = next((content[key] for key in NESTS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(name): value for name, value in content.items()} if isinstance(content, Mapping) else {}
    strange = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or strange:
        found = f"{some_of(strange)} beside them" if tensors else type(content).__name__
        raise BackboneError(f"{path}: expected tensors by name (a state dict), found {found}")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def fit_weights(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    ignored: Iterable[str],
    inputs: Iterable[str],
    spare: Iterable[str] = (),
) -> None:
    """Put tensors into a network: all of them, and each of the network's.

    ignored: exact names that the network need not have: the classifier it was trained with. inputs: exact names of
    first convolutions, adapted to the network's input channels. spare: names of other tensors that it need not have.
    Missing counters of BatchNorm batches become 0, as old PyTorch did not save them and inference does not read them.
    Raises BackboneError that lists what is missing, with the nearest names, unexpected, or of another shape, and how
    many fit; nothing is loaded then.
    """
    wanted = network.state_dict()
    known, first = {*ignored, *spare}, set(inputs)
    offered = {name: value for name, value in tensors.items() if name in wanted or name not in known}
    for name in first & offered.keys() & wanted.keys():
        old, new = offered[name].shape, wanted[name].shape
        if old != new and len(old) == len(new) and old[:1] == new[:1] and old[2:] == new[2:]:
            offered[name] = adapt_channels(offered[name], new[1])
    for name, value in wanted.items():
        if name.endswith(".num_batches_tracked") and name not in offered:
            offered[name] = torch.zeros_like(value)
    complaints = []
    if missing := [name for name in wanted if name not in offered]:
        complaints.append(f"missing from the file: {some_of(missing)}")
    unplaced = [name for name in tensors if name not in wanted and name not in set(ignored)]
    if missing and (near := difflib.get_close_matches(missing[0], unplaced, n=3, cutoff=0.5)):
        complaints.append(f"nearest to {missing[0]} in the file: {', '.join(near)}")
    if unexpected := [name for name in (unplaced if missing else offered) if name not in wanted]:
        complaints.append(f"unknown to the network: {some_of(unexpected)}")
    if misshapen := [
        f"{name}: expected {tuple(wanted[name].shape)}, found {tuple(value.shape)}"
        for name, value in offered.items()
        if name in wanted and value.shape != wanted[name].shape
    ]:
        complaints.append(f"of another shape: {some_of(misshapen)}")
    if complaints:
        fitting = sum(name in offered and offered[name].shape == value.shape for name, value in wanted.items())
        raise BackboneError(f"{source} does not fit the network: {fitting} of its {len(wanted)} tensors are there.\n  "
                            + "\n  ".join(complaints))  # fmt: skip
    network.load_state_dict(offered, strict=True)


def _read_safetensors(path: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UnreadableError(f"{path}: cannot be read as safetensors: {error}") from error


def _read_pickled(path: str) -> Any:
    with decoding(path, "cannot be read as PyTorch weights"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise BackboneError(
                f"{path}: is damaged, or holds Python objects beside tensors (as a whole pickled network), which could "
                "run code and are not loaded. If you trust the file, save its tensors alone where the library that "
                f"made it is installed, and give them with --weights:\n  {_conversion(path)}"
            ) from error


def _conversion(path: str) -> str:
    """A line for the shell that saves the tensors of a whole pickled network, running what code the file holds."""
    tensors = str(Path(path).with_suffix(".tensors.pt"))
    return (f'python -c "import torch; torch.save(torch.load({path!r}, map_location=\'cpu\', '
            f'weights_only=False).state_dict(), {tensors!r})"')  # fmt: skip


def some_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
