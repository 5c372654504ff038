"""What the guest takes from a request: its body within a limit and a time, its headers each exactly once.

Everything else about a request decides nothing: no query, no cookie, no Host, and no header that speaks of the
connection, which is the one that TLS has proven.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, cast

from fastapi import Request

from twocvm_guest.session.intake import Offer
from twocvm_guest.tls import PeerConnection, Sink
from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.framing import HASH_BYTES
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.strictjson import MAX_INTEGER, Json

# The longest body that is read whole is a manifest's; on any line worth the name it takes a second.
BODY_SECONDS: Final = 20.0

_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)


def peer_of(request: Request) -> PeerConnection:
    """Return the connection that a request came over."""
    return cast(PeerConnection, request.scope["extensions"]["twocvm"])


def _undisturbed(_: asyncio.Timeout) -> AbstractContextManager[None]:
    return nullcontext()


async def read_body(
    request: Request,
    *,
    max_bytes: int,
    seconds: float = BODY_SECONDS,
    while_reading: Callable[[asyncio.Timeout], AbstractContextManager[None]] = _undisturbed,
) -> bytes:
    """Return a request's whole body.

    Args:
        request: Of which nothing is read yet.
        max_bytes: The most that is read at all.
        seconds: The longest wait for all of it.
        while_reading: Entered while the body is waited for, with what it may shorten the wait by.

    Raises:
        ReleaseError: BODY_TOO_LARGE, before anything of it is read.
        MalformedError: It has no Content-Length, or does not come in time.
    """
    length = _content_length(request)
    if length > max_bytes:
        raise ReleaseError("BODY_TOO_LARGE", f"body: got {length} bytes, want at most {max_bytes}")
    try:
        async with asyncio.timeout(seconds) as limit:
            with while_reading(limit):
                return await request.body()
    except TimeoutError as error:
        raise MalformedError("request", "", "body: not here in time") from error


async def pour_body(request: Request, sink: Sink) -> None:
    """Hand a request's body to `sink` as it comes, and return at its end.

    Args:
        request: Of which nothing is read yet.
        sink: Takes the pieces, each of which is overwritten afterwards.

    Raises:
        ClientDisconnect: The client is gone.
        Exception: Whatever `sink` raised.
    """
    await cast(Callable[[Sink], Awaitable[None]], request.scope["extensions"]["twocvm.pour"])(sink)


async def read_json(request: Request, *, max_bytes: int) -> Json:
    """Return the value of a request's body, which is canonical JSON.

    Raises:
        ReleaseError, MalformedError: As `read_body`; or the body is not canonical.
    """
    body = await read_body(request, max_bytes=max_bytes)
    return strictjson.parse_canonical(body, document="request", max_bytes=max_bytes)


def parse_nonce(body: Json) -> bytes:
    """Return the nonce (32 bytes) of a body that asks for evidence.

    Raises:
        MalformedError: Not an object of exactly one `nonce`, canonical base64url of 32 bytes.
    """
    if not isinstance(body, dict) or body.keys() != {"nonce"} or not isinstance(body["nonce"], str):
        raise MalformedError("request", "", "not an object of `nonce` alone")
    return _base64url(body["nonce"], field="/nonce")


def parse_offer(request: Request, name: str) -> Offer:
    """Return what an upload says of itself in its headers.

    Raises:
        MalformedError: Content-Length or Content-Digest is missing or not in its one form, or Item-Salt is not.
    """
    digest = _DIGEST.fullmatch(_header(request, "content-digest") or "")
    if digest is None:
        raise MalformedError("request", "content-digest", "want one of the form sha-256=:...:")
    salt = _header(request, "item-salt")
    return Offer(
        name=name,
        size_bytes=_content_length(request),
        sha256=_base64(digest[1]),
        salt=None if salt is None else _base64url(salt, field="item-salt"),
    )


def parse_held(body: Json, name: str) -> Offer:
    """Return what is said of an item that is not sent, for the machine has it.

    Raises:
        MalformedError: Not an object of `bytes` and `sha256`, and of `salt` where there is one.
    """
    fields = Fields(body, document="request", pointer="", required={"bytes", "sha256"}, optional={"salt"})
    return Offer(
        name=name,
        size_bytes=fields.integer("bytes", maximum=MAX_INTEGER),
        sha256=fields.hash("sha256"),
        salt=_base64url(fields.text("salt"), field="/salt") if "salt" in fields else None,
    )


def _content_length(request: Request) -> int:
    text = _header(request, "content-length") or ""
    if not _LENGTH.fullmatch(text):
        raise MalformedError("request", "content-length", "missing, or not a length")
    return int(text)


def _header(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise MalformedError("request", name, f"got it {len(values)} times, want it once")
    return values[0] if values else None


def _base64url(text: str, *, field: str) -> bytes:
    try:
        data = strictjson.parse_base64url(text)
    except ValueError as error:
        raise MalformedError("request", field, "not base64url") from error
    if len(data) != HASH_BYTES:
        raise MalformedError("request", field, f"got {len(data)} bytes, want {HASH_BYTES}")
    return data


def _base64(text: str) -> bytes:
    data = binascii.a2b_base64(text, strict_mode=True)
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedError("request", "content-digest", "not canonical base64")
    return data
