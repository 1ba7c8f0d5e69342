"""The examples in the docstrings of public names do what they show, on files that are made here."""

import doctest
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from graftwork import audio, core, imaging

MOST_USED = {
    core: ("Recipe", "compare", "compare_predictions", "cross_validate", "evaluate_predictions", "finetune",
           "read_manifest", "train"),
    imaging: ("ImageClassifier", "load_backbone", "read_manifest", "read_scan"),
    audio: ("ClipClassifier", "read_manifest", "read_waveform"),
}  # fmt: skip
"""Public names that must have an example."""
FLAGS = doctest.NORMALIZE_WHITESPACE


def examples():
    """Every doctest of a public name and its public methods: (name, the doctest without its globals)."""
    finder = doctest.DocTestFinder(recurse=True)
    found = {}
    for package in (core, imaging, audio):
        for name in package.__all__:
            value = getattr(package, name)
            if callable(value):
                place = f"{package.__name__}.{name}"
                found |= {one.name: one for one in finder.find(value, place, module=import_module(value.__module__))
                          if one.examples}  # fmt: skip
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 scans of 12 patients, every second with a bright half, and 16 clips of 8 speakers."""
    place = tmp_path_factory.mktemp("docstrings")
    generator = np.random.default_rng(0)
    (place / "scans").mkdir()
    (place / "clips").mkdir()
    lines = ["path,label,group"]
    for number in range(24):
        pixels = generator.integers(0, 120, (32, 32)) + 100 * (number % 2) * (np.arange(32) > 16)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"scans/{number:02d}.png")
        lines.append(f"scans/{number:02d}.png,{('healthy', 'tumour')[number % 2]},patient-{number // 2}")
    (place / "scans.csv").write_text("\n".join(lines))
    lines = ["path,accent,speaker"]
    for number in range(16):
        sound = np.sin(np.arange(8000) * (0.05 + 0.1 * (number % 2))) + generator.normal(0, 0.1, 8000)
        soundfile.write(place / f"clips/{number:02d}.wav", 0.3 * sound, 16000)
        lines.append(f"clips/{number:02d}.wav,{('north', 'south')[number % 2]},speaker-{number // 2}")
    (place / "clips.csv").write_text("\n".join(lines))
    return place


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_shows(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(folder / "cache"))
    example = EXAMPLES[name]
    example.globs = example.globs | {"core": core, "imaging": imaging, "audio": audio, "np": np, "pd": pd}
    said = []
    failed = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(example, out=said.append).failed
    assert failed == 0, "".join(said)


@pytest.mark.parametrize("package", MOST_USED, ids=lambda package: package.__name__)
def test_the_most_used_names_have_an_example(package):
    missing = [name for name in MOST_USED[package] if f"{package.__name__}.{name}" not in EXAMPLES]
    assert not missing
