"""Codes of the attested connection, its certificate, claims and evidence."""

from __future__ import annotations

from typing import Final

from .table import NOT_AUTHENTIC, Code, malformed

CODES: Final[dict[str, Code]] = {
    "MALFORMED_CLAIMS": malformed(
        "The claims are not the canonical CBOR map that this version writes. The peer is another version, or lies.",
        "docs/spec/claims.md",
    ),
    "MALFORMED_EVIDENCE": malformed(
        "The evidence is not the collection that this version writes. The peer is another version, or lies.",
        "docs/spec/evidence.md",
    ),
    "CLAIMS_MISMATCH": Code(
        exit_status=NOT_AUTHENTIC,
        http_status=500,
        meaning="The evidence was made for another key, manifest, nonce, connection or purpose than this one. "
        "Somebody may stand between you and the guest: release nothing.",
        spec="docs/spec/claims.md",
    ),
}
