"""Whose requests the proxy takes, and which.

Rules, in order; the first that is broken is the answer:
1. The Host field is the proxy's own address: a web page whose name was made to lead here (DNS rebinding) has another.
2. No web page sent it: no Origin, and no Sec-Fetch-Site but `none`, which is a person's own address bar.
3. Where there is a secret, it is shown: on a port of this machine, the users of this machine are told apart by nothing
   else. It ends here, and never reaches the guest.
4. It is an ordinary request: HTTP/1.1, a path as its target, a body with its length or none, nothing to switch to.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twocvm_sdk import storage
from twocvm_sdk.httpwire import MAX_HEAD_BYTES
from twocvm_verifier.errors import MalformedError, ReleaseError

if TYPE_CHECKING:
    import h11

OWN_CODES: Final = frozenset({"MALFORMED_PROXY_REQUEST", "PROXY_BUSY", "PROXY_HOST", "PROXY_SECRET", "PROXY_WEB_PAGE"})

_SECRET_BYTES: Final = 32
_MAX_SECRET_BYTES: Final = 512
# RFC 6750, 2.1: what a bearer token is made of; as long as 128 bits need at least.
_SECRET: Final = re.compile(rb"[A-Za-z0-9._~+/-]{22,}=*", re.ASCII)
_BEARER: Final = re.compile(rb"bearer +(.+)", re.ASCII | re.IGNORECASE)
_TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*", re.ASCII)
# RFC 9110, 7.6.1: about this connection alone.
_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade expect".split()
)
# What a field has beside its name and its value: a colon, a space, CR LF.
_LINE_BYTES: Final = 4
_KEPT_ALIVE: Final = frozenset({b"close", b"keep-alive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a request must be.

    Attributes:
        hosts: What Host may say, in lower case; empty where whoever can connect is this user.
        secret: What must be shown; empty for none.
    """

    hosts: frozenset[str]
    secret: bytes = field(repr=False)

    def require(self, request: h11.Request) -> None:
        """Refuse a request that may not pass.

        Raises:
            ReleaseError: PROXY_HOST, PROXY_WEB_PAGE, PROXY_SECRET.
            MalformedError: MALFORMED_PROXY_REQUEST.
        """
        self._require_host(request)
        if _values(request, b"origin") or any(value != b"none" for value in _values(request, b"sec-fetch-site")):
            raise ReleaseError("PROXY_WEB_PAGE", "request: comes from a web page")
        if self.secret and not self._shows_secret(request):
            raise ReleaseError("PROXY_SECRET", "request: does not show the proxy's secret")
        _require_ordinary(request)

    def passed_on(self, request: h11.Request) -> list[tuple[str, str]]:
        """Return the fields that the guest gets."""
        ours = _HOP | {b"authorization"} if self.secret else _HOP
        return [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers if name not in ours]

    def _require_host(self, request: h11.Request) -> None:
        named = [value.decode("latin-1").lower() for value in _values(request, b"host")]
        if self.hosts and (len(named) != 1 or named[0] not in self.hosts):
            raise ReleaseError("PROXY_HOST", f"request: got host {named!r:.80}, want {sorted(self.hosts)[0]}")

    def _shows_secret(self, request: h11.Request) -> bool:
        shown = [match[1] for value in _values(request, b"authorization") if (match := _BEARER.fullmatch(value))]
        return len(shown) == 1 and hmac.compare_digest(shown[0], self.secret)


def answered(fields: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Return the fields of a guest's answer that the tool gets."""
    return [(name, value) for name, value in fields if name.encode("ascii") not in _HOP]


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, which is made with a new one if it is not there.

    Raises:
        ReleaseError: IDENTITY_EXPOSED where others may read it, IDENTITY_UNREADABLE.
        MalformedError: It holds no secret.
        OSError: It cannot be made.
    """
    try:
        raw = storage.read_private(path, max_bytes=_MAX_SECRET_BYTES)
    except FileNotFoundError:
        raw = secrets.token_urlsafe(_SECRET_BYTES).encode("ascii")
        storage.write_private(path, raw + b"\n")
    secret = raw.removesuffix(b"\n")
    if not _SECRET.fullmatch(secret):
        raise MalformedError("proxy secret", "", "want at least 22 characters of letters, digits and ._~+/-")
    return secret


def _require_ordinary(request: h11.Request) -> None:
    if request.http_version != b"1.1":
        raise _malformed("version", "want HTTP/1.1")
    if request.method == b"CONNECT" or not _TARGET.fullmatch(request.target):
        raise _malformed("target", "want a path: this is no proxy for other places")
    if _values(request, b"transfer-encoding"):
        raise _malformed("body", "has no length, and guests take none without")
    if sum(len(name) + len(value) + _LINE_BYTES for name, value in request.headers) > MAX_HEAD_BYTES:
        raise _malformed("head", f"want at most {MAX_HEAD_BYTES} bytes")
    tokens = {token.strip().lower() for value in _values(request, b"connection") for token in value.split(b",")}
    if not tokens <= _KEPT_ALIVE or _values(request, b"upgrade"):
        raise _malformed("connection", "want nothing but close or keep-alive")


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key == name]


def _malformed(field_name: str, detail: str) -> MalformedError:
    return MalformedError("proxy request", field_name, detail)
