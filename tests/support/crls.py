"""Revocation lists of an AMD of our own (`tests.support.amd`), laid out as AMD's are, with any one field wrong.

crl_of(amd)                                     number 3, in force at AT, revokes nothing
crl_of(amd, revoked=(0x10000,), number=4)       revokes that serial number
replace(fields_of(amd), salt_bytes=32).der()    any part wrong
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.support.amd import AT, PSS_INNER, FakeAmd, raw_extension

from twocvm_verifier.snp import names
from twocvm_verifier.snp.der import (
    BIT_STRING,
    CONTEXT_0,
    GENERALIZED_TIME,
    SEQUENCE,
    UTC_TIME,
    encode,
    encode_integer,
)

THIS_UPDATE = AT - timedelta(days=3)
NEXT_UPDATE = AT + timedelta(days=362)
# Of every intermediate that `tests.support.amd` makes.
ISSUER_SERIAL = 0x10000

NUMBER = "2.5.29.20"
AUTHORITY_KEY = "2.5.29.35"
DELTA = "2.5.29.27"
DISTRIBUTION_POINT = "2.5.29.28"
REASON = "2.5.29.21"
HOLD = "2.5.29.23"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlFields:
    """A revocation list before it is signed, as the DER of its parts."""

    version: bytes = encode_integer(1)
    algorithm: bytes = PSS_INNER
    outer_algorithm: bytes | None = None
    issuer: bytes
    this_update: bytes
    next_update: bytes
    revoked: bytes = b""
    extensions: tuple[bytes, ...] = ()
    extensions_tail: bytes = b""
    tbs_tail: bytes = b""
    signer: Any
    salt_bytes: int = 48
    unused_bits: int = 0
    trailing: bytes = b""

    def der(self) -> bytes:
        """Return the signed list."""
        tbs = encode(
            SEQUENCE,
            self.version,
            self.algorithm,
            self.issuer,
            self.this_update,
            self.next_update,
            self.revoked,
            encode(CONTEXT_0, encode(SEQUENCE, *self.extensions), self.extensions_tail),
            self.tbs_tail,
        )
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), self.salt_bytes)
        bits = encode(BIT_STRING, bytes([self.unused_bits]), self.signer.sign(tbs, pss, hashes.SHA384()))
        return encode(SEQUENCE, tbs, self.outer_algorithm or self.algorithm, bits) + self.trailing


def fields_of(
    amd: FakeAmd,
    *,
    number: int = 3,
    revoked: tuple[int, ...] = (),
    this_update: datetime = THIS_UPDATE,
    next_update: datetime = NEXT_UPDATE,
    signer: Any = None,
) -> CrlFields:
    """Return the list that the root of `amd` would sign."""
    return CrlFields(
        issuer=names.ark_name(amd.product),
        this_update=time_of(this_update),
        next_update=time_of(next_update),
        revoked=entries_of(*(entry_of(serial) for serial in revoked)) if revoked else b"",
        extensions=(
            raw_extension(AUTHORITY_KEY, encode(SEQUENCE, encode(0x80, bytes(20)))),
            raw_extension(NUMBER, encode_integer(number)),
        ),
        signer=amd.keys.ark if signer is None else signer,
    )


def crl_of(amd: FakeAmd, **fields: Any) -> bytes:
    """Return a signed list; the arguments are those of `fields_of`."""
    return fields_of(amd, **fields).der()


def time_of(at: datetime) -> bytes:
    """Return a time as RFC 5280 writes it."""
    if at.year >= 2050:
        return encode(GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode())
    return encode(UTC_TIME, f"{at:%y%m%d%H%M%SZ}".encode())


def entries_of(*entries: bytes) -> bytes:
    """Return the list's entries."""
    return encode(SEQUENCE, *entries)


def entry_of(serial: int, *extensions: bytes) -> bytes:
    """Return the entry of one revoked certificate."""
    listed = encode(SEQUENCE, *extensions) if extensions else b""
    return encode(SEQUENCE, encode_integer(serial), time_of(THIS_UPDATE), listed)
