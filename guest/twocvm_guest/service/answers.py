"""What the guest answers: canonical JSON, or a problem that names its code and repeats nothing of the request."""

from __future__ import annotations

import base64
from typing import Final

from fastapi import Response

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES
from twocvm_verifier.strictjson import Json

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
BYTES: Final = "application/octet-stream"


def answer(value: Json) -> Response:
    """Return a success whose body is the canonical form of `value`."""
    return answer_bytes(strictjson.canonical(value))


def answer_bytes(body: bytes, *, media_type: str = JSON) -> Response:
    """Return a success with exactly this body."""
    return Response(body, media_type=media_type)


def problem(code: str) -> Response:
    """Return the refusal of `code`.

    Its text is that of the code table and nothing else: what was sent may be a secret, and what is inside the guest is.

    Spec: RFC 9457, 3.1.
    """
    row = CODES[code]
    body: Json = {
        "type": f"urn:2cvm:code:{code.lower()}",
        "status": row.http_status,
        "code": code,
        "detail": row.meaning,
    }
    return Response(strictjson.canonical(body), status_code=row.http_status, media_type=PROBLEM)


def content_digest(sha256: bytes) -> str:
    """Return the value of Content-Digest for a SHA-256 (32 bytes).

    Spec: RFC 9530, 2.
    """
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"
