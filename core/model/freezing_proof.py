"""The proof that what was declared frozen did not move: digests before and after, kept in the run's record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from graftwork.core.errors import FreezingError
from graftwork.core.model.graft import Graft


@dataclass(frozen=True)
class FreezingProof:
    """How many tensors and buffers were frozen, and their SHA-256 before and after training."""

    tensors: int
    before: str
    after: str


def prove_frozen(before: Mapping[str, str], graft: Graft) -> FreezingProof:
    """The proof for the record. Raises FreezingError that names the tensors that changed."""
    after = graft.frozen_digests()
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if moved:
        raise FreezingError(
            f"{len(moved)} frozen tensors changed during training, among them {', '.join(moved[:5])}: "
            "the result is not kept"
        )
    return FreezingProof(len(after), whole_digest(before), whole_digest(after))


def whole_digest(state: Mapping[str, str]) -> str:
    """One SHA-256 over the names and digests of many tensors."""
    lines = "\n".join(f"{name} {value}" for name, value in sorted(state.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
