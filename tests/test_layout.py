"""The rooms: packages installed whole, one direction of imports, and nothing heavy loaded before it is needed."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PACKAGES = ("core", "imaging", "audio")
ALLOWED = {"core": {"core"}, "imaging": {"core", "imaging"}, "audio": {"core", "audio"}}


def modules(package):
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def test_every_folder_with_code_is_a_package_that_is_listed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for name in PACKAGES for path in modules(name)}
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)
    assert set(settings["packages"]) == {".".join(("graftwork", *folder.parts)) for folder in folders}
    assert settings["package-dir"] == {f"graftwork.{name}": name for name in PACKAGES}
    assert all((ROOT / name / "py.typed").is_file() for name in PACKAGES)


@pytest.mark.slow  # builds the wheel
def test_the_wheel_holds_every_file_of_the_folders(tmp_path):
    source = tmp_path / "source"
    ours = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ours)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name.removeprefix("graftwork/") for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    there = {path.relative_to(source).as_posix() for name in PACKAGES for path in (source / name).rglob("*")
             if path.is_file()}  # fmt: skip
    assert held == there


def test_what_lies_beside_the_code_is_installed_with_it():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    found = [path.relative_to(ROOT / name) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    beside = [path for path in found if path.suffix not in (".py", ".pyc")]
    assert Path("backbones/tiny/wav2vec2/model.safetensors") in beside
    for path in beside:
        assert any(path.match(pattern) for pattern in patterns), path


def test_graftwork_is_a_namespace():
    assert not (ROOT / "graftwork" / "__init__.py").exists()
    assert not (ROOT / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_lie_in_the_room_of_what_they_test(package):
    rooms = {path.parent.relative_to(ROOT) for path in modules(package)}
    named = {path.relative_to(ROOT).with_suffix("") for path in modules(package)}
    for test in sorted((ROOT / "tests" / package).rglob("test_*.py")):
        room = test.parent.relative_to(ROOT / "tests")
        subject = test.stem.removeprefix("test_")
        assert room in rooms, f"{test}: {package} has no such room"
        elsewhere = [str(path) for path in named if path.name == subject]
        assert not elsewhere or room / subject in named, f"{test}: {subject} is {', '.join(elsewhere)}"


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_domains_stand_on_the_core_and_not_on_each_other(package):
    for file in modules(package):
        for name in imported(file):
            first, *rest = name.split(".")
            assert first not in PACKAGES, f"{file.name}: import graftwork.{first}"
            if first == "graftwork":
                assert rest[0] in ALLOWED[package], f"{file.name} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_way_of_others_not_even_for_types(package):
    files = {".".join(("graftwork", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
             for file in modules(package)}  # fmt: skip
    below = {}
    for name, file in files.items():
        # What is imported from a module is a name in it; what is imported from a package may be a module.
        found = {target if target in files else target.rpartition(".")[0] for target in imported(file)}
        below[name] = {target for target in found if target in files}
    assert any(below.values())
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


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


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_home_and_hides_no_room(package):
    module = import_module(f"graftwork.{package}")
    assert set(module.__all__) == set(module._HOMES)
    for name, home in module._HOMES.items():
        assert (ROOT / package / Path(*home.split("."))).with_suffix(".py").is_file()
        assert not (ROOT / package / name).exists()
        assert hasattr(module, name)


def test_every_public_name_of_the_core_is_there():
    from graftwork import core

    for name in core.__all__:
        found = getattr(core, name)
        assert getattr(found, "__name__", name) == name  # a union of types has none
    assert set(core.__all__) == set(core._HOMES)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = core.nothing


def test_values_that_hold_arrays_are_compared_by_identity():
    """An array has no one truth: comparing two such values would raise, and hashing one too."""
    wrong = []
    for path in (path for package in PACKAGES for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or not node.decorator_list:
                continue
            decorator = ast.unparse(node.decorator_list[0])
            fields = [ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)]
            holds = any(re.search(r"\b(NDArray|Tensor|Floats)\b", kind) and "Callable" not in kind for kind in fields)
            if holds and "frozen=True" in decorator and "eq=False" not in decorator:
                wrong.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not wrong


def imports_of(file):
    """The import statements of a script, or of a notebook's cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(line for line in cell["source"] if not line.startswith("%")) for cell in cells)
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


SHOWN = [file for pattern in ("*.py", "*.ipynb", "pretraining/*.py") for file in sorted(EXAMPLES.glob(pattern))]


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: file.name)
def test_examples_show_public_names_only(file):
    for node in imports_of(file):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("graftwork") for alias in node.names), ast.unparse(node)
        elif node.module.startswith("graftwork"):
            assert node.module in ("graftwork", *(f"graftwork.{package}" for package in PACKAGES)), ast.unparse(node)
