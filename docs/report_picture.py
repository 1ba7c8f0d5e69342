"""The picture of a report in the README: `python docs/report_picture.py` draws `_static/report.png` anew, of the scans
that the tutorial draws. Needs Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from graftwork.imaging.cli import main

DOCS = Path(__file__).resolve().parent
PICTURE = DOCS / "_static" / "report.png"
TRAINING = "train scans.csv --backbone tiny:cnn2d --image-size 64 --strategy probe --folds 5 --out runs/first"
SHOWN = ("metrics", "plots")
SIZE = (880, 1420)


def tutorial_script() -> str:
    """The program of the tutorial that draws scans."""
    text = (DOCS / "tutorials" / "scans.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert found is not None
    return found[1]


def draw() -> None:
    """Trains on the tutorial's scans, and keeps what a browser shows of the report's headline, metrics and plots."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium is installed, which draws the picture")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["GRAFTWORK_CACHE"] = "cache"
        subprocess.run([sys.executable, "-c", tutorial_script()], check=True)
        sys.argv = ["graftwork-imaging", *TRAINING.split()]
        with contextlib.suppress(SystemExit):
            main()
        report = Path("runs/first/report.html")
        shown = ", ".join(f"#{name}" for name in SHOWN)
        style = f"<style>nav, section:has(h2):not(:has({shown})) {{display: none}}</style>"
        text = report.read_text(encoding="utf-8").replace("</head>", f"{style}</head>")
        report.write_text(text, encoding="utf-8")
        subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--window-size={SIZE[0]},{SIZE[1]}", "--screenshot=report.png", report.resolve().as_uri()],
                       check=True, stderr=subprocess.DEVNULL)  # fmt: skip
        with Image.open("report.png") as picture:
            picture.convert("RGB").quantize(32).save(PICTURE, optimize=True)


if __name__ == "__main__":
    draw()
