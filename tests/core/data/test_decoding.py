"""What decoders raise becomes an error that names the file."""

import pytest

from graftwork.core.data.decoding import decoding
from graftwork.core.errors import ContractError, UnreadableError


@pytest.mark.parametrize(("error", "said"), [
    (KeyError("tag"), "'tag'"), (AssertionError(), "AssertionError"), (MemoryError(), "MemoryError"),
    (ValueError("first line\nsecond"), "first line"), (RecursionError("deep"), "deep"),
])  # fmt: skip
def test_whatever_a_decoder_raises_names_the_file_and_the_fault(error, said):
    with pytest.raises(UnreadableError) as caught, decoding("a.dcm", "is damaged"):
        raise error
    assert str(caught.value) == f"a.dcm: is damaged: {said}"
    assert caught.value.__cause__ is error


def test_errors_of_this_program_and_interruptions_go_through():
    with pytest.raises(ContractError, match=r"^too small$"), decoding("a.dcm", "is damaged"):
        raise ContractError("too small")
    with pytest.raises(KeyboardInterrupt), decoding("a.dcm", "is damaged"):
        raise KeyboardInterrupt
