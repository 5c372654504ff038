"""Refuses a request that another program on its way could read as another request.

Whatever stands before this service decides by paths and headers as it reads them. So a path is written in one way,
without percent signs, dots or empty segments, which none of the routes needs; what counts once stands there once; and
a body has one length.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from twocvm_verifier.errors import MalformedError, TwoCvmError

from .evidence_forms import DOCUMENT
from .problems import ServiceError, problem

_PATH: Final = re.compile(rb"/(?:[A-Za-z0-9._~:@!$&'()*+,;=-]+(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)*)?", re.ASCII)
_DOTS: Final = frozenset({b".", b".."})
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_ONCE: Final = (
    b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"transfer-encoding",
)  # fmt: skip


class Plain:
    """Refuses what is not plain.

    Args:
        app: What is asked whatever is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it and end its connection."""
        refused = _refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        answer = problem(refused)
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)


def _refusal(scope: Scope) -> TwoCvmError | None:
    if scope["http_version"] not in _VERSIONS:
        return MalformedError(DOCUMENT, "version", "want HTTP/1.1 or HTTP/1.0")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    if not _PATH.fullmatch(path) or not _DOTS.isdisjoint(path.split(b"/")):
        return ServiceError("SERVICE_ROUTE", "request: its path is none of this service's")
    names = [name for name, _ in scope["headers"]]
    found = set(names)
    if len(found) < len(names) and any(names.count(name) > 1 for name in _ONCE):
        return MalformedError(DOCUMENT, "headers", "one that counts once stands there twice")
    if b"transfer-encoding" in found and (b"content-length" in found or scope["http_version"] == "1.0"):
        return MalformedError(DOCUMENT, "headers", "the body has two lengths")
    return None
