"""The guest's HTTP service: its routes, who may call each, and nothing that decides anything else.

Three routes are for everybody: evidence, the lock, and the session's state. All others need a locked guest, a
connection that was made to it, and a TLS key that the manifest has for a participant; that participant is the caller,
whatever the request says. A route names its caller in its signature, and there is no other way to the session.

Blocking work leaves the event loop: the platform's on the broker's thread, the inspection of components on two,
everything else on a few. Bytes of items pass through it as they come.

Spec: docs/spec/session.md, 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, cast

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from twocvm_guest.agent import AttestationAgent
from twocvm_guest.agreement import MAX_PROPOSAL_BYTES
from twocvm_guest.locked import LockedGuest
from twocvm_guest.runtime.items import Item
from twocvm_verifier import evidence
from twocvm_verifier.clock import Clock
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.statements import MAX_STATEMENT_BYTES, Go, Withdraw, parse_statement_file

from .answers import BYTES, answer, answer_bytes, content_digest, problem
from .pace import LockTurn, Pace
from .requests import parse_held, parse_nonce, parse_offer, peer_of, pour_body, read_body, read_json
from .route import GuestRoute, PlainRoute

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_T = TypeVar("_T")

_MAX_SMALL_BODY_BYTES: Final = 128
_MAX_HELD_BYTES: Final = 256
_CHUNK_BYTES: Final = 256 * 1024
# FastAPI's own would tell paths, and the text of errors, to whom the environment names.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the routes share.

    Attributes:
        agent: Decides everything.
        pace: Who may ask for evidence now.
        locking: Whose lock is read and judged now: one at a time.
        receipts: Where receipts wait for the platform, one after the other.
        admission: Where components are inspected and compiled, each of which may take a core for seconds.
        work: Where everything else that may wait runs.
    """

    agent: AttestationAgent
    pace: Pace
    locking: LockTurn
    receipts: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="receipts"))
    admission: Executor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="admission"))
    work: Executor = field(default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="session"))

    def stop(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        self.agent.stop()
        for executor in (self.receipts, self.admission, self.work):
            executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A participant, on a connection that was made to the locked guest.

    Attributes:
        name: Its name in the manifest, by its TLS key.
        guest: What it may call.
    """

    name: str
    guest: LockedGuest


async def service_of(request: Request) -> Service:
    """Return what the routes of this application share."""
    return cast(Service, request.app.state.service)


TheService = Annotated[Service, Depends(service_of)]


async def caller_of(request: Request, service: TheService) -> Caller:
    """Return who calls.

    Raises:
        ReleaseError: NOT_LOCKED, CONNECTION_RETIRED, CLIENT_CERTIFICATE_REQUIRED or NOT_A_PARTICIPANT, in this order.
    """
    peer = peer_of(request)
    guest = service.agent.locked(peer)
    return Caller(name=guest.caller(peer.participant_spki_sha256), guest=guest)


TheCaller = Annotated[Caller, Depends(caller_of)]

routes = APIRouter(route_class=GuestRoute, redirect_slashes=False)


async def attest(request: Request) -> Response:
    """Evidence for this connection and the caller's nonce. For everybody."""
    service, peer = await service_of(request), peer_of(request)
    nonce = parse_nonce(await read_json(request, max_bytes=_MAX_SMALL_BODY_BYTES))
    with service.pace.turn(peer, known=service.agent.knows(peer)):
        exported = peer.export(nonce)
        # Not later, but after all whose requests are here already: one report then serves them all.
        await asyncio.sleep(0)
        made = await asyncio.wrap_future(service.agent.attest(peer=peer, nonce=nonce, exported=exported))
    return answer_bytes(evidence.encode_json(made), media_type=evidence.JSON_MEDIA_TYPE)


routes.add_api_route("/.well-known/2cvm/attest", attest, methods=["POST"], route_class_override=PlainRoute)


@routes.get("/v1/session")
async def session(service: TheService) -> Response:
    """Where the session is. For everybody."""
    return answer({"state": service.agent.state.value})


@routes.put("/v1/manifest")
async def lock(request: Request, service: TheService) -> Response:
    """Lock the guest. For everybody; what counts is the consents."""
    async with service.locking.take():
        body = await read_body(request, max_bytes=MAX_PROPOSAL_BYTES, while_reading=service.locking.reading)
        await _on(service.work, lambda: service.agent.lock(body, peer=peer_of(request)))
    return answer({})


@routes.get("/v1/manifest")
async def manifest(caller: TheCaller) -> Response:
    """The manifest in force and its consents."""
    return answer_bytes(caller.guest.agreement())


@routes.post("/v1/join")
async def join(request: Request, caller: TheCaller, service: TheService) -> Response:
    """Take the caller's go."""
    body = await read_body(request, max_bytes=MAX_STATEMENT_BYTES)
    await _on(service.work, lambda: caller.guest.join(parse_statement_file(Go, body), caller=caller.name))
    return answer({})


@routes.get("/v1/roster")
async def roster(caller: TheCaller) -> Response:
    """The goes so far."""
    return answer(caller.guest.roster())


@routes.get("/v1/log")
async def log(caller: TheCaller) -> Response:
    """The event log."""
    return answer_bytes(caller.guest.log())


@routes.get("/v1/failures")
async def failures(caller: TheCaller) -> Response:
    """How the nodes failed that only the caller's own data could reach."""
    return answer({"failures": caller.guest.failures(caller.name)})


@routes.put("/v1/artifacts/{name}")
async def release(name: str, request: Request, caller: TheCaller, service: TheService) -> Response:
    """Take an item of the caller's; a broken upload leaves nothing."""
    upload = caller.guest.begin_item(parse_offer(request, name), caller=caller.name)
    try:
        await pour_body(request, upload.write)
        await _on(service.admission if upload.is_component else service.work, upload.finish)
    finally:
        upload.close()
    return answer({})


@routes.post("/v1/artifacts/{name}")
async def release_held(name: str, request: Request, caller: TheCaller, service: TheService) -> Response:
    """Take an item of the caller's that the machine brought: its owner says which, instead of sending it."""
    held = parse_held(await read_json(request, max_bytes=_MAX_HELD_BYTES), name)
    upload = caller.guest.begin_item(held, caller=caller.name)
    try:
        executor = service.admission if upload.is_component else service.work
        await _on(executor, upload.take_held)
        await _on(executor, upload.finish)
    finally:
        upload.close()
    return answer({})


@routes.post("/v1/withdraw")
async def withdraw(request: Request, caller: TheCaller, service: TheService) -> Response:
    """Take the caller's withdrawal."""
    body = await read_body(request, max_bytes=MAX_STATEMENT_BYTES)
    await _on(service.work, lambda: caller.guest.withdraw(parse_statement_file(Withdraw, body), caller=caller.name))
    return answer({})


@routes.get("/v1/outputs/{name}")
async def output(name: str, caller: TheCaller) -> Response:
    """An output that the caller receives."""
    item = caller.guest.output(name, caller=caller.name)
    headers = {"Content-Length": str(item.size_bytes), "Content-Digest": content_digest(item.sha256)}
    return StreamingResponse(_chunks(item), media_type=BYTES, headers=headers)


@routes.post("/v1/outputs/{name}/ack")
async def acknowledge(name: str, request: Request, caller: TheCaller, service: TheService) -> Response:
    """Take note that the caller has its output."""
    if await read_json(request, max_bytes=_MAX_SMALL_BODY_BYTES) != {}:
        raise MalformedError("request", "", "not an empty object")
    await _on(service.work, lambda: caller.guest.acknowledge(name, caller=caller.name))
    return answer({})


@routes.get("/v1/receipt")
async def receipt(caller: TheCaller, service: TheService) -> Response:
    """The caller's receipt."""
    made = await _on(service.receipts, lambda: caller.guest.receipt(caller.name))
    response = answer_bytes(made.encode())
    response.background = BackgroundTask(caller.guest.receipt_sent, caller.name)
    return response


def build_app(agent: AttestationAgent, *, clock: Clock) -> FastAPI:
    """Return the guest's application, for a server whose connections are the agent's.

    Args:
        agent: What it serves.
        clock: For the pace of evidence and of locks.
    """
    service = Service(agent=agent, pace=Pace(clock), locking=LockTurn(clock))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.stop()

    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(routes)

    @app.exception_handler(HTTPException)
    async def refuse(_request: Request, _error: HTTPException) -> Response:
        return problem("NO_SUCH_ROUTE")

    return app


async def _on(executor: Executor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(executor, work)


async def _chunks(item: Item) -> AsyncIterator[bytes]:
    buffer = bytearray(min(_CHUNK_BYTES, item.size_bytes))
    position = 0
    while position < item.size_bytes:
        try:
            count = item.read_into(memoryview(buffer), position)
        except ValueError:
            # Wiped while it was read. The answer stays shorter than it said, so nobody takes it for the output.
            return
        yield bytes(memoryview(buffer)[:count])
        position += count
