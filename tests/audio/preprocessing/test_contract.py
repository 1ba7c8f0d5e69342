from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graftwork.audio import AudioContract, load_backbone
from graftwork.core.errors import ContractError, SettingsError, UnreadableError
from tests.audio.conftest import tone

Write = Callable[..., Path]


def test_a_normalised_clip_equals_the_feature_extractor_of_transformers(write_sound: Write) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    path = write_sound("a.wav", tone(0.3) * np.float32(0.01) + np.float32(0.1), subtype="FLOAT")
    plain = AudioContract(normalise="none").read(path)
    expected = Wav2Vec2FeatureExtractor()(plain.numpy(), sampling_rate=16000).input_values[0]
    torch.testing.assert_close(AudioContract(normalise="clip").read(path), torch.from_numpy(expected))


def test_padding_a_short_clip_comes_after_normalising_and_at_its_end(write_sound: Write) -> None:
    read = AudioContract(normalise="clip", shortest_samples=400).read(write_sound("a.wav", tone(0.01)))
    assert len(read) == 400
    assert float(read[:160].mean()) == pytest.approx(0, abs=1e-6)
    assert float(read[:160].var(unbiased=False)) == pytest.approx(1, abs=1e-4)
    assert not read[160:].any()


def test_a_crop_is_never_longer_than_max_seconds(write_sound: Write) -> None:
    # A tenth of a second is 1102.5 samples at this rate: one more is read.
    path = write_sound("a.wav", tone(1.0, 11025), 11025)
    assert len(AudioContract(max_seconds=0.1).read(path)) == 1600


def test_a_batch_keeps_lengths_and_pads_with_zeros() -> None:
    short, long = torch.ones(400), torch.full((600,), 2.0)
    batch = AudioContract().collate([short, long])
    assert batch.values.shape == (2, 600)
    assert batch.lengths is not None
    assert batch.lengths.dtype == torch.int64
    assert batch.lengths.tolist() == [400, 600]
    assert torch.equal(batch.values[0], torch.cat([short, torch.zeros(200)]))
    assert torch.equal(batch.values[1], long)


@pytest.mark.parametrize("example", [torch.zeros(399), torch.zeros(1, 400)])
def test_a_batch_refuses_what_the_network_cannot_take(example: torch.Tensor) -> None:
    with pytest.raises(ContractError, match=r"example 1 .* at least 400 samples, found shape"):
        AudioContract().collate([torch.zeros(400), example])


def test_a_contract_survives_json() -> None:
    contract = AudioContract(8000, "clip", 200, 2.5)
    assert AudioContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_json_with_other_entries_is_refused() -> None:
    with pytest.raises(ContractError, match="sample_rate"):
        AudioContract.from_json({"sample_rate": 16000})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normalise": "batch"}, "found 'batch'"),
        ({"sample_rate_hz": 0}, "above 0"),
        ({"max_seconds": 0.02}, "at least 0.025 s"),
        ({"max_seconds": float("nan")}, "at least 0.025 s"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AudioContract(**values)  # type: ignore[arg-type]


def test_a_longer_clip_is_refused_where_a_transcript_belongs_to_all_of_it(write_sound: Write) -> None:
    path = write_sound("a.wav", tone(1.0))
    contract = load_backbone("tiny:wav2vec2", pooling="none", max_seconds=0.5).contract
    with pytest.raises(ContractError, match=r"a\.wav: has 1\.00 s, more than --max-seconds 0\.5"):
        contract.read(path)
    assert len(contract.read(f"{path}#t=0.2,0.7")) == 8000
    assert len(load_backbone("tiny:wav2vec2", max_seconds=0.5).contract.read(path)) == 8000


def test_named_seconds_are_cut_into_windows_of_their_own(write_sound: Write) -> None:
    path = write_sound("a.wav", tone(1.0))
    contract = AudioContract(window_seconds=0.25, window_overlap=0.0)
    assert list(map(str, contract.windows(f"{path}#t=0.25,0.75"))) == [f"{path}#t=0.250,0.500", f"{path}#t=0.500,0.750"]
    assert list(map(str, contract.windows(f"{path}#t=0.1,0.3"))) == [f"{path}#t=0.1,0.3"]


def test_named_seconds_are_cropped_to_their_own_middle(write_sound: Write) -> None:
    path = write_sound("a.wav", np.linspace(-0.9, 0.9, 16000, dtype=np.float32), subtype="FLOAT")
    whole = AudioContract().read(path)
    torch.testing.assert_close(AudioContract(max_seconds=0.25).read(f"{path}#t=0.25,0.75"), whole[6000:10000])


@pytest.mark.parametrize("seconds", ["nan,nan", "0,inf", "-1,0.5", "0.5,0.2", "0.5,0.5", "1.5,2", "0,3"])
def test_seconds_that_cannot_be_meant_are_refused(write_sound: Write, seconds: str) -> None:
    path = write_sound("a.wav", tone(1.0))
    for contract in (AudioContract(), AudioContract(window_seconds=0.25)):
        assert list(map(str, contract.windows(f"{path}#t={seconds}"))) == [f"{path}#t={seconds}"] or seconds == "0,3"
        with pytest.raises(UnreadableError, match="seconds"):
            contract.read(f"{path}#t={seconds}")
