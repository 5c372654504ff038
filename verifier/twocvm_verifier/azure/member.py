"""The member `azure` of evidence: what a vTPM's quote is judged with, beside the paravisor's report.

A deterministic CBOR map of four byte strings. The report is the evidence's own member `snp`, and the claims its own
`claims`, so nothing stands twice.

Spec: docs/spec/azure.md, 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier import strictcbor
from twocvm_verifier.errors import MalformedError

from .quote import DIGEST_BYTES, PCR_COUNT, Quote, parse_quote
from .runtime import MODULUS_BYTES, RuntimeData, parse_runtime

MAX_MEMBER_BYTES: Final = 6144
_DOCUMENT: Final = "azure evidence"
_MEMBERS: Final = frozenset({"pcrs", "quote", "runtime", "signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureMember:
    """What the member holds, parsed and not yet believed.

    Attributes:
        runtime: The paravisor's runtime data.
        quote: The vTPM's quote.
        signature: RSASSA-PKCS1-v1_5 with SHA-256 over the quote (256 bytes).
        pcrs: The values of all 24 PCRs of the SHA-256 bank (32 bytes each).
    """

    runtime: RuntimeData
    quote: Quote
    signature: bytes = field(repr=False)
    pcrs: tuple[bytes, ...] = field(repr=False)

    def encode(self) -> bytes:
        """Return the bytes of the member."""
        return strictcbor.encode(
            {
                "pcrs": b"".join(self.pcrs),
                "quote": self.quote.raw,
                "runtime": self.runtime.raw,
                "signature": self.signature,
            }
        )


def parse_member(raw: bytes) -> AzureMember:
    """Return what the member holds.

    Raises:
        MalformedError: Not the canonical map of `docs/spec/azure.md`, 4, or a part of it is not what it should be.
    """
    value = strictcbor.parse(raw, document=_DOCUMENT, max_bytes=MAX_MEMBER_BYTES)
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise MalformedError(_DOCUMENT, "", f"not a map of {sorted(_MEMBERS)}")
    pcrs = _bytes(value, "pcrs", PCR_COUNT * DIGEST_BYTES)
    return AzureMember(
        runtime=parse_runtime(_bytes(value, "runtime")),
        quote=parse_quote(_bytes(value, "quote")),
        signature=_bytes(value, "signature", MODULUS_BYTES),
        pcrs=tuple(pcrs[at : at + DIGEST_BYTES] for at in range(0, len(pcrs), DIGEST_BYTES)),
    )


def _bytes(members: dict[str, strictcbor.Cbor], name: str, size: int | None = None) -> bytes:
    value = members[name]
    if not isinstance(value, bytes):
        raise MalformedError(_DOCUMENT, f"/{name}", "not a byte string")
    if size is not None and len(value) != size:
        raise MalformedError(_DOCUMENT, f"/{name}", f"got {len(value)} bytes, want {size}")
    return value
