"""What the library reads in a VEK certificate, held against our own reading of it, value by value."""

from __future__ import annotations

import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from twocvm_verifier.snp.names import AMD_ARC, VekKind, amd_name, issuer_name
from twocvm_verifier.snp.product import Product, product_of_name
from twocvm_verifier.snp.vek import VekCertificate

# VCEK 57230 r0.51, 3.1, table 8, written down a second time: TCB_VERSION's bytes by the last arc of each level's OID.
LEVELS = {Product.TURIN: (9, 1, 2, 3, 5, 6, 7, 8)}
OTHER_LEVELS = (1, 2, 4, 5, 6, 7, 3, 8)
ISSUERS = {issuer_name(product, kind) for product in Product for kind in VekKind}


def library_reads(raw: bytes) -> x509.Certificate:
    """Return the certificate as the library reads it, without its warning on AMD's serial number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(raw)


def assert_agreement(ours: VekCertificate, raw: bytes) -> None:
    """Fail unless the library reads every value of `raw` as we did.

    A certificate whose issuer has none of AMD's names is left out: `chain` refuses it by that name's bytes, which are
    compared whole and never read.
    """
    if ours.vek.issuer not in ISSUERS:
        return
    theirs = library_reads(raw)
    assert (ours.tbs, ours.signature) == (theirs.tbs_certificate_bytes, theirs.signature)
    assert (theirs.version, theirs.serial_number) == (x509.Version.v3, 0)
    assert isinstance(theirs.signature_hash_algorithm, hashes.SHA384)
    assert isinstance(theirs.signature_algorithm_parameters, padding.PSS)
    vek = ours.vek
    assert vek.issuer == theirs.issuer.public_bytes()
    assert (vek.not_before, vek.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
    assert vek.public_key == theirs.public_key()
    subject = "SIMULATED-VCEK" if vek.simulated else f"SEV-{vek.kind}"
    assert theirs.subject.public_bytes() == amd_name(subject)
    found = {extension.oid.dotted_string: extension for extension in theirs.extensions}
    assert {oid for oid, extension in found.items() if extension.critical} == {
        oid for oid in found if not oid.startswith(AMD_ARC)
    }
    values = {oid.removeprefix(AMD_ARC + "."): extension.value.value for oid, extension in found.items()}
    assert product_of_name(_text(values["2"])) is vek.product
    assert vek.tcb == bytes(_integer(values[f"3.{arc}"]) for arc in LEVELS.get(vek.product, OTHER_LEVELS))
    if vek.kind is VekKind.VCEK:
        assert vek.hwid == values["4"].ljust(64, b"\x00")
    else:
        assert vek.csp_id == _text(values["5"])


def _integer(der: bytes) -> int:
    """Return a short INTEGER's value, read as plainly as can be."""
    assert der[0] == 2
    assert der[1] == len(der) - 2
    return int.from_bytes(der[2:], "big", signed=True)


def _text(der: bytes) -> str:
    """Return a short IA5String's value."""
    assert der[0] == 0x16
    assert der[1] == len(der) - 2
    return der[2:].decode("ascii")
