"""An input contract whose examples are changed once they have been read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graftwork.core.example import Example
from graftwork.core.types import Features, InputContract

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Changed:
    """contract: how examples are read. name: of the change, by which what is kept of these examples is told from what
    is kept of others. change: an example and what was read -> what is used instead, of that shape."""

    contract: InputContract
    name: str
    change: Callable[[Example, Tensor], Tensor]

    def read(self, example: Example) -> Tensor:
        """One example, changed. Raises what the contract raises."""
        return self.change(example, self.contract.read(example))

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """As the contract does."""
        return self.contract.collate(examples)

    def seconds(self, example: Tensor) -> float | None:
        """As the contract does."""
        return self.contract.seconds(example)

    def blank(self) -> Tensor:
        """As the contract does."""
        return self.contract.blank()

    def to_json(self) -> dict[str, Any]:
        """That of the contract, and the change's name."""
        return self.contract.to_json() | {"changed": self.name}
