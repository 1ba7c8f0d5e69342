"""What others build from: the conda recipe and the Dockerfile say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "soundfile": "pysoundfile"}
"""Names that conda has for packages of other names."""


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8"))


def test_the_conda_recipe_requires_what_the_project_and_both_domains_do(recipe):
    extras = PROJECT["optional-dependencies"]
    asked = map(Requirement, [*PROJECT["dependencies"], *extras["imaging"], *extras["audio"]])
    expected = {f"{CONDA.get(one.name, one.name)} {one.specifier}" for one in asked}
    assert set(recipe["requirements"]["run"]) == expected | {f"python {PROJECT['requires-python']}"}


def test_the_conda_recipe_has_version_licence_and_programs_of_the_project(recipe):
    assert recipe["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    assert recipe["about"]["license"] == PROJECT["license"]
    assert recipe["build"]["entry_points"] == [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]


def test_the_dockerfile_installs_an_extra_that_there_is_on_a_python_that_is_supported():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG EXTRAS=(\w+)$", text, flags=re.MULTILINE)[1] in PROJECT["optional-dependencies"]
    assert f">={re.search(r'^FROM python:([0-9.]+)-slim$', text, flags=re.MULTILINE)[1]}" == PROJECT["requires-python"]
    copied = set(re.findall(r"/src/([\w.]+)", text))
    assert all((ROOT / name).is_file() for name in copied)
