"""Progress where no bar can be drawn."""

import pytest
import rich.console

from graftwork.core import progress as module
from graftwork.core.progress import progress


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
