"""The rooms: flat packages, one direction of imports, and nothing heavy loaded before it is needed."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "imaging", "audio")
ALLOWED = {"core": {"core"}, "imaging": {"core", "imaging"}, "audio": {"core", "audio"}}


def test_every_folder_with_a_package_is_listed_and_flat():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == set(PACKAGES)
    assert set(settings["packages"]) == {f"graftwork.{name}" for name in found}
    assert settings["package-dir"] == {f"graftwork.{name}": name for name in found}
    for name in found:
        deeper = {path.parent for path in (ROOT / name).glob("*/**/*.py")}
        assert not deeper, "subfolders are not installed"
        assert (ROOT / name / "py.typed").is_file()


def test_what_lies_beside_the_code_is_installed_with_it():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    found = [path.relative_to(ROOT / name) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    beside = [path for path in found if path.suffix not in (".py", ".pyc")]
    assert Path("tiny/wav2vec2/model.safetensors") in beside
    for path in beside:
        assert any(path.match(pattern) for pattern in patterns), path


def test_graftwork_is_a_namespace():
    assert not (ROOT / "graftwork" / "__init__.py").exists()
    assert not (ROOT / "__init__.py").exists()


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_domains_stand_on_the_core_and_not_on_each_other(package):
    for file in (ROOT / package).glob("*.py"):
        for name in imported(file):
            first, *rest = name.split(".")
            assert first not in PACKAGES, f"{file.name}: import graftwork.{first}"
            if first == "graftwork":
                assert rest[0] in ALLOWED[package], f"{file.name} imports {name}"


def loaded_after(code):
    """Names of the modules that a fresh interpreter has loaded after running the code."""
    report = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=60)
    return result.stdout, set(result.stderr.split())


HEAVY = {"torch", "sklearn", "scipy", "pandas", "matplotlib", "accelerate", "timm", "monai", "torchaudio"}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package):
    _, loaded = loaded_after(f"import graftwork.{package}")
    assert f"graftwork.{package}" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("domain", ["imaging", "audio"])
@pytest.mark.parametrize("verb", ["", "train "])
def test_help_is_shown_before_anything_heavy_is_loaded(domain, verb):
    arguments = ["x", *verb.split(), "--help"]
    out, loaded = loaded_after(f"from graftwork.{domain}.cli import main; sys.argv = {arguments}; main()")
    assert "Usage" in out
    assert not loaded & HEAVY


def test_every_public_name_of_the_core_is_there():
    from graftwork import core

    for name in core.__all__:
        assert getattr(core, name).__name__ == name
    assert set(core.__all__) == set(core._HOMES)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = core.nothing
