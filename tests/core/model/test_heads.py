"""What a head computes."""

import pytest
import torch
from torch import nn

from graftwork.core.errors import SettingsError
from graftwork.core.model.heads import Head
from graftwork.core.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_vectors_are_standardised_and_results_brought_to_the_targets_scale(kind):
    torch.manual_seed(0)
    head = Head(5, 2, kind).eval()
    vectors = torch.randn(7, 5)
    for name in ("centre", "spread", "shift", "scale"):
        head.get_buffer(name).uniform_(0.5, 2)
    expected = head.layers((vectors - head.centre) / head.spread) * head.scale + head.shift
    assert torch.equal(head(vectors), expected)
    assert head(vectors).shape == (7, 2)


def test_the_four_buffers_are_saved_with_the_head():
    assert {"centre", "spread", "shift", "scale"} <= Head(3, 1).state_dict().keys()


def test_dropout_stands_before_the_last_layer_and_is_off_in_evaluation():
    torch.manual_seed(0)
    for kind in ("linear", "mlp"):
        head = Head(6, 3, kind, dropout=0.5)
        assert isinstance(head.layers[-2], nn.Dropout)
        vectors = torch.randn(4, 6)
        assert not torch.equal(head(vectors), head(vectors))
        head.eval()
        assert torch.equal(head(vectors), head(vectors))


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(SettingsError, match="expected one of linear, mlp, aam, found 'deep'"):
        Head(3, 2, "deep")


def test_outputs_are_as_many_as_classes_and_one_for_a_number():
    assert SINGLE_LABEL.output_count(("a", "b", "c")) == 3
    assert MULTI_LABEL.output_count(("a",)) == 1
    assert REGRESSION.output_count(()) == 1


def test_probabilities_are_softmax_sigmoid_or_the_number_itself():
    outputs = torch.tensor([[0.0, 1.0], [3.0, -1.0]])
    assert torch.equal(SINGLE_LABEL.probabilities(outputs), torch.softmax(outputs, 1))
    assert torch.equal(MULTI_LABEL.probabilities(outputs), torch.sigmoid(outputs))
    assert torch.equal(REGRESSION.probabilities(outputs), outputs)
