"""Masked prediction: what is hidden, what has to be named, and that it is learnt, kept and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from graftwork.audio import load_backbone, new_backbone, save_backbone
from graftwork.audio.preprocessing.contract import normalise_clip
from graftwork.audio.pretraining import loop as subject
from graftwork.audio.pretraining.loop import Pretraining, pretrain
from graftwork.audio.pretraining.masked_crops import (
    Crop,
    Masks,
    cepstra_of,
    cepstra_scale,
    crop_batch,
    draw_crop,
    draw_crops,
    grid_of,
)
from graftwork.audio.pretraining.network import SPEAKER_MARGIN, SPEAKER_SCALE, Pretrainer
from graftwork.audio.pretraining.units import find_units, mfcc_frames, unit_shares
from graftwork.core.data.examples import Examples, read_examples
from graftwork.core.data.manifest import Manifest
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS

HZ = [300, 900, 2700, 5000]
QUICK = Pretraining(updates=6, clusters=4, batch_seconds=2.0, crop_seconds=0.5, mask_frames=3, device="cpu")


@pytest.fixture
def clips(tmp_path: Path, base_backbone: Backbone) -> Examples:
    """Eight clips of 0.5 to 0.76 s of four tones in turn, by two speakers of different loudness."""
    generator = np.random.default_rng(0)
    paths, speakers = [], np.array([0, 1] * 4)
    for number, speaker in enumerate(speakers):
        tones = [np.sin(2 * np.pi * hz * np.arange(3200) / 16000) for hz in generator.permutation(HZ)]
        samples = np.concatenate(tones)[: 8000 + 600 * number] * (0.2 + 0.5 * speaker)
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], samples + 0.01 * generator.standard_normal(len(samples)), 16000)
    return read_examples(
        Manifest("generated", tuple(paths), "single-label", "speaker", ("a", "b"), speakers), base_backbone.contract
    )


def same(one: Backbone, other: Backbone) -> bool:
    return one.digest() == other.digest()


@pytest.mark.parametrize("samples", [400, 719, 720, 8000, 16001])
def test_there_is_one_mfcc_frame_for_every_frame_of_the_network(base_backbone: Backbone, samples: int) -> None:
    grid = grid_of(base_backbone)
    frames = mfcc_frames(torch.randn(samples), grid)
    network = base_backbone.run(Features(torch.randn(1, samples)), 0, 1).values
    assert frames.shape == (network.shape[1], 39)
    assert grid.samples(len(frames)) <= samples < grid.samples(len(frames) + 1)


def test_the_mfcc_of_a_frame_come_from_the_samples_of_that_frame(base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    clip = torch.randn(8000)
    changed = clip.clone()
    changed[5 * grid.hop : 5 * grid.hop + grid.window] = 0.0
    before, after = (mfcc_frames(one, grid)[:, :13] for one in (clip, changed))
    moved = np.flatnonzero(np.abs(before - after).max(1) > 1e-4)
    assert set(moved) == {4, 5, 6}  # windows overlap by 80 samples


def test_units_are_the_clusters_that_are_there() -> None:
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 3, 40) for _ in range(5)]
    clips = [(10 * np.eye(3)[one] + generator.normal(size=(40, 3))).astype(np.float32) for one in truth]
    units = find_units(clips, 3, seed=0)
    pairs = {(a, b) for one, other in zip(truth, units, strict=True) for a, b in zip(one, other, strict=True)}
    assert len(pairs) == 3
    np.testing.assert_allclose(sorted(unit_shares(units, 3)), sorted(np.bincount(np.concatenate(truth)) / 200))
    with pytest.raises(SettingsError, match="--clusters 300: the clips have 200 frames"):
        find_units(clips, 300, seed=0)


def test_crops_lie_within_their_clips_and_hide_whole_spans() -> None:
    generator = np.random.default_rng(0)
    crops = draw_crops(np.array([1, 3]), [0, 30, 0, 90], 200, 40, Masks(0.05, 6), generator)
    assert {crop.row for crop in crops} == {1, 3}
    assert 0.6 < np.mean([crop.row == 3 for crop in crops]) < 0.9  # in proportion to 90 of 120 frames
    for crop in crops:
        assert crop.frames == min(40, 30 if crop.row == 1 else 90)
        assert 0 <= crop.start <= (30 if crop.row == 1 else 90) - crop.frames
        assert len(crop.masked) == crop.frames
        edges = np.flatnonzero(np.diff(np.concatenate([[0], crop.masked, [0]])))
        spans = edges[1::2] - edges[::2]
        assert len(spans)
        assert all(length >= 6 for length, end in zip(spans, edges[1::2], strict=True) if end < crop.frames)


def test_a_batch_holds_the_samples_and_the_units_of_its_frames(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    units = [np.arange(100) for _ in range(8)]
    long = draw_crop(7, 40, 20, Masks(0.1, 3), np.random.default_rng(1))
    crops = [Crop(2, 4, 10, np.arange(10) < 3), long]
    scale = cepstra_scale(clips, grid, 0)
    batch = crop_batch(clips, units, grid, crops, None, scale)
    features, masked, wanted = batch.waveforms, batch.masked, batch.units
    assert features.lengths is not None
    assert features.lengths.tolist() == [grid.samples(10), grid.samples(20)]
    part = clips.tensor(2)[4 * grid.hop : 4 * grid.hop + grid.samples(10)]
    expected = (part - part.mean()) / torch.sqrt(part.var(unbiased=False) + 1e-7)
    torch.testing.assert_close(features.values[0, : grid.samples(10)], expected)
    assert wanted[0].tolist() == [*range(4, 14), *[-1] * 10]
    assert masked[0].tolist() == [*[True] * 3, *[False] * 17]
    assert wanted[1].tolist() == list(range(long.start, long.start + 20))
    assert batch.cepstra is not None
    clean = (cepstra_of(expected, grid) - scale.mean) / scale.deviation
    torch.testing.assert_close(batch.cepstra[0, :10], clean, rtol=1e-3, atol=1e-3)
    assert not batch.cepstra[0, 10:].any()


def test_what_is_to_be_told_does_not_pass_the_channel(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    units, crops = [np.arange(100) for _ in range(8)], [Crop(2, 4, 10, np.arange(10) < 3)]
    scale = cepstra_scale(clips, grid, 0)
    clean, other = (crop_batch(clips, units, grid, crops, seeds, scale) for seeds in (None, [(0, 1)]))
    assert not torch.allclose(clean.waveforms.values, other.waveforms.values)
    assert clean.cepstra is not None
    assert other.cepstra is not None
    torch.testing.assert_close(clean.cepstra, other.cepstra)


def test_mfcc_of_clips_are_standardised(clips: Examples, base_backbone: Backbone) -> None:
    grid = grid_of(base_backbone)
    scale = cepstra_scale(clips, grid, 0)
    frames = torch.cat([cepstra_of(normalise_clip(clips.tensor(row)), grid) for row in range(len(clips))])
    torch.testing.assert_close(((frames - scale.mean) / scale.deviation).std(0), torch.ones(13), rtol=1e-3, atol=1e-3)


def test_what_is_hidden_cannot_be_seen(base_backbone: Backbone) -> None:
    """With every frame masked, the output does not depend on the sound; with none, it is the backbone's own."""
    model = Pretrainer(base_backbone.copy(), 4, 0).eval()
    one, other = Features(torch.randn(1, 8000)), Features(torch.randn(1, 8000))
    everything = torch.ones(1, 24, dtype=torch.bool)
    with torch.no_grad():
        hidden = [model(sound, everything) for sound in (one, other)]
        torch.testing.assert_close(hidden[0][1].values, hidden[1][1].values)
        assert not torch.allclose(hidden[0][0], hidden[1][0])
        shown = [model(sound, everything & False)[1].values for sound in (one, other)]
        assert not torch.allclose(*shown)
        torch.testing.assert_close(model(one, None)[1].values, base_backbone.run(one, 0, -1).values)


def test_the_speakers_loss_is_a_softmax_of_cosines_with_a_margin(base_backbone: Backbone) -> None:
    model = Pretrainer(base_backbone.copy(), 4, 3)
    frames, speakers = torch.randn(2, 9, 32), torch.tensor([2, 0])
    pooled = torch.cat([frames.mean(1), frames.std(1, unbiased=False)], 1)
    cosine = torch.cosine_similarity(pooled[:, None], model.speaker_vectors[None], dim=2)
    expected = 0.0
    for row, speaker in enumerate(speakers.tolist()):
        scores = SPEAKER_SCALE * cosine[row]
        scores[speaker] -= SPEAKER_SCALE * SPEAKER_MARGIN
        expected -= float(scores.log_softmax(0)[speaker].detach())
    assert float(model.speaker_loss(Features(frames), speakers).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_spectrum_is_told_from_both_ends_of_the_network(
    clips: Examples, base_backbone: Backbone, tmp_path: Path
) -> None:
    model = Pretrainer(base_backbone.copy(), 4, 0, spectrum=True)
    frames, cepstra = torch.randn(5, 32), torch.randn(5, 13)
    expected = sum(float(((to(frames) - cepstra) ** 2).mean(1).sum().detach()) for to in model.to_cepstra)
    assert float(model.spectrum_loss(frames, frames, cepstra).detach()) == pytest.approx(expected, rel=1e-5)
    assert len(Pretrainer(base_backbone.copy(), 4, 0).to_cepstra) == 0
    with_it, without = (
        pretrain(base_backbone, clips, dataclasses.replace(QUICK, updates=1, spectrum_weight=weight),
                 tmp_path / str(weight), speakers=False, resume=False)[0] for weight in (1.0, 0.0)
    )  # fmt: skip
    assert not same(with_it, without)


@pytest.mark.slow
def test_hidden_units_are_learnt(clips: Examples, base_backbone: Backbone, tmp_path: Path) -> None:
    """Slow: 150 updates, until masked tones are named from what stands around them."""
    settings = dataclasses.replace(QUICK, updates=150, mask_share=0.02, learning_rate=3e-3)
    made, history = pretrain(base_backbone, clips, settings, tmp_path / "run", speakers=False, resume=False)
    losses = np.array([row["train_loss"] for row in history], dtype=float)
    assert losses[-5:].mean() < 0.85 * losses[:2].mean()
    assert not same(made, base_backbone)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_can_be_pretrained_and_saved(name: str, clips: Examples, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = new_backbone(CONFIGS[name])
    before = start.digest()
    settings = dataclasses.replace(QUICK, updates=2, speaker_weight=0.5, spectrum_weight=0.5, channels="on")
    made, history = pretrain(start, clips, settings, tmp_path / "run", speakers=True, resume=False)
    assert start.digest() == before
    assert made.digest() != before
    assert [row["update"] for row in history] == [1.0, 2.0]
    again = load_backbone(save_backbone(made, tmp_path / "saved"))
    waveforms = Features(torch.randn(2, 8000))
    torch.testing.assert_close(again.run(waveforms).values, made.run(waveforms).values)
    assert list((tmp_path / "run").iterdir()) == []


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    clips: Examples, base_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, units=("cepstra", "layer2"), updates=4, checkpoint_seconds=0.0)
    whole, course = pretrain(base_backbone, clips, settings, tmp_path / "whole", speakers=False, resume=False)
    real, calls = subject._update, [0]

    def stop(*arguments: object) -> tuple[float, float]:
        calls[0] += 1
        if calls[0] == 7:  # in the second round
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(subject, "_update", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(base_backbone, clips, settings, tmp_path / "parts", speakers=False, resume=False)
    made, again = pretrain(base_backbone, clips, settings, tmp_path / "parts", speakers=False, resume=True)
    assert calls[0] == 9
    assert same(made, whole)
    assert again == course


def test_in_fp16_an_update_that_overflows_is_passed_over(
    clips: Examples, base_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, which no run would be let to; the first scale is so large that gradients overflow."""
    monkeypatch.setattr("graftwork.core.compute.runtime.choose_precision", lambda name, device: "fp16")
    monkeypatch.setattr("graftwork.core.compute.runtime.FIRST_SCALE", 2.0**40)
    one = dataclasses.replace(QUICK, updates=1)
    made, _ = pretrain(base_backbone, clips, one, tmp_path / "one", speakers=False, resume=False)
    assert same(made, base_backbone)
    many = dataclasses.replace(QUICK, updates=40)
    made, history = pretrain(base_backbone, clips, many, tmp_path / "many", speakers=False, resume=False)
    assert not same(made, base_backbone)
    assert all(bool(value.isfinite().all()) for value in made.network.state_dict().values())
    assert all(np.isfinite(row["train_loss"] or np.nan) for row in history)


def test_a_resumed_run_without_a_checkpoint_says_that_it_begins_again(
    clips: Examples, base_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def stop(*arguments: object) -> tuple[float, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(subject, "_update", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(base_backbone, clips, QUICK, tmp_path / "run", speakers=False, resume=False)
    assert "begins again" not in caplog.text
    pretrain(base_backbone, clips, QUICK, tmp_path / "run", speakers=False, resume=True)
    assert caplog.text.count("no checkpoint of round 1 was kept before the run ended (one is every 300 s)") == 1


def test_a_run_is_not_resumed_with_other_settings(clips: Examples, base_backbone: Backbone, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, checkpoint_seconds=0.0)
    (tmp_path / "run" / "round1").mkdir(parents=True)
    pretrain(base_backbone, clips, settings, tmp_path / "run", speakers=False, resume=False)
    with pytest.raises(SettingsError, match="--units: expected mfcc, cepstra or one of"):
        pretrain(base_backbone, clips, dataclasses.replace(settings, units=("pool",)), tmp_path / "other",
                 speakers=False, resume=False)  # fmt: skip
    with pytest.raises(SettingsError, match="no layers to find units in"):
        pretrain(dataclasses.replace(base_backbone, weights="random"), clips,
                 dataclasses.replace(settings, units=("layer1",)), tmp_path / "other",
                 speakers=False, resume=False)  # fmt: skip


def test_settings_that_cannot_work_are_named() -> None:
    with pytest.raises(SettingsError, match=r"clusters: expected at least 2, found 1; mask_share") as caught:
        Pretraining(clusters=1, mask_share=1.0)
    assert "between 0 and 1" in str(caught.value)
    assert issubclass(OutputError, Exception)
