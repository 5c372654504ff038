"""What evidence is bound to, asked where nobody is about to release anything: REPORT_DATA, claims and a challenge.

Whoever asks on behalf of others, as a service does, may know less than a participant: perhaps only a nonce. What is not
known is not in the result, and nothing is concluded from it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from twocvm_verifier import framing
from twocvm_verifier.binding import Claims
from twocvm_verifier.result import Appraisal, Check, Level

from .build import judged
from .guest import check_report_data

# docs/spec/claims.md, 3: the first half of REPORT_DATA is the hash of the claims.
_CLAIMS_HALF: Final = slice(0, 32)
_REPORT_DATA_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """What evidence is said to be bound to; None is what nobody said.

    Attributes:
        report_data: The 64 bytes that the relying party rebuilt.
        claims: The claims that came with the evidence.
        nonce: The challenge (8 to 64 bytes).
    """

    report_data: bytes | None
    claims: Claims | None
    nonce: bytes | None


def with_bindings(appraisal: Appraisal, bound_data: bytes, bindings: Bindings) -> Appraisal:
    """Return the appraisal with the checks of what its evidence is bound to.

    Args:
        appraisal: The appraisal. Where the evidence is not authentic nothing more is asked of it.
        bound_data: The 64 bytes that the guest had signed for it (`VerifiedReport.bound_data`).
        bindings: What is asked.
    """
    if not appraisal.authentic:
        return appraisal
    return replace(appraisal, checks=(*appraisal.checks, *_checks(bound_data, bindings)))


def _checks(found: bytes, bindings: Bindings) -> Iterator[Check]:
    if bindings.report_data is not None:
        yield check_report_data(found, bindings.report_data)
    if bindings.claims is not None:
        digest = framing.sha256(bindings.claims.encode())
        yield judged(
            "binding.claims",
            "CLAIMS_MISMATCH",
            Level.AL4,
            holds=hmac.compare_digest(found[_CLAIMS_HALF], digest),
            expected=digest.hex(),
            actual=found[_CLAIMS_HALF].hex(),
            detail="the claims that came with the report are not those that it was made for",
        )
    if bindings.nonce is not None:
        yield _nonce(found, bindings.claims, bindings.nonce)


def _nonce(found: bytes, claims: Claims | None, nonce: bytes) -> Check:
    # docs/spec/challenge.md, 3. Whether the claims are the report's is asked above.
    if claims is None:
        actual, expected = found, nonce.ljust(_REPORT_DATA_BYTES, b"\x00")
    else:
        actual, expected = claims.own.get("nonce", b""), nonce
    return judged(
        "binding.nonce",
        "NONCE_MISMATCH",
        Level.AL4,
        holds=hmac.compare_digest(actual, expected),
        expected=expected.hex(),
        actual=actual.hex(),
        detail="the evidence does not answer this challenge",
    )
