from __future__ import annotations

import pytest
import torch

from graftwork.audio.backbones.pooling import AttentivePooling, pool, pooled_dim

SEED = 0


def frames() -> torch.Tensor:
    return torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(SEED))


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_only_true_frames_count(pooling: str) -> None:
    values, lengths = frames(), torch.tensor([7, 3, 1])
    values[1, 3:] = 1e6
    values[2, 1:] = float("nan")
    pooled = pool(values, lengths, pooling)
    assert pooled.shape == (3, pooled_dim(4, pooling))
    for row, length in enumerate(lengths.tolist()):
        own = values[row, :length].double()
        expected = [own.mean(0)]
        if pooling == "mean+std":
            expected.append((own.var(0, unbiased=False) + 1e-8).sqrt())
        torch.testing.assert_close(pooled[row].double(), torch.cat(expected), rtol=1e-5, atol=1e-6)


def test_full_rows_pool_alike_with_and_without_lengths() -> None:
    values = frames()
    with_lengths = pool(values, torch.full((3,), 7), "mean+std")
    torch.testing.assert_close(pool(values, None, "mean+std"), with_lengths)


@pytest.mark.parametrize("lengths", [None, torch.tensor([1, 1, 1])])
def test_one_frame_has_a_finite_deviation_and_gradient(lengths: torch.Tensor | None) -> None:
    values = frames()[:, : 1 if lengths is None else 7].clone().requires_grad_()
    pooled = pool(values, lengths, "mean+std")
    torch.testing.assert_close(pooled[:, 4:], torch.full((3, 4), 1e-4))
    pooled.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad[:, 0], torch.ones(3, 4))


def attention() -> AttentivePooling:
    torch.manual_seed(1)
    made = AttentivePooling(4)
    torch.nn.init.normal_(made.score.weight)
    return made


def test_attention_begins_as_plain_statistics() -> None:
    values, lengths = frames(), torch.tensor([7, 3, 1])
    torch.testing.assert_close(AttentivePooling(4)(values, lengths), pool(values, lengths, "mean+std"))


def test_attentive_statistics_are_weighted_by_a_softmax_over_true_frames() -> None:
    values, lengths, made = frames(), torch.tensor([7, 3, 1]), attention()
    values[1, 3:] = 1e6
    pooled = made(values, lengths)
    for row, length in enumerate(lengths.tolist()):
        own = values[row, :length]
        scores = torch.tanh(own @ made.hidden.weight.T + made.hidden.bias) @ made.score.weight[0]
        weights = (scores.exp() / scores.exp().sum())[:, None]
        mean = (weights * own).sum(0)
        deviation = ((weights * own.square()).sum(0) - mean.square() + 1e-8).clamp_min(1e-8).sqrt()
        torch.testing.assert_close(pooled[row], torch.cat([mean, deviation]), rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(made(frames(), None), made(frames(), torch.full((3,), 7)))
