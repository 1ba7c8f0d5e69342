"""A headless Chromium, spoken to through its debugging pipe: pages as people see them, and what they ask for."""

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
