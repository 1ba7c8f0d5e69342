"""`serve`: the page and its two addresses, on this machine alone unless somebody says otherwise.

The page asks nothing of other machines, and nothing that is dropped on it is kept.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import tempfile
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from graftwork.core.errors import GraftworkError, OutputError, SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.serving.answer import Answerer, answer, open_answerer
from graftwork.core.serving.page import page

log = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost")
PORT = 8765
MOST_MB = 512.0
"""Largest file that is taken."""

MAX_REQUESTS = 8
"""That are taken at a time; others are told to come again."""

TIMEOUT_S = 30.0
"""Without a byte for so long, a request is dropped."""

_WAIT_S = 3600.0
_CHUNK_BYTES = 1 << 20
_NAME_LENGTH = 100


class PageServer(ThreadingHTTPServer):
    """A server that knows the run and the limits. local: whether it is of this machine alone."""

    daemon_threads = True

    def __init__(self, host: str, port: int, answerer: Answerer, most_bytes: int) -> None:
        self.answerer, self.most_bytes, self.local = answerer, most_bytes, host in LOCAL
        self.taken = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__((host, port), PageHandler)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/"


def make_server(
    run: str | Path, load_backbone: Callable[..., Backbone], *, host: str = "127.0.0.1", port: int = PORT,
    max_mb: float = MOST_MB, abstain: float | None = None, weights: str | None = None, device: str = "auto",
) -> PageServer:  # fmt: skip
    """The server of a run's page, which `serve_forever` begins and `shutdown` ends. port: 0 for any that is free.
    max_mb: largest file that is taken. abstain, weights, device: as of `predict`.

    Raises what `load_adapter` does, SettingsError for limits that are none, OutputError for an address that cannot be
    had.
    """
    if not max_mb > 0:
        raise SettingsError(f"--max-mb: expected above 0, found {max_mb}")
    if not 0 <= port < 1 << 16:
        raise SettingsError(f"--port: expected 0 to 65535, found {port}")
    answerer = open_answerer(run, load_backbone, weights=weights, abstain=abstain, device=device)
    try:
        server = PageServer(host, port, answerer, round(max_mb * 1e6))
    except OSError as error:
        raise OutputError(f"{host}:{port}: cannot be served at ({error.strerror or error}); give another --port, or 0 "
                          "for any that is free") from error  # fmt: skip
    if not server.local:
        log.warning("the page can be reached from other machines, without a password and unencrypted")
    return server


def serve(server: PageServer, wait: Callable[[float], bool] | None = None) -> None:
    """Answers until Ctrl-C, and closes the server. wait: waits for so many seconds, and says whether somebody has asked
    to end."""
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        wait = wait or threading.Event().wait
        try:
            while not wait(_WAIT_S):
                pass
        finally:
            server.shutdown()
            thread.join()


class PageHandler(BaseHTTPRequestHandler):
    """The page at `/`, and what the run says of a file that is sent to `/predict`."""

    server: PageServer
    server_version, sys_version = "graftwork", ""
    timeout = TIMEOUT_S  # of the socket

    def do_GET(self) -> None:
        """The page."""
        if not self._known_host():
            return
        if self.path.split("?")[0] != "/":
            self._say(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
            return
        nonce = secrets.token_urlsafe(16)
        answerer = self.server.answerer
        text = page(answerer.name, answerer.adapter.record, answerer.adapter.backbone.domain, nonce,
                    self.server.most_bytes)  # fmt: skip
        rules = (f"default-src 'none'; img-src data:; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
                 "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")  # fmt: skip
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", text.encode(), {"Content-Security-Policy": rules})

    def do_POST(self) -> None:
        """A file, whose name is in the header X-Filename; pages of others cannot send that header."""
        if not self._known_host():
            return
        if self.path != "/predict" or "X-Filename" not in self.headers:
            self._say(HTTPStatus.NOT_FOUND, {"error": "files are sent to /predict, with their name in X-Filename"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._say(HTTPStatus.LENGTH_REQUIRED, {"error": "expected the file's length in Content-Length"})
            return
        if int(length) > self.server.most_bytes:
            limit = self.server.most_bytes / 1e6
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                      {"error": f"expected at most {limit:g} MB, found {int(length) / 1e6:.1f} MB: serve it with a "
                                "larger --max-mb"})  # fmt: skip
            self._drop(int(length))
            return
        if not self.server.taken.acquire(blocking=False):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "other files are being read: try again in a moment"})
            self._drop(int(length))
            return
        try:
            self._predict(unquote(self.headers["X-Filename"]), int(length))
        finally:
            self.server.taken.release()

    def _drop(self, length: int) -> None:
        """Reads what is sent and not taken, up to a bound: a connection that is closed before is an error to a browser,
        which then does not show the answer."""
        self.close_connection = True
        left = min(length, 2 * self.server.most_bytes)
        while left > 0 and (piece := self.rfile.read(min(left, _CHUNK_BYTES))):
            left -= len(piece)

    def _predict(self, name: str, length: int) -> None:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", Path(name).name)[-_NAME_LENGTH:].lstrip(".") or "file"
        with tempfile.TemporaryDirectory(prefix="graftwork-") as folder:
            path = Path(folder) / safe
            with path.open("wb") as file:
                while length and (piece := self.rfile.read(min(length, _CHUNK_BYTES))):
                    file.write(piece)
                    length -= len(piece)
            status, found = HTTPStatus.BAD_REQUEST, {"error": "the file did not come whole"}
            if not length:
                try:
                    status, found = HTTPStatus.OK, answer(self.server.answerer, path)
                    found["note"] = found["note"].replace(f"{folder}/", "")
                except GraftworkError as error:
                    status, found = HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error).replace(f"{folder}/", "")}
                except Exception:
                    log.exception("a file could not be answered for")
                    status = HTTPStatus.INTERNAL_SERVER_ERROR
                    found = {"error": "the program failed on this file: the terminal says how"}
        self._say(status, found)

    def _known_host(self) -> bool:
        """Whether the page was asked for under a name of this machine: another name that leads here is a page of
        somebody else that wants to read what this one says (DNS rebinding)."""
        host = self.headers.get("Host", "").rpartition(":")[0].strip("[]") or self.headers.get("Host", "")
        if not self.server.local or host in LOCAL:
            return True
        self._say(HTTPStatus.FORBIDDEN, {"error": "this page is of 127.0.0.1 alone"})
        return False

    def _say(self, status: HTTPStatus, found: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(found, allow_nan=False).encode(), {})

    def _send(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
               "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}  # fmt: skip
        for name, value in (own | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of what was sent is written down, but with --debug."""
        log.debug(format, *args)
