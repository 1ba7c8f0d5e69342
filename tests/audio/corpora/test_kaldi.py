"""Kaldi's data folders as tables: utterances, segments, speakers; commands are never run."""

import numpy as np
import pytest
import soundfile

from graftwork import audio
from graftwork.audio.sound.waveform import read_waveform
from graftwork.core.errors import ManifestError
from graftwork.core.example import Span

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", generator.uniform(-0.5, 0.5, RATE), RATE, subtype="FLOAT")

    def folder(**files):
        for name, text in files.items():
            (tmp_path / name.replace("wav_scp", "wav.scp")).write_text(text)
        return tmp_path

    return folder


def test_utterances_have_their_file_speaker_text_and_what_further_files_say(folder):
    source = folder(wav_scp="u1 one.wav\nu2  two.wav\n", utt2spk="u1 s1\nu2 s2\n", text="u1 hello there\nu2 good bye\n",
                    utt2accent="u1 us\nu2 uk\n", spk2gender="s1 f\ns2 m\n", utt2dur="u1 1\nu2 1\n")  # fmt: skip
    found = audio.read_manifest(source, target="accent", columns=["gender", "utterance"])
    assert found.paths == (str(source / "one.wav"), str(source / "two.wav"))
    assert found.groups == ("s1", "s2")
    assert found.targets.tolist() == ["us", "uk"]
    assert found.columns == {"gender": ("f", "m"), "utterance": ("u1", "u2")}
    assert found.sentences == ("hello there", "good bye")
    assert audio.read_manifest(source, target="text").task.name == "text"


def test_segments_are_the_seconds_that_soundfile_cuts(folder):
    source = folder(wav_scp="r1 one.wav\nr2 two.wav\n", segments="a r1 0.10 0.35\nb r1 0.50 1.00\nc r2 0 0.25\n",
                    utt2spk="a s1\nb s1\nc s2\n", text="a x\nb y\nc z\n")  # fmt: skip
    found = audio.read_manifest(source, target="speaker", task="single-label")
    assert found.examples[0] == Span(str(source / "one.wav"), "0.10", "0.35")
    for example, (name, start, end) in zip(found.examples, [("one", 0.1, 0.35), ("one", 0.5, 1.0), ("two", 0, 0.25)],
                                           strict=True):  # fmt: skip
        cut, _ = soundfile.read(source / f"{name}.wav", start=round(start * RATE), stop=round(end * RATE),
                                dtype="float32")  # fmt: skip
        np.testing.assert_array_equal(read_waveform(example, RATE).numpy(), cut)


def test_commands_are_refused_by_name_and_not_run(folder):
    source = folder(wav_scp="u1 one.wav\nu2 touch ran |\nu3 feats.ark:17\nu4\n", utt2spk="u1 s\n")
    with pytest.raises(ManifestError) as caught:
        audio.read_manifest(source, target="speaker")
    assert [str(problem) for problem in caught.value.problems] == [
        "row 2: 'u2' is made by a command, which is not run: 'touch ran |'; run it yourself and name the file that it "
        "writes",
        "row 3: 'u3' is part of an archive, 'feats.ark:17': write it to a file of its own",
        "row 4: 'u4' has no file",
    ]
    assert not (source / "ran").exists()


def test_problems_name_kaldis_file_and_line(folder):
    source = folder(wav_scp="u1 one.wav\nu2 gone.wav\n", utt2spk="u1 s1\n")
    with pytest.raises(ManifestError) as caught:
        audio.read_manifest(source, target="speaker", task="single-label")
    said = [str(problem) for problem in caught.value.problems]
    assert any("no such file: 'gone.wav'" in one and one.endswith("(wav.scp, row 2)") for one in said)
    assert any("empty" in one and one.endswith("(wav.scp, row 2)") for one in said)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "u1 one.wav\nu1 two.wav\n"}, "row 2: 'u1' is listed twice, first in row 1"),
        ({"wav_scp": "r1 one.wav\n", "segments": "a r9 0 1\n"}, "row 1: expected a recording of wav.scp"),
    ],
)
def test_folders_that_contradict_themselves_are_refused(folder, files, message):
    with pytest.raises(ManifestError, match=message):
        audio.read_manifest(folder(**files), target="speaker")
