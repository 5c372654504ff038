"""Who may change the service's documents: whoever holds a listed client certificate, or the token of a file.

A certificate counts by its SHA-256 and by nothing that stands in it; a token by its SHA-256, compared in constant time.
Without either set, nobody is an admin.

Spec: docs/spec/policies.md, 1.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.requests import Request

from twocvm_verifier import framing
from twocvm_verifier.errors import MalformedError

from .problems import ServiceError
from .process import CLIENT_CERTIFICATE
from .secretfiles import read_password

# 256 bits in base64url have 43.
MIN_TOKEN_CHARACTERS: Final = 32
_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Admins:
    """Who they are.

    Attributes:
        tokens: SHA-256 of bearer tokens (32 bytes each).
        certificates: SHA-256 of client certificates' DER (32 bytes each).
    """

    tokens: tuple[bytes, ...] = field(repr=False)
    certificates: tuple[bytes, ...]

    def name_of(self, request: Request) -> str:
        """Return which admin asks, as a history has it.

        Raises:
            ServiceError: ADMIN_REQUIRED, where none does.
        """
        certificate = _certificate(request)
        if certificate and _is_one_of(framing.sha256(certificate), self.certificates):
            return f"certificate {framing.sha256(certificate).hex()[:32]}"
        scheme, token = _authorization(request)
        if scheme == _BEARER and _is_one_of(framing.sha256(token), self.tokens):
            return "token"
        raise ServiceError("ADMIN_REQUIRED", "request: shows no credential of an admin")


NOBODY: Final = Admins(tokens=(), certificates=())


def read_token(path: Path) -> bytes:
    """Return SHA-256 of the bearer token that a file holds, or whose SHA-256 it holds as `sha256:` and 64 hex digits.

    Raises:
        ServiceError: SECRET_EXPOSED.
        MalformedError: It holds neither, or a token of fewer than 32 characters.
        OSError: It cannot be read.
    """
    text = read_password(path)
    if hashed := _HASHED.fullmatch(text):
        return bytes.fromhex(hashed[1])
    if len(text) < MIN_TOKEN_CHARACTERS:
        raise MalformedError("secret", "token", f"want at least {MIN_TOKEN_CHARACTERS} characters")
    return framing.sha256(text.encode("ascii"))


def _is_one_of(digest: bytes, known: tuple[bytes, ...]) -> bool:
    # All of them are compared, so that time says nothing about which.
    return sum(hmac.compare_digest(digest, each) for each in known) > 0


def _authorization(request: Request) -> tuple[str, bytes]:
    # Two of them would let what stands before this process see another than this one.
    values = request.headers.getlist("authorization")
    text = values[0] if len(values) == 1 else ""
    return text[: len(_BEARER)].lower(), text[len(_BEARER) :].strip().encode("latin-1")


def _certificate(request: Request) -> bytes:
    """Return the DER of the certificate that the client showed in this connection's handshake, or empty bytes."""
    return request.scope.get("state", {}).get(CLIENT_CERTIFICATE) or b""
