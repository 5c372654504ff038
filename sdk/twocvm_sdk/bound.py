"""A `requests` session that is bound to one connection.

What `requests` itself offers to go elsewhere or past the verification is refused here: proxies, `verify=False`,
certificates of the caller, other adapters. The environment is not read at all. The rest is refused by `line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from .exchange import CHUNK_BYTES
from .line import Line, seconds_of, text

if TYPE_CHECKING:
    from .connection import AttestedConnection
    from .httpwire import Body, Head

_PAIR: Final = 2


class BoundSession(requests.Session):
    """A session whose every request goes over one verified connection.

    Args:
        line: That connection.
    """

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.trust_env = False
        self.headers = CaseInsensitiveDict({"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "twocvm"})
        self.adapters.clear()
        self._line = line
        self._adapter = _BoundAdapter(line)

    @property
    def connection(self) -> AttestedConnection:
        """The connection, with the guest's proofs."""
        return self._line.connection

    def get_adapter(self, url: str) -> BaseAdapter:
        """Return the one adapter; it refuses what is not for its guest."""
        del url
        return self._adapter

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:  # noqa: ARG002 - refused, whatever they are
        """Refuse: another adapter would send elsewhere. The two that `requests` mounts itself are dropped."""
        if hasattr(self, "_adapter"):
            raise ValueError("an attested session has one adapter, for good")

    def close(self) -> None:
        """End the connection."""
        self._adapter.close()


class _BoundAdapter(BaseAdapter):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature of `requests`
        timeout: object = None,
        verify: object = True,  # noqa: FBT002
        cert: object = None,
        proxies: Mapping[str, str | None] | None = None,
    ) -> requests.Response:
        """Send one request and return its answer, whose body is read from the connection.

        Raises:
            ValueError: What the module or `line` refuses.
            TwoCvmError: As `Line.send`.
        """
        del stream
        if verify is not True or cert is not None or any((proxies or {}).values()):
            raise ValueError("an attested session takes no proxy, no `verify` and no `cert`: the guest is verified")
        head, answer = self._line.send(
            request.method,
            request.url,
            fields=[(name, text(value)) for name, value in request.headers.items()],
            body=_pieces(request.body),
            wait_seconds=_wait_seconds(timeout),
        )
        return _response(request, head, answer)

    def close(self) -> None:
        self._line.connection.close()


def _pieces(body: Any) -> Iterable[bytes]:  # noqa: ANN401 - whatever `requests` takes as a body
    if body is None:
        return ()
    if isinstance(body, (str, bytes)):
        return (body.encode("utf-8") if isinstance(body, str) else body,)
    return _read(body.read) if hasattr(body, "read") else body


def _read(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(CHUNK_BYTES):
        yield piece


def _wait_seconds(timeout: object) -> float | None:
    # As `requests` has it: None, one number, or a pair of which the second is for reading.
    if timeout is None:
        return None
    return seconds_of(timeout[1] if isinstance(timeout, tuple) and len(timeout) == _PAIR else timeout)


def _response(request: requests.PreparedRequest, head: Head, body: Body) -> requests.Response:
    response = requests.Response()
    response.status_code = head.status
    response.reason = head.reason
    response.headers = CaseInsensitiveDict(head.fields)
    response.encoding = get_encoding_from_headers(response.headers)
    response.raw = body
    response.url = request.url or ""
    response.request = request
    return response
