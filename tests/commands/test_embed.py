"""`embed`: vectors of many files in shards, computed once, gone on with, shared between processes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from graftwork import audio, core, imaging
from graftwork.core.runs import embed as embedding


def embedded(bench, *options, inputs=("table.csv",), out="vectors"):
    ran = bench.run("embed", *inputs, *bench.backbone, "--out", out, "--device", "cpu", *options)
    assert ran.code == 0, ran.err
    return ran


@pytest.mark.parametrize("inner", [False, True])
def test_vectors_are_those_that_the_scikit_learn_features_give(bench, inner):
    domain = {"imaging": imaging, "audio": audio}[bench.commands.domain.name]
    name = {"imaging": "ImageFeatures", "audio": "ClipFeatures"}[bench.commands.domain.name]
    options = dict(zip([word[2:].replace("-", "_") for word in bench.backbone[::2]], bench.backbone[1::2], strict=True))
    given = {key: int(value) if str(value).isdecimal() else value for key, value in options.items()}
    backbone = domain.load_backbone(given["backbone"], **{key: given[key] for key in given if key != "backbone"})
    stage = backbone.stages[1].name if inner else None
    embedded(bench, "--shard-rows", "10", *(("--stage", stage) if inner else ()))
    table, vectors = core.read_vectors(bench.folder / "vectors")
    recipe = core.Recipe(device="cpu", cache=str(bench.folder / "cache"))
    expected = getattr(domain, name)(stage=stage, recipe=recipe, **given).fit_transform(table["path"])
    np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=1e-4)
    assert [os.path.basename(path) for path in table["path"]] == [bench.file(number) for number in range(len(table))]
    assert len(list((bench.folder / "vectors").glob("part-*.parquet"))) == -(-len(table) // 10)


def test_it_goes_on_where_it_was_ended_and_adds_what_is_new(imaging_bench, monkeypatch):
    bench, begun = imaging_bench, []
    whole = embedding.write_shard

    def cut_off(folder, number, shard):
        if len(begun) == 1:
            raise KeyboardInterrupt
        begun.append(number)
        whole(folder, number, shard)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_shard", cut_off)
        assert bench.run("embed", "table.csv", *bench.backbone, "--out", "vectors", "--shard-rows", "9").code == 130
    ran = embedded(bench, "--shard-rows", "9", "--json")
    assert json.loads(ran.out)["known"] == 9
    once, vectors = core.read_vectors(bench.folder / "vectors")
    embedded(bench, out="anew")
    other, expected = core.read_vectors(bench.folder / "anew")
    assert once["path"].tolist() == other["path"].tolist()
    assert once["digest"].tolist() == other["digest"].tolist()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert bench.train("--vectors", "anew", "--folds", "3", out="on_vectors").code == 0
    assert bench.train("--features", "last", "--folds", "3", "--near-duplicates", "ignore", out="on_files").code == 0
    learnt = [(bench.folder / run / "predictions.csv").read_text() for run in ("on_vectors", "on_files")]
    assert learnt[0] == learnt[1]
    shutil.copy(bench.folder / bench.file(0), bench.folder / "new.png")
    assert json.loads(embedded(bench, "--json", inputs=("table.csv", "new.png")).out)["rows"] == 1
    more, longer = core.read_vectors(bench.folder / "vectors")
    assert len(more) == len(once) + 1
    np.testing.assert_allclose(longer[-1], longer[0], atol=1e-6)


def test_files_that_have_changed_since_are_told_of(imaging_bench):
    bench = imaging_bench
    (bench.folder / "own.png").write_bytes((bench.folder / bench.file(0)).read_bytes())
    assert "something else" not in embedded(bench, inputs=("table.csv", "own.png")).err
    later = (bench.folder / "vectors" / "part-00000.parquet").stat().st_mtime + 10
    os.utime(bench.folder / "own.png", (later, later))
    assert "something else" not in embedded(bench, inputs=("table.csv", "own.png")).err  # it was touched only
    (bench.folder / "own.png").write_bytes((bench.folder / bench.file(1)).read_bytes())
    os.utime(bench.folder / "own.png", (later, later))
    assert "1 of the files, the first" in embedded(bench, inputs=("table.csv", "own.png")).err


def test_other_vectors_other_folders_and_stages_are_refused(imaging_bench):
    bench = imaging_bench
    embedded(bench)
    for options, said in ((("--image-size", "24"), "holds vectors of another input"),
                          (("--stage", "none"), "--stage: expected one of"),
                          (("--shard-rows", "0"), "--shard-rows: expected at least 1")):  # fmt: skip
        ran = bench.run("embed", "table.csv", *bench.backbone, "--out", "vectors", *options)
        assert (ran.code, said in ran.err) == (2, True), ran.err
    (bench.folder / "other").mkdir()
    (bench.folder / "other" / "notes.txt").write_text("mine")
    ran = bench.run("embed", "table.csv", *bench.backbone, "--out", "other")
    assert "is not empty, and no vectors of `embed` are here" in ran.err
    shard = next((bench.folder / "vectors").glob("part-*"))
    shard.write_bytes(shard.read_bytes()[:60])
    ran = bench.run("embed", "table.csv", *bench.backbone, "--out", "vectors")
    assert f"{shard.name}: cannot be read as vectors of `embed`" in ran.err


def test_files_that_cannot_be_read_are_listed_and_the_others_kept(imaging_bench):
    bench = imaging_bench
    (bench.folder / "bad.png").write_bytes(b"no picture")
    inputs = ("table.csv", "bad.png")
    ran = bench.run("embed", *inputs, *bench.backbone, "--out", "vectors")
    assert ran.code == 2
    assert "bad.png" in ran.err
    assert "the vectors of the others are in vectors" in ran.err
    assert len(core.read_vectors(bench.folder / "vectors")[0]) == 24
    again = json.loads(embedded(bench, "--skip-unreadable", "--json", inputs=inputs).out)
    assert (again["rows"], again["known"], len(again["unreadable"])) == (0, 24, 1)


@pytest.mark.long(reason="starts three interpreters that import everything")
@pytest.mark.slow(reason="starts three interpreters that import everything")
def test_two_processes_write_each_shard_once(imaging_bench):
    bench = imaging_bench
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", []), ("two", torchrun)):
        words = [sys.executable, *start, "-m", "graftwork.imaging", "embed", "table.csv", *bench.backbone, "--out",
                 name, "--shard-rows", "5", "--device", "cpu"]  # fmt: skip
        done = subprocess.run(words, cwd=bench.folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                              text=True, check=False, timeout=240)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    (one, first), (two, second) = (core.read_vectors(bench.folder / name) for name in ("one", "two"))
    assert one["path"].tolist() == two["path"].tolist()
    np.testing.assert_allclose(first, second, atol=1e-6)
