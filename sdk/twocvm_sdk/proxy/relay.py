"""One tool's connection to the proxy, and the guest's side of it.

Both sides are read by parsers of their own, and what goes out on either is written anew: a request that two readers
would divide in two ways is written in one. Nothing is ever sent twice: when the guest is lost in the middle of a
request, the tool is told, and decides.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import h11

from twocvm_sdk.exchange import CHUNK_BYTES
from twocvm_sdk.httpwire import MAX_HEAD_BYTES
from twocvm_verifier import strictjson
from twocvm_verifier.errors import FetchError, MalformedError, TwoCvmError

from .gate import OWN_CODES, Gate, answered

if TYPE_CHECKING:
    from twocvm_sdk.connection import AttestedConnection
    from twocvm_sdk.endpoint import Endpoint
    from twocvm_sdk.httpwire import Body, Head
    from twocvm_sdk.line import Line
    from twocvm_verifier.strictjson import Json


class Observer(Protocol):
    """Is told what happens, by the threads that make it happen."""

    def connected(self, connection: AttestedConnection) -> None:
        """A new connection to the guest has been proven."""
        ...

    def refused(self, error: TwoCvmError) -> None:
        """A request was answered with this refusal."""
        ...


# The longest wait for a tool's next byte, and how long one is listened to that was answered before it had finished.
PATIENCE_SECONDS: Final = 60.0
_LINGER_SECONDS: Final = 1.0
_LINGER_READS: Final = 256
# What the proxy answers where the guest, or the way to it, failed (RFC 9110, 15.6.3).
_BAD_GATEWAY: Final = 502


class Relay:
    """Serves one connection of a tool.

    Args:
        raw: The connection; closed at the end.
        endpoint: The guest.
        gate: Which requests pass.
        observer: Told of connections to the guest, and of refusals.
    """

    def __init__(self, raw: socket.socket, *, endpoint: Endpoint, gate: Gate, observer: Observer) -> None:
        raw.settimeout(PATIENCE_SECONDS)
        self._raw = raw
        self._endpoint = endpoint
        self._gate = gate
        self._observer = observer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._line: Line | None = None

    def serve(self) -> None:
        """Serve requests until either side ends."""
        try:
            with suppress(OSError, h11.LocalProtocolError):
                while self._exchange():
                    self._http.start_next_cycle()
                self._linger()
        finally:
            self._raw.close()
            if self._line is not None:
                self._line.connection.close()

    def stop(self) -> None:
        """End it from another thread."""
        with suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)
        if self._line is not None:
            self._line.connection.exchanges.tls.break_off()

    def refuse(self, error: TwoCvmError) -> None:
        """Answer with a refusal, whatever is asked, and close."""
        with suppress(OSError, h11.LocalProtocolError), self._raw:
            self._problem(error)

    def _exchange(self) -> bool:
        """Serve one request; returns whether another may follow."""
        try:
            request = self._next()
            if not isinstance(request, h11.Request):
                return False
            self._gate.require(request)
            head, body = self._ask(request)
        except h11.RemoteProtocolError:
            self._problem(MalformedError("proxy request", "", "is not HTTP/1.1"))
        except ValueError:
            self._problem(MalformedError("proxy request", "", "has a method, field or body that guests do not take"))
        except TwoCvmError as error:
            self._problem(error)
        else:
            self._answer(head, body)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _ask(self, request: h11.Request) -> tuple[Head, Body]:
        line = self._ready()
        return line.send(
            request.method.decode("ascii"),
            self._endpoint.url + request.target.decode("ascii"),
            fields=self._gate.passed_on(request),
            body=self._body(),
            wait_seconds=None,
        )

    def _ready(self) -> Line:
        """Return a line that is proven, idle and alive; a new one where the guest has ended the last."""
        if self._line is not None:
            try:
                self._line.connection.exchanges.require_idle()
                self._line.refresh()
            except FetchError:
                self._line.connection.close()
                self._line = None
        if self._line is None:
            self._line = self._endpoint.line()
            self._observer.connected(self._line.connection)
        return self._line

    def _body(self) -> Iterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
        while isinstance(event := self._next(), h11.Data):
            yield bytes(event.data)

    def _answer(self, head: Head, body: Body) -> None:
        with body:
            self._send(h11.Response(status_code=head.status, headers=answered(head.fields), reason=head.reason))
            try:
                while piece := body.read1(CHUNK_BYTES):
                    self._send(h11.Data(data=piece))
            except TwoCvmError:
                # Fewer bytes than were announced: to end without the rest is all that can be said now.
                return
            self._send(h11.EndOfMessage())

    def _problem(self, error: TwoCvmError) -> None:
        """Answer with a refusal as RFC 9457 has it, and make it the last answer."""
        self._observer.refused(error)
        # What is not the proxy's own refusal is a failure of the guest, or on the way to it.
        status = error.row.http_status if error.code in OWN_CODES else _BAD_GATEWAY
        title = error.row.meaning
        document: dict[str, Json] = {"type": "about:blank", "status": status, "code": error.code, "title": title}
        content = strictjson.canonical(document)
        fields = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        if error.code == "PROXY_SECRET":
            fields.append(("WWW-Authenticate", "Bearer"))
        self._send(h11.Response(status_code=status, headers=fields))
        self._send(h11.Data(data=content))
        self._send(h11.EndOfMessage())

    def _next(self) -> Any:  # noqa: ANN401 - an event of h11
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._raw.recv(CHUNK_BYTES))
        return event

    def _send(self, event: Any) -> None:  # noqa: ANN401 - an event of h11
        data = self._http.send(event)
        if data:
            self._raw.sendall(data)

    def _linger(self) -> None:
        # To close over bytes that were not read would take the answer away from the tool before it has read it.
        self._raw.shutdown(socket.SHUT_WR)
        self._raw.settimeout(_LINGER_SECONDS)
        for _ in range(_LINGER_READS):
            if not self._raw.recv(CHUNK_BYTES):
                return
