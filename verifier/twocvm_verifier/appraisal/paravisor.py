"""A provider's paravisor between chip and guest: what it proved, what it says, and that it has to be trusted.

On such a platform the report is the paravisor's. It holds the key of the vTPM that speaks for the guest, and it can
read the guest, so it is in the trusted base of everything; a result says so every time.

Spec: docs/spec/azure.md, 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twocvm_verifier.azure.verify import AZURE_RULES, VerifiedAzureReport
from twocvm_verifier.result import Check, Level
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.strictjson import Json

from .build import kept_check, warned

PARAVISOR_PLATFORM: Final = "azure"
_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})
_PROVED: Final = tuple(kept_check(rule.id, rule.code) for rule in AZURE_RULES)
_TRUSTED: Final = warned(
    "azure.trusted_base",
    "PARAVISOR_TRUSTED",
    Level.AL3,
    detail="the provider's paravisor and its vTPM are in the trusted base: they can read the guest and speak for it",
)


def paravisor_checks(verified: VerifiedReport) -> tuple[Check, ...]:
    """Return what a paravisor's evidence has passed beside its report, and what it leaves to trust; else nothing."""
    return (*_PROVED, _TRUSTED) if isinstance(verified, VerifiedAzureReport) else ()


def trusted_base_checks(*, paravisor: bool) -> tuple[Check, ...]:
    """Return that a paravisor has to be trusted, where there is one."""
    return (_TRUSTED,) if paravisor else ()


def facts_of_paravisor(verified: VerifiedReport) -> Mapping[str, Json]:
    """Return what a paravisor and its vTPM say, for people and records."""
    if not isinstance(verified, VerifiedAzureReport):
        return _NOTHING
    runtime, quote = verified.member.runtime, verified.member.quote
    key = runtime.attestation_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "bound_data": verified.bound_data.hex(),
        "paravisor": {
            "requested_by": "the paravisor, at VMPL 0",
            "attestation_key_sha256": hashlib.sha256(key).hexdigest(),
            "configuration": dict(runtime.configuration),
            "user_data": runtime.user_data.hex(),
            "reset_count": quote.reset_count,
            "restart_count": quote.restart_count,
            "vtpm_version": f"{quote.firmware_version:#x}",
            "pcrs": {str(number): value.hex() for number, value in enumerate(verified.member.pcrs)},
        },
    }
