"""What only the audio command line meets: recordings that cannot be used, and other ways to write a clip."""

import csv
import io
import json

import numpy as np
import pytest
import soundfile


@pytest.fixture
def bench(audio_bench):
    return audio_bench


@pytest.fixture
def spoiled(bench):
    """The good rows, and behind them one of every kind of recording that cannot be used."""
    whole = (bench.folder / "00.wav").read_bytes()
    (bench.folder / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (bench.folder / "words.wav").write_text("no sound")
    (bench.folder / "empty.wav").write_bytes(b"")
    soundfile.write(bench.folder / "none.wav", np.zeros(0), 16000)
    soundfile.write(bench.folder / "silent.wav", np.zeros(8000), 16000)
    noise = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    noise[5] = np.nan
    soundfile.write(bench.folder / "holes.wav", noise, 16000, subtype="FLOAT")
    names = ("truncated.wav", "words.wav", "empty.wav", "none.wav", "silent.wav", "holes.wav")
    return bench.write_table([*bench.labelled(), *((name, "plain") for name in names)])


REASONS = (
    "truncated.wav: truncated: its header claims 12000 bytes of sound, 5978 are there",
    "words.wav: not a readable sound file",
    "empty.wav: the file is empty (0 bytes)",
    "none.wav: holds no samples (0 s)",
    "silent.wav: nothing but silence",
    "holes.wav: 1 of 8000 samples are NaN or infinite",
)


def test_recordings_that_cannot_be_used_are_reported_all_at_once(bench, spoiled):
    found = bench.train(table=spoiled)
    assert (found.code, found.out) == (2, "")
    lines = found.err.splitlines()
    assert lines[0] == "error: 6 examples cannot be used (--skip-unreadable leaves them out):"
    assert len(lines) == 7
    for row, (line, reason) in enumerate(zip(lines[1:], REASONS, strict=True), start=26):
        assert line.startswith(f"  row {row}: ")
        assert reason in line
    assert not bench.left()


def test_recordings_that_cannot_be_used_are_left_out_and_listed_on_request(bench, spoiled):
    done = bench.train("--folds", 2, "--skip-unreadable", table=spoiled)
    assert done.code == 0
    assert done.err.count("left out: row") == 6
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())
    assert numbers["out-of-fold"]["about"]["rows"] == 24
    assert [one["row"] for one in numbers["left_out"]] == [26, 27, 28, 29, 30, 31]
    rows = json.loads(bench.run("predict", "run", "00.wav", "silent.wav", "--skip-unreadable", "--json").out)
    assert [row["error"] is None for row in rows] == [True, False]
    assert rows[1]["prediction"] is None


def test_rate_channels_and_format_of_a_recording_do_not_matter(bench):
    assert bench.train("--folds", 2).code == 0
    samples, _ = soundfile.read(bench.folder / "01.wav")
    soundfile.write(bench.folder / "stereo.flac", np.column_stack([samples, samples]), 16000)
    twice = np.interp(np.arange(2 * len(samples)) / 2, np.arange(len(samples)), samples)
    soundfile.write(bench.folder / "fast.wav", twice, 32000)
    found = bench.run("predict", "run", "01.wav", "stereo.flac", "fast.wav").out
    assert [row["prediction"] for row in csv.DictReader(io.StringIO(found))] == ["marked"] * 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--backbone", "WAV2VEC2_BASE"), "nearest: torchaudio:WAV2VEC2_BASE"),
        (("--backbone", "hf:./absent"), "hf:./absent: no such folder"),
        (("--pooling", "max"), "pooling must be one of mean, mean+std, attentive, checkpoint, none, found 'max'"),
        (("--max-seconds", "0"), "max_seconds must be at least 0.025 s"),
    ],
)
def test_settings_of_speech(bench, options, said):
    found = bench.train(*options)
    assert found.code == 2
    assert said in found.err
    assert not bench.left()


def test_a_checkpoint_of_the_hub_without_a_network(bench):
    found = bench.train("--backbone", "hf:facebook/wav2vec2-base")
    assert found.code == 2
    assert "hf:facebook/wav2vec2-base needs config.json" in found.err
    assert "give hf:FOLDER" in found.err
    assert not bench.left()


def test_random_weights_are_drawn_again_from_the_seed(bench):
    assert bench.train("--weights", "random", "--folds", 2).code == 0
    assert bench.run("predict", "run", "00.wav").code == 0


def test_long_recordings_are_learnt_and_evaluated_in_windows_with_a_timeline(bench):
    """Two recordings a label of three seconds: high and low tones; the last one changes halfway."""
    generator = np.random.default_rng(0)
    time_s = np.arange(16000) / 16000

    def say(hz):
        return 0.3 * np.sin(2 * np.pi * hz * time_s) + generator.normal(0, 0.02, 16000)

    rows = []
    for number in range(8):
        marked = number % 2
        soundfile.write(bench.folder / f"long{number}.wav", np.concatenate([say(200 + 500 * marked)] * 3), 16000)
        rows.append((f"long{number}.wav", ("plain", "marked")[marked]))
    done = bench.train("--window-seconds", "1", "--window-overlap", "0", "--folds", "2", "--device", "cpu",
                       table=bench.write_table(rows))  # fmt: skip
    assert done.code == 0, done.err
    numbers = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]
    assert numbers["about"]["rows"] == 8
    soundfile.write(bench.folder / "talk.wav", np.concatenate([say(200), say(200), say(700)]), 16000)
    found = bench.run("predict", "run", "talk.wav", "00.wav", "--timeline", "times.csv", "--device", "cpu")
    assert found.code == 0, found.err
    table = list(csv.DictReader(io.StringIO(found.out)))
    times = list(csv.DictReader((bench.folder / "times.csv").open()))
    assert len(table) == 2
    assert [(row["start_s"], row["end_s"]) for row in times] == [("0", "1"), ("1", "2"), ("2", "3"), ("", "")]
    assert [row["prediction"] for row in times[:3]] == ["plain", "plain", "marked"]
    mean = np.mean([float(row["probability_plain"]) for row in times[:3]])
    assert float(table[0]["probability_plain"]) == pytest.approx(mean, rel=1e-6)
    assert table[0]["prediction"] == "plain"
    # Seconds that are named are rows of their own, and a window that cannot be read is named, not passed over.
    holes = np.concatenate([say(200), say(200), say(700)]).astype(np.float32)
    holes[20000] = np.nan
    soundfile.write(bench.folder / "holes.wav", holes, 16000, subtype="FLOAT")
    found = bench.run("predict", "run", "talk.wav#t=2,3", "talk.wav#t=0,2", "talk.wav", "holes.wav",
                      "--skip-unreadable", "--timeline", "times.csv", "--device", "cpu")  # fmt: skip
    table = list(csv.DictReader(io.StringIO(found.out)))
    assert [row["prediction"] for row in table[:3]] == ["marked", "plain", "plain"]
    assert [float(row["probability_plain"]) for row in table[:3]] == pytest.approx(
        [float(times[2]["probability_plain"]),
         np.mean([float(row["probability_plain"]) for row in times[:2]]), mean], rel=1e-6)  # fmt: skip
    assert [row["error"][:40] for row in table] == ["", "", "", "1 of 3 windows could not be read, the fi"]
    holed = [row for row in csv.DictReader((bench.folder / "times.csv").open()) if row["path"].endswith("holes.wav")]
    assert [("NaN or infinite" in row["error"], row["prediction"]) for row in holed] == [
        (False, "plain"), (True, ""), (False, "marked")]  # fmt: skip
    assert bench.run("predict", "run", "holes.wav", "--timeline", "none.csv").code == 2
    assert not (bench.folder / "none.csv").exists()


def test_a_timeline_holds_every_run(bench):
    assert bench.train("--folds", "2", "--window-seconds", "0.2", out="one").code == 0
    assert bench.train("--folds", "2", "--window-seconds", "0.3", "--seed", "1", out="two").code == 0
    done = bench.run("predict", "one", "two", "00.wav", "--timeline", "times.csv")
    assert done.code == 0, done.err
    times = list(csv.DictReader((bench.folder / "times.csv").open()))
    starts = [(row["start_s"], bool(row["one.prediction"]), bool(row["two.prediction"])) for row in times]
    assert starts == sorted(starts, key=lambda row: float(row[0]))
    assert {row[1:] for row in starts} == {(True, False), (False, True)}


def test_windows_and_crops_exclude_each_other(bench):
    done = bench.train("--window-seconds", "1", "--max-seconds", "2")
    assert done.code == 2
    assert "max_seconds crops what window_seconds would cut" in done.err
