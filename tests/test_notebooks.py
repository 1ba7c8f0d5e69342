"""The notebooks: what is stored in them, and that they run from top to bottom on the data that they make themselves."""

import ast
import re
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = {
    "audio_accent.ipynb": 3,
    "imaging_brain_tumour.ipynb": 4,
    "imaging_masks.ipynb": 4,
    "speaker_verification.ipynb": 2,
    "text_sentiment.ipynb": 2,
}
"""How many pictures each shows."""
LONG = ("audio_accent.ipynb", "imaging_masks.ipynb", "speaker_verification.ipynb", "text_sentiment.ipynb")
GAINS = {
    "audio_accent.ipynb": r"^difference +auroc, new speakers +(.*)$",
    "imaging_brain_tumour.ipynb": r"^difference +auroc (.*), on",
    "imaging_masks.ipynb": r"^difference +dice (.*), on",
    "text_sentiment.ipynb": r"^\w+ +auroc above that of scratch by (.*)$",
}
"""Where each says by how much pretraining is better than random weights."""


def opened(name):
    return nbformat.read(EXAMPLES / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    return "".join(output.text for cell in code_cells(notebook) for output in cell.outputs
                   if output.output_type == "stream" and output.name == "stdout")  # fmt: skip


def interval(text):
    return [float(number) for number in re.search(r"(\S+) \[(\S+), (\S+)\]", text).groups()]


def check_outputs(name, notebook):
    """Results and pictures, no warning, no error, and pretraining that is better than random weights."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    text = printed(notebook)
    assert "Warning" not in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == NOTEBOOKS[name]
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    if name in GAINS:
        gains = re.findall(GAINS[name], text, flags=re.MULTILINE)
        assert gains
        assert all(interval(gain)[1] > 0 for gain in gains)
    else:
        pretrained, random = (interval(line) for line in re.findall(r"EER (.*?)  Cllr", text))
        assert pretrained[2] < random[1]


@pytest.mark.slow(reason="starts a kernel and trains small networks")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.long(reason="half a minute each; the others stand for them in `make test`"))
    if name in LONG else name for name in NOTEBOOKS
])  # fmt: skip
def test_the_notebook_runs_and_shows_what_is_stored_in_it(name, tmp_path):
    notebook = opened(name)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    check_outputs(name, notebook)
    assert [len(cell.outputs) > 0 for cell in code_cells(notebook)] == [
        len(cell.outputs) > 0 for cell in code_cells(opened(name))
    ]
    if name != "speaker_verification.ipynb":
        assert list(tmp_path.glob("runs/*/adapter.safetensors"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_stored_outputs_are_of_one_run_and_show_what_pretraining_brings(name):
    notebook = opened(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    check_outputs(name, notebook)
    assert "/tmp/" not in printed(notebook)


@pytest.mark.parametrize(("name", "apart", "mixed"), [
    ("imaging_brain_tumour.ipynb", 0, 1), ("audio_accent.ipynb", 0, 1),
])  # fmt: skip
def test_a_leak_is_visible(name, apart, mixed):
    line = re.search(r"^auroc +(.*)$", printed(opened(name)), flags=re.MULTILINE)[1]
    both = [interval(part) for part in re.split(r"\s{2,}", line)]
    assert both[mixed][0] > both[apart][0] + 0.05
    assert 0.6 < both[apart][0] < 0.9


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_opens_with_its_question_and_ends_with_what_to_read(name):
    cells = opened(name).cells
    assert re.match(r"# .*\?\n", cells[0].source)
    assert cells[-1].source.startswith("## Read next")
    links = re.findall(r"\]\(([^)]+)\)", cells[-1].source)
    assert len(links) >= 3
    assert all((EXAMPLES / link).resolve().is_file() for link in links)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_uses_public_names_alone(name):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(opened(name))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr
            if isinstance(node.value, ast.Name) and node.value.id in ("core", "imaging", "audio"):
                assert node.attr in import_module(f"graftwork.{node.value.id}").__all__


def test_every_notebook_is_run():
    assert {path.name for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


def test_the_notebook_of_sentences_has_the_domain_of_the_script():
    domain = next(cell.source for cell in opened("text_sentiment.ipynb").cells if cell.source.startswith("COLUMN = "))
    assert domain in (EXAMPLES / "text_sentiment.py").read_text(encoding="utf-8")
