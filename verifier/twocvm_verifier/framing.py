"""Every preimage that this project hashes or signs, in one place (`docs/spec/framing.md`).

A preimage is a domain label, a zero byte, and fixed-width or canonical fields, so that no two of different kinds are
ever the same bytes. The four exceptions are as interoperable RA-TLS has them: the claims hash, the binder, and the
leaf and node of a batch, which begin with their own distinguishing byte or are hashes of fixed-width fields.

>>> item_commitment(salt=bytes(32), size_bytes=0, sha256=bytes(32)).hex()[:16]
'47cbc3c6be8004d3'
"""

from __future__ import annotations

import hashlib
from typing import Final

MANIFEST: Final = "2cvm.manifest.v1"
CONSENT: Final = "2cvm.consent.v1"
GO: Final = "2cvm.go.v1"
WITHDRAW: Final = "2cvm.withdraw.v1"
ITEM: Final = "2cvm.item.v1"
ROSTER: Final = "2cvm.roster.v1"
LOG: Final = "2cvm.log.v1"
POLICY: Final = "2cvm.policy.v1"
SIMULATED: Final = "2cvm.simulated.v1"
AUDIT: Final = "2cvm.audit.v1"
QUOTE: Final = "2cvm.vtpm-quote.v1"
REFERENCE_VALUES: Final = "2cvm.reference-values.v1"

HASH_BYTES: Final = 32


def tagged(label: str, *fields: bytes) -> bytes:
    """Return `label || 0x00 || fields`; the caller keeps every field but the last at a fixed width."""
    return b"\x00".join((label.encode("ascii"), b"".join(fields)))


def sha256(data: bytes) -> bytes:
    """Return SHA-256 of `data` (32 bytes)."""
    return hashlib.sha256(data).digest()


def manifest_hash(canonical: bytes) -> bytes:
    """Return the hash that names a manifest, from its JCS bytes (32 bytes; fits HOST_DATA)."""
    return sha256(tagged(MANIFEST, canonical))


def policy_digest(canonical: bytes) -> bytes:
    """Return the digest that names an Appraisal Policy in results, from its JCS bytes (32 bytes)."""
    return sha256(tagged(POLICY, canonical))


def reference_values_digest(canonical: bytes) -> bytes:
    """Return the digest that names stored reference values, from their JCS bytes (32 bytes)."""
    return sha256(tagged(REFERENCE_VALUES, canonical))


def item_commitment(*, salt: bytes, size_bytes: int, sha256: bytes) -> bytes:
    """Return what others may see of an item: it hides the content even of low entropy.

    Args:
        salt: 32 random bytes of the owner.
        size_bytes: The item's length, below 2**64.
        sha256: The plain digest of the item (32 bytes).
    """
    _fixed(salt=salt, sha256=sha256)
    return hashlib.sha256(tagged(ITEM, salt, size_bytes.to_bytes(8, "big"), sha256)).digest()


def roster_digest(canonical_goes: bytes) -> bytes:
    """Return the digest of a roster, from the JCS of its signed go objects sorted by participant."""
    return sha256(tagged(ROSTER, canonical_goes))


def log_start(report_id: bytes) -> bytes:
    """Return `head_0`, the event log's head before any event, from REPORT_ID (32 bytes)."""
    _fixed(report_id=report_id)
    return sha256(tagged(LOG, report_id))


def log_next(head: bytes, canonical_event: bytes) -> bytes:
    """Return the head after one more event, from the head before it and the event's JCS bytes."""
    _fixed(head=head)
    return sha256(tagged(LOG, head, canonical_event))


def audit_digest(canonical_record: bytes) -> bytes:
    """Return the digest that the next record of a verifier's audit log names, from a record's JCS bytes (32 bytes)."""
    return sha256(tagged(AUDIT, canonical_record))


def simulated_measurement(canonical_files: bytes) -> bytes:
    """Return MEASUREMENT of the simulated platform (48 bytes), from the JCS of its files' paths and digests."""
    return hashlib.sha384(tagged(SIMULATED, canonical_files)).digest()


def quote_extra_data(report_data: bytes) -> bytes:
    """Return what a vTPM's quote is asked for, to bind the 64 bytes that REPORT_DATA binds elsewhere (32 bytes)."""
    if len(report_data) != 2 * HASH_BYTES:
        raise ValueError(f"report_data: got {len(report_data)} bytes, want {2 * HASH_BYTES}")
    return sha256(tagged(QUOTE, report_data))


def binder(*, spki_der: bytes, exported: bytes) -> bytes:
    """Return the binder of a connection: SHA-256(SPKI DER || exporter value of 32 bytes)."""
    _fixed(exported=exported)
    return sha256(spki_der + exported)


def batch_leaf(*, nonce: bytes, binder: bytes) -> bytes:
    """Return a batch's leaf: SHA-256(0x00 || nonce || binder)."""
    _fixed(nonce=nonce, binder=binder)
    return sha256(b"\x00" + nonce + binder)


def batch_node(left: bytes, right: bytes) -> bytes:
    """Return a batch's inner node: SHA-256(0x01 || left || right)."""
    _fixed(left=left, right=right)
    return sha256(b"\x01" + left + right)


def _fixed(**fields: bytes) -> None:
    for name, value in fields.items():
        if len(value) != HASH_BYTES:
            raise ValueError(f"{name}: got {len(value)} bytes, want {HASH_BYTES}")
