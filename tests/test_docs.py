"""The documentation: its commands are ones that there are, and it is built without a warning."""

import importlib.util
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


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda one: str(one)[:60])
def test_a_command_on_a_page_has_only_options_that_there_are(page, line):
    program, verb, *words = shlex.split(line)
    app = build_app({"graftwork-imaging": imaging, "graftwork-audio": audio}[program].COMMANDS)
    for command in app.registered_commands:
        signature, annotations = command.callback.__signature__, command.callback.__annotations__
        command.callback = lambda **options: None  # parsed, and not run
        command.callback.__signature__, command.callback.__annotations__ = signature, annotations
    app([verb, *words], standalone_mode=False)


def test_there_are_commands_on_the_pages():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("page", ["command-imaging.md", "command-audio.md"])
def test_the_reference_names_options_as_they_are_typed(page):
    spec = importlib.util.spec_from_file_location("docs_generated", ROOT / "docs" / "generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
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
