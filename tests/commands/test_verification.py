"""Speakers enrolled, verified, identified and evaluated; and backbones pretrained, on voices that differ in pitch."""

import inspect
import json

import numpy as np
import pytest
import soundfile

from graftwork.audio import enroll, identify, trials, verify
from graftwork.audio.cli import COMMANDS
from graftwork.audio.verification.profiles import load_profiles
from graftwork.audio.verification.scoring import DetectionCost

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


def evaluate(bench, *options):
    done = bench.run("trials", "hf:voice", "voices.csv", "--device", "cpu", "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_all_pairs_of_a_table_are_evaluated_with_intervals_by_speaker(bench):
    found = evaluate(bench, "--cohort", "others", "--out", "evaluated")
    about = found["cosine"]["about"]
    assert (about["trials"], about["targets"], about["speakers"]) == (435, 30, 10)
    for kind in ("cosine", "as-norm"):
        eer = found[kind]["eer"]
        assert eer["low"] <= eer["value"] <= eer["high"]
        assert "over speakers" in eer["method"] or "as many rows as speakers" in eer["method"]
        assert 0 <= found[kind]["min_cllr"]["value"] <= found[kind]["cllr"]["value"] + 1e-9
    written = {path.name for path in (bench.folder / "evaluated").iterdir()}
    assert written == {"scores.csv", "metrics.json", "calibration.json", "det.png", "run.json", "costs.json"}
    record = json.loads((bench.folder / "evaluated" / "run.json").read_text())
    assert (record["verb"], record["state"]) == ("trials", "finished")
    assert record["command"].startswith("graftwork-audio trials ")
    assert record["rows"] == 30
    assert json.loads((bench.folder / "evaluated" / "metrics.json").read_text()) == found
    assert len((bench.folder / "evaluated" / "scores.csv").read_text().splitlines()) == 436
    (profiles,) = found["profiles"]
    assert (profiles["clips"], profiles["speakers"], profiles["about"]["trials"]) == (2, 10, 300)
    assert [one["false_alarm_rate"] for one in profiles["open_set"]] == [0.01, 0.1]
    calibration = json.loads((bench.folder / "evaluated" / "calibration.json").read_text())
    assert [line["clips"] for line in calibration["lines"]] == [1, 2]
    assert len(calibration["centre"]) == 2 * 32


def test_a_list_of_trials_gives_what_the_same_pairs_of_a_table_give(bench):
    names = [f"{speaker}/{number}.wav" for speaker in PITCHES_HZ for number in range(3)]
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    lines = [f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}" for a, b in pairs]
    (bench.folder / "trials.txt").write_text("\n".join(lines))
    done = bench.run("trials", "hf:voice", "trials.txt", "--device", "cpu", "--json")
    assert json.loads(done.out)["cosine"] == evaluate(bench)["cosine"]


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
    refused = bench.run("enroll", "hf:voice", "voices.csv", "--out", "profiles.safetensors", "--device", "cpu")
    assert refused.code == 2
    assert "4 examples cannot be used" in refused.err
    done = bench.run("enroll", "hf:voice", "voices.csv", "--out", "profiles.safetensors", "--skip-unreadable",
                     "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    profiles = load_profiles(bench.folder / "profiles.safetensors")
    assert "ben" not in profiles.speakers
    assert profiles.clips[profiles.speakers.index("anna")] == 2


def test_a_single_clip_that_cannot_be_read_is_not_to_be_skipped(bench):
    (bench.folder / "broken.wav").write_text("no sound")
    done = bench.run("verify", "hf:voice", "anna/0.wav", "broken.wav", "--device", "cpu")
    assert done.code == 2
    assert "broken.wav: not a readable sound file" in done.err
    assert "--skip-unreadable" not in done.err


@pytest.fixture
def enrolled(bench):
    evaluate(bench, "--cohort", "others", "--out", "evaluated")
    done = bench.run("enroll", "hf:voice", "voices.csv", "--cohort", "others", "--calibration",
                     "evaluated/calibration.json", "--out", "profiles.safetensors", "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == "10 speakers from 30 clips, calibrated on 10 speakers: profiles.safetensors\n"
    return bench


def test_a_profile_is_the_direction_between_a_speakers_clips(enrolled):
    profiles = load_profiles(enrolled.folder / "profiles.safetensors")
    assert profiles.speakers == tuple(sorted(PITCHES_HZ))
    assert profiles.clips == (3,) * 10
    np.testing.assert_allclose(np.linalg.norm(profiles.vectors, axis=1), 1.0, rtol=1e-5)


def test_a_clip_is_verified_against_a_speaker_with_a_probability(enrolled):
    found = {}
    for speaker in ("anna", "jon"):
        done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker",
                            speaker, "--json", "--device", "cpu")  # fmt: skip
        found[speaker] = json.loads(done.out)
    assert found["anna"]["accepted"] is True
    assert found["jon"]["accepted"] is False
    assert found["anna"]["llr"] > 0 > found["jon"]["llr"]
    assert found["anna"]["probability"] > 0.5 > found["jon"]["probability"]
    assert found["anna"]["operating_point"] == "prior 0.5, a miss costs 1, a false alarm 1"
    assert found["anna"]["threshold_llr"] == 0
    assert found["jon"]["score"] < found["anna"]["threshold"] <= found["anna"]["score"]


def test_the_threshold_is_said_as_cosine_and_as_ratio(enrolled):
    done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker", "anna",
                        "--device", "cpu")  # fmt: skip
    assert "accepted (prior 0.5, a miss costs 1, a false alarm 1: accepted from cosine 0." in done.out
    assert "a log-likelihood ratio of 0.00)" in done.out


def test_where_no_score_can_be_accepted_that_is_said_with_what_to_do(enrolled):
    options = ("--p-target", "1e-300", "--device", "cpu")
    done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker", "anna",
                        *options)  # fmt: skip
    assert "refused" in done.out
    for run in (done, enrolled.run("identify", "hf:voice", "profiles.safetensors", "anna/0.wav", *options)):
        assert run.code == 0
        assert "no clip can be accepted: no cosine has a log-likelihood ratio of 69" in run.err
        assert "give a higher --p-target" in run.err


def test_clips_that_are_enrolled_calibrate_themselves_each_against_the_others(bench):
    done = bench.run("enroll", "hf:voice", "voices.csv", "--out", "own.safetensors", "--device", "cpu")
    assert done.out == "10 speakers from 30 clips, calibrated on 10 speakers: own.safetensors\n"
    known = load_profiles(bench.folder / "own.safetensors").calibration
    assert [line.clips for line in known.lines] == [1, 2]
    said = bench.run("verify", "hf:voice", "anna/0.wav", "--profiles", "own.safetensors", "--speaker", "anna",
                     "--device", "cpu")  # fmt: skip
    assert "\naccepted (prior 0.5" in said.out


def test_a_calibration_of_another_cohort_is_refused(enrolled):
    for number in range(2):
        (enrolled.folder / "more").mkdir(exist_ok=True)
        (enrolled.folder / f"more/{number}.wav").write_bytes((enrolled.folder / f"jon/{number}.wav").read_bytes())
    done = enrolled.run("enroll", "hf:voice", "voices.csv", "--cohort", "more", "--calibration",
                        "evaluated/calibration.json", "--out", "new", "--device", "cpu")  # fmt: skip
    assert done.code == 2
    assert "the calibration was found with another" in done.err


def test_a_calibration_brings_its_own_cohort(enrolled):
    done = enrolled.run("enroll", "hf:voice", "voices.csv", "--calibration", "evaluated/calibration.json", "--out",
                        "again.safetensors", "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    again, first = (load_profiles(enrolled.folder / name) for name in ("again.safetensors", "profiles.safetensors"))
    np.testing.assert_array_equal(again.vectors, first.vectors)


def test_one_recording_under_two_speakers_is_not_enrolled(bench):
    (bench.folder / "ben" / "1.wav").write_bytes((bench.folder / "anna" / "0.wav").read_bytes())
    done = bench.run("enroll", "hf:voice", "voices.csv", "--out", "own.safetensors", "--device", "cpu")
    assert done.code == 2
    assert "row 6: " in done.err
    assert "which is listed under 'anna', not 'ben'" in done.err
    (bench.folder / "ben" / "1.wav").write_bytes((bench.folder / "ben" / "0.wav").read_bytes())
    done = bench.run("enroll", "hf:voice", "voices.csv", "--out", "own.safetensors", "--device", "cpu")
    assert "1 clips sound exactly as another of their speaker" in done.err
    assert "10 speakers from 29 clips" in done.out


def test_trials_of_clips_that_sound_the_same_are_named_and_left_out(bench):
    """In another encoding too: what counts is the sound."""
    samples, rate_hz = soundfile.read(bench.folder / "anna" / "0.wav", dtype="int16")
    soundfile.write(bench.folder / "ben" / "1.wav", samples, rate_hz, subtype="PCM_24")
    done = bench.run("trials", "hf:voice", "voices.csv", "--device", "cpu", "--json")
    found = json.loads(done.out)
    assert "1 trials are of clips that sound exactly the same" in done.err
    assert [(one["first"][-10:], one["second"][-9:], one["one_speaker"]) for one in found["identical"]] == [
        ("anna/0.wav", "ben/1.wav", False)
    ]  # fmt: skip
    assert found["cosine"]["about"]["trials"] == 434


@pytest.mark.parametrize(("lines", "said"), [
    ("0 anna/0.wav ben/0.wav\n0 anna/0.wav cleo/0.wav", "no target trial"),
    ("1 anna/0.wav anna/1.wav\n1 anna/0.wav anna/2.wav", "no non-target trial"),
    ("1 anna/0.wav anna/copy.wav\n0 anna/0.wav ben/0.wav", "no target trial"),
])  # fmt: skip
def test_trials_of_one_kind_are_refused_before_anything_is_embedded(bench, monkeypatch, lines, said):
    (bench.folder / "anna" / "copy.wav").write_bytes((bench.folder / "anna" / "0.wav").read_bytes())
    (bench.folder / "trials.txt").write_text(lines)
    monkeypatch.setattr("graftwork.audio.verification.trial_evaluation.embed", None)
    done = bench.run("trials", "hf:voice", "trials.txt", "--device", "cpu")
    assert done.code == 2
    assert f"expected trials of both kinds, found {said}" in done.err


def test_what_python_offers_has_the_defaults_of_the_command_line():
    commands = {name: run for name, run, _ in (make(COMMANDS) for make in COMMANDS.verbs)}
    for function in (enroll, verify, identify, trials):
        parameters = inspect.signature(function).parameters
        asked = inspect.signature(commands[function.__name__]).parameters
        for name, option in asked.items():
            if name in ("out", "json", "p_target", "c_miss", "c_false_alarm", "skip_unreadable"):
                continue
            own = parameters[name].default
            assert own == option.default, (function, name)
        assert set(parameters) - set(asked) <= {"cost", "unreadable", "command"}
        assert (
            not set(asked) - set(parameters) - {"out", "json", "p_target", "c_miss", "c_false_alarm", "skip_unreadable"}
        )
        if "cost" in parameters:
            cost = parameters["cost"].default
            assert cost == DetectionCost(*(asked[name].default for name in ("p_target", "c_miss", "c_false_alarm")))


def test_python_does_what_the_command_line_does(enrolled, monkeypatch):
    monkeypatch.chdir(enrolled.folder)
    done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker", "anna",
                        "--device", "cpu", "--json")  # fmt: skip
    found = verify("hf:voice", "anna/0.wav", profiles="profiles.safetensors", speaker="anna", device="cpu")
    assert found.to_json() == json.loads(done.out)
    profiles = enroll("hf:voice", "voices.csv", calibration="evaluated/calibration.json", device="cpu")
    assert verify("hf:voice", "anna/0.wav", profiles=profiles, speaker="anna", device="cpu") == found
    evaluated = trials("hf:voice", "voices.csv", cohort="others", device="cpu")
    assert evaluated.to_json() == json.loads((enrolled.folder / "evaluated" / "metrics.json").read_text())
    names = identify("hf:voice", profiles, ["anna/*.wav", "jon/*.wav"], device="cpu")
    assert names.table["speaker"].tolist() == ["anna"] * 3 + ["jon"] * 3
    assert names.unknown == 0
    assert names.threshold_llr == pytest.approx(np.log(10))  # a tenth of one half each, against one half
    assert names.threshold == pytest.approx(profiles.calibration.line(3).cosine(np.log(10)))
    assert found.threshold == pytest.approx(profiles.calibration.line(3).cosine(0.0))
    assert found.threshold != pytest.approx(profiles.calibration.line(1).cosine(0.0))
    two = verify("hf:voice", "anna/0.wav", "anna/1.wav", calibration=evaluated.calibration, device="cpu")
    assert two.accepted is True


def test_two_clips_are_compared_and_scores_without_calibration_are_said_to_be_so(bench):
    done = bench.run("verify", "hf:voice", "anna/0.wav", "anna/1.wav", "--device", "cpu")
    assert done.code == 0
    assert "scores are not calibrated" in done.out
    same = bench.run("verify", "hf:voice", "anna/0.wav", "anna/0.wav", "--device", "cpu", "--threshold", "0.99")
    assert "cosine 1.0000" in same.out
    assert "accepted (cosine of at least 0.99: accepted from cosine 0.9900 on)" in same.out


def test_clips_are_identified_or_unknown_and_a_batch_goes_on(enrolled):
    (enrolled.folder / "broken.wav").write_text("no sound")
    options = ("profiles.safetensors", "anna/0.wav", "broken.wav", "jon/2.wav", "--device", "cpu", "--json")
    done = enrolled.run("identify", "hf:voice", *options, "--p-target", "0.5")
    rows = json.loads(done.out)
    assert [row["speaker"] for row in rows] == ["anna", None, "jon"]
    assert "not a readable sound file" in rows[1]["error"]
    assert "1 of 3 files could not be read" in done.err
    assert "0 of 3 clips unknown, named from cosine 0." in done.err
    assert all(row["llr"] > np.log(10) and row["probability"] > 0.5 for row in rows[::2])
    strict = json.loads(enrolled.run("identify", "hf:voice", *options, "--threshold", "1.5").out)
    assert [row["speaker"] for row in strict] == ["unknown", None, "unknown"]
    written = enrolled.run("identify", "hf:voice", *options[:-1], "--threshold", "1.5", "--out", "names.csv")
    assert written.out == "2 of 3 clips unknown, named from cosine 1.5000 on: names.csv\n"


def test_a_stranger_is_unknown(bench):
    rows = (bench.folder / "voices.csv").read_text().splitlines()
    (bench.folder / "six.csv").write_text("\n".join(rows[:19]))
    done = bench.run(
        "enroll", "hf:voice", "six.csv", "--cohort", "others", "--out", "six.safetensors", "--device", "cpu"
    )
    assert done.code == 0, done.err
    done = bench.run("identify", "hf:voice", "six.safetensors", "*/2.wav", "--device", "cpu", "--json")
    found = {row["path"].split("/")[-2]: row["speaker"] for row in json.loads(done.out)}
    named = dict(zip(PITCHES_HZ, ["anna", "ben", "cleo", "dora", "emil", "fay", *["unknown"] * 4], strict=True))
    assert found == named | {"others": "unknown"}
    assert "5 of 11 clips unknown" in done.err


def test_profiles_of_other_weights_are_refused(enrolled):
    done = enrolled.run("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker", "anna",
                        "--pooling", "mean")  # fmt: skip
    assert done.code == 2
    assert "were enrolled with other weights" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "hf:voice", "anna/0.wav"), "give either a second clip, or --profiles with --speaker"),
        (("verify", "hf:voice", "anna/0.wav", "--profiles", "profiles.safetensors", "--speaker", "zoe"),
         "no speaker 'zoe' is enrolled; enrolled are anna, ben"),
        (("identify", "hf:voice", "voices.csv", "anna/0.wav"), "cannot be read as speaker profiles"),
        (("enroll", "hf:voice", "voices.csv", "--out", "profiles.safetensors"), "exists already"),
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
    assert load_profiles(bench.folder / "own.safetensors").vectors.shape == (10, 192)


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
    assert "pretraining needs at least two clips, one of which is held out; found 1" in done.err


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
