"""Codes of the attested connection, its certificate, claims and evidence."""

from __future__ import annotations

from typing import Final

from .table import CANNOT_JUDGE, NOT_AUTHENTIC, Code, malformed

_RATLS: Final = "docs/spec/ratls.md"


def _lie(meaning: str) -> Code:
    # Found by who connects to a guest, never by the guest.
    return Code(exit_status=NOT_AUTHENTIC, http_status=500, meaning=meaning, spec=_RATLS)


def _lost(meaning: str) -> Code:
    return Code(exit_status=CANNOT_JUDGE, http_status=500, meaning=meaning, spec=_RATLS)


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
    # The certificate.
    "MALFORMED_RATLS_CERTIFICATE": malformed(
        "The peer's certificate is not the self-signed P-256 leaf with one evidence extension that a guest shows.",
        _RATLS,
    ),
    "NO_EVIDENCE": _lie(
        "The peer's certificate carries no evidence, so it is no guest. Check the address, and what lies in between.",
    ),
    "CERTIFICATE_SIGNATURE": _lie(
        "The peer's certificate is not signed by its own key. A guest's always is: release nothing.",
    ),
    # The connection.
    "TLS_REFUSED": _lie(
        "The TLS handshake failed, or the peer broke it off with an alert, for no reason that this side gave. Guests "
        "speak TLS 1.3 only, and refuse client certificates that are CA certificates.",
    ),
    "HANDSHAKE_UNVERIFIED": _lie(
        "The handshake ended without this side having judged the peer's certificate in it. Release nothing.",
    ),
    "INSTANCE_CHANGED": _lie(
        "A later report on this connection is of another guest than its certificate. Release nothing.",
    ),
    "LOG_WENT_BACK": _lie(
        "The guest's event log became shorter, or another, during the connection. Release nothing.",
    ),
    "MALFORMED_HTTP": malformed(
        "The answer is not framed as a guest's answers are: one Content-Length, and exactly that much.",
        _RATLS,
    ),
    "ATTESTATION_REFUSED": _lost(
        "The guest did not answer the request for evidence with evidence. It may be busy: try again.",
    ),
    "PLATFORM_FAILED": _lost(
        "The guest's platform made no report when it was asked to. The host is in its way, or it is busy: try again.",
    ),
    "GUEST_UNREACHABLE": _lost(
        "No connection to the guest could be made. Check the address, and whether the guest runs.",
    ),
    "CONNECTION_LOST": _lost(
        "The connection ended before its time. Connect again: the guest is then verified anew.",
    ),
    "CONNECTION_TIMEOUT": _lost(
        "The peer took too long. Connect again: the guest is then verified anew.",
    ),
}
