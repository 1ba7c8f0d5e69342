"""Speakers enrolled, verified, identified and judged; and backbones pretrained, on voices that differ in pitch."""

import json

import numpy as np
import pytest
import soundfile

from graftwork.audio.verification.prints import load_prints

PITCHES_HZ = {"anna": 180, "ben": 260, "cleo": 370, "dora": 520, "emil": 740, "fay": 1040, "gus": 1450, "hal": 2050,
              "ina": 2900, "jon": 4100}  # fmt: skip


@pytest.fixture
def bench(audio_bench):
    """Ten voices of three clips, and a cohort of other pitches."""
    generator = np.random.default_rng(0)
    time_s = np.arange(8000) / 16000
    (audio_bench.folder / "others").mkdir()

    def say(name, hz):
        tone = np.sin(2 * np.pi * hz * time_s * generator.uniform(0.99, 1.01))
        soundfile.write(audio_bench.folder / name, 0.3 * tone + generator.normal(0, 0.02, 8000), 16000)

    rows = ["path,speaker"]
    for speaker, hz in PITCHES_HZ.items():
        (audio_bench.folder / speaker).mkdir()
        for number in range(3):
            say(f"{speaker}/{number}.wav", hz)
            rows.append(f"{speaker}/{number}.wav,{speaker}")
    for number, hz in enumerate((150, 310, 430, 620, 880, 1700)):
        say(f"others/{number}.wav", hz)
    (audio_bench.folder / "voices.csv").write_text("\n".join(rows))
    return audio_bench


def judge(bench, *options):
    done = bench.run("trials", "hf:voice", "voices.csv", "--device", "cpu", "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_all_pairs_of_a_table_are_judged_with_intervals_by_speaker(bench):
    found = judge(bench, "--cohort", "others", "--out", "judged")
    about = found["cosine"]["about"]
    assert (about["trials"], about["targets"], about["speakers"]) == (435, 30, 10)
    for kind in ("cosine", "as-norm"):
        eer = found[kind]["eer"]
        assert eer["low"] <= eer["value"] <= eer["high"]
        assert 0 <= found[kind]["min_cllr"]["value"] <= found[kind]["cllr"]["value"] + 1e-9
    written = {path.name for path in (bench.folder / "judged").iterdir()}
    assert written == {"scores.csv", "metrics.json", "calibration.json", "det.png"}
    assert json.loads((bench.folder / "judged" / "metrics.json").read_text()) == found
    assert len((bench.folder / "judged" / "scores.csv").read_text().splitlines()) == 436


def test_a_list_of_trials_gives_what_the_same_pairs_of_a_table_give(bench):
    names = [f"{speaker}/{number}.wav" for speaker in PITCHES_HZ for number in range(3)]
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    lines = [f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}" for a, b in pairs]
    (bench.folder / "trials.txt").write_text("\n".join(lines))
    done = bench.run("trials", "hf:voice", "trials.txt", "--device", "cpu", "--json")
    assert json.loads(done.out)["cosine"] == judge(bench)["cosine"]


def test_a_list_that_names_what_is_not_there_is_refused_by_line(bench):
    (bench.folder / "trials.txt").write_text("1 anna/0.wav anna/1.wav\n0 anna/0.wav nobody/0.wav\n")
    done = bench.run("trials", "hf:voice", "trials.txt")
    assert done.code == 2
    assert "row 2: no such file: 'nobody/0.wav'" in done.err


def test_clips_that_cannot_be_read_are_named_by_line_or_left_out_with_their_trials(bench):
    soundfile.write(bench.folder / "anna" / "0.wav", np.zeros(8000), 16000)
    names = [f"{speaker}/{number}.wav" for speaker in ("anna", "ben") for number in range(3)]
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    (bench.folder / "trials.txt").write_text("\n".join(f"{int(a[0] == b[0])} {a} {b}" for a, b in pairs[::-1]))
    refused = bench.run("trials", "hf:voice", "trials.txt", "--device", "cpu")
    assert refused.code == 2
    assert f"row 11: {bench.folder / 'anna/0.wav'}: nothing but silence" in refused.err
    done = bench.run("trials", "hf:voice", "trials.txt", "--skip-unreadable", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [(one["row"], one["path"]) for one in found["left_out"]] == [(11, str(bench.folder / "anna/0.wav"))]
    kept = [pair for pair in pairs if "anna/0.wav" not in pair]
    (bench.folder / "kept.txt").write_text("\n".join(f"{int(a[0] == b[0])} {a} {b}" for a, b in kept[::-1]))
    alone = json.loads(bench.run("trials", "hf:voice", "kept.txt", "--json", "--device", "cpu").out)
    assert found["cosine"] == alone["cosine"]


def test_speakers_are_enrolled_with_the_clips_that_can_be_read(bench):
    for name in ("anna/0.wav", "ben/0.wav", "ben/1.wav", "ben/2.wav"):
        (bench.folder / name).write_text("no sound")
    refused = bench.run("enroll", "hf:voice", "voices.csv", "--out", "prints.safetensors", "--device", "cpu")
    assert refused.code == 2
    assert "4 examples cannot be used" in refused.err
    done = bench.run("enroll", "hf:voice", "voices.csv", "--out", "prints.safetensors", "--skip-unreadable",
                     "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    prints = load_prints(bench.folder / "prints.safetensors")
    assert "ben" not in prints.speakers
    assert prints.clips[prints.speakers.index("anna")] == 2


def test_a_single_clip_that_cannot_be_read_is_not_to_be_skipped(bench):
    (bench.folder / "broken.wav").write_text("no sound")
    done = bench.run("verify", "hf:voice", "anna/0.wav", "broken.wav", "--device", "cpu")
    assert done.code == 2
    assert "broken.wav: not a readable sound file" in done.err
    assert "--skip-unreadable" not in done.err


@pytest.fixture
def enrolled(bench):
    judge(bench, "--cohort", "others", "--out", "judged")
    done = bench.run("enroll", "hf:voice", "voices.csv", "--cohort", "others", "--calibration",
                     "judged/calibration.json", "--out", "prints.safetensors", "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == "10 speakers from 30 clips: prints.safetensors\n"
    return bench


def test_a_print_is_the_direction_between_a_speakers_clips(enrolled):
    prints = load_prints(enrolled.folder / "prints.safetensors")
    assert prints.speakers == tuple(sorted(PITCHES_HZ))
    assert prints.clips == (3,) * 10
    np.testing.assert_allclose(np.linalg.norm(prints.vectors, axis=1), 1.0, rtol=1e-5)


def test_a_clip_is_verified_against_a_speaker_with_a_probability(enrolled):
    found = {}
    for speaker in ("anna", "jon"):
        done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--prints", "prints.safetensors", "--speaker", speaker,
                            "--p-target", "0.5", "--json", "--device", "cpu")  # fmt: skip
        found[speaker] = json.loads(done.out)
    assert found["anna"]["accepted"] is True
    assert found["jon"]["accepted"] is False
    assert found["anna"]["probability"] > 0.5 > found["jon"]["probability"]
    assert found["anna"]["operating_point"] == "prior 0.5, a miss costs 1, a false alarm 1"


def test_two_clips_are_compared_and_scores_without_calibration_are_said_to_be_so(bench):
    done = bench.run("verify", "hf:voice", "anna/0.wav", "anna/1.wav", "--device", "cpu")
    assert done.code == 0
    assert "scores are not calibrated" in done.out
    same = bench.run("verify", "hf:voice", "anna/0.wav", "anna/0.wav", "--device", "cpu", "--threshold", "0.99")
    assert "score 1.0000" in same.out
    assert "accepted (score of at least 0.99)" in same.out


def test_clips_are_identified_or_unknown_and_a_batch_goes_on(enrolled):
    (enrolled.folder / "broken.wav").write_text("no sound")
    options = ("prints.safetensors", "anna/0.wav", "broken.wav", "jon/2.wav", "--device", "cpu", "--json")
    done = enrolled.run("identify", "hf:voice", *options, "--p-target", "0.5")
    rows = json.loads(done.out)
    assert [row["speaker"] for row in rows] == ["anna", None, "jon"]
    assert "not a readable sound file" in rows[1]["error"]
    assert "1 of 3 files could not be read" in done.err
    strict = json.loads(enrolled.run("identify", "hf:voice", *options, "--threshold", "1.5").out)
    assert [row["speaker"] for row in strict] == ["unknown", None, "unknown"]


def test_prints_of_other_weights_are_refused(enrolled):
    done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--prints", "prints.safetensors", "--speaker", "anna",
                        "--pooling", "mean")  # fmt: skip
    assert done.code == 2
    assert "were enrolled with other weights" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "hf:voice", "anna/0.wav"), "give either a second clip, or --prints with --speaker"),
        (("verify", "hf:voice", "anna/0.wav", "--prints", "prints.safetensors", "--speaker", "zoe"),
         "no speaker 'zoe'; enrolled are anna, ben"),
        (("identify", "hf:voice", "voices.csv", "anna/0.wav"), "cannot be read as speaker prints"),
        (("enroll", "hf:voice", "voices.csv", "--out", "prints.safetensors"), "exists already"),
        (("enroll", "hf:voice", "voices.csv", "--out", "new", "--calibration", "voices.csv"), "expected the cali"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(enrolled, arguments, said):
    done = enrolled.run(*arguments)
    assert done.code == 2
    assert said in done.err


def test_a_run_with_a_margin_is_a_source_of_embeddings(bench):
    done = bench.run("train", "voices.csv", "--target", "speaker", "--backbone", "hf:voice", "--head", "aam",
                     "--epochs", "3", "--out", "run", "--device", "cpu", "--test-fraction", "0.34")  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(bench.run("trials", "run", "voices.csv", "--json", "--device", "cpu").out)
    assert found["cosine"]["about"]["trials"] == 435
    enrolled = bench.run("enroll", "run", "voices.csv", "--out", "own.safetensors", "--device", "cpu")
    assert enrolled.code == 0
    assert load_prints(bench.folder / "own.safetensors").vectors.shape == (10, 192)


def test_pretraining_writes_a_backbone_that_other_commands_take(bench):
    config = json.loads((bench.folder / "voice" / "config.json").read_text())
    (bench.folder / "config.json").write_text(json.dumps(config))
    quick = ("--updates", "2", "--clusters", "4", "--batch-seconds", "2", "--crop-seconds", "0.5", "--device", "cpu")
    done = bench.run("pretrain", "others", "anna/*.wav", "--config", "config.json", *quick, "--out", "own")
    assert (done.code, done.out) == (0, "backbone: hf:own\n"), done.err
    written = {path.name for path in (bench.folder / "own").iterdir()}
    assert written == {"README.md", "config.json", "history.csv", "loss.png", "model.safetensors",
                       "preprocessor_config.json", "run.json"}  # fmt: skip
    assert "masked units right" in (bench.folder / "own" / "README.md").read_text()
    further = bench.run("pretrain", "voices.csv", "--backbone", "hf:own", "--speaker", "speaker", *quick, "--out", "on")
    assert further.code == 0, further.err
    assert bench.run("train", "table.csv", "--backbone", "hf:on", "--out", "run", "--device", "cpu").code == 0


@pytest.mark.parametrize("options", [(), ("--speaker", "speaker")])
def test_pretraining_names_the_rows_of_its_table_that_cannot_be_read(bench, options):
    for name in ("broken.wav", "words.wav"):
        (bench.folder / name).write_text("no sound")
    rows = (bench.folder / "voices.csv").read_text().splitlines()
    rows[2:2] = ["broken.wav,anna", "", "words.wav,ben"]
    (bench.folder / "voices.csv").write_text("\n".join(rows))
    done = bench.run("pretrain", "voices.csv", "--backbone", "hf:voice", "--out", "own", "--device", "cpu", *options)
    assert done.code == 2
    assert f"row 3: {bench.folder / 'broken.wav'}: not a readable sound file" in done.err
    assert f"row 5: {bench.folder / 'words.wav'}: not a readable sound file" in done.err


def test_pretraining_on_several_sources_has_files_without_rows(bench):
    (bench.folder / "broken.wav").write_text("no sound")
    source = ("voices.csv", "broken.wav")
    done = bench.run("pretrain", *source, "--backbone", "hf:voice", "--out", "own", "--device", "cpu")
    assert done.code == 2
    assert f"\n  {bench.folder / 'broken.wav'}: not a readable sound file" in done.err


def test_pretraining_takes_a_recording_for_a_recording_and_needs_two(bench):
    done = bench.run("pretrain", "anna/0.wav", "--backbone", "hf:voice", "--out", "own", "--device", "cpu")
    assert done.code == 2
    assert "pretraining needs at least two clips, one of which judges; found 1" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give either --backbone to go on from, or --config"),
        (("--backbone", "hf:voice", "--clusters", "1"), "clusters: expected at least 2, found 1"),
        (("--backbone", "hf:voice", "--units", "layer9"), "--units: expected mfcc, cepstra or one of"),
        (("--backbone", "hf:voice", "--clusters", "5000"), "--clusters 5000: the clips have"),
        (("--backbone", "hf:voice", "--resume"), "--resume goes on with an unfinished run, found no run"),
    ],
)
def test_mistakes_in_pretraining_are_explained(bench, options, said):
    done = bench.run("pretrain", "others", *options, "--out", "own", "--device", "cpu")
    assert done.code == 2
    assert said in done.err
