"""What the service takes of a request: its body within a limit and a time, and its media types.

Spec: docs/spec/challenge.md, 1 and 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from starlette.requests import ClientDisconnect, Request

from twocvm_verifier.errors import MalformedError

from .evidence_forms import DOCUMENT
from .problems import ServiceError

BODY_SECONDS: Final = 20.0
_LENGTH_DIGITS: Final = 15


async def read_body(request: Request, *, max_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """Return a request's whole body.

    Args:
        request: Of which nothing is read yet.
        max_bytes: The most that is read at all, whatever its headers say.
        seconds: The longest wait for all of it.

    Raises:
        ServiceError: REQUEST_TOO_LARGE; MEDIA_TYPE_UNSUPPORTED where it is encoded, for nothing is unpacked here.
        MalformedError: It does not come in time.
        ClientDisconnect: It ends before its end.
    """
    if _header(request, b"content-encoding", "identity").lower() != "identity":
        raise ServiceError("MEDIA_TYPE_UNSUPPORTED", "body: is encoded")
    length = _header(request, b"content-length", "0")
    if len(length) > _LENGTH_DIGITS or (length.isdecimal() and int(length) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise MalformedError(DOCUMENT, "", "body: not here in time") from error
    return bytes(body)


def media_type_of(request: Request, accepted: Collection[str]) -> str:
    """Return the media type of a request's body, without its parameters.

    Raises:
        ServiceError: MEDIA_TYPE_UNSUPPORTED, where it is none of `accepted`.
    """
    media_type = _header(request, b"content-type", "").partition(";")[0].strip().lower()
    if media_type not in accepted:
        raise ServiceError("MEDIA_TYPE_UNSUPPORTED", "body: is of another media type")
    return media_type


def require_acceptable(request: Request, media_type: str) -> None:
    """Refuse a request that does not accept an answer of `media_type`.

    Raises:
        ServiceError: NOT_ACCEPTABLE.
    """
    family = media_type.partition("/")[0]
    for each in _header(request, b"accept", "*/*").split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        if name in (media_type, f"{family}/*", "*/*") and "q=0" not in parameters:
            return
    raise ServiceError("NOT_ACCEPTABLE", "answer: in another media type")


def _header(request: Request, wanted: bytes, default: str) -> str:
    """Return the first value of a header; Starlette's own way looks for it twice as long where it is not there."""
    return next((value.decode("latin-1") for name, value in request.scope["headers"] if name == wanted), default)


def _too_large(max_bytes: int) -> ServiceError:
    return ServiceError("REQUEST_TOO_LARGE", f"body: want at most {max_bytes} bytes")
