r"""A TPM 2.0 quote: TPMS_ATTEST with the digest of PCRs, parsed and nothing more.

Rules, in order: it was made inside a TPM (the magic number, which a restricted key signs nothing else under) and is a
quote; every size is what is left for it; one bank of PCRs is selected, that of SHA-256; nothing follows.

>>> parse_quote(b"\xffTCG")
Traceback (most recent call last):
twocvm_verifier.errors.MalformedError: tpm quote.length: got 4 bytes, want more
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier.errors import MalformedError

MAX_QUOTE_BYTES: Final = 512
MAX_EXTRA_DATA_BYTES: Final = 66
DIGEST_BYTES: Final = 32
PCR_COUNT: Final = 24

_DOCUMENT: Final = "tpm quote"
# TPM 2.0 part 2, 6.2 and 6.9: TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE, TPM_ALG_SHA256.
_GENERATED: Final = 0xFF544347
_QUOTE: Final = 0x8018
_SHA256: Final = 0x000B
# A name is its algorithm's identifier and a digest.
_NAME_BYTES: Final = 2 + DIGEST_BYTES
_SELECT_BYTES: Final = PCR_COUNT // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a quote says, whoever made it.

    Attributes:
        raw: The bytes as received; what is signed.
        signer: Qualified name of the key (34 bytes).
        extra_data: What whoever asked for the quote chose (0 to 66 bytes).
        clock: Milliseconds that the TPM was powered.
        reset_count: How often the TPM was reset: once more at every start of the VM.
        restart_count: How often it was restarted or resumed since.
        safe: Whether `clock` never went back.
        firmware_version: The vTPM's, 64 bits.
        selected: Which PCRs of the SHA-256 bank, in their order.
        pcr_digest: SHA-256 over their values (32 bytes).
    """

    raw: bytes = field(repr=False)
    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selected: tuple[int, ...]
    pcr_digest: bytes


def parse_quote(raw: bytes) -> Quote:
    """Return what a quote says.

    Args:
        raw: TPMS_ATTEST, at most `MAX_QUOTE_BYTES`, without the size that may stand before it.

    Raises:
        MalformedError: Anything else, with the field that is wrong.

    Spec: TPM 2.0 library part 2, 10.12.8 (TPMS_ATTEST), 10.12.1 (TPMS_QUOTE_INFO).
    """
    if len(raw) > MAX_QUOTE_BYTES:
        raise MalformedError(_DOCUMENT, "length", f"got {len(raw)} bytes, want at most {MAX_QUOTE_BYTES}")
    reader = _Reader(raw)
    reader.exactly("magic", 4, _GENERATED)
    reader.exactly("type", 2, _QUOTE)
    signer = reader.sized("signer", least=_NAME_BYTES, most=_NAME_BYTES)
    extra_data = reader.sized("extra_data", least=0, most=MAX_EXTRA_DATA_BYTES)
    clock, reset_count, restart_count, safe, firmware_version = struct.unpack(">QIIBQ", reader.take(25))
    if safe > 1:
        raise MalformedError(_DOCUMENT, "safe", f"got {safe}, want 0 or 1")
    reader.exactly("banks", 4, 1)
    reader.exactly("bank", 2, _SHA256)
    reader.exactly("select_size", 1, _SELECT_BYTES)
    bits = int.from_bytes(reader.take(_SELECT_BYTES), "little")
    pcr_digest = reader.sized("pcr_digest", least=DIGEST_BYTES, most=DIGEST_BYTES)
    reader.end()
    return Quote(
        raw=raw,
        signer=signer,
        extra_data=extra_data,
        clock=clock,
        reset_count=reset_count,
        restart_count=restart_count,
        safe=bool(safe),
        firmware_version=firmware_version,
        selected=tuple(pcr for pcr in range(PCR_COUNT) if bits >> pcr & 1),
        pcr_digest=pcr_digest,
    )


class _Reader:
    """Walks the bytes once; every length is compared with what is left before anything is sliced."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._offset = 0

    def take(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._raw):
            raise MalformedError(_DOCUMENT, "length", f"got {len(self._raw)} bytes, want more")
        part = self._raw[self._offset : end]
        self._offset = end
        return part

    def exactly(self, name: str, size: int, want: int) -> None:
        got = int.from_bytes(self.take(size), "big")
        if got != want:
            raise MalformedError(_DOCUMENT, name, f"got {got:#x}, want {want:#x}")

    def sized(self, name: str, *, least: int, most: int) -> bytes:
        length = int.from_bytes(self.take(2), "big")
        if not least <= length <= most:
            raise MalformedError(_DOCUMENT, name, f"got {length} bytes, want {least} to {most}")
        return self.take(length)

    def end(self) -> None:
        if self._offset != len(self._raw):
            raise MalformedError(_DOCUMENT, "length", f"{len(self._raw) - self._offset} bytes follow the quote")
