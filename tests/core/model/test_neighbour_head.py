"""The nearest training examples, and how sure their vote is."""

import pytest
import torch

from graftwork.core.model.neighbour_head import TEMPERATURE, NeighbourHead, mean_vote
from graftwork.core.tasks import SINGLE_LABEL


def test_the_nearest_are_those_with_the_largest_cosine_after_centring_the_nearest_first():
    generator = torch.Generator().manual_seed(0)
    head = NeighbourHead(5, 3, SINGLE_LABEL.vote, 20)
    vectors, asked = torch.randn(20, 5, generator=generator), torch.randn(4, 5, generator=generator)
    head.centre.copy_(vectors.mean(0))
    head.vectors.copy_(torch.nn.functional.normalize(vectors - head.centre, dim=1))
    head.count.fill_(3)
    near, cosines = head.nearest(asked)
    every = torch.cosine_similarity((asked - head.centre)[:, None], (vectors - head.centre)[None], dim=2)
    expected = every.sort(dim=1, descending=True)
    assert torch.equal(near, expected.indices[:, :3])
    torch.testing.assert_close(cosines, expected.values[:, :3])


def test_equal_neighbours_count_as_many_and_a_far_one_hardly():
    values = torch.tensor([[[1.0], [0.0], [0.0], [1.0]]])
    votes, voters = mean_vote(values, torch.full((1, 4), 0.3), torch.ones_like(values))
    assert (float(votes), float(voters)) == pytest.approx((0.5, 4.0))
    votes, voters = mean_vote(values[:, :2], torch.tensor([[0.9, 0.9 - TEMPERATURE * 20]]), torch.ones(1, 2, 1))
    assert (float(votes), float(voters)) == pytest.approx((1.0, 1.0), abs=1e-6)


def test_a_class_that_no_neighbour_has_is_improbable_not_impossible():
    head = NeighbourHead(2, 2, SINGLE_LABEL.vote, 1)
    head.vectors.copy_(torch.tensor([[1.0, 0.0]]))
    head.values.copy_(torch.tensor([[1.0, 0.0]]))
    head.prior.copy_(torch.tensor([0.6, 0.4]))
    chances = head(torch.tensor([[1.0, 0.0]])).softmax(1)
    torch.testing.assert_close(chances, torch.tensor([[(1 + 0.6) / 2, 0.4 / 2]]))
