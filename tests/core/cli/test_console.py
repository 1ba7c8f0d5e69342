"""Results where stdout is not UTF-8."""

import io
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


def test_an_id_that_is_wider_than_its_column_is_not_cut(monkeypatch, capsys):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "40")
    name = "timm:a_network_with_a_long_name_for_images"
    console.print_table(["id", "note"], [(name, "a note that is as long as notes of networks are")])
    said = capsys.readouterr().out
    assert "…" not in said
    _, *rows = said.splitlines()
    assert "".join(line[: rows[0].index("a note")].strip() for line in rows) == name
