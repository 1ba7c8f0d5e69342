"""The documentation: its commands are ones that there are, and it is built without a warning."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from graftwork.audio import cli as audio
from graftwork.core.cli.app import build_app
from graftwork.core.versions import version_of
from graftwork.imaging import cli as imaging

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.name.startswith(("api-", "command-")))
COMMANDS = [(path.relative_to(ROOT), line) for path in PAGES
            for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            for line in block.splitlines() if line]  # fmt: skip


def part_of_the_documentation(name):
    """A module of `docs/`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda one: str(one)[:60])
def test_a_command_on_a_page_has_only_options_that_there_are(page, line):
    program, verb, *words = shlex.split(line)
    app = build_app({"graftwork-imaging": imaging, "graftwork-audio": audio}[program].COMMANDS)
    for command in app.registered_commands:
        signature, annotations = command.callback.__signature__, command.callback.__annotations__
        command.callback = lambda **options: None  # parsed, and not run
        command.callback.__signature__, command.callback.__annotations__ = signature, annotations
    app([verb, *words], standalone_mode=False)


@pytest.mark.long(reason="trains a dozen small models, as a newcomer would")
@pytest.mark.slow(reason="runs every command of the page in a process of its own")
@pytest.mark.parametrize("page", ["scans", "clips"])
def test_a_tutorial_can_be_typed_in_an_empty_folder(page, tmp_path):
    text = (ROOT / "docs" / "tutorials" / f"{page}.md").read_text(encoding="utf-8")
    settings = os.environ | {"GRAFTWORK_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    script = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    commands = [[sys.executable, "-c", script]]
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        for program, *words in map(shlex.split, block.splitlines()):
            commands.append([sys.executable, "-m", program.replace("-", "."), *words])
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert list(tmp_path.glob("runs/*/report.html"))


WRITTEN = sorted([*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
DRAWN = {path.stem for path in (ROOT / "docs" / "reference").glob("*.md")} | {
    "api-core", "api-imaging", "api-audio", "command-imaging", "command-audio", "strategies",
}  # fmt: skip


def prose(path):
    """The page without its blocks of code, in which a bracket is no link."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """What MyST and GitHub call the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(path):
    for link in re.findall(r"(?<!`)\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        aim = (path.parent / name).resolve() if name else path
        if aim.name.startswith("drawn-"):
            assert aim.stem.removeprefix("drawn-") in part_of_the_documentation("figures").FIGURES
            continue
        assert aim.is_file() or (aim.parent.name == "reference" and aim.stem in DRAWN), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(aim), f"{link}: no such heading"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(path):
    for name in re.findall(r"`((?:docs|examples|tests|core|imaging|audio)/[\w/.]+\.(?:md|py|ipynb|txt))`", prose(path)):
        assert (ROOT / name).is_file(), f"{name} is not there"


@pytest.mark.parametrize("index", sorted((ROOT / "docs").rglob("index.md")), ids=lambda path: path.parent.name)
def test_every_page_is_in_a_table_of_contents(index):
    listed = set(re.search(r"```{toctree}\n(?::hidden:\n)?(.*?)```", index.read_text(encoding="utf-8"),
                           flags=re.DOTALL)[1].split())  # fmt: skip
    beside = {path.stem for path in index.parent.glob("*.md")} - {"index"}
    assert beside | DRAWN >= listed - {name for name in listed if "/" in name}
    assert beside <= listed


def test_there_are_commands_on_the_pages():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("page", ["command-imaging.md", "command-audio.md"])
def test_the_reference_names_options_as_they_are_typed(page):
    generated = part_of_the_documentation("generated")
    flags = set(re.findall(r"^\| `(--\S+)`", generated.PAGES[page](), flags=re.MULTILINE))
    domain = {"command-imaging.md": imaging, "command-audio.md": audio}[page]
    known = {flag for command in get_command(build_app(domain.COMMANDS)).commands.values() for one in command.params
             for flag in ("/".join([*one.opts, *one.secondary_opts]), one.opts[0])}  # fmt: skip
    assert len(flags) > 80
    assert flags <= known


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", text, flags=re.MULTILINE)[1] == version_of("graftwork")


@pytest.mark.long(reason="draws every page")
@pytest.mark.slow(reason="loads every package and draws every page")
def test_the_documentation_is_built_without_a_warning(tmp_path):
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, said in (("reference/api-core", "cross_validate"), ("reference/command-imaging", "--abstain"),
                       ("reference/strategies", "lpft"), ("explained/intervals", "jackknife")):  # fmt: skip
        assert said in (tmp_path / f"{name}.html").read_text(encoding="utf-8")
