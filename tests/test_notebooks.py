"""The notebooks run from top to bottom on the data that they make themselves."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = {"imaging_brain_tumour.ipynb": 2, "audio_accent.ipynb": 2, "text_sentiment.ipynb": 2}
"""How many pictures each shows."""


@pytest.mark.slow(reason="starts a kernel and trains small networks")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs_and_shows_metrics_and_plots(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert printed.count("auroc") >= 3
    assert len(pictures) == NOTEBOOKS[name]
    assert list(tmp_path.glob("runs/*/adapter.safetensors"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_is_stored_without_outputs(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_every_notebook_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


def test_the_notebook_of_sentences_has_the_domain_of_the_script() -> None:
    notebook = nbformat.read(EXAMPLES / "text_sentiment.ipynb", as_version=4)
    domain = next(cell.source for cell in notebook.cells if cell.source.startswith("COLUMN = "))
    assert domain in (EXAMPLES / "text_sentiment.py").read_text(encoding="utf-8")
