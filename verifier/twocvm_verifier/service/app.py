"""The application: its routes, and what becomes of requests for others.

    app = create_app(Parts(...))

Spec: docs/spec/challenge.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.datastructures import State
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from . import appraise, challenge, health, kds, oidc, pages, policies
from .headers import Headers
from .parts import Desk, Parts
from .plain import Plain
from .problems import ServiceError, problem
from .route import ServiceRoute

_PARTS: Final = (appraise, challenge, oidc, health, pages, policies, kds)


class Application:
    """Answers requests: a router, behind what every request and every answer passes.

    Attributes:
        state: What the routes share: `desk` and `health`.
        routes: All there are, in the order in which they are looked at.

    Args:
        parts: What it is put together from.
    """

    def __init__(self, parts: Parts) -> None:
        desk = Desk(parts)

        @asynccontextmanager
        async def lifespan(_: Application) -> AsyncIterator[None]:
            yield
            desk.stop()

        self.state = State({"desk": desk, "health": health.Health(probes=parts.probes, clock=parts.clock)})
        self.routes: tuple[ServiceRoute, ...] = tuple(route for part in _PARTS for route in part.routes)
        router = Router(self.routes, redirect_slashes=False, default=_refuse, lifespan=lifespan)
        self._answer = Headers(Plain(router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["app"] = self
        await self._answer(scope, receive, send)


def create_app(parts: Parts) -> Application:
    """Return the service's application.

    Args:
        parts: What it is put together from.
    """
    return Application(parts)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(ServiceError("SERVICE_ROUTE", "request: for no route of this service"))(scope, receive, send)
