"""Clips that do not fit into memory are named with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from graftwork.audio import load_backbone, new_backbone
from graftwork.audio.sound import memory
from graftwork.core.errors import ContractError
from tests.audio.conftest import CONFIGS, tone


def test_the_need_of_a_clip_is_that_of_its_largest_tensors() -> None:
    """The first convolution has 16 channels and stride 5; WavLM has a bias for every head and pair of frames."""
    need = new_backbone(CONFIGS["wavlm group norm"]).contract.memory
    assert need.of(16000) == pytest.approx(3 * 16 * 3200 * 4)
    frames = 16_000_000 / 320
    assert need.of(16_000_000) == pytest.approx(2 * CONFIGS["wavlm group norm"]["num_attention_heads"] * frames**2 * 4)
    assert new_backbone(CONFIGS["hubert group norm"]).contract.memory.bytes_per_pair == 0


def test_a_clip_that_does_not_fit_is_named(write_sound: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound("a.wav", tone(4.0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "_memory_of_devices", lambda: 0)
    monkeypatch.setattr(memory, "_ASKED_FROM", 2_000_000)
    said = r"a\.wav: has 4 s, .* --max-seconds, or cut them with --window-seconds"
    with pytest.raises(ContractError, match=said):
        load_backbone("tiny:wav2vec2").contract.read(path)
    load_backbone("tiny:wav2vec2", max_seconds=1.0).contract.read(path)
    load_backbone("tiny:wav2vec2").contract.read(f"{path}#t=0,1")
    monkeypatch.setattr(memory, "_memory_of_devices", lambda: 80e9)
    load_backbone("tiny:wav2vec2").contract.read(path)


def test_a_recording_is_not_decoded_that_does_not_fit(
    write_sound: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graftwork.audio.sound.waveform import read_waveform

    path = write_sound("a.wav", tone(70.0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "_memory_of_devices", lambda: 0)
    with pytest.raises(ContractError, match=r"a\.wav: has 70 s"):
        read_waveform(path, 16000)
    assert len(read_waveform(path, 16000, max_seconds=1)) == 16000
