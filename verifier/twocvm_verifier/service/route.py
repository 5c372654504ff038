"""The service's routes, and how every one of them ends: with its answer, or with a problem that has a code."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.strictjson import Json

from .evidence_forms import DOCUMENT
from .logs import error_event
from .observe import seen
from .problems import ServiceError, internal_problem, problem

# Takes the request alone, and reads of it what it says.
Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class ServiceRoute(Route):
    """A path, and what answers one method at it.

    A refusal is answered with its code, and an error of the service's own with no word more than that.

    Args:
        method: The method; HEAD is none of GET's.
        path: As Starlette writes it.
        handler: Answers.
    """

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        super().__init__(path, handler)
        self.methods: set[str] = {method}
        self._handler = handler

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for this path."""
        scope["route"] = self
        known = scope["method"] in self.methods
        answer = await self._answered(Request(scope, receive, send)) if known else _refused(scope)
        await answer(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except TwoCvmError as error:
            return problem(error)
        except ClientDisconnect:
            # Nobody reads this.
            return problem(MalformedError(DOCUMENT, "", "body: ends before its end"))
        except Exception as error:  # noqa: BLE001 - what went wrong may quote evidence: its kind and no word more
            error_event("internal-error", error, request_id=seen().request_id)
            return internal_problem()


class Routes(list[ServiceRoute]):
    """The routes of a part of the service, in the order in which they are looked at."""

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Add one."""
        self.append(ServiceRoute(method, path, handler))

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Have GET at a path answered by the function below."""
        return self._below("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Have POST at a path answered by the function below."""
        return self._below("POST", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """Have DELETE at a path answered by the function below."""
        return self._below("DELETE", path)

    def _below(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def added(handler: Handler) -> Handler:
            self.add(method, path, handler)
            return handler

        return added


def _refused(scope: Scope) -> Response:
    """Return the answer to a method that a path has not, with all that it has."""
    routes = (route for route in scope["router"].routes if route.matches(scope)[0] is not Match.NONE)
    answer = problem(ServiceError("SERVICE_METHOD", "request: the route is not for this method"))
    answer.headers["Allow"] = ", ".join(sorted({method for route in routes for method in route.methods}))
    return answer


def json_answer(value: Json, *, media_type: str = "application/json", status: int = 200) -> Response:
    """Return an answer that is of this request alone, and that nothing in between may keep."""
    return Response(
        strictjson.canonical(value),
        status_code=status,
        media_type=media_type,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
