"""Whether AMD (or a simulated platform that its caller accepts) issued a VEK.

A `VerifiedVek` is made only here. It says who issued the key and for how long all certificates of the chain are valid;
whether that covers a given time is asked at each use (`verify`), for a verified VEK may be kept and a time may not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature

from twocvm_verifier.errors import BindingError, ChainError, RevokedError, SignatureError

from .roots import PSS, SHA384, Issuer, Roots, parse_chain
from .rules import Rule, enforce
from .vek import Vek, VekCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class VekCase:
    """What the rules of a VEK are asked about.

    Attributes:
        certificate: As parsed.
        roots: The trust anchors.
        chain: DER of the intermediate and the root that came with the evidence; None where none did. They are only
            compared with the anchors, never trusted.
    """

    certificate: VekCertificate
    roots: Roots
    chain: tuple[bytes, bytes] | None

    @property
    def vek(self) -> Vek:
        """What the certificate says."""
        return self.certificate.vek

    @property
    def issuer(self) -> Issuer:
        """The accepted intermediate that the VEK names.

        Raises:
            ChainError: It names none.
        """
        issuer = self.roots.issuers.get(self.vek.issuer)
        if issuer is None:
            raise ChainError("CHAIN_ISSUER_UNKNOWN", "vek.issuer: got a name that no accepted intermediate has")
        return issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedVek:
    """A VEK that an accepted intermediate issued.

    Attributes:
        vek: What its certificate says.
        issuer: Who issued it.
        simulated: Whether the roots are a simulated platform's.
        not_before: When all three certificates have begun.
        not_after: When the first of them ends.
    """

    vek: Vek
    issuer: Issuer
    simulated: bool
    not_before: datetime
    not_after: datetime


def vek_case(certificate: VekCertificate, *, roots: Roots, chain: bytes | None) -> VekCase:
    """Return the case of `certificate`, with the chain that came along in PEM, if any.

    Raises:
        MalformedError: The chain is not two certificates in PEM.
    """
    return VekCase(certificate=certificate, roots=roots, chain=None if chain is None else parse_chain(chain))


def verify_vek(case: VekCase) -> VerifiedVek:
    """Verify that an accepted intermediate issued the VEK.

    Raises:
        ChainError: Unknown issuer, or certificates in the evidence that are not the accepted ones.
        RevokedError: The evidence brings an intermediate that was revoked.
        BindingError: Issuer and VEK are of different products or kinds.
        SignatureError: The issuer did not sign it.

    Spec: VCEK 57230 r0.51, 3.1; RFC 8017, 8.1.
    """
    enforce(VEK_RULES, case)
    issuer = case.issuer
    return VerifiedVek(
        vek=case.vek,
        issuer=issuer,
        simulated=case.roots.simulated,
        not_before=max(case.vek.not_before, issuer.not_before),
        not_after=min(case.vek.not_after, issuer.not_after, issuer.ark_not_after),
    )


def _verify_chain(case: VekCase) -> None:
    if case.chain is None:
        return
    intermediate, root = (hashlib.sha256(der).digest() for der in case.chain)
    if intermediate in case.roots.revoked:
        raise RevokedError("CHAIN_REVOKED", f"chain: the intermediate {intermediate.hex()} was revoked")
    known = {issuer.ark_sha256 for issuer in case.roots.issuers.values()}
    if root not in known:
        raise ChainError("CHAIN_ROOT_UNKNOWN", f"chain: the root {root.hex()} is not an accepted one")
    expected = case.roots.issuers.get(case.vek.issuer)
    if expected is None or (intermediate, root) != (expected.sha256, expected.ark_sha256):
        raise ChainError(
            "CHAIN_INTERMEDIATE_UNKNOWN",
            f"chain: the intermediate {intermediate.hex()} is not the accepted one of this VEK's issuer",
        )


def _verify_issuer(case: VekCase) -> None:
    # The property raises for an issuer that is not accepted.
    _ = case.issuer


def _verify_kind(case: VekCase) -> None:
    if case.vek.kind is not case.issuer.kind:
        raise BindingError("VEK_KIND_MISMATCH", f"vek: got a {case.vek.kind} under an issuer of {case.issuer.kind}s")


def _verify_product(case: VekCase) -> None:
    if case.vek.product is not case.issuer.product:
        raise BindingError("PRODUCT_MISMATCH", f"vek: got {case.vek.product} under the issuer of {case.issuer.product}")


def _verify_signature(case: VekCase) -> None:
    certificate = case.certificate
    try:
        case.issuer.public_key.verify(certificate.signature, certificate.tbs, PSS, SHA384)
    except InvalidSignature as error:
        raise SignatureError("VEK_SIGNATURE", "vek: the signature does not verify under its issuer's key") from error


_ISSUER: Final = "snp.vek.issuer"

VEK_RULES: Final = (
    Rule(id="snp.chain.anchors", code="CHAIN_ROOT_UNKNOWN", verify=_verify_chain),
    Rule(id=_ISSUER, code="CHAIN_ISSUER_UNKNOWN", verify=_verify_issuer),
    Rule(id="snp.vek.kind", code="VEK_KIND_MISMATCH", verify=_verify_kind, needs=(_ISSUER,)),
    Rule(id="snp.vek.product", code="PRODUCT_MISMATCH", verify=_verify_product, needs=(_ISSUER,)),
    Rule(id="snp.vek.signature", code="VEK_SIGNATURE", verify=_verify_signature, needs=(_ISSUER,)),
)
