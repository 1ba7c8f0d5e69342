"""Pictures from formulas: fractals, contours, textures, leaves and head-like phantoms, in classes of like parameters.

Each function takes the class, its random parameters drawn from that number alone, and a generator for what differs
between the pictures of a class; it gives grey values (SIDE, SIDE) in 0..1. No photograph or scan is looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIDE = 128
Picture = NDArray[np.float32]
Random = np.random.Generator

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE * 2 - 1
"""Coordinates of the pixels in -1..1."""


def fractal(kind: int, generator: Random) -> Picture:
    """The attractor of random affine maps, drawn by the chaos game (Kataoka et al. 2020, FractalDB)."""
    own = np.random.default_rng((1, kind))
    maps = _affine_maps(own)
    maps = maps * generator.uniform(0.85, 1.15, maps.shape)
    maps[:, :4] *= np.minimum(1.0, 0.95 / np.linalg.norm(maps[:, :4].reshape(-1, 2, 2), 2, axis=(1, 2)))[:, None]
    chance = np.abs(maps[:, 0] * maps[:, 3] - maps[:, 1] * maps[:, 2]) + 0.02
    points, drawn = np.zeros((256, 2)), []
    choices = generator.choice(len(maps), size=(110, 256), p=chance / chance.sum())
    for step, chosen in enumerate(choices):
        a, b, c, d, e, f = maps[chosen].T
        points = np.stack([a * points[:, 0] + b * points[:, 1] + e, c * points[:, 0] + d * points[:, 1] + f], axis=1)
        if step >= 10:
            drawn.append(points)
    places = np.concatenate(drawn)
    low, high = np.quantile(places, [0.01, 0.99], axis=0)
    index = ((places - low) / np.maximum(high - low, 1e-6) * 0.9 + 0.05) * SIDE
    inside = ((index >= 0) & (index < SIDE)).all(axis=1)
    flat = index[inside].astype(int) @ np.array([SIDE, 1])
    density = np.log1p(np.bincount(flat, minlength=SIDE * SIDE).reshape(SIDE, SIDE))
    return scaled(smooth(density.astype(np.float32), generator.uniform(0.4, 1.2)))


def _affine_maps(own: Random) -> NDArray[np.float64]:
    """2 to 6 contracting maps (maps, 6): a, b, c, d, then the shift e, f."""
    count = int(own.integers(2, 7))
    turn, tilt = own.uniform(0, 2 * np.pi, (2, count))
    wide, high = own.uniform(0.3, 0.9, (2, count))
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([wide * cos, -high * sin * np.cos(tilt), wide * sin, high * cos * np.cos(tilt),
                     *own.uniform(-1, 1, (2, count))], axis=1)  # fmt: skip


def contour(kind: int, generator: Random) -> Picture:
    """Nested closed lines or filled shapes whose radius is a sum of waves (after Kataoka et al. 2022, RCDB)."""
    own = np.random.default_rng((2, kind))
    waves = own.integers(2, 14, 3)
    strengths = own.uniform(0.05, 0.25, 3)
    lines, filled, squeeze = int(own.integers(1, 7)), own.random() < 0.5, own.uniform(0.5, 1.0)
    turn = generator.uniform(0, 2 * np.pi)
    x, y = COLUMNS - generator.uniform(-0.2, 0.2), ROWS - generator.uniform(-0.2, 0.2)
    x, y = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squeeze
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    shape = 1.0 + sum(
        strength * generator.uniform(0.7, 1.3) * np.cos(wave * angle + generator.uniform(0, 2 * np.pi))
        for wave, strength in zip(waves, strengths, strict=True)
    )
    level = radius / (np.maximum(shape, 0.2) * generator.uniform(0.5, 0.8))
    width = generator.uniform(0.02, 0.05)
    if filled:
        steps = np.floor(np.clip(level, 0, 1.0) * lines + 1e-6) / lines
        picture = (level < 1) * (1.0 - 0.7 * steps)
    else:
        places = np.arange(1, lines + 1) / lines
        picture = sum(np.exp(-(((level - place) / width) ** 2)) for place in places)
    return scaled(np.asarray(picture, dtype=np.float32))


def texture(kind: int, generator: Random) -> Picture:
    """Noise with a band of frequencies and orientations, bent by a nonlinearity."""
    own = np.random.default_rng((3, kind))
    peak, band = np.exp(own.uniform(np.log(0.02), np.log(0.3))), own.uniform(0.15, 0.8)
    aim, spread, slope = own.uniform(0, np.pi), own.choice([0.2, 0.5, 10.0]), own.uniform(0.0, 1.5)
    bend = int(own.integers(5))
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.hypot(fy, fx) + 1e-6
    off = np.angle(np.exp(2j * (np.arctan2(fy, fx) - aim - generator.normal(0, 0.1)))) / 2
    gain = np.exp(-((np.log(frequency / (peak * generator.uniform(0.85, 1.2))) / band) ** 2) - (off / spread) ** 2)
    gain = gain + 0.02 * (frequency / peak) ** -slope * (frequency < 0.5)
    gain[0, 0] = 0.0
    noise = np.fft.rfft2(generator.standard_normal((SIDE, SIDE)))
    values = np.fft.irfft2(noise * gain, s=(SIDE, SIDE))
    values /= values.std() + 1e-9
    bent = (values, np.abs(values), np.exp(-(values**2) * 4), np.tanh(values * 5), np.maximum(values, 0) ** 2)[bend]
    return scaled(bent.astype(np.float32))


def leaves(kind: int, generator: Random) -> Picture:
    """Overlapping shapes of one kind, sizes by a power law (dead leaves; Baradad et al. 2021)."""
    own = np.random.default_rng((4, kind))
    sides, slope, shaded = int(own.integers(0, 6)), own.uniform(0.5, 3.0), own.random() < 0.5
    smallest, squeeze = own.uniform(0.04, 0.12), own.uniform(0.3, 1.0)
    picture = np.full((SIDE, SIDE), generator.random(), dtype=np.float32)
    for _ in range(70):
        size = min(smallest * generator.random() ** (-1 / slope), 0.7)
        turn = generator.uniform(0, 2 * np.pi)
        x, y = COLUMNS - generator.uniform(-1.1, 1.1), ROWS - generator.uniform(-1.1, 1.1)
        x, y = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squeeze
        if sides < 3:
            inside = np.hypot(x, y) < size
        else:
            step = 2 * np.pi / sides
            angle = np.mod(np.arctan2(y, x), step) - step / 2
            inside = np.hypot(x, y) * np.cos(angle) < size * 0.8
        shade = generator.random() + (0.5 * x / size if shaded else 0.0)
        picture = np.where(inside, shade, picture).astype(np.float32)
    return scaled(picture)


TISSUES = ((0.15, 0.55, 0.75, 0.2), (0.3, 0.6, 0.45, 0.95), (0.7, 0.55, 0.4, 0.1), (0.9, 0.4, 0.45, 0.25))
"""Brightness of rim, outer tissue, inner tissue and fluid, of four kinds of scan."""
FINDINGS = ("none", "bright", "dark", "ring", "patchy", "many")


def phantom(kind: int, generator: Random) -> Picture:
    """A head-like slice: rim, folded outer tissue, inner tissue, two fluid chambers; with or without a finding."""
    scheme, finding = TISSUES[kind // 11], (kind % 11 + 1) // 2
    large = (kind % 11) % 2
    rim, outer, inner, fluid = np.clip(np.array(scheme) + generator.normal(0, 0.06, 4), 0, 1)
    turn = generator.normal(0, 0.15)
    x0, y0 = COLUMNS - generator.normal(0, 0.05), ROWS - generator.normal(0, 0.05)
    x, y = x0 * np.cos(turn) + y0 * np.sin(turn), y0 * np.cos(turn) - x0 * np.sin(turn)
    x, y = x / generator.uniform(0.6, 0.85), y / generator.uniform(0.75, 0.95)
    folds, fine = bumps(generator, generator.uniform(4, 9)), bumps(generator, generator.uniform(8, 18))
    radius = np.hypot(x, y) + 0.03 * bumps(generator, 2.0)
    picture = np.where(radius < 1, rim, 0.0)
    picture = np.where(radius < 0.9, fluid, picture)
    picture = np.where(radius + 0.05 * folds < 0.84, outer, picture)
    picture = np.where(radius + 0.12 * folds + 0.05 * fine < 0.66, inner, picture)
    shift, open_ = generator.uniform(0.1, 0.2), generator.uniform(0.05, 0.14)
    chamber = np.hypot((np.abs(x) - shift) / open_, (y - generator.uniform(-0.15, 0.1)) / generator.uniform(0.18, 0.4))
    if generator.random() < 0.75:
        picture = np.where(chamber + 0.2 * fine < 1, fluid, picture)
    if FINDINGS[finding] != "none":
        count = int(generator.integers(3, 7)) if FINDINGS[finding] == "many" else 1
        for _ in range(count):
            picture = _with_finding(picture, FINDINGS[finding], bool(large), count, (x, y, fine), generator)
    picture = picture * (1 + 0.15 * bumps(generator, 1.0)) * (1 + 0.05 * fine)
    picture = smooth(picture.astype(np.float32), generator.uniform(0.5, 1.2))
    noise = generator.normal(0, generator.uniform(0.005, 0.04), picture.shape)
    return np.clip(picture + noise, 0, 1).astype(np.float32)


def _with_finding(picture: Picture, name: str, large: bool, count: int, grid: tuple[Picture, ...],
                  generator: Random) -> Picture:  # fmt: skip
    x, y, fine = grid
    distance, angle = generator.uniform(0.1, 0.6), generator.uniform(0, 2 * np.pi)
    size = (generator.uniform(0.24, 0.4) if large else generator.uniform(0.12, 0.22)) / np.sqrt(count)
    far = np.hypot(x - distance * np.cos(angle), (y - distance * np.sin(angle)) * generator.uniform(0.7, 1.4))
    level = far / size + 0.18 * fine
    edge = generator.uniform(4, 14)
    inside = 1 / (1 + np.exp(np.clip((level - 1) * edge, -30, 30)))
    bright, dark = generator.uniform(0.8, 1.0), generator.uniform(0.0, 0.2)
    if name == "dark":
        value = np.full_like(picture, dark)
    elif name == "ring":
        value = np.where(level < 0.65, dark, bright)
    elif name == "patchy":
        value = 0.5 + 0.5 * np.tanh(3 * bumps(generator, 14.0))
    else:
        value = np.full_like(picture, bright)
    return (picture * (1 - inside) + value * inside).astype(np.float32)


def bumps(generator: Random, cycles: float) -> Picture:
    """Smooth noise (SIDE, SIDE) of unit deviation with about so many hills across."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    gain = np.exp(-((np.hypot(fy, fx) * SIDE / cycles) ** 2))
    values = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((SIDE, SIDE))) * gain, s=(SIDE, SIDE))
    return (values / (values.std() + 1e-9)).astype(np.float32)


def smooth(picture: Picture, pixels: float) -> Picture:
    """Blurred by a Gaussian of this deviation."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    gain = np.exp(-2 * (np.pi * pixels) ** 2 * (fy**2 + fx**2))
    return np.fft.irfft2(np.fft.rfft2(picture) * gain, s=(SIDE, SIDE)).astype(np.float32)


def scaled(picture: Picture) -> Picture:
    """Between its 0.5 % and 99.5 % quantiles, as 0..1."""
    low, high = np.quantile(picture, [0.005, 0.995])
    return np.clip((picture - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


FAMILIES: tuple[tuple[Callable[[int, Random], Picture], int, int], ...] = (
    (fractal, 160, 50), (contour, 120, 50), (texture, 120, 50), (leaves, 40, 50), (phantom, 44, 240),
)  # fmt: skip
"""Function, number of classes, pictures of each class."""

CLASSES = sum(classes for _, classes, _ in FAMILIES)


def draw(number: int) -> tuple[Picture, int]:
    """Picture and class of a number from 0 to `total()` - 1, the same every time."""
    first_class = 0
    for family, classes, each in FAMILIES:
        if number < classes * each:
            kind = number // each
            return family(kind, np.random.default_rng((5, first_class + kind, number % each))), first_class + kind
        number -= classes * each
        first_class += classes
    raise IndexError(number)


def total() -> int:
    return sum(classes * each for _, classes, each in FAMILIES)
