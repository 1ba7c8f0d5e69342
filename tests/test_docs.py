"""The documentation: its commands are ones that there are, and it is built without a warning."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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
