"""Whether an AMD chip signed a report. `VerifiedReport` is made here and nowhere else.

Rules, in order; each is asked of the bytes as received:
1. The report says that it is signed, and with the kind of key whose certificate came along.
2. Report, certificate and issuer are of one product; version 2 does not say its product, so the certificate's counts.
3. CHIP_ID is the VCEK's HWID, whole; a VLEK is of no single chip.
4. REPORTED_TCB is the VEK's, component by component, and no TCB has a reserved byte set.
5. The ECDSA P-384 signature over bytes 0x000..0x29F verifies.
6. All certificates of the chain are valid at the given time.
7. No revocation list at hand has the issuer in it, and there is one where the caller requires one (`revocation`).

Nothing here judges what the report says: see `appraisal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from twocvm_verifier.clock import format_time, require_utc
from twocvm_verifier.errors import BindingError, ChainError, MalformedError, SignatureError

from .chain import VerifiedVek
from .names import VekKind
from .product import Product, product_of_cpuid
from .report import SIGNED_BY_NONE, SIGNED_BY_VCEK, SIGNED_BY_VLEK, SIGNED_BYTES, Report
from .revocation import FoundCrl, NotRevoked, Revocation, require_not_revoked
from .rules import Rule, enforce
from .tcb import Tcb, parse_tcb, require_tcb_layout

_ECDSA: Final = ec.ECDSA(SHA384())
_KIND: Final = {SIGNED_BY_VCEK: VekKind.VCEK, SIGNED_BY_VLEK: VekKind.VLEK}
TCB_FIELDS: Final = ("reported_tcb", "committed_tcb", "current_tcb", "launch_tcb")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCase:
    """What the rules of a report are asked about.

    Attributes:
        report: As parsed.
        vek: The verified VEK that came along.
        at: When the chain must be valid (aware, UTC).
        revocation: What the lists at hand say of the VEK's issuer.
        known: A report that was verified before, if there is one that may be the same.
    """

    report: Report
    vek: VerifiedVek
    at: datetime
    revocation: Revocation
    known: VerifiedReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReport:
    """A report that a chip signed, under roots that the caller chose. Made only in this module.

    Attributes:
        report: What the chip says.
        vek: The key that signed, its issuer and its product.
        revocation: How revocation stands: the list that counts, or why there is none.
    """

    report: Report
    vek: VerifiedVek
    revocation: NotRevoked

    @property
    def product(self) -> Product:
        """The product, from the authenticated certificate."""
        return self.vek.vek.product

    @property
    def roots_simulated(self) -> bool:
        """Whether the roots are a simulated platform's, so that this proves nothing about any hardware."""
        return self.vek.simulated

    @property
    def bound_data(self) -> bytes:
        """The 64 bytes that the guest had signed for it (`docs/spec/claims.md`, 3)."""
        return self.report.report_data

    @property
    def paravisor(self) -> bool:
        """Whether a provider's paravisor stands between the chip and the guest."""
        return False

    @property
    def boot(self) -> bytes:
        """What tells two starts of a guest apart that have one REPORT_ID: nothing, for here no two have."""
        return b""

    @property
    def valid_until(self) -> datetime:
        """When the first certificate of the chain ends, or the revocation list that was used."""
        if isinstance(self.revocation, FoundCrl):
            return min(self.vek.not_after, self.revocation.verified.crl.next_update)
        return self.vek.not_after

    def tcb(self, field: str) -> Tcb:
        """Return one of the report's TCBs by its field's name: a member of `TCB_FIELDS`."""
        return parse_tcb(getattr(self.report, field), product=self.product, field=field)


def verify_report(
    report: Report, *, vek: VerifiedVek, at: datetime, revocation: Revocation, known: VerifiedReport | None
) -> VerifiedReport:
    """Verify that the chip whose key is `vek` signed `report`.

    Args:
        report: As parsed; `report.raw` (1184 bytes) is what is verified.
        vek: Already verified up to an accepted root.
        at: When the chain must be valid (aware, UTC).
        revocation: What the lists at hand say of the VEK's issuer (`CrlStore.judge`).
        known: A report that was verified before. Where it has the same bytes and key, its signature is not verified
            a second time; every other rule is asked again.

    Returns:
        The same report, now of the type that `appraise` accepts.

    Raises:
        BindingError: Report and VEK are of different products, chips, TCBs or kinds, or a TCB is of no such product.
        SignatureError: The report is not signed, or its signature does not verify.
        ChainError: The chain is not valid at `at`.
        RevokedError: The VEK's issuer was revoked.
        CollateralError: A revocation list is required, and none can be used.

    Spec: SNP ABI 56860 r1.58, 7.3; VCEK 57230 r0.51, 3.1.
    """
    case = ReportCase(report=report, vek=vek, at=require_utc(at), revocation=revocation, known=known)
    enforce(REPORT_RULES, case)
    return VerifiedReport(report=report, vek=vek, revocation=require_not_revoked(revocation))


def _verify_signed(case: ReportCase) -> None:
    if case.report.signing_key == SIGNED_BY_NONE:
        raise SignatureError("REPORT_UNSIGNED", "report.signing_key: got none, want VCEK or VLEK")


def _verify_signing_key(case: ReportCase) -> None:
    wanted = _KIND.get(case.report.signing_key)
    if wanted is not case.vek.vek.kind:
        raise BindingError("SIGNING_KEY_MISMATCH", f"vek: got a {case.vek.vek.kind}, want the {wanted} of the report")


def _verify_product(case: ReportCase) -> None:
    report, product = case.report, case.vek.vek.product
    if report.version > 2 and product_of_cpuid(report.family, report.model) is not product:
        found = f"family {report.family:#x} model {report.model:#x}"
        raise BindingError("PRODUCT_MISMATCH", f"report: got {found}, want a CPU of {product}, as the VEK says")


def _verify_chip(case: ReportCase) -> None:
    vek = case.vek.vek
    if vek.kind is VekKind.VCEK and case.report.chip_id != vek.hwid:
        masked = " (masked)" if not any(case.report.chip_id) else ""
        raise BindingError("CHIP_ID_MISMATCH", f"report.chip_id: got another{masked} than the HWID of the VCEK")


def _verify_tcb(case: ReportCase) -> None:
    if case.report.reported_tcb != case.vek.vek.tcb:
        got, want = case.report.reported_tcb.hex(), case.vek.vek.tcb.hex()
        raise BindingError("VEK_TCB_MISMATCH", f"report.reported_tcb: got {got}, want {want}, as the VEK has it")


def _verify_tcb_layout(case: ReportCase) -> None:
    for name in TCB_FIELDS:
        try:
            require_tcb_layout(getattr(case.report, name), product=case.vek.vek.product, field=name)
        except MalformedError as error:
            raise BindingError("TCB_LAYOUT", error.detail) from error


def _verify_signature(case: ReportCase) -> None:
    report, known = case.report, case.known
    if known is not None and known.report.raw == report.raw and known.vek is case.vek:
        return
    r = int.from_bytes(report.signature_r, "little")
    s = int.from_bytes(report.signature_s, "little")
    try:
        case.vek.vek.public_key.verify(encode_dss_signature(r, s), report.raw[:SIGNED_BYTES], _ECDSA)
    except InvalidSignature as error:
        raise SignatureError("REPORT_SIGNATURE", "report: the signature does not verify under the VEK") from error


def _verify_not_before(case: ReportCase) -> None:
    if case.at < case.vek.not_before:
        raise ChainError("CHAIN_NOT_YET_VALID", f"chain: valid from {format_time(case.vek.not_before)} on")


def _verify_not_after(case: ReportCase) -> None:
    if case.at > case.vek.not_after:
        raise ChainError("CHAIN_EXPIRED", f"chain: valid until {format_time(case.vek.not_after)}")


def _verify_revocation(case: ReportCase) -> None:
    require_not_revoked(case.revocation)


REVOCATION: Final = "snp.chain.revocation"
_SIGNED: Final = "snp.report.signed"

REPORT_RULES: Final = (
    Rule(id=_SIGNED, code="REPORT_UNSIGNED", verify=_verify_signed),
    Rule(id="snp.report.signing_key", code="SIGNING_KEY_MISMATCH", verify=_verify_signing_key, needs=(_SIGNED,)),
    Rule(id="snp.report.product", code="PRODUCT_MISMATCH", verify=_verify_product),
    Rule(id="snp.report.chip_id", code="CHIP_ID_MISMATCH", verify=_verify_chip),
    Rule(id="snp.report.tcb", code="VEK_TCB_MISMATCH", verify=_verify_tcb),
    Rule(id="snp.report.tcb_layout", code="TCB_LAYOUT", verify=_verify_tcb_layout),
    Rule(id="snp.report.signature", code="REPORT_SIGNATURE", verify=_verify_signature, needs=(_SIGNED,)),
    Rule(id="snp.chain.not_before", code="CHAIN_NOT_YET_VALID", verify=_verify_not_before),
    Rule(id="snp.chain.not_after", code="CHAIN_EXPIRED", verify=_verify_not_after),
    Rule(id=REVOCATION, code="CRL_MISSING", verify=_verify_revocation),
)
