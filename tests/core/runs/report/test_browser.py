"""The report in a real browser: on a wide screen and a narrow one, light and dark, and on paper."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.reports

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser() -> str | None:
    """The program; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@dataclass
class Page:
    """messages: what the browser has said without being asked."""

    write: int
    read: int
    session: str | None = None
    count: int = 0
    held: bytes = b""
    messages: list[dict[str, Any]] = field(default_factory=list)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.held:
            piece = os.read(self.read, 1 << 16)
            if not piece:
                raise RuntimeError("the browser has ended")
            self.held += piece
        message, _, self.held = self.held.partition(b"\0")
        return dict(json.loads(message))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        asked = {"id": self.count, "method": method, "params": params}
        if self.session is not None:
            asked["sessionId"] = self.session
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self.count:
                assert "error" not in message, message
                return dict(message["result"])
            self.messages.append(message)

    def open(self, file: Path) -> None:
        """Loads a file, and waits until everything in it is there."""
        self.ask("Page.navigate", url=file.as_uri())
        while not any(one["method"] == "Page.loadEventFired" for one in self.messages):
            self.messages.append(self._next())

    def evaluate(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def colours(self, scheme: str) -> None:
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        return [
            one["params"]["request"]["url"] for one in self.messages if one["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(one["params"]) for one in self.messages if one["method"] in kinds]


@contextlib.contextmanager
def new_page(program: str) -> Iterator[Page]:
    """A page of a browser that is ended afterwards."""
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The browser reads from descriptor 3 and writes to 4.
        command = (f'exec "$0" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe '
                   f'--no-first-run --user-data-dir="$1" 3<&{to_read} 4>&{from_write}')  # fmt: skip
        process = subprocess.Popen(["bash", "-c", command, program, profile], pass_fds=(to_read, from_write),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(to_read)
        os.close(from_write)
        try:
            page = Page(to_write, from_read)
            target = page.ask("Target.createTarget", url="about:blank")["targetId"]
            page.session = page.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.ask(f"{domain}.enable")
            yield page
        finally:
            process.terminate()
            process.wait(20)
            os.close(to_write)
            os.close(from_read)


A4_PT = (595, 842)


@pytest.mark.slow(reason="starts a browser")
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed: apt-get install chromium")
def test_it_is_whole_on_screens_and_on_paper_and_asks_for_nothing(folder):
    file = folder / "report.html"
    with new_page(browser()) as page:
        page.resize(1280)
        page.open(file)
        assert [address for address in page.requests() if not address.startswith("data:")] == [file.as_uri()]
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.images.length") > 5
        for width in (375, 1280):
            page.resize(width)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate("Math.min(...[...document.images].map(image => image.clientWidth))") > 0
        grounds = {}
        for scheme in ("light", "dark"):
            page.colours(scheme)
            grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert page.screenshot().startswith(b"\x89PNG")
        assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}
        paper = page.pdf()
        assert paper.startswith(b"%PDF")
        assert f"/MediaBox [0 0 {A4_PT[0]}".encode() in paper.replace(b".92", b"").replace(b"594", b"595")
        assert page.complaints() == []


def test_the_page_of_the_test_sees_what_goes_wrong(tmp_path):
    if browser() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    (tmp_path / "bad.html").write_text("<img src='other.png'><script>console.error('x'); nothing()</script>")
    with new_page(browser()) as page:
        page.open(tmp_path / "bad.html")
        assert len(page.complaints()) >= 2
        assert (tmp_path / "other.png").as_uri() in page.requests()
