"""A `requests` session that is bound to one connection.

Whatever could lead a request elsewhere, or past the verification, is refused and not ignored: plain HTTP, other hosts,
proxies, redirections, `verify=False`, certificates of the caller, other adapters. The environment is not read at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from .address import Address, parse_address
from .exchange import CHUNK_BYTES, Exchanges

if TYPE_CHECKING:
    from .httpwire import Body, Head

# Said by us alone, or not said at all.
_OUR_FIELDS: Final = frozenset({"host", "content-length"})
_PAIR: Final = 2


class BoundSession(requests.Session):
    """A session whose every request goes over one verified connection.

    Args:
        exchanges: That connection.
        address: Whose it is; requests for any other are refused.
    """

    def __init__(self, exchanges: Exchanges, *, address: Address) -> None:
        super().__init__()
        self.trust_env = False
        self.headers = CaseInsensitiveDict({"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "twocvm"})
        self.adapters.clear()
        self._adapter = _BoundAdapter(exchanges, address=address)

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
    def __init__(self, exchanges: Exchanges, *, address: Address) -> None:
        super().__init__()
        self._exchanges = exchanges
        self._address = address

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
            ValueError: What the module refuses, or a body without a length.
            TwoCvmError: As `Exchanges.request`.
        """
        del stream
        if verify is not True or cert is not None or any((proxies or {}).values()):
            raise ValueError("an attested session takes no proxy, no `verify` and no `cert`: the guest is verified")
        method, target = self._target(request)
        if timeout is not None:
            self._exchanges.tls.wait_seconds = _wait_seconds(timeout)
        length, body = _body(request)
        fields = [(name, _text(value)) for name, value in request.headers.items() if name.lower() not in _OUR_FIELDS]
        head, answer = self._exchanges.request(method, target, fields=fields, body=body, content_length=length)
        return _response(request, head, answer)

    def close(self) -> None:
        self._exchanges.close()

    def _target(self, request: requests.PreparedRequest) -> tuple[str, str]:
        method, url = request.method, request.url
        if method is None or url is None or method == "HEAD":
            raise ValueError(f"request: got {method!r}, want a method whose answer has a body")
        parts = urlsplit(url)
        if parse_address(f"{parts.scheme}://{parts.netloc}") != self._address:
            raise ValueError(f"request: got {url!r:.200}, want one for {self._address.base_url}")
        return method, request.path_url


def _body(request: requests.PreparedRequest) -> tuple[int, Iterable[bytes]]:
    body: Any = request.body
    if request.headers.get("Transfer-Encoding") is not None:
        raise ValueError("request: the body has no length; guests take none without")
    length = int(request.headers.get("Content-Length", "0"))
    if body is None:
        return length, ()
    if isinstance(body, str):
        return length, (body.encode("utf-8"),)
    if isinstance(body, bytes):
        return length, (body,)
    return length, _pieces(body.read) if hasattr(body, "read") else body


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(CHUNK_BYTES):
        yield piece


def _wait_seconds(timeout: object) -> float:
    # As `requests` has it: one number, or a pair of which the second is for reading.
    seconds = timeout[1] if isinstance(timeout, tuple) and len(timeout) == _PAIR else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        raise ValueError(f"timeout: got {timeout!r:.40}, want seconds")
    return float(seconds)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


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
