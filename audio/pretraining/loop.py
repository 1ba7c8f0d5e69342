"""Pretraining without transcripts: a network learns to name the unit of frames that it cannot see.

The method is HuBERT's (Hsu et al. 2021, arXiv 2106.07447): units come from k-means, spans of frames are masked in front
of the Transformer, and only what stands at masked frames has a loss. Where speakers are known, they can be learnt too.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from graftwork.audio.pretraining.masked_crops import (
    Crop,
    CropBatch,
    Grid,
    Masks,
    Scale,
    cepstra_scale,
    crop_batch,
    draw_crop,
    draw_crops,
    grid_of,
)
from graftwork.audio.pretraining.network import Pretrainer
from graftwork.audio.pretraining.units import SPECTRAL, units_of_round
from graftwork.core.compute.communication import agreement
from graftwork.core.compute.global_state import undisturbed
from graftwork.core.compute.preemption import PreemptedError, ask_oneself, asked_to_end, leaving_by_itself
from graftwork.core.compute.runtime import Runtime, seed_everything, start_runtime
from graftwork.core.data.examples import Examples
from graftwork.core.errors import SettingsError, TrainingError
from graftwork.core.model.backbone import Backbone
from graftwork.core.progress import progress
from graftwork.core.recipe import Recipe
from graftwork.core.training.checkpoint import (
    CheckpointClock,
    TrainingState,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from graftwork.core.training.history import HistoryRow
from graftwork.core.training.optimiser import rate_factor

log = logging.getLogger(__name__)

VAL_SHARE = 0.05
REPORTS = 20
"""Rows of the history in a round."""


@dataclass(frozen=True)
class Pretraining:
    """Settings of a pretraining run.

    units: what the units of each round are found in: "mfcc" (with differences, as HuBERT's), "cepstra" (MFCC without),
    or "layerN", that layer's output after the round before.
    clusters: number of units. updates: of each round. batch_seconds: sound per update. crop_seconds: a random part of
    this length of each clip drawn. mask_share: of the frames that start a masked span; mask_frames: its length.
    seen_weight: of the loss at frames that are not hidden, which is learnt sooner and helps small networks; 0 is
    HuBERT's own. learning_rate: at its peak; it rises over the first tenth of the updates and falls to zero.
    speaker_weight: of the speakers' loss, where they are known. spectrum_weight: of the squared error of MFCC told from
    the frames in front of the Transformer and from the last layer, which a small network's front end needs.
    channels: "on" passes every crop through a random channel, which units and MFCC do not know of.
    checkpoint_minutes: how often the state is kept; 0 after every update.
    """

    units: tuple[str, ...] = ("mfcc",)
    clusters: int = 100
    updates: int = 2000
    batch_seconds: float = 48.0
    crop_seconds: float = 4.0
    mask_share: float = 0.08
    mask_frames: int = 10
    seen_weight: float = 0.5
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    speaker_weight: float = 0.0
    spectrum_weight: float = 0.0
    channels: str = "off"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        rules = {
            "units": (bool(self.units), "at least one of mfcc, cepstra and layerN"),
            "clusters": (self.clusters >= 2, "at least 2"),
            "updates": (self.updates >= 1, "at least 1"),
            "crop_seconds": (self.crop_seconds >= 0.1, "at least 0.1"),
            "batch_seconds": (self.batch_seconds >= self.crop_seconds, "at least crop_seconds"),
            "mask_share": (0 < self.mask_share < 1, "between 0 and 1"),
            "mask_frames": (self.mask_frames >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a finite number above 0"),
            "seen_weight": (self.seen_weight >= 0, "at least 0"),
            "speaker_weight": (self.speaker_weight >= 0, "at least 0"),
            "spectrum_weight": (self.spectrum_weight >= 0, "at least 0"),
            "checkpoint_minutes": (self.checkpoint_minutes >= 0, "at least 0"),
            "channels": (self.channels in ("on", "off"), "on or off"),
        }
        wrong = [f"{name}: expected {expected}, found {getattr(self, name)!r}"
                 for name, (right, expected) in rules.items() if not right]  # fmt: skip
        if wrong:
            raise SettingsError("; ".join(wrong))


@dataclass(frozen=True, eq=False)
class _Task:
    """What stays the same during a round."""

    model: Pretrainer
    clips: Examples
    units: Sequence[NDArray[np.int64]]
    grid: Grid
    scale: Scale | None
    speakers: NDArray[np.int64] | None
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    settings: Pretraining
    runtime: Runtime
    round: int


@undisturbed()
def pretrain(
    backbone: Backbone, clips: Examples, settings: Pretraining, folder: Path, *, speakers: bool, resume: bool
) -> tuple[Backbone, tuple[HistoryRow, ...]]:
    """Pretrain a backbone further on clips without transcripts; returns it and the history of the run.

    clips: as read for the backbone's contract; their labels are the speakers, where `speakers` says so. folder: where
    the unfinished run is kept. Raises SettingsError for settings that do not fit, TrainingError if the loss is not
    finite, OutputError for a checkpoint of another run.
    """
    runtime = start_runtime(Recipe(device=settings.device, precision=cast(Any, settings.precision)))
    if _crop_count(settings) < runtime.processes:
        raise SettingsError(f"{runtime.processes} processes share {_crop_count(settings)} crops an update: raise "
                            "--batch-seconds, or use fewer processes")  # fmt: skip
    _check(backbone, clips, settings)
    own = backbone.copy()
    labels = np.asarray(clips.manifest.values, dtype=np.int64) if speakers and settings.speaker_weight else None
    order = np.random.default_rng(settings.seed).permutation(len(clips))
    held = max(1, round(VAL_SHARE * len(clips)))
    history: tuple[HistoryRow, ...] = ()
    grid, spectrum = grid_of(own), settings.spectrum_weight > 0
    scale = cepstra_scale(clips, grid, settings.seed) if spectrum else None
    places = [folder / f"round{number + 1}" for number in range(len(settings.units))]
    for number, place in enumerate(places):
        seed_everything(settings.seed, number)
        model = Pretrainer(own, settings.clusters, 0 if labels is None else len(clips.manifest.classes), spectrum)
        runtime.place(model)
        units = units_of_round(place, settings.units[number], own, clips, settings.clusters, settings.seed, runtime)
        task = _Task(model, clips, units, grid, scale, labels, order[held:], order[:held], settings, runtime, number)
        history = _round(task, place, history, resume)
    runtime.release(own.network)
    if runtime.rank == 0:
        for place in places:
            shutil.rmtree(place)
    return own.with_network(own.network.eval()), history


def _check(backbone: Backbone, clips: Examples, settings: Pretraining) -> None:
    if not hasattr(backbone.network, "architecture"):
        raise SettingsError(f"{backbone.id}: only networks of the wav2vec 2.0 family that need no transformers can be "
                            "pretrained (wav2vec2, hubert, wavlm, unispeech)")  # fmt: skip
    names = [stage.name for stage in backbone.stages]
    for number, unit in enumerate(settings.units):
        if unit not in SPECTRAL and unit not in names[1:-1]:
            raise SettingsError(f"--units: expected mfcc, cepstra or one of {', '.join(names[1:-1])}, found {unit!r}")
        if unit not in SPECTRAL and number == 0 and backbone.weights == "random":
            raise SettingsError("--units: a network without pretrained weights has no layers to find units in; begin "
                                "with mfcc")  # fmt: skip
    if len(clips) < 2:
        raise SettingsError(f"pretraining needs at least two clips, one of which is held out; found {len(clips)}")


def _round(task: _Task, place: Path, history: tuple[HistoryRow, ...], resume: bool) -> tuple[HistoryRow, ...]:
    settings, model, runtime = task.settings, task.model, task.runtime
    optimiser = _optimiser(model, settings)
    about = dataclasses.asdict(settings) | {"round": task.round, "clips": task.clips.manifest.fingerprints()}
    about = {name: value for name, value in about.items() if name not in ("device", "checkpoint_minutes")}
    position = TrainingState(history=history)
    if resume and has_checkpoint(place):
        position, _ = load_checkpoint(place, about, model, optimiser, runtime.scaler)
        log.info("resuming in round %d at update %d", task.round + 1, position.update)
    elif resume:
        log.warning("no checkpoint of round %d was kept before the run ended (one is every %g minutes): it begins "
                    "again at update 1", task.round + 1, settings.checkpoint_minutes)  # fmt: skip
    every = max(1, settings.updates // REPORTS)
    clock, agree = CheckpointClock(60 * settings.checkpoint_minutes), agreement(runtime.processes)
    ahead = ((update, _crops(task, update)) for update in range(position.update, settings.updates))
    with leaving_by_itself(), progress(f"round {task.round + 1} of {len(settings.units)}", settings.updates) as advance:
        advance(position.update, "")
        for update, crops, batch in _loaded(task, ahead):
            loss, weight = _update(task, optimiser, update, crops, batch)
            position = replace(position, update=update + 1, loss_sum=position.loss_sum + loss,
                               loss_weight=position.loss_weight + weight)  # fmt: skip
            advance(1, f"loss {position.loss_sum / position.loss_weight:.3f}")
            if (update + 1) % every == 0 or update + 1 == settings.updates:
                row: HistoryRow = {
                    "update": task.round * settings.updates + update + 1.0,
                    "learning_rate": optimiser.param_groups[0]["lr"],
                    "train_loss": position.loss_sum / position.loss_weight,
                }
                row |= _validate(task)
                log.info("update %d: train loss %.3f, held-out loss %.3f, masked units right %.3f", update + 1,
                         row["train_loss"], row["val_loss"], row["val_unit_accuracy"])  # fmt: skip
                position = replace(position, history=(*position.history, row), loss_sum=0.0, loss_weight=0.0)
            due, asked = agree((runtime.rank == 0 and clock.due(), asked_to_end()))
            if runtime.rank == 0 and (due or asked or update + 1 == settings.updates):
                began = time.monotonic()
                save_checkpoint(place, about, position, model, {}, optimiser, runtime.scaler)
                clock.saved(began)
            if asked:
                ask_oneself()
                runtime.wait()  # until it is written
                raise PreemptedError
    return position.history


def _crops(task: _Task, update: int) -> list[Crop]:
    """The crops of an update, the same in every process."""
    settings = task.settings
    generator = np.random.default_rng((settings.seed, task.round, update))
    count = _crop_count(settings)
    return draw_crops(task.train, [len(one) for one in task.units], count, task.grid.frames(settings.crop_seconds),
                      _masks(settings), generator)  # fmt: skip


def _crop_count(settings: Pretraining) -> int:
    return max(1, round(settings.batch_seconds / settings.crop_seconds))


def _masks(settings: Pretraining) -> Masks:
    return Masks(settings.mask_share, settings.mask_frames)


def _loaded(task: _Task, ahead: Iterator[tuple[int, list[Crop]]]) -> Iterator[tuple[int, list[Crop], CropBatch]]:
    """Batches of this process' crops, prepared by a thread while the one before is learnt from."""
    settings, runtime = task.settings, task.runtime

    def prepare(update: int, crops: list[Crop]) -> tuple[int, list[Crop], CropBatch]:
        places = list(runtime.share(range(len(crops))))
        seeds = [(settings.seed, task.round, update, place) for place in places] if settings.channels == "on" else None
        own = [crops[place] for place in places]
        return update, crops, crop_batch(task.clips, task.units, task.grid, own, seeds, task.scale)

    with ThreadPoolExecutor(1) as thread:
        waiting = None
        for update, crops in ahead:
            following = thread.submit(prepare, update, crops)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _optimiser(model: Pretrainer, settings: Pretraining) -> torch.optim.AdamW:
    named = dict(model.named_parameters())
    groups = []
    for decays in (True, False):
        tensors = [name for name, value in named.items() if (value.dim() > 1) == decays]
        groups.append({"params": [named[name] for name in tensors], "tensors": tensors,
                       "weight_decay": settings.weight_decay * decays})  # fmt: skip
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def _update(
    task: _Task, optimiser: torch.optim.Optimizer, update: int, crops: Sequence[Crop], batch: CropBatch
) -> tuple[float, float]:
    """One update; returns the summed loss of the masked frames, of all processes, and how many these are."""
    settings, model, runtime = task.settings, task.model, task.runtime
    masked, units = runtime.send_tensor(batch.masked), runtime.send_tensor(batch.units)
    seed_everything(settings.seed, task.round, update, runtime.rank)
    model.train()
    count = sum(int(crop.masked.sum()) for crop in crops)
    seen = sum(crop.frames for crop in crops) - count
    with runtime.autocast():
        projected, last = model(runtime.send(batch.waveforms), masked)
    frames = last.values.float()
    summed = F.cross_entropy(model.unit_logits(frames[masked]), units[masked], reduction="sum")
    loss = summed / count
    if settings.seen_weight and seen:
        others = ~masked & (units >= 0)
        easier = F.cross_entropy(model.unit_logits(frames[others]), units[others], reduction="sum")
        loss = loss + settings.seen_weight * easier / seen
    if batch.cepstra is not None:
        there = units >= 0
        error = model.spectrum_loss(projected[there], frames[there], runtime.send_tensor(batch.cepstra)[there])
        loss = loss + settings.spectrum_weight * error / (count + seen)
    if task.speakers is not None:
        own = torch.as_tensor(task.speakers[[crops[place].row for place in runtime.share(range(len(crops)))]])
        loss = loss + settings.speaker_weight * model.speaker_loss(last, runtime.send_tensor(own)) / len(crops)
    runtime.backward(loss)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    runtime.sum_gradients(parameters)
    total = runtime.total(float(summed.detach()))
    if not math.isfinite(total):
        raise TrainingError(f"the loss is {total} in update {update + 1}: lower --learning-rate")
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * rate_factor(update, settings.updates, 0.1)
    runtime.step(optimiser, parameters, settings.clip_norm)
    return total, float(count)


@torch.no_grad()
def _validate(task: _Task) -> HistoryRow:
    """Loss and share of right units at masked frames of one fixed crop of every clip held out."""
    generator = np.random.default_rng(task.settings.seed)
    task.model.eval()
    loss = right = count = 0.0
    most = task.grid.frames(task.settings.crop_seconds)
    for row in task.val:
        crop = draw_crop(int(row), len(task.units[row]), most, _masks(task.settings), generator)
        batch = crop_batch(task.clips, task.units, task.grid, [crop], None, None)
        masked = task.runtime.send_tensor(batch.masked)
        with task.runtime.autocast():
            _, last = task.model(task.runtime.send(batch.waveforms), masked)
        scores = task.model.unit_logits(last.values.float()[masked]).cpu()
        truth = batch.units[batch.masked]
        loss += float(F.cross_entropy(scores, truth, reduction="sum"))
        right += float((scores.argmax(1) == truth).sum())
        count += len(truth)
    return {"val_loss": loss / count, "val_unit_accuracy": right / count}
