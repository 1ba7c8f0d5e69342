"""Examples looked at while they are read: what a training saw, and which new ones are unlike it. Domains say how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from graftwork.core.backbone import InputContract

if TYPE_CHECKING:
    from graftwork.core.domain import Domain
    from graftwork.core.together import Party


Outside = Literal["flag", "refuse"]
"""What becomes of an example that is unlike those of the training: it is noted, or an error."""


class Watch(InputContract, Protocol):
    """An input contract that remembers what it has read.

    outside: by path, in what way an example is unlike those of the training.
    """

    outside: dict[str, str]

    def seen(self, paths: Iterable[str]) -> dict[str, Any]:
        """What these examples are like together, as plain values; {} where there are too few to speak of them all."""


def watch_for(domain: Domain, party: Party, outside: Outside, *, named: bool) -> Watch | None:
    """What compares new examples with what the party's runs have seen; None where their records do not say.

    named: whether reasons begin with the run's name.
    """
    seen = {
        name if named else "": adapter.record["seen"]
        for name, adapter in zip(party.names, party.adapters, strict=True)
        if adapter.record.get("seen")
    }
    if domain.watch is None or not seen:
        return None
    return domain.watch(party.adapters[0].backbone.contract, seen, outside)
