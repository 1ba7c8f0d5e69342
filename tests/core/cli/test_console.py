"""Results where stdout is not UTF-8."""

import io
import re
import sys

import pytest

from graftwork.core.cli import console


@pytest.fixture
def stdout(monkeypatch):
    def stdout(encoding):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        console.accept_all_text()
        console._say_escaped.cache_clear()
        return written

    return stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_characters_that_stdout_lacks_are_escaped_and_that_is_said_once(stdout, encoding, caplog):
    written = stdout(encoding)
    print("零 一", flush=True)
    print("二", flush=True)
    assert written.getvalue() == rb"\u96f6 \u4e00" + b"\n" + rb"\u4e8c" + b"\n"
    assert caplog.text.count("lacks some characters") == 1


def test_utf8_stays_as_it_is_but_for_names_that_are_no_text(stdout, caplog):
    written = stdout("utf-8")
    print("零 █", flush=True)
    assert written.getvalue() == "零 █\n".encode()
    assert not caplog.text
    print("\udcff.wav", flush=True)
    assert written.getvalue().endswith(rb"\udcff.wav" + b"\n")


def test_bars_are_of_what_stdout_can_show(stdout):
    stdout("cp1252")
    assert console.plain_bars("██ x") == "## x"
    stdout("utf-8")
    assert console.plain_bars("██ x") == "██ x"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    return lambda width: monkeypatch.setenv("COLUMNS", str(width))


def plain(text):
    """Without the codes for bold."""
    return re.sub(r"\x1b\[\d*m", "", text)


NAME = "timm:a_network_with_a_long_name_for_images"


def test_an_id_that_is_wider_than_its_column_stands_whole_above_the_rest(terminal, capsys):
    terminal(60)
    console.print_table(["id", "licence", "note"], [(NAME, "apache-2.0", "a note that is as long as notes are")])
    assert capsys.readouterr().out.splitlines() == [
        NAME, "  licence apache-2.0; note a note that is as long as notes", "  are",
    ]  # fmt: skip


def test_intervals_are_never_broken(terminal, capsys):
    rows = [("partial:1", "0.987 [0.952, 0.997]", "-0.012 [-0.020, 0.001]"), ("probe", "0.9 (no interval)", "best")]
    for width in (38, 60, 80):
        terminal(width)
        console.print_table(["strategy", "auroc", "difference to the best"], rows)
        said = plain(capsys.readouterr().out)
        assert "0.987 [0.952, 0.997]" in said
        assert "-0.012 [-0.020, 0.001]" in said
        assert max(map(len, said.splitlines())) <= width


def test_a_table_that_fits_is_one(terminal, capsys):
    terminal(80)
    console.print_table(["id", "note"], [(NAME, "short")])
    head, row = plain(capsys.readouterr().out).splitlines()
    assert head.split() == ["id", "note"]
    assert row.index("short") == head.index("note")
