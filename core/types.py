"""What flows through the whole program: features between stages, the contracts by which files are read, and the names
of options. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from graftwork.core.example import Example

TaskName = Literal["single-label", "multi-label", "ordinal", "regression", "text", "mask"]
"""What a target may be, as `--task` and files say it; `core.tasks` has the value behind each."""

NearDuplicatesMode = Literal["together", "report", "ignore"]
"""What is done about files that hold nearly the same: splits keep them together, they are said, or not looked for."""

Augment: TypeAlias = "Callable[[Tensor, np.random.Generator], Tensor]"
"""A random change of one example as the contract's `read` returned it, reproducible from the generator."""


Change: TypeAlias = "Callable[[Tensor], Tensor]"
"""A change of one example as the contract's `read` returned it, of the same shape."""


@dataclass(frozen=True)
class Corruption:
    """A way in which examples become worse: what `read` returned, a strength from 1 to 3, and a generator -> the same
    shape. moves: whether things are elsewhere afterwards, where a mask would no longer fit."""

    name: str
    apply: Callable[[Tensor, int, np.random.Generator], Tensor]
    moves: bool = False


@dataclass(frozen=True, eq=False)
class Features:
    """What flows between stages.

    `values` is a batch: images (batch, channels, height, width), volumes (batch, channels, depth, height,
    width), token or frame sequences (batch, time, channels), waveforms (batch, time), vectors
    (batch, channels). `lengths` (batch,), int64, counts the valid steps along time; None where every
    example fills its row, as images do. A run leaves them on the CPU, where asking for one does not stop the GPU:
    `padding_mask` compares them with a device's steps. `skips` are
    maps (batch, channels, *spatial) of earlier stages, the first stage's first, that a later stage or a decoder takes
    up. `masks` (batch, *spatial), int64, is the true class of every pixel or voxel, beside images whose masks are
    learnt; stages need not pass it on.
    """

    values: Tensor
    lengths: Tensor | None = None
    skips: tuple[Tensor, ...] = ()
    masks: Tensor | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Features:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> Features:
        """The examples at these places of the batch."""
        import numpy as np
        import torch

        chosen = torch.as_tensor(np.asarray(index))
        return self._each(lambda tensor: tensor[chosen.to(tensor.device)])

    def pin_memory(self) -> Features:
        """Called by torch's DataLoader, so that copies to a GPU can run beside the computation."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Features:
        lengths = None if self.lengths is None else change(self.lengths)
        masks = None if self.masks is None else change(self.masks)
        return Features(change(self.values), lengths, tuple(map(change, self.skips)), masks)


def padding_mask(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """Which steps are padding: True, (batch, steps), beyond each row's own `lengths` (batch,), on the device."""
    import torch

    return torch.arange(steps, device=device) >= lengths.to(device, non_blocking=True)[:, None]


class InputContract(Protocol):
    """How an example becomes what the network was trained on. Each domain has one frozen dataclass of this shape."""

    def read(self, example: Example) -> Tensor:
        """One example, float32, without a batch axis. Raises UnreadableError or ContractError, naming it."""

    def collate(self, examples: Sequence[Tensor]) -> Features:
        """A batch of what `read` returned; examples of unequal length are padded and their lengths kept. Called by
        several threads at a time."""

    def seconds(self, example: Tensor) -> float | None:
        """How long what `read` returned lasts; None for what has no duration, as images."""

    def blank(self) -> Tensor:
        """An example with nothing on it, shaped as `read` would give it: the shortest that the network takes well."""

    def to_json(self) -> dict[str, Any]:
        """Plain values that say everything about the contract; two equal contracts give equal values."""


class MaskContract(InputContract, Protocol):
    """The contract of a backbone whose masks are learnt: examples are images with their masks, of any size."""

    def is_patch(self, example: Tensor) -> bool:
        """Whether what `read` returned goes through the network as a whole."""

    def patch(self, example: Tensor, generator: np.random.Generator, *, changed: bool) -> Tensor:
        """A piece of what `read` returned that the network takes, drawn so that every class of its mask is as likely;
        `changed` at random, image and mask alike."""


class Segmenter(Protocol):
    """Whole images through a network that takes patches: their masks, measured, drawn and written.

    `run` takes images (batch, channels, *spatial) of the size of a patch, on the CPU or on `device`, and gives logits
    (batch, classes, *spatial) there.
    """

    def scores(self, example: Example, run: Callable[[Tensor], Tensor], device: torch.device) -> NDArray[np.float64]:
        """Measures of the predicted mask of an image with a mask, (classes without the background, measures)."""

    def with_change(self, change: Callable[[Example, Tensor], Tensor]) -> Segmenter:
        """The same for images (channels, *spatial) that are changed once they have been read."""

    def with_format(self, file_format: str) -> Segmenter:
        """The same that writes masks as files of another format. Raises SettingsError for one that it does not know."""

    def draw(
        self,
        cases: Sequence[tuple[str, Example]],
        run: Callable[[Tensor], Tensor],
        temporary: Path,
        device: torch.device,
    ) -> None:
        """Draws true and predicted masks as a PNG, for pairs of a title and an image with a mask."""

    def names(self, examples: Sequence[Example]) -> list[str]:
        """What the files of predicted masks are called, no two alike."""

    def segment(
        self, example: Example, run: Callable[[Tensor], Tensor], temporary: Path, device: torch.device
    ) -> dict[str, float]:
        """Writes the predicted mask of an image to a temporary path; returns the size of every class."""


@dataclass(frozen=True, eq=False)
class FrameHead:
    """The linear layer that a checkpoint has on its frames, so that a head need not begin at random.

    classes: of its outputs, the blank first. weight (classes, feature_dim), bias (classes,).
    """

    classes: tuple[str, ...]
    weight: Tensor
    bias: Tensor


OutsideMode = Literal["flag", "refuse"]
"""What becomes of an example that is unlike those of the training: it is noted, or an error."""


class InputMonitor(InputContract, Protocol):
    """An input contract that remembers what it has read.

    outside: by its path, in what way an example is unlike those of the training.
    """

    outside: dict[str, str]

    def summary(self, examples: Iterable[Example]) -> dict[str, Any]:
        """What these examples are like together, as plain values; {} where there are too few to speak of them all."""


@dataclass(frozen=True)
class Description:
    """What one example is, for people who look over many: numbers and words by name, and what looks wrong."""

    numbers: Mapping[str, float]
    words: Mapping[str, str]
    faults: tuple[str, ...] = ()
