"""The application: its routes, and what becomes of requests for others.

    app = create_app(Parts(...))

Spec: docs/spec/challenge.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from . import appraise, challenge, health, kds, oidc, pages, policies
from .headers import Headers
from .parts import Desk, Parts
from .plain import Plain
from .problems import ServiceError, problem

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

# FastAPI's own would tell paths and queries, in which there are sessions and nonces, to whom the environment names.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_PARTS: Final = (appraise, challenge, oidc, health, pages, policies, kds)


class Application(FastAPI):
    """The routes, behind what every request and every answer passes.

    Each route ends in an answer, whatever happens in it, and reads no body but with limits. So nothing stands between
    that makes answers of exceptions, or limits once more: this costs a tenth of a judgement.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Return what answers."""
        return Headers(Plain(self.router))


def create_app(parts: Parts) -> Application:
    """Return the service's application.

    Its routes are looked at in their order. Each reads of a request what it needs, itself.

    Args:
        parts: What it is put together from.
    """
    desk = Desk(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.stop()

    app = Application(
        routes=[route for part in _PARTS for route in part.routes],
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.router.default = _refuse
    app.state.desk = desk
    app.state.health = health.Health(probes=parts.probes, clock=parts.clock)
    return app


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(ServiceError("SERVICE_ROUTE", "request: for no route of this service"))(scope, receive, send)
