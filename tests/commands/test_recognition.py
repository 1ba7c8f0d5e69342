"""Transcripts learnt, evaluated and written: tones stand for letters."""

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from graftwork import audio

from .conftest import VOICE

LETTERS_HZ = {"a": 300, "b": 700, "c": 1500, "d": 3100}


@pytest.fixture
def bench(audio_bench):
    """48 clips of two to four letters, a tone of 0.12 s each with a gap, by two speakers."""
    generator = np.random.default_rng(0)
    rows = ["path,text,speaker"]
    for number in range(48):
        word = "".join(generator.choice(list(LETTERS_HZ), generator.integers(2, 5)))
        parts = [generator.normal(0, 0.01, 1600)]
        for letter in word:
            tone = np.sin(2 * np.pi * LETTERS_HZ[letter] * np.arange(1920) / 16000)
            parts += [0.5 * tone, np.zeros(960)]
        sound = np.concatenate(parts)
        soundfile.write(audio_bench.folder / f"w{number}.wav", sound + generator.normal(0, 0.01, len(sound)), 16000)
        rows.append(f"w{number}.wav,{word.upper()},s{number % 6}")
    (audio_bench.folder / "words.csv").write_text("\n".join(rows))
    return audio_bench


def train(bench, *options, out="run"):
    """Tones that spell the same word are one recording but for its noise: they would be kept together."""
    options = ("--near-duplicates", "ignore", *options)
    return bench.run("train", "words.csv", "--target", "text", "--backbone", "hf:voice", "--out", out, "--device",
                     "cpu", "--seed", "0", *options)  # fmt: skip


@pytest.mark.slow
def test_tones_are_written_down_after_a_run_from_scratch(bench):
    """Slow: sixty epochs of a tiny network, until it spells words of tones by speakers it has not heard."""
    done = train(bench, "--strategy", "scratch", "--epochs", "60", "--patience", "60", "--learning-rate", "0.005",
                 "--augment", "off", "--batch-size", "8")  # fmt: skip
    assert done.code == 0, done.err
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())["test"]
    assert numbers["cer"]["value"] < 0.3
    assert numbers["about"]["groups"] is not None
    written = bench.run("transcribe", "run", "w0.wav", "words.csv", "--json", "--device", "cpu")
    rows = json.loads(written.out)
    predicted = bench.run("predict", "run", "w0.wav", "words.csv", "--json", "--device", "cpu")
    assert [row["text"] for row in rows] == [row["prediction"] for row in json.loads(predicted.out)]


@pytest.mark.parametrize("strategy", ["probe", "partial:1", "lora", "layers:2"])
def test_strategies_run_with_folds_and_evaluate_every_row_once(bench, strategy):
    done = train(bench, "--strategy", strategy, "--epochs", "1", "--folds", "2")
    assert done.code == 0, done.err
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]
    assert numbers["about"]["rows"] == 48
    assert {"wer", "cer", "word_accuracy"} <= numbers.keys()
    lines = (bench.folder / "run" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 49
    assert (bench.folder / "run" / "evaluation.png").is_file()


def test_a_batch_goes_on_where_a_file_cannot_be_read_and_labels_are_refused(bench):
    assert train(bench, "--epochs", "1").code == 0
    (bench.folder / "broken.wav").write_text("no sound")
    rows = json.loads(bench.run("transcribe", "run", "broken.wav", "w0.wav", "--json").out)
    assert rows[0]["text"] is None
    assert "not a readable sound file" in rows[0]["error"]
    assert isinstance(rows[1]["text"], str)
    assert bench.train(out="labels").code == 0
    refused = bench.run("transcribe", "labels", "w0.wav")
    assert refused.code == 2
    assert "predicts 'label', which is no text" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "knn"), "knn: neighbours have labels or numbers, not text"),
        (("--head", "aam"), "it needs single labels, the task is text"),
        (("--pooling", "mean"), "a text target needs frames"),
        (("--vocabulary", "words.csv"), "expected a vocab.json"),
        (("--vocabulary", "checkpoint"), "there is no vocab.json"),
    ],
)
def test_what_text_cannot_do_is_explained(bench, options, said):
    done = train(bench, *options)
    assert done.code == 2
    assert said in done.err


def test_transcripts_too_long_for_their_clips_are_all_named_before_training(bench):
    rows = (bench.folder / "words.csv").read_text().splitlines()
    rows[1] = f"w0.wav,{'abcd' * 40},s0"
    rows[7] = f"w6.wav,{'abcd' * 40},s0"
    (bench.folder / "broken.wav").write_text("no sound")
    rows.append("broken.wav,ab,s1")
    (bench.folder / "words.csv").write_text("\n".join(rows))
    done = train(bench, "--epochs", "1", "--folds", "2")
    assert done.code == 2
    assert "3 examples cannot be used (--skip-unreadable leaves them out)" in done.err
    for row, name in ((2, "w0.wav"), (8, "w6.wav")):
        assert f"row {row}: {bench.folder / name}: the transcript is too long for the clip" in done.err
    assert "its characters need 160 frames" in done.err
    assert not bench.left()
    skipped = train(bench, "--epochs", "1", "--folds", "2", "--skip-unreadable")
    assert skipped.code == 0, skipped.err
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert [one["row"] for one in numbers["left_out"]] == [2, 8, 50]
    assert numbers["out-of-fold"]["about"]["rows"] == 46


@pytest.fixture
def spelling(bench):
    """A checkpoint with a head for text, of random weights that spell something."""
    folder = bench.folder / "spelling"
    torch.manual_seed(3)
    audio.save_backbone(audio.new_backbone(VOICE), folder)
    weights = load_file(folder / "model.safetensors")
    weights |= {"lm_head.weight": torch.randn(6, VOICE["hidden_size"]), "lm_head.bias": torch.zeros(6)}
    save_file(weights, folder / "model.safetensors")
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1, "A": 2, "B": 3, "C": 4, "D": 5}))
    return "hf:spelling"


def texts(bench, source, *options):
    done = bench.run("transcribe", source, "words.csv", "--json", *options)
    assert done.code == 0, done.err
    return [row["text"] for row in json.loads(done.out)]


def test_training_begins_with_what_the_checkpoint_writes_down(bench, spelling):
    untouched = texts(bench, spelling)
    assert len(set(untouched)) > 10
    done = train(
        bench, "--backbone", spelling, "--vocabulary", "checkpoint", "--learning-rate", "1e-12", "--epochs", "1"
    )
    assert done.code == 0, done.err
    assert texts(bench, "run") == untouched
    assert json.loads((bench.folder / "run" / "adapter.json").read_text())["classes"] == ["", *" abcd"]
    assert texts(bench, spelling, "--decoder", "beam") != untouched


def test_characters_that_the_checkpoint_does_not_have_are_named_with_their_row(bench, spelling):
    rows = (bench.folder / "words.csv").read_text().splitlines()
    rows[3] = "w2.wav,abxy,s0"
    (bench.folder / "words.csv").write_text("\n".join(rows))
    done = train(bench, "--backbone", spelling, "--vocabulary", "checkpoint")
    assert done.code == 2
    assert "row 4, column 'text': characters outside the vocabulary: 'x' 'y'" in done.err


def test_pictures_have_no_text_to_learn(imaging_bench):
    rows = imaging_bench.labelled()
    table = imaging_bench.write_table(rows, header="path,text")
    done = imaging_bench.train("--target", "text", table=table)
    assert done.code == 2
    assert "'text' is text, which imaging cannot learn" in done.err
    refused = imaging_bench.train("--target", "text", "--vocabulary", "checkpoint", table=table, out="other")
    assert refused.code == 2
    assert "No such option: --vocabulary" in refused.err
