"""How every route ends: with its answer, or with a problem that has a code, whatever happened inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from twocvm_verifier.errors import TwoCvmError

from .answers import problem

_LOG: Final = logging.getLogger("twocvm.guest")


Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class GuestRoute(APIRoute):
    """A route that answers a refusal with its code, and an error of the guest's own with no word more than that."""

    def get_route_handler(self) -> Handler:
        """Return the handler of this route, with its errors turned into answers."""
        return _answered(super().get_route_handler())


class PlainRoute(GuestRoute):
    """The same for a function of the request alone, which is called with nothing in between: it is in a hurry."""

    def get_route_handler(self) -> Handler:
        """Return the function of this route, with its errors turned into answers."""
        return _answered(cast(Handler, self.endpoint))


def _answered(handler: Handler) -> Handler:
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except TwoCvmError as error:
            return problem(error.code)
        except ClientDisconnect:
            # Nobody reads this.
            return problem("MALFORMED_REQUEST")
        except Exception as error:  # noqa: BLE001 - the host reads our log: the kind of an error and no word more
            _LOG.error("internal error: %s", type(error).__name__)
            return problem("INTERNAL")

    return answered
