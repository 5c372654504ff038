"""Vectors as self-describing files: header lines, a blank line, a payload.

expect: accept                          or the code of the one refusal
spec: docs/spec/claims.md, 2            where the rule stands
comment: what this is
encoding: hex                           or text; further headers give values to recompute
(a blank line)
a6636374...                             hex: any white space between digits; text: the bytes, less one final newline
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1] / "vectors"
_LINE_BYTES: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One vector.

    Attributes:
        name: Folder and file, such as `claims/cert`.
        expect: `accept`, or the code of the refusal.
        spec: Where the rule stands.
        comment: What this is.
        values: Further headers, in their order.
        payload: The bytes to read.
        text: Whether the file shows them as text.
    """

    name: str
    expect: str
    spec: str
    comment: str
    values: Mapping[str, str]
    payload: bytes
    text: bool

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        headers = {"expect": self.expect, "spec": self.spec, "comment": self.comment, **self.values}
        headers["encoding"] = "text" if self.text else "hex"
        head = "".join(f"{key}: {value}\n" for key, value in headers.items())
        digits = "\n".join(
            self.payload[start : start + _LINE_BYTES].hex() for start in range(0, len(self.payload), _LINE_BYTES)
        )
        return head.encode() + b"\n" + (self.payload if self.text else digits.encode()) + b"\n"


def read(path: Path) -> Vector:
    """Return the vector in a file."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
    text = headers.pop("encoding") == "text"
    return Vector(
        name=str(path.relative_to(ROOT).with_suffix("")),
        expect=headers.pop("expect"),
        spec=headers.pop("spec"),
        comment=headers.pop("comment"),
        values=headers,
        payload=body[:-1] if text else bytes.fromhex(body.decode()),
        text=text,
    )


def folder(name: str) -> list[Vector]:
    """Return the vectors of one folder, by name; there is at least one."""
    vectors = [read(path) for path in sorted((ROOT / name).glob("*.txt"))]
    if not vectors:
        raise FileNotFoundError(f"no vectors in {ROOT / name}")
    return vectors
