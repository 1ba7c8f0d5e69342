"""Masked prediction: what is hidden, what has to be named, and that it is learnt, kept and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from graftwork.audio import load_backbone, new_backbone, save_backbone
from graftwork.audio.pretraining import loop as subject
from graftwork.audio.pretraining.loop import Pretraining, pretrain
from graftwork.core.compute.preemption import EndRequest, PreemptedError, listening_to
from graftwork.core.data.examples import Examples
from graftwork.core.errors import OutputError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features
from tests.audio.conftest import CONFIGS
from tests.audio.pretraining.conftest import QUICK, same


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
    settings = dataclasses.replace(QUICK, units=("cepstra", "layer2"), updates=4, checkpoint_minutes=0.0)
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


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_that_is_asked_to_end_keeps_the_update_under_way(
    clips: Examples, base_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """In fp16 with the scale of the loss, which overflows at first: on a CPU, which no run would be let to."""
    monkeypatch.setattr("graftwork.core.compute.runtime.choose_precision", lambda name, device: precision)
    monkeypatch.setattr("graftwork.core.compute.runtime.FIRST_SCALE", 2.0**40)
    settings = dataclasses.replace(QUICK, updates=40 if precision == "fp16" else 6)
    whole, course = pretrain(base_backbone, clips, settings, tmp_path / "whole", speakers=False, resume=False)
    real, request, calls = subject._update, EndRequest(), [0]

    def ask(*arguments: object) -> tuple[float, float]:
        calls[0] += 1
        if calls[0] == settings.updates - 2:
            request.asked.set()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(subject, "_update", ask)
    with listening_to(request), pytest.raises(PreemptedError):
        pretrain(base_backbone, clips, settings, tmp_path / "parts", speakers=False, resume=False)
    made, again = pretrain(base_backbone, clips, settings, tmp_path / "parts", speakers=False, resume=True)
    assert calls[0] == settings.updates
    assert same(made, whole)
    assert not same(made, base_backbone)
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
    assert caplog.text.count("no checkpoint of round 1 was kept before the run ended (one is every 5 minutes)") == 1


def test_a_run_is_not_resumed_with_other_settings(clips: Examples, base_backbone: Backbone, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, checkpoint_minutes=0.0)
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
