"""Manifests of clips in the ways that speech toolkits write them."""

import json

import pytest

from graftwork import audio
from graftwork.core.errors import ManifestError
from graftwork.core.example import Span


@pytest.fixture
def clips(tmp_path):
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.wav").write_bytes(name.encode())
    return tmp_path


def test_nemos_manifests_are_read(clips):
    rows = [{"audio_filepath": "data/a.wav", "text": "yes", "duration": 1.25},
            {"audio_filepath": "data/b.wav", "text": "no", "duration": 0.7, "offset": 0.2}]  # fmt: skip
    (clips / "train_manifest.json").write_text("\n".join(map(json.dumps, rows)))
    found = audio.read_manifest(clips / "train_manifest.json", target="text")
    assert found.paths[0] == str(clips / "data" / "a.wav")
    assert found.examples[1] == Span(str(clips / "data" / "b.wav"), "0.2", "0.9")
    assert found.task.name == "text"


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_speechbrains_manifests_are_read(clips, kind):
    if kind == "json":
        rows = {"u1": {"wav": "{data_root}/a.wav", "length": 1.0, "spk_id": "s1", "emo": "glad"},
                "u2": {"wav": "{data_root}/b.wav", "length": 2.0, "spk_id": "s2", "emo": "sad"}}  # fmt: skip
        (clips / "train.json").write_text(json.dumps(rows))
    else:
        (clips / "train.csv").write_text("ID,duration,wav,wav_format,wav_opts,spk_id,emo\n"
                                         "u1,1.0,$data_root/a.wav,wav,,s1,glad\n"
                                         "u2,2.0,$data_root/b.wav,wav,,s2,sad\n")  # fmt: skip
    found = audio.read_manifest(clips / f"train.{kind}", target="emo", root=clips / "data")
    assert found.paths == (str(clips / "data" / "a.wav"), str(clips / "data" / "b.wav"))
    assert found.groups == ("s1", "s2")
    assert found.targets.tolist() == ["glad", "sad"]


def test_speechbrains_samples_are_refused_by_name(clips):
    (clips / "train.csv").write_text("ID,wav,start,stop,emo\nu1,data/a.wav,0,16000,glad\nu2,data/b.wav,0,9,sad\n")
    with pytest.raises(ManifestError, match="column 'stop': counts samples in SpeechBrain's manifests"):
        audio.read_manifest(clips / "train.csv", target="emo")
