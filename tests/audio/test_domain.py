"""What the core is told of clips."""

import pytest

from graftwork.audio.domain import DOMAIN


@pytest.mark.parametrize(("backbone", "name"), [
    ("hf:facebook/wav2vec2-base", "facebook/wav2vec2-base"), ("torchaudio:WAVLM_BASE", None), ("hf:voice", None),
])  # fmt: skip
def test_the_hub_is_named_for_backbones_that_come_from_it(backbone, name):
    assert DOMAIN.hub_model(backbone) == name
