"""Files, tables and names by somebody who means harm: refused by a named error, or read as text, never waited for."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest


def program(bench, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, that a test which hangs can end."""
    command = [sys.executable, "-m", f"graftwork.{bench.commands.domain.name}", *map(str, arguments)]
    return subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def odd_files(imaging_bench) -> list[str]:
    """A pipe that nobody writes to, a link to a device without end, and a link to nowhere."""
    bench = imaging_bench
    os.mkfifo(bench.folder / f"pipe{bench.suffix}")
    (bench.folder / f"endless{bench.suffix}").symlink_to("/dev/zero")
    (bench.folder / f"nowhere{bench.suffix}").symlink_to("/proc/absent")
    return [f"{name}{bench.suffix}" for name in ("pipe", "endless", "nowhere")]


@pytest.mark.long(reason="starts an interpreter for every special file")
def test_special_files_in_a_table_are_refused_and_links_to_files_are_read(imaging_bench, odd_files):
    bench = imaging_bench
    (bench.folder / f"link{bench.suffix}").symlink_to(bench.file(0))
    rows = [*bench.labelled(8)[1:], (f"link{bench.suffix}", "plain")]
    assert program(bench, "check", bench.write_table(rows)).returncode == 0
    found = program(bench, "check", bench.write_table([*rows, *((name, "plain") for name in odd_files)]))
    assert found.returncode == 2
    assert all(f"no such file: '{name}'" in found.stderr for name in odd_files)


@pytest.mark.long(reason="starts an interpreter for every special file")
def test_special_files_that_are_named_to_predict_are_refused(imaging_bench, odd_files):
    bench = imaging_bench
    assert bench.train("--folds", 2).code == 0
    for name in odd_files:
        found = program(bench, "predict", "run", bench.file(0), name)
        assert (found.returncode, "Traceback" in found.stderr) == (2, False), found.stderr
        assert name in found.stderr
    os.mkfifo(bench.folder / "table.tsv")
    assert program(bench, "predict", "run", "table.tsv").returncode == 2


def test_no_cell_of_what_is_written_is_a_formula_and_it_is_read_as_it_was(bench):
    odd = f"=1+1{bench.suffix}"
    os.link(bench.folder / bench.file(0), bench.folder / odd)
    labels = {"plain": "=cmd|' /C calc'!A0", "marked": "@SUM(1)"}
    rows = [(odd if number == 0 else path, labels[label], f"+{number // 2}x")
            for number, (path, label) in enumerate(bench.labelled())]  # fmt: skip
    table = bench.write_table(rows, "path,label,group")
    assert bench.train("--folds", 2, table=table).code == 0
    shown = bench.run("predict", "run", odd).out
    for text in (shown, *(path.read_text() for path in Path(bench.folder, "run").glob("*.csv"))):
        cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
        assert not [cell for cell in cells if cell[:1] in tuple("=+@")]
    again = bench.run("evaluate", "run", "run/predictions.csv", "--target", "target", "--out", "again")
    assert again.code == 0, again.err
    assert "rows hold what the run learnt from" in again.out + again.err
