"""What both command lines say to mistakes: exit status 2, one message, no traceback, nothing left behind."""

import json

import pytest


def refused(result, *said: str) -> None:
    """The command ended as a mistake does, and its one message says all of this."""
    assert result.code == 2, (result.code, result.err)
    assert result.out == ""
    assert "Traceback" not in result.err
    assert result.err.count("error: ") == 1
    assert result.err.startswith("error: ")
    for part in said:
        assert part in result.err


def misused(result, *said: str) -> None:
    """The same for what Typer itself refuses, which it shows in a frame."""
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    for part in said:
        assert part in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([("absent", "plain")], "path,label", ("row 26, column 'path': no such file: 'absent'",)),
        ([("{0}", "plain")], "path,label", ("row 26, column 'path': '{0}' is listed twice, first in row 2",)),
        ([("{0}x", "")], "path,label", ("2 problems", "row 26, column 'label': empty", "no such file: '{0}x'")),
    ],
)
def test_rows_of_a_manifest(bench, rows, header, said):
    filled = [tuple(cell.format(bench.file(0)) for cell in row) for row in rows]
    table = bench.write_table([*bench.labelled(), *filled], header)
    refused(bench.train(table=table), table, *(part.format(bench.file(0)) for part in said))
    assert not bench.left()
    refused(bench.run("check", table), table)


def test_a_manifest_that_is_not_there(bench):
    refused(bench.train(table="absent.csv"), "absent.csv: 1 problem", "no such file or folder")
    assert not bench.left()


def test_names_that_no_file_can_have(bench):
    refused(bench.run("check", "x" * 300), "no such file or folder")
    refused(bench.train(out="y" * 300), "y" * 300, "no file can have so long a name")


def test_a_manifest_without_rows_or_that_is_no_table(bench):
    refused(bench.train(table=bench.write_table([])), "there are no rows")
    refused(bench.train(table=bench.file(0)), bench.file(0), "a CSV or TSV table is expected")
    (bench.folder / "ragged.csv").write_text("path,label\na,b\na,b,c,d\n")
    refused(bench.train(table="ragged.csv"), "cannot be read as a table", "line 3")
    assert not bench.left()


@pytest.mark.parametrize("option", ["--target", "--group"])
def test_a_missing_column_lists_those_that_exist(bench, option):
    refused(bench.train(option, "absent"), "no column 'absent'", "'path', 'label', 'group', 'age', 'round', 'bright'")
    assert not bench.left()


def test_one_class_only(bench):
    table = bench.write_table([(path, "same") for path, _ in bench.labelled()])
    refused(bench.train(table=table), "every row has the label 'same': at least two classes are needed")
    assert not bench.left()


def test_every_problem_of_a_manifest_is_in_one_report(bench):
    rows = [("absent", "plain", "p1", "train"), (bench.file(0), "", "p2", "train"),
            (bench.file(1), "marked", "p3", "holdout"), (bench.file(2), "plain", "p4", "train"),
            (bench.file(3), "marked", "p4", "test")]  # fmt: skip
    table = bench.write_table(rows, "path,label,group,split")
    refused(
        bench.train(table=table),
        "own.csv: 5 problems",
        "row 2, column 'path': no such file: 'absent'",
        "row 3, column 'label': empty",
        "row 4, column 'split': expected train, val or test, found 'holdout'",
        "group 'p4' is in several parts of the split: 'train' (row 5), 'test' (row 6)",
        "label 'marked' has no row for training",
    )
    assert not bench.left()


def test_a_split_column_without_training_rows(bench):
    table = bench.write_table([(*row, "test") for row in bench.labelled()], "path,label,split")
    refused(bench.train(table=table), "1 problem\n  the split column names no row for training\n")
    assert not bench.left()


def test_a_part_without_rows(bench):
    table = bench.write_table([(*row, "train") for row in bench.labelled()], "path,label,split")
    refused(bench.train("--val-fraction", 0, table=table), "neither a test nor a validation part")
    refused(bench.train("--val-fraction", 0, "--test-fraction", 0), "neither a test nor a validation part")
    assert not bench.left()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "porbe"), "unknown strategy 'porbe'; there are knn, probe, partial:N, gradual, full"),
        (("--strategy", "partial"), "needs a whole number of at least 1 behind a colon, as in partial:2"),
        (("--strategy", "full:2"), "takes no argument, found '2'"),
        (("--strategy", "partial:99"), "stages with weights: "),
        (("--cache-limit", "much"), "'much' is not a size; expected one like 500MB"),
        (("--strategy", "partial:1", "--views", "3"), "differ only with augmentation"),
        (("--strategy", "lora", "--lora-targets", "nose"), "'nose' matches no layer of"),
        (("--stage-decay", "2"), "stage_decay: expected above 0 and at most 1"),
        (("--device", "gpu"), "unknown device 'gpu'; expected auto, cpu, cuda or cuda:N"),
        (("--device", "cuda:77"), "device 'cuda:77' is not there"),
        (("--precision", "fp16", "--device", "cpu"), "fp16 needs a GPU"),
        (("--folds", "1"), "--folds: expected at least 2, found 1"),
        (("--folds", "13"), "13 parts need at least 13 groups of rows that may be separated, found 12"),
        (("--val-fraction", "-0.1"), "--val-fraction: expected at least 0 and below 1, found -0.1"),
        (("--val-fraction", "nan"), "--val-fraction: expected at least 0 and below 1, found nan"),
        (("--test-fraction", "-1"), "--test-fraction: expected at least 0 and below 1, found -1.0"),
        (("--folds", "3", "--val-fraction", "1.5"), "--val-fraction: expected at least 0 and below 1, found 1.5"),
        (("--val-fraction", "0.5", "--test-fraction", "0.5"), "leave rows to train on, found [0.5, 0.5]"),
        (("--epochs", "-1"), "epochs: expected at least 0, found -1"),
        (("--batch-size", "0"), "batch_size: expected at least 1, found 0"),
        (("--learning-rate", "nan"), "learning_rate: expected a finite number above 0, found nan"),
        (("--seed", "-1"), "seed: expected at least 0, found -1"),
        (("--weights", "absent.safetensors"), "absent.safetensors: no such weights file"),
    ],
)
def test_settings_that_cannot_work(bench, options, said):
    refused(bench.train(*options), said)
    assert not bench.left()


def test_folds_whose_training_part_would_hold_one_class(bench):
    rows = [(path, label, f"all {label}") for path, label in bench.labelled()]
    table = bench.write_table(rows, "path,label,group")
    refused(bench.train("--folds", 2, table=table), "fold 1 of 2: the training part has rows of one class only")
    assert not bench.left()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stratgy", "probe"), "No such option: --stratgy (Possible options: --restart, --stage-decay, --strategy)"),
        (("--epochs", "many"), "Invalid value for '--epochs'"),
        (("--head", "mpl"), "'mpl' is not one of 'linear', 'mlp'"),
        (("--task", "guess"), "'guess' is not one of 'single-label', 'multi-label', 'ordinal'"),
    ],
)
def test_options_mistyped(bench, options, said):
    misused(bench.train(*options), said)
    assert not bench.left()


def test_arguments_forgotten(bench):
    misused(bench.run("train", "table.csv"), "Missing option '--out'")
    misused(bench.run("predict", "run"), "Missing argument 'inputs'")
    misused(bench.run("fly"), "No such command 'fly'")


def test_a_folder_that_is_taken(bench):
    (bench.folder / "full").mkdir()
    (bench.folder / "full" / "thesis.tex").write_text("words")
    refused(bench.train(out="full"), "full: is not empty; name another --out")
    assert [file.name for file in (bench.folder / "full").iterdir()] == ["thesis.tex"]
    refused(bench.train(out="table.csv"), "table.csv: --out must be a folder, this is a file")
    refused(bench.train(out="table.csv/run"), "table.csv/run")
    assert bench.train("--folds", 2).code == 0
    refused(bench.train("--folds", 2), "run: holds a finished run; name another --out, or delete it first")
    refused(bench.run("evaluate", "run", "table.csv", "--out", "run"), "run: holds a finished run")


def test_a_folder_that_cannot_be_made(bench):
    (bench.folder / "dangling").symlink_to("/proc/absent")
    refused(bench.train(out="dangling/run"), "dangling/run", "cannot be written", "name another --out")


def test_a_backbone_that_is_not_known_lists_the_nearest(bench):
    wanted = bench.commands.default_backbone
    refused(bench.train("--backbone", wanted[:-1]), "nearest: ", wanted)
    assert not bench.left()


def test_weights_of_another_shape_name_the_tensor(bench):
    from safetensors.torch import save_file

    network = bench.commands.load_backbone(bench.backbone[1], weights="random").network
    tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}
    name = next(name for name in reversed(list(tensors)) if tensors[name].dim() > 1)
    right = tuple(tensors[name].shape)
    tensors[name] = tensors[name][..., :-1].clone()
    save_file(tensors, bench.folder / "wrong.safetensors")
    wrong = tuple(tensors[name].shape)
    refused(bench.train("--weights", "wrong.safetensors"), "wrong.safetensors", name, f"{right}, found", f"{wrong}")
    assert not bench.left()


def test_without_a_network_the_message_says_how_to_get_the_weights(bench, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    refused(
        bench.run("train", "table.csv", "--out", "run"),
        bench.commands.default_backbone,
        "could not be",
        "--weights FILE",
    )
    assert not bench.left()


def test_debug_shows_where_an_error_came_from(bench):
    from graftwork.core.errors import SettingsError

    with pytest.raises(SettingsError, match="unknown strategy"):
        bench.train("--strategy", "porbe", "--debug")


def test_a_run_that_diverges_says_what_to_change(bench):
    done = bench.train("--strategy", "full", "--epochs", 2, "--learning-rate", "1e30")
    refused_lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code == 2
    assert len(refused_lines) == 1
    assert "lower --learning-rate" in refused_lines[0]
    assert not (bench.folder / "run" / "metrics.json").exists()


@pytest.fixture
def trained(bench):
    assert bench.train("--folds", 2).code == 0
    return bench


def test_evaluate_refuses_what_the_adapter_was_not_trained_for(trained):
    table = trained.write_table([(trained.file(0), "plain"), (trained.file(1), "unclear")])
    refused(
        trained.run("evaluate", "run", table),
        "row 3, column 'label': unknown label 'unclear'; the classes are 'marked', 'plain'",
    )
    refused(trained.run("evaluate", "run", "table.csv", "--part", "test"), "no row of the split column says 'test'")
    refused(trained.run("evaluate", "absent", "table.csv"), "absent: no adapter here, adapter.json is missing")


def test_an_adapter_that_is_damaged_or_of_the_other_domain(trained):
    record = trained.folder / "run" / "adapter.json"
    plain = json.loads(record.read_text())
    record.write_text(json.dumps(plain | {"backbone": plain["backbone"] | {"options": {"elsewhere": 1}}}))
    refused(
        trained.run("predict", "run", trained.file(0)),
        "has options that none has here",
        "use the command line that trained it",
    )
    record.write_text(json.dumps(plain | {"schema": 99}))
    refused(trained.run("predict", "run", trained.file(0)), "expected schema 1, found 99")
    record.write_text("{")
    refused(trained.run("predict", "run", trained.file(0)), "adapter.json: cannot be read")
    record.write_text(json.dumps(plain))
    weights = trained.folder / "run" / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    refused(trained.run("predict", "run", trained.file(0)), "adapter.safetensors: cannot be read")


def test_predict_refuses_files_that_are_not_there_and_places_it_cannot_write(trained):
    refused(trained.run("predict", "run", "absent/*", "gone"), "no file matches: absent/*, gone")
    (trained.folder / "place").mkdir()
    refused(trained.run("predict", "run", trained.file(0), "--out", "place"), "place: --out must be a file")
    assert not any((trained.folder / "place").iterdir())


def test_another_start_than_the_trained_one_is_refused(trained):
    other = other_weights(trained)
    refused(trained.run("predict", "run", trained.file(0), "--weights", other), "was trained on other weights")


def other_weights(bench) -> str:
    """A file with other weights of the bench's own backbone."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(99)
    network = bench.commands.load_backbone(bench.backbone[1], weights="random").network
    save_file({name: value.detach().clone() for name, value in network.state_dict().items()}, "other.safetensors")
    return "other.safetensors"
