"""What is said in clips, by an adapter that was trained on transcripts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.core.adapter import Adapter, open_adapter
from graftwork.core.backbone import Features
from graftwork.core.batches import pass_batches
from graftwork.core.domain import Domain
from graftwork.core.errors import AdapterError, MissingPackageError
from graftwork.core.examples import Examples, load_batches, read_many, unequal
from graftwork.core.manifest import Manifest
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.runtime import start_runtime
from graftwork.core.study import find_inputs
from graftwork.core.transcripts import best_path, decode

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Decoder = Callable[[Features], list[str]]
"""Logits (batch, frames, classes) with lengths to one text each."""

BLOCK = 64
"""Clips that are in memory at once."""


def transcribe_files(
    domain: Domain,
    run: str,
    inputs: Sequence[str],
    *,
    weights: str | None = None,
    decoder: Literal["greedy", "beam"] = "greedy",
    batch_size: int = 16,
    device: str = "auto",
) -> pd.DataFrame:
    """A table with the path and the text of every file; of files that cannot be read, an `error`.

    Raises AdapterError for a run that learnt no text, UnreadableError where a file does not exist,
    MissingPackageError for a decoder that is not installed.
    """
    import pandas as pd

    adapter = open_adapter(run, domain, weights)
    if adapter.task != "text":
        raise AdapterError(f"{run}: predicts {adapter.record['target']!r}, which is no text; use predict")
    chosen = greedy_decoder(adapter.classes) if decoder == "greedy" else beam_decoder(adapter.classes)
    paths = find_inputs(inputs)
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    recipe = Recipe(batch_size=batch_size, device=device)
    for start in range(0, len(paths), BLOCK):
        read = list(read_many(adapter.backbone.contract, paths[start : start + BLOCK], "reading"))
        errors |= {path: str(result) for path, result in read if isinstance(result, Exception)}
        good = {path: result for path, result in read if not isinstance(result, Exception)}
        if good:
            texts |= dict(zip(good, transcribe(adapter, list(good.values()), chosen, recipe), strict=True))
    table = pd.DataFrame({"path": paths, "text": [texts.get(path) for path in paths]})
    if errors:
        log.warning("%d of %d files could not be read: see the column `error`", len(errors), len(paths))
        table["error"] = table["path"].map(errors)
    return table


def transcribe(adapter: Adapter, clips: Sequence[Tensor], decoder: Decoder, recipe: Recipe) -> list[str]:
    """What is said in clips (samples,) as the adapter's contract reads them."""
    contract = adapter.backbone.contract
    manifest = Manifest(
        "", tuple(map(str, range(len(clips)))), "text", "text", adapter.classes, np.zeros((len(clips), 0))
    )
    seconds = unequal([contract.seconds(clip) for clip in clips])
    examples = Examples(manifest, contract, tuple(clips), seconds=seconds)
    runtime = start_runtime(recipe)
    runtime.place(adapter.graft).train(False)
    texts = [""] * len(clips)
    batches = pass_batches(examples, range(len(clips)), recipe)
    with progress("transcribing", len(clips)) as advance, torch.inference_mode(), runtime.autocast():
        for batch, features in zip(batches, load_batches(examples, batches), strict=True):
            for row, text in zip(batch.tolist(), decoder(adapter.graft.outputs(runtime.send(features))), strict=True):
                texts[row] = text
            advance(len(batch), "")
    runtime.release(adapter.graft)
    return texts


def greedy_decoder(classes: Sequence[str]) -> Decoder:
    """The most probable class of every frame, without repetitions and blanks."""
    return lambda outputs: decode(best_path(outputs).cpu().numpy(), classes)


def beam_decoder(classes: Sequence[str]) -> Decoder:
    """pyctcdecode's prefix beam search without a language model. Raises MissingPackageError without that package."""
    try:
        from pyctcdecode import build_ctcdecoder
    except ImportError as error:
        raise MissingPackageError(
            "--decoder beam needs pyctcdecode: pip install pyctcdecode; greedy needs nothing"
        ) from error
    search = build_ctcdecoder(list(classes))

    def run(outputs: Features) -> list[str]:
        logits = outputs.values.float()  # noqa: PD011  # a tensor, not a table
        values: NDArray[np.float32] = logits.log_softmax(2).cpu().numpy()
        frames = [values.shape[1]] * len(values) if outputs.lengths is None else outputs.lengths.tolist()
        return [" ".join(search.decode(one[:length]).split()) for one, length in zip(values, frames, strict=True)]

    return run
