"""How every route ends: with its answer, or with a problem that has a code, whatever happened inside."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.strictjson import Json

from .evidence_forms import DOCUMENT
from .logs import error_event
from .observe import seen
from .problems import internal_problem, problem

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class ServiceRoute(APIRoute):
    """A route that answers a refusal with its code, and an error of the service's own with no word more than that."""

    def get_route_handler(self) -> Handler:
        """Return the handler of this route, with its errors turned into answers."""
        # Each takes the request alone, and reads of it what it says.
        handler = cast(Handler, self.endpoint)

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except TwoCvmError as error:
                return problem(error)
            except ClientDisconnect:
                # Nobody reads this.
                return problem(MalformedError(DOCUMENT, "", "body: ends before its end"))
            except Exception as error:  # noqa: BLE001 - what went wrong may quote evidence: its kind and no word more
                error_event("internal-error", error, request_id=seen().request_id)
                return internal_problem()

        return answered


def json_answer(value: Json, *, media_type: str = "application/json", status: int = 200) -> Response:
    """Return an answer that is of this request alone, and that nothing in between may keep."""
    return Response(
        strictjson.canonical(value),
        status_code=status,
        media_type=media_type,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
