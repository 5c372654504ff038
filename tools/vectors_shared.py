"""What the makers of vectors share: made-up values, and the shape of one vector."""

from __future__ import annotations

from typing import Final

from tests.support.vectorfiles import Vector

from twocvm_verifier.binding import LogPosition

KEY, MANIFEST, HEAD, NONCE, BINDER, ROOT_HASH, STATEMENT = (bytes([fill]) * 32 for fill in range(1, 8))
REPORT_ID, CONSENTS, ROSTER = (bytes([fill]) * 32 for fill in (0x11, 0x12, 0x13))
POSITION: Final = LogPosition(head=HEAD, events=7)


def vector(name: str, expect: str, section: int, comment: str, payload: bytes, **values: str) -> Vector:
    """Return a vector; `name` begins with its folder, which is also its specification's name."""
    text = payload.isascii() and payload.startswith(b"{") and payload.decode("ascii").isprintable()
    spec = f"docs/spec/{name.partition('/')[0]}.md, {section}"
    return Vector(name=name, expect=expect, spec=spec, comment=comment, values=values, payload=payload, text=text)


def slug(text: str) -> str:
    """Return the part of a file's name that says what a refused vector is."""
    return text.lower().replace(" ", "-")
