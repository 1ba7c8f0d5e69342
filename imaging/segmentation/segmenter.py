"""Whole scans through a network that takes patches: their masks, measured, drawn and written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.errors import ContractError, SettingsError
from graftwork.core.example import Example, Named, WithMask, as_example, without_mask
from graftwork.imaging.formats.output_names import mask_names
from graftwork.imaging.preprocessing.contract import resize
from graftwork.imaging.scan import Scan
from graftwork.imaging.segmentation.mask_contract import MaskContract
from graftwork.imaging.segmentation.mask_files import write_mask
from graftwork.imaging.segmentation.surface_metrics import measure_masks

Run = Callable[[Tensor], Tensor]

CPU = torch.device("cpu")

MaskFormat = Literal["dicom-seg"]

DEVICE_SHARE = 0.25
"""Largest share of a GPU's memory that the logits of a whole scan and what is made of them may fill there. Put
together on an H100, those of 256^3 voxels took 0.5 s; on the CPU, to which every patch is then copied, 3.2 s."""

WINDOW_VOXELS = 2**21
"""Voxels that go through the network together, unless a single patch has more: small patches keep a GPU busy only in
numbers, large ones fill the memory one by one."""


@dataclass(frozen=True)
class PatchSegmenter:
    """Masks of whole scans by a network that takes patches, as `contract` reads them.

    run, in what follows: patches (batch, channels, *size) on the CPU or on `device` -> logits (batch, classes, *size)
    there. change: what becomes of every image (channels, *spatial) of an example before the network sees it.
    file_format: of masks that are written; None for PNG and NIfTI.
    """

    contract: MaskContract
    change: Callable[[Example, Tensor], Tensor] | None = None
    file_format: MaskFormat | None = None

    def with_change(self, change: Callable[[Example, Tensor], Tensor]) -> PatchSegmenter:
        """The same for images that are changed once they have been read."""
        return replace(self, change=change)

    def with_format(self, file_format: str) -> PatchSegmenter:
        """The same that writes files of this format. Raises SettingsError for one that is not known."""
        known = next((one for one in get_args(MaskFormat) if one == file_format), None)
        if known is None:
            raise SettingsError(f"--format: expected {' or '.join(get_args(MaskFormat))}, found {file_format!r}")
        return replace(self, file_format=known)

    def predict(
        self, scan: Scan, run: Run, device: torch.device = CPU, example: Example | None = None
    ) -> NDArray[np.int64]:
        """The likeliest class (*spatial) of every voxel of the scan, as it was read.

        Larger scans are covered by overlapping patches whose logits are weighted by a Gaussian about their centres
        (Isensee et al. 2021, through MONAI).
        """
        contract = self.contract
        image = contract.prepared(scan)
        if self.change is not None and example is not None:
            image = self.change(example, image)
        spatial = image.shape[1:]
        padded = contract.padded(image)
        padded = padded.to(_place(padded, len(contract.values), scan.spatial_shape, device))
        if contract.is_patch(padded):
            logits = run(padded[None])[0]
        else:
            from monai.inferers import sliding_window_inference

            together = max(1, WINDOW_VOXELS // math.prod(contract.size))
            found = sliding_window_inference(padded[None], contract.size, together, run, contract.overlap,
                                             mode="gaussian")  # fmt: skip
            logits = torch.as_tensor(found)[0]
        margins = contract.margins(spatial)[::-1]
        inside = [slice(margins[2 * axis + 1], margins[2 * axis + 1] + length) for axis, length in enumerate(spatial)]
        chances = logits[(slice(None), *inside)]
        if tuple(chances.shape[1:]) != scan.spatial_shape:
            chances = chances.softmax(0)
        classes = _likeliest(chances, scan.spatial_shape)
        return _largest_components(classes, len(contract.values)) if contract.largest_component else classes

    def scores(self, named: Named, run: Run, device: torch.device = CPU) -> NDArray[np.float64]:
        """Measures of the predicted mask of an image with its mask, at the image's own voxels; see `measure_masks`."""
        scan, truth = self._with_truth(named)
        found = self.predict(scan, run, device, as_example(named))
        return measure_masks(truth, found, len(self.contract.values), scan.spacing_mm)

    def draw(self, cases: Sequence[tuple[str, Named]], run: Run, temporary: Path, device: torch.device = CPU) -> None:
        """Draws the true and the predicted mask of every image with its mask, under its title."""
        from graftwork.imaging.segmentation.overlays import draw_masks

        drawn = []
        for title, named in cases:
            scan, truth = self._with_truth(named)
            drawn.append((title, scan, np.maximum(truth, 0), self.predict(scan, run, device)))
        draw_masks(temporary, drawn, self.contract.labels)

    def names(self, examples: Sequence[Named]) -> list[str]:
        """The files of predicted masks: PNG for 2D images, NIfTI for everything else, unless a format is asked for."""
        return mask_names(examples, ".dcm" if self.file_format == "dicom-seg" else None)

    def segment(self, named: Named, run: Run, temporary: Path, device: torch.device = CPU) -> dict[str, float]:
        """Writes the predicted mask; returns the size of every class but the background, in mm3 (mm2 in 2D), or
        in pixels where the file does not say its spacing."""
        contract = self.contract
        scan = contract.image.scan(without_mask(as_example(named)))
        classes = self.predict(scan, run, device)
        if self.file_format == "dicom-seg":
            from graftwork.imaging.formats.dicom.segmentation_output import write_segmentation

            write_segmentation(temporary, classes, contract.labels, scan, without_mask(as_example(named)))
        else:
            write_mask(temporary, classes, contract.values, scan)
        unit = "pixels" if scan.spacing_mm is None else f"mm{len(scan.spacing_mm)}"
        size = 1.0 if scan.spacing_mm is None else float(np.prod(scan.spacing_mm))
        counts = np.bincount(classes.ravel(), minlength=len(contract.values)) * size
        return {f"{unit}_{label}": float(counts[place]) for place, label in enumerate(contract.labels) if place}

    def _with_truth(self, named: Named) -> tuple[Scan, NDArray[np.int64]]:
        """An image, and the class (*spatial) of each of its voxels by its mask."""
        example = as_example(named)
        scan = self.contract.image.scan(without_mask(example))
        if not isinstance(example, WithMask):
            raise ContractError(f"{example}: has no mask to be evaluated by")
        return scan, self.contract.truth(example.mask, scan)


def _place(image: Tensor, classes: int, own: Sequence[int], device: torch.device) -> torch.device:
    """Where a whole image (channels, *spatial) is put together, and its maps brought to the scan's own grid: on a GPU
    whose memory leaves room for the network, the same for every scan of that size."""
    if device.type != "cuda":
        return CPU
    # The logits, their weights and a copy of both; on the own grid the best and the next of single precision, numbers
    # of 8 bytes and what is compared.
    needed = 3 * 4 * (classes + 1) * image[0].numel() + 24 * math.prod(own)
    return device if needed < DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory else CPU


def _likeliest(maps: Tensor, size: Sequence[int]) -> NDArray[np.int64]:
    """The number (*size) of the highest of the maps (classes, *spatial) once they are of that size: one at a time, as
    all of them at the size of a large CT would fill the memory."""
    best = resize(maps[:1], size)[0]
    classes = torch.zeros(tuple(size), dtype=torch.int64, device=maps.device)
    for number in range(1, len(maps)):
        own = resize(maps[number : number + 1], size)[0]
        higher = own > best
        classes[higher] = number
        best = torch.where(higher, own, best)
    found: NDArray[np.int64] = classes.cpu().numpy()
    return found


def _largest_components(classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The same with background in place of all but the largest connected piece (by faces) of every class."""
    from scipy.ndimage import label

    kept = np.zeros_like(classes)
    for number in range(1, count):
        pieces, found = label(classes == number)
        if found:
            kept[pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = number
    return kept
