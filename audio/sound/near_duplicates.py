"""Recordings that are one: encoded anew, trimmed, at another sample rate or level.

Two takes of one word by one speaker have nearly the same spectrogram, so candidates that spectrograms name are compared
sample by sample: only one recording has the same waveform twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from graftwork.audio.sound.waveform import duration_of, read_waveform
from graftwork.core.data.content import content_digests
from graftwork.core.data.reading_threads import in_threads, reading_threads
from graftwork.core.data.similar_vectors import Floats, in_cells, similar_rows, unit, whitening
from graftwork.core.errors import GraftworkError
from graftwork.core.example import Example, File, Span, span_of
from graftwork.core.progress import progress

RATE_HZ, KEPT_RATE_HZ = 8000, 4000
"""Sound is looked at below 4 kHz, and its waveform is kept below 2 kHz: what codecs and telephones leave alone."""
MOST_SECONDS = 60.0
"""Of longer recordings the beginning is compared."""
WINDOW, HOP, BANDS = 512, 128, 24
FLOOR = 1e-5
LENGTH = 24
"""Frames around a peak of loudness, of 16 ms each."""
PEAKS, FRAMES_APART = 3, 10
COSINES_IN_TIME, COSINES_IN_BANDS, DIRECTIONS = 10, 10, 64
LEAST_COSINE, PARTNERS = 0.6, 6
LEAST_CORRELATION = 0.96
"""Of waveforms. Of 3000 spoken digits, 50 takes by each of 6 speakers, the most alike different ones have 0.94; see
examples/benchmarks/near_duplicates.py."""
LEAST_SHARED_OF_SHORTER, LEAST_SHARED_OF_LONGER = 0.8, 0.5
TONE_SAMPLES, TONE_CORRELATION = KEPT_RATE_HZ // 50, 0.9
"""What is so much like itself 20 ms later is a tone."""
FINER = 4
"""Lags that are looked at between two samples: a cut seldom lies on one."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """peaks: (peaks, values) float32, the spectrogram around each. waveform: (samples,) int8 at KEPT_RATE_HZ, the
    loudest sample 127."""

    peaks: Floats
    waveform: NDArray[np.int8]


def near_duplicates(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Pairs of numbers, the smaller first, of clips that are one recording: of which one lies in the other, to at least
    half. What cannot be decoded, or is silent, is like nothing."""
    found = []
    digest = dict(zip(examples, content_digests(examples), strict=True))
    with progress("comparing clips", len(examples)) as advance:
        for one in in_threads(lambda example: _remembered(example, digest[example]), examples):
            found.append(one)
            advance(1, "")
    return similar_fingerprints(found)


@lru_cache(maxsize=1024)
def _remembered(example: Example, of_bytes: str) -> Fingerprint | None:
    """The fingerprint, for as long as the file has these bytes: folds ask for the same files again and again."""
    return fingerprint(example)


def fingerprint(example: Example) -> Fingerprint | None:
    """How a clip sounds; None where it cannot be read or is silent."""
    try:
        if isinstance(example, File) and (duration_of(example.path) or 0.0) > MOST_SECONDS:
            example = span_of(example, 0.0, MOST_SECONDS)
        elif isinstance(example, Span) and example.end_s - example.start_s > MOST_SECONDS:
            example = span_of(example, example.start_s, example.start_s + MOST_SECONDS)
        return fingerprint_of(read_waveform(example, RATE_HZ, purpose="comparison").numpy())
    except GraftworkError:
        return None  # reading the example says what is wrong with it


def fingerprint_of(samples: Floats) -> Fingerprint | None:
    """Of sound (samples,) at RATE_HZ; None for silence, and for a steady tone, which is like all others of its kind."""
    samples = samples - samples.mean()
    low = np.fft.irfft(np.fft.rfft(samples)[: len(samples) // 4 + 1], len(samples) // 2)
    loudest = np.abs(low).max() if len(low) else 0.0
    if not loudest > 0:
        return None
    waveform = np.round(127 * low / loudest).astype(np.int8)
    if correlation(waveform, waveform, TONE_SAMPLES) >= TONE_CORRELATION:
        return None
    frames = _spectrogram(samples)
    padded = np.pad(frames, ((LENGTH // 2, LENGTH // 2), (0, 0)), constant_values=10 * np.log10(FLOOR))
    around = np.stack([padded[peak : peak + LENGTH] for peak in _peaks(frames)])
    cosines = _cosines(LENGTH, COSINES_IN_TIME) @ around @ _cosines(BANDS, COSINES_IN_BANDS).T
    peaks = cosines.reshape(len(around), -1)[:, 1:].astype(np.float32)
    return Fingerprint(peaks, waveform)


def similar_fingerprints(all_of_them: Sequence[Fingerprint | None]) -> list[tuple[int, int]]:
    """`near_duplicates` of fingerprints, by their place in the sequence."""
    there = [(row, one) for row, one in enumerate(all_of_them) if one is not None]
    if len(there) < 2:
        return []
    own = np.array([row for row, one in there for _ in one.peaks])
    peaks = np.concatenate([one.peaks for _, one in there])
    mean, matrix = whitening(peaks, DIRECTIONS)
    vectors = unit((peaks - mean) @ matrix)
    with threadpool_limits(1, user_api="blas"):
        asking, answer, _ = similar_rows(in_cells(vectors), vectors, LEAST_COSINE, PARTNERS)
    pairs = np.sort(np.stack([own[asking], own[answer]], axis=1), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
    known = dict(there)

    def same(pair: NDArray[np.int64]) -> bool:
        return correlation(known[int(pair[0])].waveform, known[int(pair[1])].waveform) >= LEAST_CORRELATION

    with reading_threads() as pool:
        return [(int(pair[0]), int(pair[1])) for pair, agree in zip(pairs, pool.map(same, pairs), strict=True) if agree]


def correlation(one: NDArray[np.int8], other: NDArray[np.int8], least_lag: int = 0) -> float:
    """Largest correlation, without its sign, of two waveforms (samples,) over all lags, of at least so many samples, at
    which they share enough; 0 where there is no such lag."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    least = max(LEAST_SHARED_OF_SHORTER * min(len(one), len(other)), LEAST_SHARED_OF_LONGER * max(len(one), len(other)))
    if least > min(len(one), len(other)):
        return 0.0
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(len(one) + len(other), real=True)
    spectrum = rfft(first, size) * np.conj(rfft(second, size))
    products = irfft(spectrum, FINER * size) * FINER
    lags = np.arange(-(len(other) - 1), len(one))
    begin, end = np.maximum(lags, 0), np.minimum(len(one), len(other) + lags)
    energies = [np.concatenate([[0.0], np.cumsum(values**2)]) for values in (first, second)]
    energy = (energies[0][end] - energies[0][begin]) * (energies[1][end - lags] - energies[1][begin - lags])
    near = np.abs(products[(FINER * lags[:, None] + np.arange(FINER) - FINER // 2) % len(products)]).max(1)
    shared = (end - begin >= least) & (energy > 0) & (np.abs(lags) >= least_lag)
    return float((near[shared] / np.sqrt(energy[shared])).max()) if shared.any() else 0.0


def _spectrogram(samples: Floats) -> NDArray[np.float64]:
    """(frames, BANDS): decibels in mel bands below the loudest, at least 10 log10(FLOOR)."""
    padded = np.pad(samples, WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows)) ** 2 @ _mel_bands().T
    decibels: NDArray[np.float64] = 10 * np.log10(power / power.max() + FLOOR)
    return decibels


def _mel_bands() -> NDArray[np.float64]:
    """(BANDS, frequencies): triangles that are equally wide in mel (O'Shaughnessy 1987), from 150 to 3400 Hz."""
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    mel, ends = (2595 * np.log10(1 + np.asarray(values) / 700) for values in (hertz, [150.0, 3400.0]))
    edges = np.linspace(ends[0], ends[1], BANDS + 2)
    rising = (mel - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - mel) / np.diff(edges)[1:, None]
    bands: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return bands


def _peaks(frames: NDArray[np.float64]) -> list[int]:
    """The loudest frames that are no louder than one beside them, and apart from each other."""
    loudness = np.convolve(frames.mean(axis=1), np.ones(5) / 5, "same")
    edged = np.pad(loudness, 1, constant_values=-np.inf)
    candidates = np.flatnonzero((loudness >= edged[:-2]) & (loudness >= edged[2:]))
    found: list[int] = []
    for place in candidates[np.argsort(-loudness[candidates], kind="stable")]:
        if len(found) < PEAKS and all(abs(place - other) >= FRAMES_APART for other in found):
            found.append(int(place))
    return found


def _cosines(length: int, count: int) -> NDArray[np.float64]:
    """(count, length): DCT-II."""
    return np.cos(np.pi * np.arange(count)[:, None] * (np.arange(length) + 0.5) / length)
