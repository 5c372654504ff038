"""`/livez` and `/readyz`: whether this process runs, and whether it can do its work: part by part, without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.strictjson import Json

from .logs import error_event
from .route import Routes, json_answer

OK: Final = "ok"
# What a stranger asks more often is told what was found a moment ago.
FRESH_SECONDS: Final = 1.0
routes: Final = Routes()


class Health:
    """Tries each part of the service.

    Args:
        probes: By the part's name, what raises where the part is of no use.
        clock: Says how old an answer is.
    """

    def __init__(self, *, probes: Mapping[str, Callable[[], None]], clock: Clock) -> None:
        self._probes = dict(probes)
        self._clock = clock
        self._found: tuple[float, Mapping[str, str]] | None = None
        self._lock = asyncio.Lock()

    async def parts(self) -> Mapping[str, str]:
        """Return, for each part, `ok` or the code of what is wrong."""
        async with self._lock:
            now = self._clock.monotonic_seconds()
            if self._found is None or now - self._found[0] >= FRESH_SECONDS:
                self._found = (now, await asyncio.to_thread(self._try))
            return self._found[1]

    def _try(self) -> Mapping[str, str]:
        return {name: _tried(name, probe) for name, probe in self._probes.items()}


@routes.get("/livez")
async def livez(request: Request) -> Response:  # noqa: ARG001 - that it answers says all
    """Say that this process answers."""
    return json_answer({"status": OK})


@routes.get("/readyz")
async def readyz(request: Request) -> Response:
    """Say whether each part is of use."""
    health: Health = request.app.state.health
    found = await health.parts()
    ready = all(said == OK for said in found.values())
    told: dict[str, Json] = {"status": OK if ready else "not ready", "parts": dict(found)}
    return json_answer(told, status=200 if ready else 503)


def _tried(name: str, probe: Callable[[], None]) -> str:
    try:
        probe()
    except TwoCvmError as error:
        return error.code
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a part, it is not ready
        error_event("not-ready", error, part=name)
        return "SERVICE_INTERNAL"
    return OK
