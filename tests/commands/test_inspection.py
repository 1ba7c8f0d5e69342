"""The verbs that look at backbones before anything is trained, on both command lines."""

import json

import pytest


@pytest.mark.long(reason="fifteen seconds, for which core/runs/test_stages.py stands")
def test_every_stage_is_evaluated_shown_and_written(bench):
    done = bench.run("stages", "table.csv", *bench.backbone, "--folds", 3, "--out", "depth")
    assert done.code == 0, done.err
    plain = json.loads((bench.folder / "depth" / "stages.json").read_text())
    names = [stage["name"] for stage in plain["stages"]]
    header, *lines = done.out.splitlines()
    assert header.split() == ["depth", "stage", "width", "auroc", "balanced_accuracy"]
    assert [line.split()[1] for line in lines] == names
    assert names[-1] == "pool"
    assert len(names) > 3
    for stage, line in zip(plain["stages"], lines, strict=True):
        score = stage["metrics"]["auroc"]
        assert f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" in line
        assert stage["metrics"]["about"]["groups"] == 12
    assert max(stage["metrics"]["auroc"]["value"] for stage in plain["stages"]) > 0.9
    assert (bench.folder / "depth" / "stages.png").read_bytes().startswith(b"\x89PNG")
    again = bench.run("stages", "table.csv", *bench.backbone, "--folds", 3, "--json")
    assert json.loads(again.out) == plain
    refused = bench.run("stages", "table.csv", *bench.backbone, "--folds", 3, "--out", "depth")
    assert refused.code == 2
    assert "is not empty" in refused.err


@pytest.mark.long(reason="seven seconds, for which tests of stages and rank stand")
def test_the_last_stage_has_the_score_of_a_trained_probe_and_so_has_the_ranking(bench):
    chosen = dict(zip(bench.backbone[::2], bench.backbone[1::2], strict=True))
    id, weights = chosen.pop("--backbone"), chosen.pop("--weights", None)
    named = id if weights is None else f"{id}={weights}"
    rest = [part for pair in chosen.items() for part in pair]
    done = bench.run("rank", "table.csv", "--backbone", "nowhere:nothing", "--backbone", named, *rest,
                     "--folds", 3, "--out", "ranks")  # fmt: skip
    assert done.code == 0, done.err
    header, first, lost = done.out.splitlines()[:3]
    assert header.split() == ["backbone", "auroc", "balanced_accuracy", "logme", "width", "rows", "seconds"]
    assert first.startswith(named)
    assert lost.startswith("nowhere:nothing: not evaluated: ")
    plain = json.loads((bench.folder / "ranks" / "ranking.json").read_text())
    (ranked,) = plain["ranked"]
    assert (ranked["backbone"], ranked["weights"]) == (id, weights)
    assert [one["backbone"] for one in plain["unusable"]] == ["nowhere:nothing"]
    assert bench.train("--folds", 3).code == 0
    trained = json.loads((bench.folder / "run" / "metrics.json").read_text())["out-of-fold"]
    stages = json.loads(bench.run("stages", "table.csv", *bench.backbone, "--folds", 3, "--json").out)["stages"]
    for found in (ranked["metrics"], stages[-1]["metrics"]):
        for name in ("auroc", "balanced_accuracy", "brier"):
            assert abs(found[name]["value"] - trained[name]["value"]) < 1e-3, name


def test_a_ranking_without_any_backbone_that_works_is_an_error(bench):
    failed = bench.run("rank", "table.csv", "--backbone", "nowhere:nothing", "--json")
    assert (failed.code, failed.out) == (2, "")
    assert "none of 1 backbones could be evaluated" in failed.err
