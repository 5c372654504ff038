"""Whether a paravisor's report and its vTPM's quote belong together. `VerifiedAzureReport` is made here alone.

Rules, in order, after every rule of the report itself (`snp.verify`):
1. The report was asked for at VMPL 0, where the paravisor is and the guest is not.
2. REPORT_DATA is the SHA-256 of the runtime data, and zero behind it.
3. The attestation key in the runtime data signed the quote.
4. The quote's extra data is what whoever asked expects, and is not empty.
5. The quote is of all 24 PCRs, so that none is left out.
6. The PCR values that came along have the digest that was quoted.

Nothing here says that the paravisor is one to trust: that is what MEASUREMENT is for, and what a level says.

Spec: docs/spec/azure.md, 5.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, fields
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from twocvm_verifier import framing
from twocvm_verifier.binding import parse_claims
from twocvm_verifier.errors import BindingError, MalformedError, SignatureError
from twocvm_verifier.snp.rules import Rule, enforce
from twocvm_verifier.snp.verify import VerifiedReport

from .member import AzureMember, parse_member
from .quote import PCR_COUNT
from .runtime import MODULUS_BYTES

PARAVISOR_VMPL: Final = 0
_ZERO_HALF: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureCase:
    """What the rules are asked about.

    Attributes:
        verified: The paravisor's report, already verified.
        member: What came beside it.
        extra_data: What the quote must have been asked for.
    """

    verified: VerifiedReport
    member: AzureMember
    extra_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """What came beside a paravisor's report, not yet believed.

    Attributes:
        member: The evidence's member `azure`.
        report_data: What its claims make of the 64 bytes that are bound (`docs/spec/claims.md`, 3).
    """

    member: AzureMember
    report_data: bytes

    @property
    def bound_data(self) -> bytes:
        """The 64 bytes, where the quote was asked for them, and else what it was asked for; whoever's quote it is."""
        found = self.member.quote.extra_data
        return self.report_data if found == framing.quote_extra_data(self.report_data) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAzureReport(VerifiedReport):
    """A paravisor's report that a chip signed, and what the paravisor's vTPM says of the guest. Made only here.

    Attributes:
        member: Runtime data, quote and PCRs, all vouched for by the report.
        bound: The 64 bytes that the quote binds, in place of REPORT_DATA.
    """

    member: AzureMember
    bound: bytes

    @property
    def bound_data(self) -> bytes:
        """What the guest had signed for it: by the vTPM, since REPORT_DATA is the paravisor's."""
        return self.bound

    @property
    def paravisor(self) -> bool:
        """It does: MEASUREMENT is the paravisor's, and says nothing of what it starts."""
        return True

    @property
    def boot(self) -> bytes:
        """Which start of the guest this is: its vTPM's key, and how often that was reset and restarted."""
        return boot_of(self.member)


def quoted_of(azure: bytes | None, *, claims: bytes | None) -> Quoted | None:
    """Return what came beside a report, or None where the report speaks for the guest itself.

    Args:
        azure: The evidence's member `azure`, where it has one.
        claims: Its claims, without which a quote binds nothing.

    Raises:
        MalformedError: One of them is not what it should be.
    """
    if azure is None:
        return None
    if claims is None:
        raise MalformedError("azure evidence", "", "got no claims beside it, want those that the quote binds")
    return Quoted(member=parse_member(azure), report_data=parse_claims(claims).report_data())


def azure_case(verified: VerifiedReport, quoted: Quoted) -> AzureCase:
    """Return what the rules are asked about, where the quote must bind what the claims say."""
    extra_data = framing.quote_extra_data(quoted.report_data)
    return AzureCase(verified=verified, member=quoted.member, extra_data=extra_data)


def verify_azure(verified: VerifiedReport, quoted: Quoted) -> VerifiedAzureReport:
    """Verify that the vTPM of the paravisor that `verified` is of has bound what the claims say.

    Args:
        verified: The paravisor's report.
        quoted: What came beside it.

    Raises:
        BindingError: The parts do not belong together, or the quote is for something else.
        SignatureError: The quote is not signed by the paravisor's vTPM.
    """
    enforce(AZURE_RULES, azure_case(verified, quoted))
    given = {each.name: getattr(verified, each.name) for each in fields(VerifiedReport)}
    return VerifiedAzureReport(**given, member=quoted.member, bound=quoted.report_data)


def boot_of(member: AzureMember) -> bytes:
    """Return what is the same for all quotes of one start of a guest, and for no other's."""
    quote, key = member.quote, member.runtime.attestation_key.public_numbers().n.to_bytes(MODULUS_BYTES, "big")
    return framing.sha256(key) + quote.reset_count.to_bytes(4, "big") + quote.restart_count.to_bytes(4, "big")


def boot_said(quoted: Quoted | None) -> bytes:
    """Return which start of a guest evidence says it is of, not yet believed; as `VerifiedReport.boot`."""
    return b"" if quoted is None else boot_of(quoted.member)


def _verify_vmpl(case: AzureCase) -> None:
    # A guest under a paravisor can ask for a report of its own, at its own VMPL, with runtime data of its own making.
    vmpl = case.verified.report.vmpl
    if vmpl != PARAVISOR_VMPL:
        raise BindingError("AZURE_VMPL", f"report.vmpl: got {vmpl:#x}, want 0, where the paravisor is")


def _verify_runtime(case: AzureCase) -> None:
    wanted = framing.sha256(case.member.runtime.raw) + _ZERO_HALF
    if not hmac.compare_digest(case.verified.report.report_data, wanted):
        raise BindingError("AZURE_RUNTIME_MISMATCH", "report.report_data: is not the digest of this runtime data")


def _verify_signature(case: AzureCase) -> None:
    member = case.member
    try:
        member.runtime.attestation_key.verify(member.signature, member.quote.raw, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise SignatureError("AZURE_QUOTE_SIGNATURE", "quote: not signed by the key of the runtime data") from error


def _verify_extra_data(case: AzureCase) -> None:
    found = case.member.quote.extra_data
    if not found or not hmac.compare_digest(found, case.extra_data):
        got = found.hex() or "nothing"
        raise BindingError("AZURE_EXTRA_DATA", f"quote.extra_data: got {got}, want {case.extra_data.hex()}")


def _verify_selection(case: AzureCase) -> None:
    if case.member.quote.selected != tuple(range(PCR_COUNT)):
        raise BindingError("AZURE_PCR_SELECTION", f"quote: is of PCRs {case.member.quote.selected}, want all 24")


def _verify_pcrs(case: AzureCase) -> None:
    if framing.sha256(b"".join(case.member.pcrs)) != case.member.quote.pcr_digest:
        raise BindingError("AZURE_PCR_DIGEST", "quote.pcr_digest: is not of the PCR values that came along")


_RUNTIME: Final = "azure.runtime.report_data"
_SIGNATURE: Final = "azure.quote.signature"

AZURE_RULES: Final = (
    Rule(id="azure.report.vmpl", code="AZURE_VMPL", verify=_verify_vmpl),
    Rule(id=_RUNTIME, code="AZURE_RUNTIME_MISMATCH", verify=_verify_runtime),
    Rule(id=_SIGNATURE, code="AZURE_QUOTE_SIGNATURE", verify=_verify_signature, needs=(_RUNTIME,)),
    Rule(id="azure.quote.extra_data", code="AZURE_EXTRA_DATA", verify=_verify_extra_data, needs=(_SIGNATURE,)),
    Rule(id="azure.quote.selection", code="AZURE_PCR_SELECTION", verify=_verify_selection, needs=(_SIGNATURE,)),
    Rule(id="azure.quote.pcrs", code="AZURE_PCR_DIGEST", verify=_verify_pcrs, needs=(_SIGNATURE,)),
)
