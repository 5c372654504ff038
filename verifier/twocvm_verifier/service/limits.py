"""How much one client, and all together, may ask of this process.

A client's share is a bucket that fills steadily: `burst` requests at once, `requests_per_second` in the long run. And
it has so many under way at a time and no more: a few slow ones would else take the room of everybody.
Probes are not counted, so that a busy service is not taken for a dead one.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from twocvm_verifier.clock import Clock

from .clients import client_in
from .problems import ServiceError, problem

# More than fit into a day's traffic of strangers; some 10 MB.
MAX_CLIENTS: Final = 65_536
PROBES: Final = frozenset({"/livez", "/readyz"})


class Rate:
    """Counts what each client asks. Of one event loop.

    Args:
        per_second: Requests in the long run.
        burst: Requests at once.
        clock: Says what time it is.
        max_clients: How many are remembered; of more the one that asked longest ago is forgotten.
    """

    def __init__(self, *, per_second: float, burst: int, clock: Clock, max_clients: int = MAX_CLIENTS) -> None:
        self._interval_seconds = 1.0 / per_second
        self._slack_seconds = (burst - 1) / per_second
        self._clock = clock
        self._max_clients = max_clients
        # When each would have asked all that it did, had it asked steadily; in the order in which they asked last.
        self._due: dict[str, float] = {}

    def wait_seconds(self, client: str) -> float:
        """Count a request and return 0, or how long this client has to wait before it may ask."""
        now = self._clock.monotonic_seconds()
        due = max(self._due.pop(client, now), now)
        early = due - now - self._slack_seconds
        # A request that is refused costs its client nothing more.
        self._due[client] = due if early > 0 else due + self._interval_seconds
        if len(self._due) > self._max_clients:
            del self._due[next(iter(self._due))]
        return max(early, 0.0)


class Guard:
    """Refuses what is too much, before anything is read of it.

    Args:
        app: What is asked of whatever is not.
        rate: Counts what each client asks.
        concurrent: How many requests are under way at a time.
        per_client: How many of one client are.
    """

    def __init__(self, app: ASGIApp, *, rate: Rate, concurrent: int, per_client: int) -> None:
        self._app = app
        self._rate = rate
        self._concurrent = concurrent
        self._per_client = per_client
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        client = client_in(scope)
        refused = self._refusal(client)
        if refused is not None:
            await problem(refused)(scope, receive, send)
            return
        self._under_way[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[client] -= 1
            if not self._under_way[client]:
                del self._under_way[client]

    def _refusal(self, client: str) -> ServiceError | None:
        if wait := self._rate.wait_seconds(client):
            return ServiceError("RATE_LIMITED", "client: asks more than its share", retry_after_seconds=math.ceil(wait))
        if self._under_way[client] >= self._per_client:
            return ServiceError("RATE_LIMITED", "client: has too many under way")
        if self._under_way.total() >= self._concurrent:
            return ServiceError("SERVICE_BUSY", "requests: too many are under way")
        return None
