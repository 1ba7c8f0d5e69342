"""What is said in clips, by an adapter that was trained on transcripts or a checkpoint that was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from graftwork.audio.backbones.checkpoint_head import load_frame_head
from graftwork.audio.backbones.loading import load_backbone
from graftwork.audio.domain import DOMAIN
from graftwork.audio.recognition.beam_search import WIDTH, best_text
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.data.batches import pass_batches
from graftwork.core.data.examples import Examples, load_batches, read_many, unequal
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import AdapterError, SettingsError
from graftwork.core.example import File
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.inference.adapter_record import RECORD
from graftwork.core.inference.inputs import find_inputs
from graftwork.core.model.graft import Graft, make_graft
from graftwork.core.model.strategies import parse_strategy
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.tasks import TEXT
from graftwork.core.tasks.transcripts import best_path, decode
from graftwork.core.types import Features

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Decoder = Callable[[Features], list[str]]
"""Logits (batch, frames, classes) with lengths to one text each."""

BLOCK = 64
"""Clips that are in memory at once."""


def transcribe_files(
    run: str,
    inputs: Sequence[str],
    *,
    weights: str | None = None,
    language: str | None = None,
    decoder: Literal["greedy", "beam"] = "greedy",
    batch_size: int = 16,
    device: str = "auto",
) -> pd.DataFrame:
    """A table with the path and the text of every file; of files that cannot be read, an `error`.

    run: the folder of a run, or a checkpoint; see `open_recogniser`, whose errors are raised. language: of MMS's
    adapters, where run is such a checkpoint. Raises UnreadableError
    where a file does not exist.
    """
    import pandas as pd

    graft, classes = open_recogniser(run, weights, language)
    chosen = greedy_decoder(classes) if decoder == "greedy" else beam_decoder(classes)
    clips = find_inputs(inputs, DOMAIN)
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    recipe = Recipe(batch_size=batch_size, device=device)
    for start in range(0, len(clips), BLOCK):
        read = list(read_many(graft.backbone.contract, clips[start : start + BLOCK], "reading"))
        errors |= {str(clip): str(result) for clip, result in read if isinstance(result, Exception)}
        good = {str(clip): result for clip, result in read if not isinstance(result, Exception)}
        if good:
            texts |= dict(zip(good, transcribe(graft, list(good.values()), chosen, recipe), strict=True))
    paths = [str(clip) for clip in clips]
    table = pd.DataFrame({"path": paths, "text": [texts.get(path) for path in paths]})
    if errors:
        log.warning("%d of %d files could not be read: see the column `error`", len(errors), len(paths))
        table["error"] = table["path"].map(errors)
    return table


def open_recogniser(
    source: str, weights: str | None = None, language: str | None = None
) -> tuple[Graft, tuple[str, ...]]:
    """What gives frames of logits, and their classes: a run that learnt text, or a checkpoint `hf:…` with a head.

    Raises AdapterError for a run that learnt something else, BackboneError for a checkpoint without a head.
    """
    if source.startswith("hf:") and not (Path(source) / RECORD).is_file():
        frame_head = load_frame_head(source, weights, "name the folder of a run that has learnt text", language)
        loaded = load_backbone(source, weights=weights, pooling="none", language=language)
        backbone = replace(loaded, frame_head=frame_head)
        graft = make_graft(backbone, parse_strategy("probe"), Recipe(), TEXT, frame_head.classes, 0)
        return graft, frame_head.classes
    if language is not None:
        raise SettingsError(f"--language {language}: {source} has its own, with which it was trained; leave it away")
    adapter = load_adapter(source, load_backbone, weights)
    if adapter.task.output != "frames":
        raise AdapterError(f"{source}: predicts {adapter.record['target']!r}, which is no text; use predict")
    return adapter.graft, adapter.classes


@undisturbed()
def transcribe(graft: Graft, clips: Sequence[Tensor], decoder: Decoder, recipe: Recipe) -> list[str]:
    """The text of every clip.

    graft: gives frames of logits, as `open_recogniser` has it. clips: (samples,) each, as the contract of the graft's
    backbone reads them. decoder: from logits to texts, as `greedy_decoder` makes it. Raises TrainingError where outputs
    are not finite.
    """
    contract = graft.backbone.contract
    manifest = Manifest(
        "", tuple(File(str(number)) for number in range(len(clips))), TEXT, "text", (), np.zeros((len(clips), 0))
    )
    seconds = unequal([contract.seconds(clip) for clip in clips])
    examples = Examples(manifest, contract, tuple(clips), seconds=seconds)
    runtime = start_runtime(recipe)
    runtime.place(graft).train(False)
    texts = [""] * len(clips)
    batches = pass_batches(examples, range(len(clips)), recipe)
    with progress("transcribing", len(clips)) as advance, torch.inference_mode(), runtime.autocast():
        for batch, features in zip(batches, load_batches(examples, batches), strict=True):
            for row, text in zip(batch.tolist(), decoder(graft.outputs(runtime.send(features))), strict=True):
                texts[row] = text
            advance(len(batch), "")
    runtime.release(graft)
    return texts


def greedy_decoder(classes: Sequence[str]) -> Decoder:
    """The most probable class of every frame, without repetitions and blanks."""
    return lambda outputs: decode(best_path(outputs).cpu().numpy(), classes)


def beam_decoder(classes: Sequence[str], width: int = WIDTH) -> Decoder:
    """The most probable text over all its paths, as far as `width` beginnings of texts are followed."""

    def run(outputs: Features) -> list[str]:
        logits = outputs.values.double()  # noqa: PD011  # a tensor, not a table
        values = logits.log_softmax(2).cpu().numpy()
        frames = [values.shape[1]] * len(values) if outputs.lengths is None else outputs.lengths.tolist()
        found = [best_text(one[:length], width) for one, length in zip(values, frames, strict=True)]
        table = np.zeros((len(found), max(map(len, found))), dtype=np.int64)
        for row, numbers in enumerate(found):
            table[row, : len(numbers)] = numbers
        return decode(table, classes)

    return run
