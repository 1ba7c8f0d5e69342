"""The table of heads: what each builds, and what is said of one that is not there."""

import pytest
import torch
from torch import nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.head_records import EMBEDDING_DIM, HEADS, MLP_WIDTH, HeadShape, find_head
from graftwork.core.tasks.task import linear_layer


@pytest.mark.parametrize("name", HEADS)
def test_every_head_maps_vectors_to_the_outputs(name):
    layers = nn.Sequential(*find_head(name).layers(HeadShape(7, 3, 0.5, 30.0, linear_layer))).eval()
    assert layers(torch.randn(4, 7)).shape == (4, 3)
    dropped = [layer for layer in layers if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in dropped] == [0.5]


def test_only_the_linear_head_has_one_optimum_and_only_aam_gives_an_embedding():
    assert [record.name for record in HEADS.values() if record.convex] == ["linear"]
    assert [record.name for record in HEADS.values() if record.angular] == ["aam"]
    assert all(record.reason for record in HEADS.values() if record.single_labels)
    widths = {name: next(layer.out_features for layer in record.layers(HeadShape(7, 3, 0.0, 30.0, linear_layer))
                         if isinstance(layer, nn.Linear)) for name, record in HEADS.items()}  # fmt: skip
    assert widths == {"linear": 3, "mlp": MLP_WIDTH, "aam": EMBEDDING_DIM}


def test_outputs_of_the_angular_head_are_cosines_times_the_scale():
    layers = nn.Sequential(*find_head("aam").layers(HeadShape(7, 3, 0.0, 5.0, linear_layer))).eval()
    outputs = layers(1000 * torch.randn(50, 7))
    assert outputs.abs().max() <= 5.0001
    torch.testing.assert_close(
        layers[-1](10 * layers[:-1](torch.ones(1, 7))), layers[-1](layers[:-1](torch.ones(1, 7)))
    )


def test_an_unknown_head_is_answered_with_those_there_are():
    with pytest.raises(SettingsError, match="head: expected one of linear, mlp, aam, found 'tree'"):
        find_head("tree")
