"""The report as a whole: what it says, that nothing in it is markup but its own, and that no run is lost by it."""

import dataclasses
import json
import re
import shutil

import pytest

from graftwork import core
from graftwork.core.errors import ReportError, UnreadableError
from graftwork.core.inference.adapter import load_adapter
from graftwork.core.runs.compare import compare
from graftwork.core.runs.evaluate import evaluate_run
from graftwork.core.runs.report import document

pytestmark = pytest.mark.reports

CLASSES = ("<script>alert(1)</script>", "a & $b$")
FILE = "<img src=x onerror=alert(2)>"
GROUP = '"><svg onload=alert(3)>'
OWN_TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "header", "h1", "h2", "h3", "p", "div", "nav", "a",
    "main", "section", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "article", "ul",
    "li", "footer",
}  # fmt: skip


def test_names_in_files_and_tables_are_text_and_never_markup(folder, read_report):
    found = read_report(folder / "report.html")
    assert found.tags <= OWN_TAGS
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    for written in (*CLASSES, f"{FILE}5.npy", GROUP, "<script>alert(4)</script>.csv"):
        assert written in found.text
    assert "secret" not in found.text


def test_it_asks_for_nothing_else(folder):
    text = (folder / "report.html").read_text()
    assert "default-src 'none'; img-src data:" in text
    assert set(re.findall(r'\b(?:src|href)="([^"]{5})', text)) <= {"data:", *(f"#{id}"[:5] for id in ids(text))}
    assert "url(" not in text
    assert len(text) < 1_000_000


def ids(text):
    return re.findall(r'id="(\w+)"', text)


def test_links_within_lead_somewhere(folder):
    text = (folder / "report.html").read_text()
    targets = re.findall(r'href="#(\w+)"', text)
    assert len(targets) > 8
    assert set(targets) <= set(ids(text))


def test_it_says_what_the_files_of_the_run_say(folder, result, read_report):
    text = read_report(folder / "report.html").text
    for interval in result.evaluation.metrics.values():
        assert f"{interval.value:.3f}" in text
        assert interval.method in text
    frozen = json.loads((folder / "run.json").read_text())["frozen"]
    assert f"Frozen tensors: {frozen['tensors']}. SHA-256 before and after training are the same: " in text
    assert frozen["before"] in text
    record, costs = (json.loads((folder / name).read_text()) for name in ("run.json", "costs.json"))
    assert record["manifest_digest"] in text
    assert record["made_with"]["torch"] in text
    assert f"{costs['peak_memory_mb']:,}" in text
    assert "2-fold cross-validation, out-of-fold, 23 rows in 8 groups" in text
    assert "1 files could not be used" in text
    assert "8 groups only, so that intervals are rough" in text


def test_the_same_folder_gives_the_same_bytes(folder, result):
    first = (folder / "report.html").read_bytes()
    assert core.report(folder, result.adapter).read_bytes() == first


def test_a_file_that_is_gone_is_said_in_its_place(folder, result, read_report):
    def gone(example):
        raise UnreadableError(f"{example}: no such file <b>at all</b>")

    domain = dataclasses.replace(result.adapter.backbone.domain, preview=gone)
    found = read_report(core.report(folder, domain=domain))
    assert "cannot be shown" in found.text
    assert "no such file <b>at all</b>" in found.text
    assert "b" not in found.tags


def test_files_of_one_content_and_several_targets_are_a_caution(folder, read_report):
    file = folder / "data.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"conflicting": [{"a<b>.npy": "x", "c.npy": "y"}]}))
    found = read_report(core.report(folder))
    assert "1 sets of files hold the very same and have different targets" in found.text
    assert "a<b>.npy: x, c.npy: y" in found.text


def test_without_a_domain_examples_are_named_only(folder):
    with_pictures = (folder / "report.html").read_text().count("data:image/png")
    text = core.report(folder).read_text()
    assert with_pictures > 0
    assert "data:image/png" not in text
    assert "&lt;img src=x onerror=alert(2)&gt;" in text


def test_a_report_that_fails_loses_no_run_and_says_how_to_try_again(make_run, load_backbone, tmp_path, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("of a plot")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(document, "render", broken)
        with pytest.raises(ReportError, match=r"finished and complete, .*ZeroDivisionError: of a plot.*"
                                              r"graftwork-shown report .*run"):  # fmt: skip
            make_run(folder)
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    assert not (folder / "report.html").exists()
    assert load_adapter(folder, load_backbone).classes == CLASSES
    assert core.report(folder) == folder / "report.html"


def test_an_evaluation_of_rows_that_were_learnt_from_says_so(folder, result, read_report, tmp_path):
    manifest = result.parts[0].manifest
    evaluate_run(folder, result.adapter, manifest, out=tmp_path / "again")
    found = read_report(tmp_path / "again" / "report.html")
    assert "23 of 23 rows hold what the run learnt from" in found.text
    assert found.text.count("evaluated: label, probe on tiny:net") == 2
    assert "SHA-256 before and after training are the same" in found.text


def test_a_comparison_shows_the_figure_that_is_to_be_published(make_backbone, table, recipe, read_report, tmp_path):
    from graftwork.core.data.tables import read_manifest

    found = compare(make_backbone(), read_manifest(table), ["knn", "probe"], recipe=recipe, folds=2, out=tmp_path / "c",
                    random_split="off")  # fmt: skip
    text = read_report(tmp_path / "c" / "report.html").text
    value = found.corrected
    headline = text.index(f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]")
    best = next(one for one in found.results if one.strategy == found.best)
    assert headline < text.index(f"{found.best} is the best of 2, with {best.metrics['auroc']}")
    assert all(f"{one.seconds:.1f}" in text for one in found.results)
    shutil.rmtree(tmp_path / "c" / found.best.replace(":", "-"))
    assert core.report(tmp_path / "c").is_file()  # the comparison alone


RESULTS = {
    "decision": {"target": "sensitivity 0.95", "threshold": 0.25,
                 "sensitivity": {"value": 0.951, "low": 0.8, "high": 0.99, "method": "Wilson"},
                 "net_benefit": [{"threshold": 0.1, "model": 0.42}, {"threshold": 0.2, "model": 0.37}]},
    "subgroups": {"sex": {"f": {"auroc": {"value": 0.81, "low": 0.7, "high": 0.9}, "rows": 11},
                          "<i>m</i>": {"auroc": {"value": 0.71, "low": None, "high": None}, "rows": 12}}},
    "corruptions": {"noise": [{"strength": 1, "auroc": 0.777}]},
    "recalibration": {"temperature": 1.25, "kept": True},
    "abstention": {"alpha": 0.1, "coverage": {"value": 0.905, "low": 0.8, "high": 0.96}},
    "repeats": [{"seed": 0, "auroc": 0.654}, {"seed": 1, "auroc": 0.655}],
    "something_new": {"value": 1.5, "note": "kept"},
}  # fmt: skip


@pytest.mark.parametrize("place", ["top", "part"])
def test_results_that_it_knows_nothing_of_are_tables(folder, read_report, place):
    file = folder / "metrics.json"
    metrics = json.loads(file.read_text())
    (metrics if place == "top" else metrics["out-of-fold"]).update(RESULTS)
    file.write_text(json.dumps(metrics))
    found = read_report(core.report(folder))
    for said in ("Operating point", "sensitivity 0.95", "0.951 [0.800, 0.990]", "net benefit", "0.370",
                 "Subgroups", "0.710", "<i>m</i>", "Robustness to corruptions", "0.777", "Recalibration", "yes",
                 "Abstention", "0.905 [0.800, 0.960]", "Repeated folds", "0.655", "something new", "kept"):  # fmt: skip
        assert said in found.text, said
    assert "i" not in found.tags


def test_files_that_no_run_wrote_are_named_and_names_that_are_no_text_are_escaped(folder, read_report):
    data = json.loads((folder / "data.json").read_text())
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"command": ["graftwork", "donn\udce9es.csv"]}))
    assert "donn\\udce9es.csv" in read_report(core.report(folder)).text
    (folder / "data.json").write_text(json.dumps(data | {"parts": 3}))
    with pytest.raises(ReportError, match=f"{folder}: cannot be reported on: its files hold what no run"):
        core.report(folder)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("metrics.json", None, "nothing to report on: expected the folder of a finished train"),
    ("metrics.json", "{", "metrics.json: not a readable JSON file"),
    ("predictions.csv", "path,part\nx,out-of-fold\n", "predictions.csv: cannot be read"),
])  # fmt: skip
def test_what_cannot_be_reported_on_is_named(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ReportError, match=message):
        core.report(folder)
