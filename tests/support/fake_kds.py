"""A KDS of our own: a real HTTP server on this machine that answers as AMD's does, and as badly.

with FakeKds.serving({name.kds_path: amd.vcek()}) as kds:
    kds.mode = Mode.BROKEN
    ...
    assert kds.asked == [name.kds_path]
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twocvm_verifier.clock import SystemClock
from twocvm_verifier.collateral import Collateral, Fetcher, Pace, Source, Store
from twocvm_verifier.collateral.http import HttpFetcher
from twocvm_verifier.snp.roots import Roots

HTML = b"<!doctype html><title>Service Unavailable</title><p>please try again"


class Mode(StrEnum):
    """How the service behaves."""

    RIGHT = "right"
    BUSY = "busy"  # 429, with Retry-After
    BUSY_ONCE = "busy once"  # 429 to the first request, then right
    BUSY_SILENT = "busy, not saying for how long"  # 429 without Retry-After
    MISSING = "missing"  # 404, whatever is asked
    BROKEN = "broken"  # 500
    UNAVAILABLE = "unavailable"  # 503
    HTML = "html"  # 200, and a web page
    WRONG = "wrong"  # 200, and another document of its own
    OUTAGE = "outage"  # closes every connection unanswered
    SLOW = "slow"  # sends a byte now and then
    STALLED = "stalled"  # answers nothing until it is stopped
    REDIRECT = "redirect"  # 302 to `elsewhere`
    OVERSIZE = "oversize"  # never ends
    ENCODED = "encoded"  # says that it is compressed


@dataclass
class FakeKds:
    """A service, its documents, and what was asked of it.

    Attributes:
        documents: What is at each path, query included.
        mode: How it behaves.
        elsewhere: Where it redirects to.
        wrong: What it sends in the mode `WRONG`.
        retry_after: The value of that field where it sends one.
        delay_seconds: How long each answer takes.
        asked: Every path that was asked for, in order.
        url: Where it is.
    """

    documents: dict[str, bytes]
    mode: Mode = Mode.RIGHT
    elsewhere: str = ""
    wrong: bytes = b""
    retry_after: str = "1"
    delay_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    url: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def serving(cls, documents: Mapping[str, bytes], **changes: Any) -> Iterator[FakeKds]:
        """Serve for the length of a `with`."""
        kds = cls(dict(documents), **changes)
        server = _Server(kds)
        kds.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield kds
        finally:
            kds._stopped.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        with self._lock:
            first = not self.asked
            self.asked.append(handler.path)
        if self.delay_seconds:
            time.sleep(self.delay_seconds)
        mode = self.mode
        if mode is Mode.BUSY_ONCE:
            mode = Mode.BUSY if first else Mode.RIGHT
        document = self.documents.get(handler.path)
        if mode is Mode.RIGHT and document is not None:
            self._send(handler, 200, document)
        elif mode in (Mode.RIGHT, Mode.MISSING):
            self._send(handler, 404, HTML)
        elif mode in (Mode.HTML, Mode.WRONG):
            self._send(handler, 200, HTML if mode is Mode.HTML else self.wrong)
        elif mode in (Mode.OUTAGE, Mode.STALLED):
            if mode is Mode.STALLED:
                self._stopped.wait(30)
            handler.close_connection = True
        elif mode in (Mode.SLOW, Mode.OVERSIZE):
            self._drip(handler, document or HTML, forever=mode is Mode.OVERSIZE)
        else:
            status, fields = self._refusal(mode)
            self._send(handler, status, document or HTML, **fields)

    def _refusal(self, mode: Mode) -> tuple[int, dict[str, str]]:
        return {
            Mode.BUSY: (429, {"Retry-After": self.retry_after}),
            Mode.BUSY_SILENT: (429, {}),
            Mode.BROKEN: (500, {}),
            Mode.UNAVAILABLE: (503, {}),
            Mode.REDIRECT: (302, {"Location": self.elsewhere}),
            Mode.ENCODED: (200, {"Content-Encoding": "gzip"}),
        }[mode]

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, **fields: str) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _drip(self, handler: BaseHTTPRequestHandler, body: bytes, *, forever: bool) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        if forever:
            while not self._stopped.is_set():
                handler.wfile.write(bytes(4096))
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if self._stopped.wait(0.05):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, kds: FakeKds) -> None:
        self.kds = kds
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer, in whatever way the service is told to."""
        self.server.kds.answer(self)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def source_of(
    kds: FakeKds,
    *,
    name: str = "kds",
    interval_seconds: float = 0.0,
    request_seconds: float = 5.0,
    fetcher: Fetcher | None = None,
) -> Source:
    """Return the service as a source that waits in real time."""
    clock = SystemClock()
    return Source(
        name=name,
        base_url=kds.url,
        fetcher=fetcher or HttpFetcher(clock=clock),
        pace=Pace(clock=clock, interval_seconds=interval_seconds, pause=time.sleep),
        clock=clock,
        request_seconds=request_seconds,
    )


def collateral_of(folder: Path, roots: Roots, *sources: Source, patience_seconds: float = 10.0) -> Collateral:
    """Return what finds collateral with a store in `folder`, from these sources."""
    store = Store(folder, roots=roots)
    return Collateral(store=store, sources=sources, clock=SystemClock(), patience_seconds=patience_seconds)
