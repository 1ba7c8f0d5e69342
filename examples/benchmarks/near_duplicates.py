"""How many near-duplicates are found, how many of what is found are some, and how long it takes.

    python examples/benchmarks/near_duplicates.py scans/
    python examples/benchmarks/near_duplicates.py set.npz clips/
    python examples/benchmarks/near_duplicates.py --scale 100000

For every kind of change, `--pairs` examples get a changed copy that is put beside them and all others. Recall: share of
copies in one set with what they were made of. Precision: share of the pairs found whose examples were made of one, or
were in one set before any change; those are counted in the line before. `--scale`
times the search in generated pictures of one kind, of which one in a hundred has a changed copy.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.audio.sound.formats import SUFFIXES as SOUNDS
from graftwork.audio.sound.near_duplicates import RATE_HZ, fingerprint_of, similar_fingerprints
from graftwork.audio.sound.waveform import resample
from graftwork.core.cli.console import print_table
from graftwork.core.data.near_duplicates import joined
from graftwork.imaging.formats.near_duplicates import similar_thumbnails
from graftwork.imaging.formats.scan_files import read_scan
from graftwork.imaging.formats.thumbnails import SIDE, thumbnails
from graftwork.imaging.scan import PICTURES, Scan

Array = NDArray[Any]
Clip = tuple[Array, int]
"""Samples, and how many there are in a second."""


@dataclass(frozen=True)
class Found:
    """recall, precision: 0 to 1. seconds: of the search, fingerprints not included."""

    recall: float
    precision: float
    seconds: float


def resized(picture: Array, rng: np.random.Generator) -> Array:
    """At 0.6 to 1.8 times its size, with Pillow's Lanczos filter."""
    from PIL import Image

    factor = rng.uniform(0.6, 1.8)
    size = [max(2, round(factor * length)) for length in picture.shape[::-1]]
    return np.asarray(Image.fromarray(picture.astype(np.float32)).resize(size, Image.Resampling.LANCZOS))


def as_jpeg(picture: Array, rng: np.random.Generator) -> Array:
    """Saved as JPEG of quality 50 to 90."""
    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(kept, "JPEG", quality=int(rng.integers(50, 91)))
    return np.asarray(Image.open(kept)).astype(np.float32)


def cropped(picture: Array, rng: np.random.Generator) -> Array:
    """Nine tenths of each side, anywhere."""
    lengths = [round(0.9 * length) for length in picture.shape]
    starts = [int(rng.integers(0, whole - part + 1)) for whole, part in zip(picture.shape, lengths, strict=True)]
    return picture[starts[0] : starts[0] + lengths[0], starts[1] : starts[1] + lengths[1]]


def brightened(picture: Array, rng: np.random.Generator) -> Array:
    """Contrast 0.6 to 1.2, brightness -15 to 15, within 0 to 255."""
    return np.clip(picture * rng.uniform(0.6, 1.2) + rng.uniform(-15, 15), 0, 255)


def all_at_once(picture: Array, rng: np.random.Generator) -> Array:
    """Cropped, mirrored, brighter and saved as JPEG."""
    return as_jpeg(brightened(cropped(picture, rng)[:, ::-1], rng), rng)


PICTURE_KINDS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "resize": resized,
    "jpeg": as_jpeg,
    "crop": cropped,
    "mirror": lambda picture, rng: picture[:, ::-1],
    "brightness": brightened,
    "all of them": all_at_once,
}


def encoded(form: str, kind: str) -> Callable[[Clip, np.random.Generator], Clip]:
    """Written by soundfile in that format and read again."""

    def change(clip: Clip, rng: np.random.Generator) -> Clip:
        import soundfile

        kept = io.BytesIO()
        soundfile.write(kept, clip[0], clip[1], format=form, subtype=kind)
        kept.seek(0)
        samples, rate = soundfile.read(kept, dtype="float32")
        return samples, int(rate)

    return change


def trimmed(clip: Clip, rng: np.random.Generator) -> Clip:
    """Up to a tenth cut off at both ends."""
    samples, rate = clip
    before, behind = (int(rng.uniform(0, 0.1) * len(samples)) for _ in range(2))
    return samples[before : len(samples) - behind], rate


def at_another_rate(clip: Clip, rng: np.random.Generator) -> Clip:
    """At 6000, 11025, 16000 or 44100 Hz."""
    import torch

    rate = int(rng.choice([6000, 11025, 16000, 44100]))
    return resample(torch.from_numpy(np.ascontiguousarray(clip[0])), clip[1], rate).numpy(), rate


SOUND_KINDS: dict[str, Callable[[Clip, np.random.Generator], Clip]] = {
    "mp3": encoded("MP3", "MPEG_LAYER_III"),
    "ogg": encoded("OGG", "VORBIS"),
    "flac": encoded("FLAC", "PCM_16"),
    "mu-law": encoded("WAV", "ULAW"),
    "trim": trimmed,
    "rate": at_another_rate,
    "gain": lambda clip, rng: ((clip[0] * 10 ** rng.uniform(-1, 0)).astype(np.float32), clip[1]),
}


def thumbnails_of(pictures: Sequence[Array]) -> list[Any]:
    """How each picture (height, width) looks."""
    return [thumbnails(Scan(np.ascontiguousarray(one[None], dtype=np.float32), "generated")) for one in pictures]


def fingerprints_of(clips: Sequence[Clip]) -> list[Any]:
    """How each clip sounds."""
    import torch

    found = []
    for samples, rate in clips:
        sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        found.append(fingerprint_of(resample(sound, rate, RATE_HZ).numpy()))
    return found


def evaluate(
    known: Sequence[Any], changed: Sequence[Any], chosen: Sequence[int], search: Callable[[list[Any]], Any]
) -> Found:
    """known: what is compared of every example; changed: of a changed copy of every chosen one."""
    before = joined(len(known), search(list(known)))
    started = time.monotonic()
    found = search([*known, *changed])
    seconds = time.monotonic() - started
    truth, sets = np.concatenate([before, before[list(chosen)]]), joined(len(known) + len(changed), found)
    recall = float((sets[len(known) :] == sets[list(chosen)]).mean())
    return Found(recall, sum(truth[one] == truth[other] for one, other in found) / max(1, len(found)), seconds)


def judge_pictures(
    pictures: Sequence[Array], change: Callable[[Array, np.random.Generator], Array], pairs: int, seed: int
) -> Found:
    """What becomes of changed copies of so many of the pictures."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(pictures))[:pairs].tolist()
    changed = thumbnails_of([change(pictures[row], rng) for row in chosen])
    return evaluate(thumbnails_of(pictures), changed, chosen, similar_thumbnails)


def judge_clips(
    clips: Sequence[Clip], change: Callable[[Clip, np.random.Generator], Clip], pairs: int, seed: int
) -> Found:
    """What becomes of changed copies of so many of the clips."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(clips))[:pairs].tolist()
    changed = fingerprints_of([change(clips[row], rng) for row in chosen])
    return evaluate(fingerprints_of(clips), changed, chosen, similar_fingerprints)


def generated_pictures(count: int, seed: int, side: int = 96, common: float = 1.0) -> list[Array]:
    """Pictures (side, side) of one kind, 0 to 255: noise of natural spectrum over a pattern that all of them share."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    fall = 1 / np.maximum(frequency, 1 / side) ** 1.5

    def noise() -> Array:
        drawn = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * fall, (side, side))
        return drawn / drawn.std()

    shared, found = common * noise(), []
    for _ in range(count):
        picture = shared + noise()
        found.append((255 * (picture - picture.min()) / np.ptp(picture)).astype(np.float32))
    return found


def generated_clips(count: int, seed: int) -> list[Clip]:
    """Clips of a second at RATE_HZ: gliding tones with overtones, louder and softer, over a little noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(RATE_HZ) / RATE_HZ
    found = []
    for _ in range(count):
        pitch = np.interp(times, np.linspace(0, 1, 6), rng.uniform(90, 250, 6))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
        tones = sum(rng.uniform(0.1, 1) / number * np.sin(number * phase + rng.uniform(0, 6)) for number in range(1, 9))
        level = np.interp(times, np.linspace(0, 1, 9), rng.uniform(0.05, 1, 9))
        sound = 0.2 * level * tones + rng.normal(0, 0.002, RATE_HZ)
        found.append((sound.astype(np.float32), RATE_HZ))
    return found


def pictures_in(source: Path) -> list[Array]:
    """All pictures below a folder, or of a MedMNIST archive, grey (height, width)."""
    if source.suffix == ".npz":
        with np.load(source) as arrays:
            images = np.concatenate([arrays[name] for name in arrays if name.endswith("_images")])
        return [image.astype(np.float32) if image.ndim == 2 else image.mean(-1) for image in images]
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in PICTURES)
    return [read_scan(str(file)).values.mean(0) for file in files]


def clips_in(source: Path) -> list[Clip]:
    """All sound files below a folder, of one channel."""
    import soundfile

    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in SOUNDS)
    read = [soundfile.read(file, dtype="float32", always_2d=True) for file in files]
    return [(samples.mean(axis=1), int(rate)) for samples, rate in read]


def time_search(count: int) -> str:
    """How long the search takes in so many generated thumbnails, and what it finds."""
    pictures, batch = np.empty((count, 1, SIDE, SIDE), dtype=np.uint8), 5000
    for start in range(0, count, batch):
        drawn = generated_pictures(min(batch, count - start), seed=start, side=SIDE, common=0.0)
        pictures[start : start + batch, 0] = np.stack(drawn).astype(np.uint8)
    shared = generated_pictures(1, seed=count, side=SIDE)[0].astype(np.uint8) // 2
    pictures = pictures // 2 + shared
    planted = count // 100
    for place in range(planted):
        copy = pictures[place, 0] if place % 2 else pictures[place, 0, :, ::-1]
        pictures[count - 1 - place, 0] = copy * 0.8 + 20
    started, cpu = time.monotonic(), time.process_time()
    found = set(similar_thumbnails(list(pictures)))
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    right = sum((place, count - 1 - place) in found for place in range(planted))
    return (f"{count} thumbnails: {seconds:.0f} s ({cpu:.0f} s of a processor), {right} of {planted} copies found, "
            f"{len(found) - right} other pairs")  # fmt: skip


def main() -> None:
    """Prints a table for every source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="folders of pictures or clips, MedMNIST archives")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, help="time the search in so many generated pictures")
    asked = parser.parse_args()
    for source in asked.sources:
        pictures = pictures_in(source)
        if pictures:
            before = similar_thumbnails(thumbnails_of(pictures))
            results = {kind: judge_pictures(pictures, change, asked.pairs, asked.seed)
                       for kind, change in PICTURE_KINDS.items()}  # fmt: skip
        else:
            clips = clips_in(source)
            before = similar_fingerprints(fingerprints_of(clips))
            results = {kind: judge_clips(clips, change, asked.pairs, asked.seed)
                       for kind, change in SOUND_KINDS.items()}  # fmt: skip
        print(f"{source}: {len(pictures) or len(clips)} examples, {len(before)} pairs before any change")
        rows = [
            (kind, f"{one.recall:.3f}", f"{one.precision:.3f}", f"{one.seconds:.1f}") for kind, one in results.items()
        ]
        print_table(["change", "recall", "precision", "seconds"], rows)
    if asked.scale:
        print(time_search(asked.scale))


if __name__ == "__main__":
    main()
