"""The network while it is pretrained: what it cannot see, and how it is evaluated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from graftwork.audio.pretraining.loop import pretrain
from graftwork.audio.pretraining.network import SPEAKER_MARGIN, SPEAKER_SCALE, Pretrainer
from graftwork.core.data.examples import Examples
from graftwork.core.model.backbone import Backbone
from graftwork.core.types import Features
from tests.audio.pretraining.conftest import QUICK, same


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
