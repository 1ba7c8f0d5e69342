"""Progress where no bar can be drawn."""

import logging
import re

import pytest
import rich.console

from graftwork.core import progress as module
from graftwork.core.progress import StderrHandler, progress


@pytest.fixture
def notebook(monkeypatch):
    """A console in a notebook, without ipywidgets."""
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(module, "_silenced", False)
    monkeypatch.setattr(module, "find_spec", lambda name: None)


@pytest.mark.filterwarnings("error")
def test_a_notebook_without_ipywidgets_says_in_text_how_far_it_is(notebook, monkeypatch, capsys):
    seconds = iter([0.0, 4.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with progress("reading", 3) as advance:
        for _ in range(3):
            advance(1, "loss 0.5")
    assert capsys.readouterr().err == "reading: 2 of 3 loss 0.5\n"


def test_what_is_silenced_says_nothing(notebook, monkeypatch, capsys):
    monkeypatch.setattr(module, "_silenced", True)
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)
    with progress("reading", 1) as advance:
        advance(1, "")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("description", "total"), [("", 5), ("reading", 0)])
def test_what_has_no_name_or_no_steps_shows_no_bar(description, total, monkeypatch, capsys):
    monkeypatch.setattr(module, "_silenced", False)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    with progress(description, total) as advance:
        advance(1, "")
    assert capsys.readouterr().err == ""


@pytest.fixture
def terminal(monkeypatch):
    """Stderr is a terminal of 80 columns."""
    monkeypatch.setattr(module, "_silenced", False)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def lines_on_screen(text):
    """What a terminal shows in the end of text with the control codes that move the cursor up and erase lines."""
    lines, row, column = [""], 0, 0
    for code, char in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.)", text, flags=re.DOTALL):
        if code.endswith("A"):
            row = max(0, row - int(code[:-1] or 1))
        elif code == "2K":
            lines[row] = ""
        elif char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif char:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_messages_of_the_log_stand_whole_above_the_bars(terminal, capsys):
    log, handler = logging.getLogger("graftwork.test"), StderrHandler()
    log.addHandler(handler)
    try:
        with progress("outer", 2) as outer:
            outer(1, "")
            with progress("inner", 3) as inner:
                inner(1, "loss [b]0.5[/b]")
                log.warning("first [message]")
            log.warning("second message")
    finally:
        log.removeHandler(handler)
    assert lines_on_screen(capsys.readouterr().err) == ["first [message]", "second message"]


def test_a_bar_within_another_is_a_line_below_it(terminal, capsys):
    with progress("outer", 2), progress("inner", 3) as inner:
        inner(1, "")
        module._shown.refresh()
        shown = lines_on_screen(capsys.readouterr().err)
    assert [line.split()[0] for line in shown] == ["outer", "inner"]
    assert module._shown is None
