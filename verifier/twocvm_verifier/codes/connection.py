"""Codes of the attested connection, its certificate, claims and evidence."""

from __future__ import annotations

from typing import Final

from .table import Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_CLAIMS": malformed(
        "The claims are not the canonical CBOR map that this version writes. The peer is another version, or lies.",
        "docs/spec/claims.md",
    ),
}
