"""Runs lines of the two command lines and snippets of Python in turn, each in a process forked from one that has loaded
the packages: `python tests/forked_commands.py < texts.json`, pairs of a folder and a text, prints what each left."""

import glob
import json
import os
import shlex
import sys
import tempfile
import traceback

# Loading these is most of what a short command does; none of them has begun to compute when a process is forked.
import monai.transforms
import sklearn.linear_model
import timm
import torchaudio
import torchvision

from graftwork.audio.cli import main as audio
from graftwork.imaging.cli import main as imaging

LOADED = (monai.transforms, sklearn.linear_model, timm, torchaudio, torchvision)
MAINS = {"graftwork-imaging": imaging, "graftwork-audio": audio}


def words(line: str) -> list[str]:
    """The line's words as a shell would give them, patterns of files expanded."""
    return [found for word in shlex.split(line)
            for found in (sorted(glob.glob(word)) if glob.has_magic(word) else []) or [word]]  # fmt: skip


def run(text: str, folder: str = ".") -> dict[str, object]:
    """Exit status and both streams of one line, or of a snippet of Python, run in a process of its own, there."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(folder)
            _run_and_exit(text)
        _, status = os.waitpid(child, 0)
        for stream in (out, err):
            stream.seek(0)
        return {"code": os.waitstatus_to_exitcode(status), "out": out.read().decode(), "err": err.read().decode()}


def _run_and_exit(text: str) -> None:
    code: object = 1
    try:
        if text.startswith(tuple(MAINS)):
            program, *sys.argv[1:] = words(text)
            sys.argv[0] = program
            MAINS[program]()
        else:
            exec(compile(text, "<snippet>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    print(json.dumps([run(text, folder) for folder, text in json.load(sys.stdin)]))
