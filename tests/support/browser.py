"""A real browser, without a screen: what a page's document is once everything on it has run, and what it asked for.

    page = "<!doctype html>..."
    visit = visited(page, tmp_path)               # skips, visibly, where there is no Chromium
    visit.document                                # the page as the browser has it in the end
    visit.asked                                   # paths that it asked its server for, but the page itself

The page is served from this machine; a document that wants anything else wants it from the same server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 60.0
# Of the browser's own clock, which stands still while it loads something.
_VIRTUAL_MILLISECONDS = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What came of a visit."""

    document: str
    asked: tuple[str, ...]


def visited(page: str, folder: Path, *, files: Mapping[str, bytes] | None = None) -> Visit:
    """Open a page and return what came of it.

    Args:
        page: HTML, served at `/`.
        folder: An empty one, for the browser's profile.
        files: What is served beside it, by path.
    """
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
    served = {"/": page.encode()} | dict(files or {})
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _answering(served, asked)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            document = _document(browser, f"http://127.0.0.1:{server.server_port}/", folder)
        finally:
            server.shutdown()
            thread.join()
    return Visit(document=document, asked=tuple(path for path in asked if path not in ("/", "/favicon.ico")))


def _answering(served: Mapping[str, bytes], asked: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = served.get(self.path)
            self.send_response(200 if body is not None else 404)
            kind = "application/javascript" if self.path.endswith(".js") else "text/html; charset=utf-8"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    return Handler


def _document(browser: str, url: str, folder: Path) -> str:
    command = [
        browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--host-resolver-rules=MAP * 127.0.0.1", f"--user-data-dir={folder}",
        f"--virtual-time-budget={_VIRTUAL_MILLISECONDS}", "--dump-dom", url,
    ]  # fmt: skip
    if os.geteuid() == 0:
        # As root it does not start in its own sandbox; the pages are ours.
        command.insert(1, "--no-sandbox")
    ended = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    return ended.stdout.decode()
