"""The certificates of a simulated chip: AMD's shapes, with marks that nothing of AMD's has (`docs/spec/simulated.md`).

The root, the intermediate and the chip's key are made anew at every start and their private halves are kept nowhere,
so nobody can trust a simulated chip but by being handed its root. The VCEK is spelled out byte by byte, because it has
what AMD's have and libraries refuse to write: serial number 0, and a HWID without any DER around it.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from twocvm_verifier.clock import require_utc
from twocvm_verifier.snp import der, names
from twocvm_verifier.snp.product import Product

_RSA_BITS: Final = 4096
_PUBLIC_EXPONENT: Final = 65537
_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
# Of AMD's two spellings, the one of its VCEKs, which leave the trailer field out.
_PSS_ALGORITHM: Final = min(names.PSS_ALGORITHMS, key=len)
_MARK: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier(names.SIMULATED_MARK_OID), names.SIMULATED_MARK)

# Serials and dates are those of AMD's certificates for Genoa.
_ARK_SERIAL: Final = 0x020000
_ASK_SERIAL: Final = 0x020002
_ARK_NOT_BEFORE: Final = datetime(2022, 1, 26, 15, 34, 37, tzinfo=UTC)
_ARK_NOT_AFTER: Final = datetime(2047, 1, 26, 15, 34, 37, tzinfo=UTC)
_ASK_NOT_BEFORE: Final = datetime(2022, 10, 31, 13, 33, 48, tzinfo=UTC)
_ASK_NOT_AFTER: Final = datetime(2047, 10, 31, 13, 33, 48, tzinfo=UTC)
# AMD gives a VCEK seven years from when it is asked for; a day earlier forgives a verifier whose clock is slow.
_VCEK_LIFE: Final = timedelta(days=7 * 365 + 2)
_EARLY: Final = timedelta(days=1)
# AMD's lists are of one year, too.
_CRL_LIFE: Final = timedelta(days=365)
_CRL_NUMBER: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCertificates:
    """What a simulated chip was born with.

    Attributes:
        vcek_key: Signs reports (P-384).
        vcek_der: Its certificate.
        chain_pem: ASK, then ARK; whoever trusts this trusts the simulation.
        crl_der: What the ARK revoked: nothing, and it never will.
    """

    vcek_key: ec.EllipticCurvePrivateKey
    vcek_der: bytes
    chain_pem: bytes
    crl_der: bytes


def make_certificates(*, chip_id: bytes, tcb: bytes, at: datetime) -> SimulatedCertificates:
    """Return new certificates of a chip; takes about half a second, for two RSA keys of 4096 bits.

    Args:
        chip_id: The HWID (64 bytes).
        tcb: TCB_VERSION that the VCEK stands for (8 bytes, Genoa's layout).
        at: When the VCEK and the revocation list are asked for (aware).
    """
    # Key generation gives up the interpreter lock, so two keys take the time of one where there are two cores.
    with ThreadPoolExecutor(max_workers=2) as pool:
        ark_key, ask_key = pool.map(lambda _: rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS), range(2))
    vcek_key = ec.generate_private_key(ec.SECP384R1())
    ark, ask = _make_ark(ark_key), _make_ask(ask_key, ark_key)
    return SimulatedCertificates(
        vcek_key=vcek_key,
        vcek_der=_make_vcek(vcek_key.public_key(), ask_key, chip_id=chip_id, tcb=tcb, at=require_utc(at)),
        chain_pem=ask.public_bytes(Encoding.PEM) + ark.public_bytes(Encoding.PEM),
        crl_der=_make_crl(ark_key, at=require_utc(at)),
    )


def _make_ark(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name, public = _name("SIMULATED-ARK"), key.public_key()
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=public, serial_number=_ARK_SERIAL)
        .not_valid_before(_ARK_NOT_BEFORE)
        .not_valid_after(_ARK_NOT_AFTER)
        .add_extension(_key_usage(crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_MARK, critical=True)
    )
    return builder.sign(key, hashes.SHA384(), rsa_padding=_PSS)


def _make_ask(key: rsa.RSAPrivateKey, ark_key: rsa.RSAPrivateKey) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(
            issuer_name=_name("SIMULATED-ARK"),
            subject_name=_name("SIMULATED-ASK"),
            public_key=key.public_key(),
            serial_number=_ASK_SERIAL,
        )
        .not_valid_before(_ASK_NOT_BEFORE)
        .not_valid_after(_ASK_NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ark_key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(crl_sign=False), critical=True)
        .add_extension(_MARK, critical=True)
    )
    return builder.sign(ark_key, hashes.SHA384(), rsa_padding=_PSS)


def _make_crl(ark_key: rsa.RSAPrivateKey, *, at: datetime) -> bytes:
    # RFC 5280, 5.1: a list that revokes nothing has no entries at all.
    begin = at - _EARLY
    builder = (
        x509.CertificateRevocationListBuilder(issuer_name=_name("SIMULATED-ARK"))
        .last_update(begin)
        .next_update(begin + _CRL_LIFE)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ark_key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(_CRL_NUMBER), critical=False)
    )
    return builder.sign(ark_key, hashes.SHA384(), rsa_padding=_PSS).public_bytes(Encoding.DER)


def _make_vcek(
    key: ec.EllipticCurvePublicKey, ask_key: rsa.RSAPrivateKey, *, chip_id: bytes, tcb: bytes, at: datetime
) -> bytes:
    # RFC 5280, 4.1; VCEK 57230 r0.51, 3.1.
    begin = at - _EARLY
    validity = der.encode(der.SEQUENCE, _utc_time(begin), _utc_time(begin + _VCEK_LIFE))
    tbs = der.encode(
        der.SEQUENCE,
        der.encode(der.CONTEXT_0, der.encode_integer(2)),
        der.encode_integer(0),
        _PSS_ALGORITHM,
        names.issuer_name(Product.SIMULATED, names.VekKind.VCEK),
        validity,
        names.amd_name("SIMULATED-VCEK"),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der.encode(der.CONTEXT_3, der.encode(der.SEQUENCE, *_vcek_extensions(chip_id, tcb))),
    )
    signature = ask_key.sign(tbs, _PSS, hashes.SHA384())
    return der.encode(der.SEQUENCE, tbs, _PSS_ALGORITHM, der.encode(der.BIT_STRING, b"\x00", signature))


def _vcek_extensions(chip_id: bytes, tcb: bytes) -> Iterable[bytes]:
    yield _extension(names.OID_STRUCT_VERSION, der.encode_integer(0))
    yield _extension(names.OID_PRODUCT_NAME, der.encode(der.IA5_STRING, Product.SIMULATED.value.encode("ascii")))
    for oid, offset in names.spl_offsets(Product.SIMULATED).items():
        yield _extension(oid, der.encode_integer(tcb[offset]))
    yield _extension(names.OID_HWID, chip_id)
    yield der.encode(
        der.SEQUENCE,
        names.OID_SIMULATED_MARK,
        der.encode(der.BOOLEAN, b"\xff"),
        der.encode(der.OCTET_STRING, names.SIMULATED_MARK),
    )


def _extension(oid: bytes, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, oid, der.encode(der.OCTET_STRING, value))


def _utc_time(at: datetime) -> bytes:
    return der.encode(der.UTC_TIME, at.strftime("%y%m%d%H%M%SZ").encode("ascii"))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
