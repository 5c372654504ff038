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
from starlette.routing import Match

from . import appraise, challenge, health, kds, oidc, pages, policies
from .headers import Headers
from .parts import Desk, Parts
from .plain import Plain
from .problems import ServiceError, problem
from .route import ServiceRoute

_METHOD_NOT_ALLOWED: Final = 405
_PARTS: Final = (appraise, challenge, oidc, health, pages, policies, kds)


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
    app.add_middleware(Plain)
    app.add_middleware(Headers)
    for part in _PARTS:
        app.include_router(part.routes)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        if error.status_code != _METHOD_NOT_ALLOWED:
            return problem(ServiceError("SERVICE_ROUTE", "request: for no route of this service"))
        answer = problem(ServiceError("SERVICE_METHOD", "request: the route is not for this method"))
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
        return answer

    return app


def _methods(request: Request) -> set[str]:
    """Return every method of a request's path; the library's own answer names those of one route alone."""
    routes = (route for part in _PARTS for route in part.routes.routes if isinstance(route, ServiceRoute))
    return {
        name for route in routes if route.matches(request.scope)[0] is not Match.NONE for name in route.methods or ()
    }
