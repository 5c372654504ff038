"""What is seen of a request by whoever runs the service: one account of each, and who is told it.

An account has nothing that a caller chose, but for a request id of one narrow form: the route and not the path, the
code and not the text, the verdict and not the evidence. Logs, metrics and traces are made of accounts alone.

    app = Observed(app, watchers=(log_request,), clock=clock, random_bytes=secrets.token_bytes)
"""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twocvm_verifier import strictjson
from twocvm_verifier.clock import Clock

REQUEST_ID: Final = b"x-request-id"
NO_ROUTE: Final = "none"
OTHER_METHOD: Final = "other"
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ID_BYTES: Final = 15
_TRACEPARENT: Final = b"traceparent"
# What a client gets that did not stay for its answer; nginx's number, for no standard has one.
GONE: Final = 499


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is known of the request that is answered now; whoever answers fills it in.

    Attributes:
        request_id: The caller's, where that is one, else our own.
        code: Of the problem that was answered; empty where none was.
        verdict: That was reached; empty where none was.
        appraisal_seconds: From when all was read to the verdict, waiting for a turn and for collateral included.
    """

    request_id: str
    code: str = ""
    verdict: str = ""
    appraisal_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A request that is over.

    Attributes:
        seen: What was filled in.
        method: As HTTP names it; `other` where HTTP does not.
        route: The template of the route that it came to; `none` where there is none.
        status: Of the answer.
        seconds: From its headers to the end of its answer.
        traceparent: What the caller says that the request is a part of, as it came; believed by nobody unless told to.
    """

    seen: Seen
    method: str
    route: str
    status: int
    seconds: float
    traceparent: str


class Watcher(Protocol):
    """Who is told of requests. Is never told more than this, and never fails."""

    def begun(self) -> None:
        """A request has come."""
        ...

    def ended(self, account: Account) -> None:
        """It is over."""
        ...


_NOW: Final[ContextVar[Seen | None]] = ContextVar("seen", default=None)


def seen() -> Seen:
    """Return what is known of the request that is answered here; outside of one, what nobody will read."""
    return _NOW.get() or Seen(request_id=NO_ROUTE)


class Observed:
    """Answers as `app` does, gives each answer its request id, and tells the watchers.

    Args:
        app: What answers.
        watchers: Who is told.
        clock: Says how long it took.
        random_bytes: Gives as many random bytes as it is asked for.
    """

    def __init__(
        self, app: ASGIApp, *, watchers: Sequence[Watcher], clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._app = app
        self._watchers = tuple(watchers)
        self._clock = clock
        self._random_bytes = random_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        noted = Seen(request_id=self._request_id(scope))
        status = GONE

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, noted.request_id.encode("ascii"))]
            await send(message)

        began = self._clock.monotonic_seconds()
        for watcher in self._watchers:
            watcher.begun()
        before = _NOW.set(noted)
        try:
            await self._app(scope, receive, answered)
        finally:
            _NOW.reset(before)
            account = Account(
                seen=noted,
                method=_method(scope),
                route=getattr(scope.get("route"), "path", NO_ROUTE),
                status=status,
                seconds=self._clock.monotonic_seconds() - began,
                traceparent=next(iter(_values(scope, _TRACEPARENT)), b"").decode("latin-1"),
            )
            for watcher in self._watchers:
                watcher.ended(account)

    def _request_id(self, scope: Scope) -> str:
        match _values(scope, REQUEST_ID):
            case [said] if _ID.fullmatch(said):
                return said.decode("ascii")
            case _:
                return strictjson.base64url(self._random_bytes(_ID_BYTES))


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _method(scope: Scope) -> str:
    return str(scope["method"]) if scope["method"] in http.HTTPMethod.__members__ else OTHER_METHOD
