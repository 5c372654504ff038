"""Whether bytes are genuine collateral, and of which name: asked of whatever a store, a file or a source holds out."""

from __future__ import annotations

from twocvm_verifier.errors import BindingError
from twocvm_verifier.snp.chain import VerifiedVek, vek_case, verify_vek
from twocvm_verifier.snp.crl import Crl, parse_crl, verify_crl
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.roots import Roots
from twocvm_verifier.snp.vek import parse_vek

from .names import CrlName, VcekName


def verify_vcek_of(name: VcekName, raw: bytes, *, roots: Roots) -> VerifiedVek:
    """Return the VCEK in `raw`, which is that of `name` and was issued under `roots`.

    Raises:
        MalformedError: It is no VCEK.
        VerificationError: It is not authentic, or another chip's or TCB's.
    """
    verified, found = _verified_vcek(raw, roots=roots)
    if found != name:
        raise BindingError("VEK_TCB_MISMATCH" if found.chip_id == name.chip_id else "CHIP_ID_MISMATCH", f"got {found}")
    return verified


def verify_crl_of(name: CrlName, raw: bytes, *, roots: Roots) -> Crl:
    """Return the list in `raw`, which the root of `name` signed; its window is not asked.

    Raises:
        MalformedError: It is no revocation list.
        VerificationError: It is not authentic, or another product's.
    """
    verified = verify_crl(parse_crl(raw), roots=roots)
    if verified.product is not name.product:
        raise BindingError("PRODUCT_MISMATCH", f"crl: got one of {verified.product}, want the {name}")
    return verified.crl


def vcek_name_of(raw: bytes, *, roots: Roots) -> VcekName:
    """Return which VCEK is in `raw`; else as `verify_vcek_of`."""
    return _verified_vcek(raw, roots=roots)[1]


def crl_name_of(raw: bytes, *, kind: VekKind, roots: Roots) -> CrlName:
    """Return which list is in `raw`, served for the issuers of `kind`; else as `verify_crl_of`."""
    return CrlName(product=verify_crl(parse_crl(raw), roots=roots).product, kind=kind)


def _verified_vcek(raw: bytes, *, roots: Roots) -> tuple[VerifiedVek, VcekName]:
    verified = verify_vek(vek_case(parse_vek(raw), roots=roots, chain=None))
    vek = verified.vek
    if vek.kind is not VekKind.VCEK:
        raise BindingError("VEK_KIND_MISMATCH", f"got a {vek.kind}, want a VCEK")
    return verified, VcekName(product=vek.product, chip_id=vek.hwid, tcb=vek.tcb)
