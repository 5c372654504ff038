"""`httpx2` clients that are bound to one connection. Needs the extra `httpx`.

Neither client takes `verify`, `cert`, `proxy`, `mounts`, `trust_env` or a transport: there is nothing for them to
change. The environment is not read. What a request says is refused by `line`; redirections by `httpwire`.

The asynchronous client does its work in a worker thread, one for each connection at a time. OpenSSL calls back in the
middle of the handshake to have the guest's evidence judged, which takes milliseconds and cannot wait for an event loop;
so a thread is needed whatever is done about the rest, and the rest is the code that all clients share.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import anyio
import httpx2
from anyio import from_thread, to_thread

from .exchange import CHUNK_BYTES
from .line import Line, seconds_of, text

if TYPE_CHECKING:
    from .connection import AttestedConnection
    from .httpwire import Body, Head

_HEADERS: Final = (("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "twocvm"))

_T = TypeVar("_T")


class AttestedClient(httpx2.Client):
    """A client whose every request goes over one verified connection. Relative URLs are the guest's.

    Args:
        line: That connection.
    """

    def __init__(self, line: Line) -> None:
        super().__init__(transport=_Transport(line), **_settings(line))
        self.connection: Final[AttestedConnection] = line.connection


class AttestedAsyncClient(httpx2.AsyncClient):
    """The same for `async` code. Tasks may share it: each waits for its turn as long as the timeout's `pool` says.

    A cancelled request ends the connection, for nobody knows then where the next answer begins.

    Args:
        line: That connection.
    """

    def __init__(self, line: Line) -> None:
        super().__init__(transport=_AsyncTransport(line), **_settings(line))
        self.connection: Final[AttestedConnection] = line.connection


async def in_thread(act: Callable[[], _T], *, undo: Callable[[_T], object]) -> _T:
    """Do something in a worker thread and return what it gave.

    Args:
        act: What to do.
        undo: What to do with its result if nobody waits for it any more.
    """
    deed = _Deed(act, undo)
    try:
        return await to_thread.run_sync(deed.do, abandon_on_cancel=True)
    except BaseException:
        deed.abandon()
        raise


class _Deed(Generic[_T]):
    """Something that is done in a thread, and undone when its result has nobody to go to."""

    def __init__(self, act: Callable[[], _T], undo: Callable[[_T], object]) -> None:
        self._act, self._undo = act, undo
        self._lock = threading.Lock()
        self._results: list[_T] = []
        self._abandoned = False

    def do(self) -> _T:
        result = self._act()
        with self._lock:
            self._results.append(result)
            if self._abandoned:
                self._undo(result)
        return result

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            for result in self._results:
                self._undo(result)


class _Transport(httpx2.BaseTransport):
    def __init__(self, line: Line) -> None:
        self._line = line

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        head, body = _send(self._line, request, cast("Iterable[bytes]", request.stream))
        return _response(head, _Answer(body))

    def close(self) -> None:
        self._line.connection.close()


class _Answer(httpx2.SyncByteStream):
    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._body.read1(CHUNK_BYTES):
            yield piece

    def close(self) -> None:
        self._body.close()


class _AsyncTransport(httpx2.AsyncBaseTransport):
    def __init__(self, line: Line) -> None:
        self._line = line
        # From the request's first byte to the answer's last; a semaphore, because another task may read the answer.
        self._turn = anyio.Semaphore(1)
        # A thread that nobody waits for any more still counts: never are two of them at one connection.
        self._thread = anyio.CapacityLimiter(1)
        self._pull = anyio.CancelScope()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # What can be read without the event loop is: bytes, forms, files.
        plain = isinstance(request.stream, httpx2.SyncByteStream)
        pieces = request.stream if plain else self._pulled(aiter(cast("AsyncIterable[bytes]", request.stream)))
        await self._wait_for_turn(request)
        try:
            head, body = await self.run(lambda: _send(self._line, request, cast("Iterable[bytes]", pieces)))
        except BaseException:
            self._turn.release()
            raise
        return _response(head, _AsyncAnswer(body, self))

    async def run(self, act: Callable[[], _T]) -> _T:
        """Do something with the connection in its thread."""
        try:
            return await to_thread.run_sync(act, abandon_on_cancel=True, limiter=self._thread)
        except anyio.get_cancelled_exc_class():
            self._pull.cancel()
            self._line.connection.exchanges.tls.break_off()
            raise

    def release(self) -> None:
        """Let the next request have its turn."""
        self._turn.release()

    async def aclose(self) -> None:
        # What still waits in the thread ends now; closing itself waits for nothing.
        if self._thread.borrowed_tokens:
            self._line.connection.exchanges.tls.break_off()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._line.connection.close, limiter=self._thread)

    def _pulled(self, stream: AsyncIterator[bytes]) -> Iterator[bytes]:
        """Yield in the worker thread what an asynchronous body gives in the event loop."""

        async def pull() -> bytes | None:
            with anyio.CancelScope() as self._pull:
                return await anext(stream, None)
            return None

        while (piece := from_thread.run(pull)) is not None:
            yield piece

    async def _wait_for_turn(self, request: httpx2.Request) -> None:
        try:
            with anyio.fail_after(seconds_of(_timeout(request)["pool"])):
                await self._turn.acquire()
        except TimeoutError as error:
            raise httpx2.PoolTimeout("another request is under way, or its answer was not read to its end") from error


class _AsyncAnswer(httpx2.AsyncByteStream):
    def __init__(self, body: Body, transport: _AsyncTransport) -> None:
        self._body = body
        self._transport = transport
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._transport.run(lambda: self._body.read1(CHUNK_BYTES)):
            yield piece

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                with anyio.CancelScope(shield=True):
                    await self._transport.run(self._body.close)
            finally:
                self._transport.release()


def _send(line: Line, request: httpx2.Request, pieces: Iterable[bytes]) -> tuple[Head, Body]:
    timeout = _timeout(request)
    return line.send(
        request.method,
        str(request.url),
        fields=[(text(name), text(value)) for name, value in request.headers.raw],
        body=pieces,
        # There is one wait for both directions.
        wait_seconds=min(seconds_of(timeout["read"]), seconds_of(timeout["write"])),
    )


def _timeout(request: httpx2.Request) -> dict[str, object]:
    timeout: dict[str, object] = request.extensions["timeout"]
    return timeout


def _settings(line: Line) -> dict[str, Any]:
    return {
        "base_url": line.connection.base_url,
        "headers": dict(_HEADERS),
        "timeout": line.connection.exchanges.tls.wait_seconds,
        "trust_env": False,
    }


def _response(head: Head, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> httpx2.Response:
    return httpx2.Response(
        head.status,
        headers=list(head.fields),
        stream=stream,
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": head.reason.encode("ascii")},
    )
