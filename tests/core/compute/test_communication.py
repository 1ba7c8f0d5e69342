"""What several processes say to each other, and how one hears that another is gone."""

import pytest
import torch

from graftwork.core.compute.communication import agreement, communicating
from graftwork.core.errors import ProcessLostError


def test_a_process_that_is_gone_is_named_with_what_to_do():
    with pytest.raises(ProcessLostError, match=r"\(Connection closed by peer\).*from the last ch"), communicating():
        raise RuntimeError("Connection closed by peer")


def test_memory_that_does_not_suffice_is_no_lost_process():
    with pytest.raises(torch.OutOfMemoryError), communicating():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_one_process_agrees_with_itself():
    assert agreement(1)((True, False)) == (True, False)
