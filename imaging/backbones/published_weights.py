"""Weights that others saved for a network, brought into the layout of the library that builds it here: the prefixes of
training programs taken off, and the conversions of timm and MONAI applied. Whether they then fit is checked where they
are loaded.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from graftwork.core.errors import BackboneError
from graftwork.imaging.backbones.weights import some_of

log = logging.getLogger(__name__)

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "encoder_q.", "network.", "student.",
            "teacher.", "visual.trunk.", "visual.", "trunk.", "densenet121.")  # fmt: skip
"""What DataParallel, torch.compile, Lightning, DINO, MoCo, OpenCLIP and medical repositories put before names; one may
follow another."""

DEEPEST = 4
"""How many of them are taken off one after another."""

FILTERS = ("checkpoint_filter_fn", "_filter_torchvision_pretrained")
"""What timm calls the functions that bring published layouts of a family into its own."""

MONAI_NAMES = ((".mlp.fc1.", ".mlp.linear1."), (".mlp.fc2.", ".mlp.linear2."))
"""Of MONAI's pretraining of Swin UNETR, whose own `load_from` renames them so."""

PRETRAINING = ("mask_token",)
"""Tensors of pretraining alone, which no features depend on."""


def in_own_layout(
    network: nn.Module, tensors: Mapping[str, Tensor], ignored: Iterable[str], source: str, *, inside: str = ""
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by the network's names, and the names of those that it has no place for: classifiers, other heads and
    other networks in the same file, which one line of the log names.

    network: without a classifier. ignored: exact names of its classifier. inside: what stands before the names of the
    encoder, which a file of an encoder alone does not have. Of all ways to take prefixes off, the one
    counts by which most tensors match, with the fewest prefixes among equals. Raises BackboneError where nothing is
    missing and a tensor has no place because it is of another network of the same kind, which computes otherwise:
    deeper blocks, other tokens.
    """
    wanted = network.state_dict()
    most, taken, found = (-1, -1), "", dict(tensors)
    for prefix, stripped in _without_prefixes(dict(tensors)):
        within = {inside + name: value for name, value in stripped.items()} if inside else None
        for candidate in (stripped, _of_children(network, stripped), within):
            converted = _converted(network, candidate) if candidate else {}
            fitting = [name for name, own in wanted.items() if name in converted and converted[name].shape == own.shape]
            # timm takes some prefixes off itself, and then does not say what else there was.
            score = (len(fitting), sum(name in candidate for name in fitting) if candidate else 0)
            if score > most:
                most, taken, found = score, prefix, converted
    if most[0] < 1:
        return dict(tensors), ()
    classifier = set(ignored)
    spare = [name for name in found if name not in wanted]
    complete = all(name in found or name.endswith(".num_batches_tracked") for name in wanted)
    other = [name for name in spare if name not in classifier and of_another_network(name, wanted)]
    if complete and other:
        raise BackboneError(f"{source} does not fit the network, which is smaller or of another kind.\n"
                            f"  unknown to the network: {some_of(other)}")  # fmt: skip
    left_out = [*spare, *(name for name in tensors if not name.startswith(taken))]
    if left_out:
        log.info("%s: %d tensors taken%s; left out: %s", source, len(found) - len(spare),
                 f" from behind {taken!r}" if taken else "", some_of(left_out))  # fmt: skip
    return found, tuple(spare)


def _without_prefixes(
    tensors: dict[str, Tensor], taken: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors as they are, and behind every prefix that there is, with the prefix."""
    yield taken, tensors
    if depth == DEEPEST:
        return
    for prefix in PREFIXES:
        behind = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if behind:
            yield from _without_prefixes(behind, taken + prefix, depth + 1)


def _of_children(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Tensors of `nn.Sequential(*network.children())`, as RadImageNet's networks were saved, by the children's names;
    None where they are not all numbered so."""
    children = [name for name, _ in network.named_children()]
    numbers = {name.partition(".")[0] for name in tensors}
    if not all(number.isdigit() and int(number) < len(children) for number in numbers):
        return None
    parts = {name: name.partition(".") for name in tensors}
    return {f"{children[int(parts[name][0])]}.{parts[name][2]}": value for name, value in tensors.items()}


def _converted(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors after the conversion that the library has for the network's family; as they are where it has none, or
    cannot apply it to them."""
    module = sys.modules[type(network).__module__]
    if module.__name__.startswith("monai."):
        return {_renamed(name): value for name, value in tensors.items()}
    convert = next((getattr(module, name) for name in FILTERS if hasattr(module, name)), None)
    if convert is None:
        return dict(tensors)
    known = inspect.signature(convert).parameters
    # DeiT III has its layer scales under other names; this changes no others.
    options = {"adapt_layer_scale": True} if "adapt_layer_scale" in known else {}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # EVA's prints what it looks for, and results go to stdout
            found = convert(dict(tensors), **({"model": network} if "model" in known else {}), **options)
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError, TypeError, AssertionError):
        return dict(tensors)
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _renamed(name: str) -> str:
    for theirs, ours in MONAI_NAMES:
        name = name.replace(theirs, ours)
    return name


def of_another_network(name: str, wanted: Mapping[str, Tensor]) -> bool:
    """Whether a tensor without a place stands in a numbered part that the network has, or is a token."""
    if name in PRETRAINING:
        return False
    numbered = re.match(r"(.+?\.)\d+\.", name)
    within = numbered is not None and any(one.startswith(numbered[1]) for one in wanted)
    return within or re.fullmatch(r"\w+_tokens?", name) is not None
