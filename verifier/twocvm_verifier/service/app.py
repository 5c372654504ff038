"""The application: its routes, and what becomes of requests for others.

    app = create_app(Parts(...))

Spec: docs/spec/challenge.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from . import appraise, challenge, health, kds, oidc, pages, policies
from .headers import Headers
from .parts import Desk, Parts
from .problems import ServiceError, problem

_METHOD_NOT_ALLOWED: Final = 405


def create_app(parts: Parts) -> FastAPI:
    """Return the service's application.

    Args:
        parts: What it is put together from.
    """
    desk = Desk(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.stop()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.desk = desk
    app.state.health = health.Health(probes=parts.probes, clock=parts.clock)
    app.add_middleware(Headers)
    for part in (appraise, challenge, oidc, health, pages, policies, kds):
        app.include_router(part.routes)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> Response:
        code = "SERVICE_METHOD" if error.status_code == _METHOD_NOT_ALLOWED else "SERVICE_ROUTE"
        answer = problem(ServiceError(code, "request: for no route of this service"))
        # The methods that there are.
        answer.headers.update(error.headers or {})
        return answer

    return app
