"""The three HTTP clients of an `Endpoint`, with the same words for all of them.

    @pytest.mark.parametrize("kind", KINDS)
    def test_something(kind):
        with client(kind, endpoint(scene, guest.url)) as bound:
            bound.request("GET", "/whoami").content

`bound.native(...)` passes options on as the library has them; `bound.pieces(...)` reads an answer piece by piece.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.support.attested_guest import NO_CRL, Scene, policy
from tests.support.sdk import StandingClock

from twocvm_sdk import Endpoint, Identity
from twocvm_sdk.bound import BoundSession
from twocvm_sdk.connection import AttestedConnection, Timeouts
from twocvm_sdk.httpxbound import AttestedAsyncClient, AttestedClient
from twocvm_verifier.clock import Clock
from twocvm_verifier.snp.roots import simulated_roots

KINDS: Final = ("requests", "httpx", "async-httpx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client was answered."""

    status: int
    content: bytes


class Bound(Protocol):
    """A client, whichever it is."""

    @property
    def connection(self) -> AttestedConnection:
        """What it goes over."""
        ...

    def request(self, method: str, url: str, *, body: Any = None, **options: Any) -> Answer:
        """Send a request and read the whole answer; a URL that begins with a slash is the guest's."""
        ...

    def pieces(self, url: str) -> Iterator[bytes]:
        """Read an answer as it comes; to leave it half read is to close it."""
        ...


def endpoint(
    scene: Scene,
    url: str,
    *,
    identity: Identity | None = None,
    clock: Clock | None = None,
    timeouts: Timeouts | None = None,
    **changes: Any,
) -> Endpoint:
    """Return the endpoint of a scene's guest at `url`, with `changes` to what is expected of it."""
    arguments: dict[str, Any] = {
        "manifest": scene.world.manifest,
        "policy": policy(),
        "identity": identity,
        "roots": simulated_roots(scene.platform.root_pem),
        "crls": NO_CRL,
        "clock": clock or StandingClock(),
        "timeouts": timeouts or Timeouts(proof_seconds=5, handshake_seconds=5, io_seconds=5),
    }
    return Endpoint(url, **{**arguments, **changes})


@contextmanager
def client(kind: str, place: Endpoint) -> Iterator[Bound]:
    """Open a client of that kind for the length of a `with`."""
    if kind == "requests":
        with place.requests() as session:
            yield _Requests(session)
    elif kind == "httpx":
        with place.httpx() as sync:
            yield _Httpx(sync)
    else:
        with start_blocking_portal() as portal:
            opened = portal.call(place.async_httpx)
            try:
                yield _AsyncHttpx(opened, portal)
            finally:
                portal.call(opened.aclose)


class _Requests:
    def __init__(self, session: BoundSession) -> None:
        self.session = session
        self.connection = session.connection

    def request(self, method: str, url: str, *, body: Any = None, **options: Any) -> Answer:
        answer = self.session.request(method, self._full(url), data=body, **options)
        return Answer(status=answer.status_code, content=answer.content)

    def pieces(self, url: str) -> Iterator[bytes]:
        with self.session.get(self._full(url), stream=True) as answer:
            yield from answer.iter_content(1 << 16)

    def _full(self, url: str) -> str:
        return self.connection.base_url + url if url.startswith("/") else url


class _Httpx:
    def __init__(self, opened: AttestedClient) -> None:
        self.client = opened
        self.connection = opened.connection

    def request(self, method: str, url: str, *, body: Any = None, **options: Any) -> Answer:
        answer = self.client.request(method, url, content=_sized(body, options), **options)
        return Answer(status=answer.status_code, content=answer.content)

    def pieces(self, url: str) -> Iterator[bytes]:
        with self.client.stream("GET", url) as answer:
            yield from answer.iter_raw()


class _AsyncHttpx:
    def __init__(self, opened: AttestedAsyncClient, portal: BlockingPortal) -> None:
        self.client = opened
        self.connection = opened.connection
        self._portal = portal

    def request(self, method: str, url: str, *, body: Any = None, **options: Any) -> Answer:
        content = _sized(body, options)
        if content is not None and not isinstance(content, bytes):
            content = _slowly(content)

        async def act() -> Answer:
            answer = await self.client.request(method, url, content=content, **options)
            return Answer(status=answer.status_code, content=answer.content)

        return self._portal.call(act)

    def pieces(self, url: str) -> Iterator[bytes]:
        with self._portal.wrap_async_context_manager(self.client.stream("GET", url)) as answer:
            stream = answer.aiter_raw()

            async def following() -> bytes | None:
                return await anext(stream, None)

            while (piece := self._portal.call(following)) is not None:
                yield piece


def _sized(body: Any, options: dict[str, Any]) -> Any:
    # `requests` asks a body for its length; `httpx2` is told.
    if hasattr(body, "__len__") and not isinstance(body, bytes):
        options["headers"] = {**options.get("headers", {}), "Content-Length": str(len(body))}
    if isinstance(body, io.BytesIO):
        options["headers"] = {**options.get("headers", {}), "Content-Length": str(len(body.getbuffer()))}
    return body


async def _slowly(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
