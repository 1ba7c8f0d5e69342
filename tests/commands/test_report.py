"""The verb `report`, and the reports that other verbs end with."""

import json

import pytest

pytestmark = pytest.mark.reports


@pytest.mark.long(reason="eight seconds; a comparison's report stays")
def test_a_run_ends_with_a_report_that_can_be_written_again(bench):
    assert bench.train("--folds", 2).code == 0
    file = bench.folder / "run" / "report.html"
    first = file.read_bytes()
    assert b"data:image/png" in first  # small pictures of the worst predictions
    assert (b"Grad-CAM" in first) == (bench.commands.domain.name == "imaging")
    assert f"graftwork-{bench.commands.domain.name} train table.csv".encode() in first
    file.unlink()
    done = bench.run("report", "run")
    assert (done.code, done.out.strip()) == (0, "run/report.html"), done.err
    assert file.read_bytes() == first


@pytest.mark.long(reason="five seconds")
def test_an_evaluation_ends_with_a_report(imaging_bench):
    bench = imaging_bench
    assert bench.train("--test-fraction", 0.5, "--val-fraction", 0).code == 0
    assert bench.run("evaluate", "run", "table.csv", "--out", "again").code == 0
    text = (bench.folder / "again" / "report.html").read_text()
    assert "12 of 24 rows hold what the run learnt from" in text
    assert bench.run("report", "again").code == 0
    assert (bench.folder / "again" / "report.html").read_text() == text


def test_a_comparison_ends_with_a_report(imaging_bench):
    bench = imaging_bench
    done = bench.run(
        "compare", "table.csv", *bench.backbone, "--strategies", "knn,probe", "--folds", 2, "--out", "both"
    )
    assert done.code == 0, done.err
    text = (bench.folder / "both" / "report.html").read_text()
    corrected = json.loads((bench.folder / "both" / "comparison.json").read_text())["corrected"]
    assert corrected["low"] is None  # both are right about every row: nothing says how sure that is
    assert f"{corrected['value']:.3f}" in text
    assert "nothing varies" in text
    assert bench.run("report", "both").code == 0
    assert (bench.folder / "both" / "report.html").read_text() == text


@pytest.mark.long(reason="four seconds")
def test_where_the_weights_are_gone_the_report_has_no_maps_and_says_why(imaging_bench):
    bench = imaging_bench
    assert bench.train("--folds", 2).code == 0
    record = bench.folder / "run" / "adapter.json"
    plain = json.loads(record.read_text())
    plain["backbone"]["weights"] = "gone.safetensors"
    plain.pop("sha256")
    record.write_text(json.dumps(plain))
    done = bench.run("report", "run")
    assert done.code == 0
    assert "without maps of what the adapter looks at" in done.err
    assert "Grad-CAM" not in (bench.folder / "run" / "report.html").read_text()


def test_a_folder_without_a_run_is_named(bench):
    done = bench.run("report", "nothing")
    assert (done.code, done.out) == (2, "")
    assert "nothing to report on: expected the folder of a finished train" in done.err
