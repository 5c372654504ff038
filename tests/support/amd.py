"""A whole AMD of our own: ARK, ASK, ASVK, VCEK, VLEK and reports, with any one field wrong.

Bytes are laid out exactly as AMD's; only the keys are ours, so nothing here verifies under `amd_roots()`. RSA keys are
slow to make, so one set is shared by all tests of a process: nobody's secret depends on them.

    amd = fake_amd(Product.MILAN)
    verifier = SnpVerifier(roots=amd.roots())
    verifier.verify(amd.report(), vek=amd.vcek(), at=AT)
"""

from __future__ import annotations

import struct
from base64 import encodebytes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from twocvm_verifier.snp import names
from twocvm_verifier.snp.der import (
    BIT_STRING,
    BOOLEAN,
    CONTEXT_0,
    CONTEXT_3,
    IA5_STRING,
    OCTET_STRING,
    SEQUENCE,
    UTC_TIME,
    encode,
    encode_integer,
    encode_oid,
)
from twocvm_verifier.snp.names import AMD_ARC, VekKind, amd_name
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import Hierarchy, Roots, verify_roots

AT = datetime(2026, 6, 1, tzinfo=UTC)
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
CA_END = BEGIN + timedelta(days=9131)
VEK_END = BEGIN + timedelta(days=2556)

PSS_INNER = min(names.PSS_ALGORITHMS, key=len)
PSS_WITH_TRAILER = max(names.PSS_ALGORITHMS, key=len)

CHIP_ID = bytes(range(1, 65))
TURIN_CHIP_ID = bytes(range(1, 9)) + bytes(56)
# The order of P-384's group (FIPS 186-4, D.1.2.4).
P384_ORDER = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of one hierarchy."""

    ark: rsa.RSAPrivateKey
    ask: rsa.RSAPrivateKey
    asvk: rsa.RSAPrivateKey
    vek: ec.EllipticCurvePrivateKey


@cache
def shared_keys() -> Keys:
    """Return the keys that all hierarchies of this process share."""
    with ThreadPoolExecutor(2) as pool:
        ark, ask, asvk = pool.map(lambda _: rsa.generate_private_key(65537, 4096), range(3))
    return Keys(ark=ark, ask=ask, asvk=asvk, vek=ec.generate_private_key(ec.SECP384R1()))


@cache
def strange_keys() -> Keys:
    """Return other keys, for hierarchies that borrow AMD's names."""
    with ThreadPoolExecutor(2) as pool:
        ark, ask = pool.map(lambda _: rsa.generate_private_key(65537, 4096), range(2))
    return Keys(ark=ark, ask=ask, asvk=ask, vek=ec.generate_private_key(ec.SECP384R1()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A root or intermediate, before it is signed; any field may be made wrong with `replace`."""

    subject: str
    issuer: str
    key: Any
    signer: Any
    ca: bool = True
    path_length: int | None = None
    critical_constraints: bool = True
    cert_sign: bool = True
    crl_sign: bool = False
    salt_bytes: int = 48
    hash_algorithm: hashes.HashAlgorithm = field(default_factory=hashes.SHA384)
    pss: bool = True
    begin: datetime = BEGIN
    end: datetime = CA_END
    mark: bytes | None = None
    mark_critical: bool = True
    extra: tuple[x509.ExtensionType, ...] = ()

    def der(self) -> bytes:
        """Return the signed certificate."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_x509_name(self.subject))
            .issuer_name(_x509_name(self.issuer))
            .serial_number(0x10000)
            .not_valid_before(self.begin)
            .not_valid_after(self.end)
            .public_key(self.key.public_key())
            .add_extension(
                x509.BasicConstraints(ca=self.ca, path_length=self.path_length if self.ca else None),
                critical=self.critical_constraints,
            )
            .add_extension(_usage(cert_sign=self.cert_sign, crl_sign=self.crl_sign), critical=True)
        )
        if self.mark is not None:
            oid = x509.ObjectIdentifier(names.SIMULATED_MARK_OID)
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, self.mark), critical=self.mark_critical)
        for extension in self.extra:
            builder = builder.add_extension(extension, critical=True)
        pss = padding.PSS(padding.MGF1(self.hash_algorithm), self.salt_bytes) if self.pss else padding.PKCS1v15()
        return builder.sign(self.signer, self.hash_algorithm, rsa_padding=pss).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True, kw_only=True)
class VekFields:
    """A VEK certificate before it is signed, as the DER of its parts."""

    version: bytes = encode(CONTEXT_0, encode_integer(2))
    serial: bytes = encode_integer(0)
    algorithm: bytes = PSS_INNER
    outer_algorithm: bytes | None = None
    issuer: bytes
    validity: bytes
    subject: bytes
    spki: bytes
    extensions: tuple[bytes, ...]
    signer: Any
    salt_bytes: int = 48
    unused_bits: int = 0
    trailing: bytes = b""

    def der(self) -> bytes:
        """Return the signed certificate."""
        tbs = encode(
            SEQUENCE,
            self.version,
            self.serial,
            self.algorithm,
            self.issuer,
            self.validity,
            self.subject,
            self.spki,
            encode(CONTEXT_3, encode(SEQUENCE, *self.extensions)),
        )
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), self.salt_bytes)
        signature = self.signer.sign(tbs, pss, hashes.SHA384())
        bits = encode(BIT_STRING, bytes([self.unused_bits]), signature)
        return encode(SEQUENCE, tbs, self.outer_algorithm or self.algorithm, bits) + self.trailing


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFields:
    """Every field of a report, named as AMD names them."""

    version: int = 3
    guest_svn: int = 1
    policy: int = 0x30000
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    vmpl: int = 0
    signature_algo: int = 1
    current_tcb: bytes
    platform_info: int = 0x25
    flags: int = 0
    reserved_4c: int = 0
    report_data: bytes = bytes(64)
    measurement: bytes = bytes(range(48))
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = bytes(range(32))
    report_id_ma: bytes = b"\xff" * 32
    reported_tcb: bytes
    cpuid: bytes
    chip_id: bytes
    committed_tcb: bytes
    current_version: tuple[int, int, int] = (7, 55, 1)
    committed_version: tuple[int, int, int] = (7, 55, 1)
    launch_tcb: bytes
    launch_mit_vector: int = 0
    current_mit_vector: int = 0

    def signed_part(self) -> bytes:
        """Return bytes 0x000..0x29F."""
        head = struct.pack(
            "<IIQ16s16sII8sQII",
            self.version,
            self.guest_svn,
            self.policy,
            self.family_id,
            self.image_id,
            self.vmpl,
            self.signature_algo,
            self.current_tcb,
            self.platform_info,
            self.flags,
            self.reserved_4c,
        )
        middle = self.report_data + self.measurement + self.host_data + self.id_key_digest + self.author_key_digest
        middle += self.report_id + self.report_id_ma + self.reported_tcb + self.cpuid.ljust(24, b"\x00") + self.chip_id
        tail = self.committed_tcb + bytes(self.current_version) + b"\x00" + bytes(self.committed_version) + b"\x00"
        tail += self.launch_tcb + struct.pack("<QQ", self.launch_mit_vector, self.current_mit_vector)
        return (head + middle + tail).ljust(0x2A0, b"\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAmd:
    """One product's hierarchy. Everything it makes is right unless told otherwise."""

    product: Product
    keys: Keys

    @property
    def turin(self) -> bool:
        """Whether the TCB layout, the HWID and the extensions are Turin's."""
        return self.product is Product.TURIN

    @property
    def simulated(self) -> bool:
        """Whether the names and marks are a simulated platform's."""
        return self.product is Product.SIMULATED

    @property
    def chip_id(self) -> bytes:
        """The 64 bytes of CHIP_ID."""
        return TURIN_CHIP_ID if self.turin else CHIP_ID

    @property
    def tcb(self) -> bytes:
        """TCB_VERSION in the product's layout."""
        return bytes([1, 2, 3, 4, 0, 0, 0, 0xDB]) if self.turin else bytes([4, 0, 0, 0, 0, 0, 0x18, 0xDB])

    def ark_fields(self) -> Authority:
        """Return the root, not yet signed."""
        name = "SIMULATED-ARK" if self.simulated else f"ARK-{self.product}"
        key = self.keys.ark
        return Authority(subject=name, issuer=name, key=key, signer=key, crl_sign=True, mark=self._mark)

    def ask_fields(self, kind: VekKind = VekKind.VCEK) -> Authority:
        """Return an intermediate, not yet signed."""
        subject = "SIMULATED-ASK" if self.simulated else f"SEV-{'VLEK-' if kind is VekKind.VLEK else ''}{self.product}"
        return Authority(
            subject=subject,
            issuer=self.ark_fields().subject,
            key=self.keys.ask if kind is VekKind.VCEK else self.keys.asvk,
            signer=self.keys.ark,
            path_length=0,
            mark=self._mark,
        )

    def ark(self) -> bytes:
        """Return the root's DER."""
        return _signed(self.ark_fields)

    def ask(self, kind: VekKind = VekKind.VCEK) -> bytes:
        """Return an intermediate's DER."""
        return _signed(self.ask_fields, kind)

    def hierarchy(self) -> Hierarchy:
        """Return root and intermediates, as DER."""
        kinds = (VekKind.VCEK,) if self.simulated else tuple(VekKind)
        return Hierarchy(product=self.product, ark=self.ark(), intermediates={kind: self.ask(kind) for kind in kinds})

    def roots(self, *, revoked: frozenset[bytes] = frozenset()) -> Roots:
        """Return the trust anchors that accept this hierarchy."""
        return verify_roots((self.hierarchy(),), revoked=revoked)

    def chain(self, kind: VekKind = VekKind.VCEK) -> bytes:
        """Return intermediate and root in PEM, as evidence brings them."""
        return pem(self.ask(kind)) + pem(self.ark())

    def extensions(self, kind: VekKind = VekKind.VCEK) -> dict[str, bytes]:
        """Return the extensions of a VEK, each encoded, by the last part of its OID."""
        tcb = self.tcb
        levels = {"3.1": tcb[0], "3.2": tcb[1], "3.4": 0, "3.5": 0, "3.6": 0, "3.7": 0, "3.3": tcb[6], "3.8": tcb[7]}
        if self.turin:
            levels = {"3.9": tcb[0], "3.1": tcb[1], "3.2": tcb[2], "3.3": tcb[3], "3.5": 0, "3.6": 0, "3.7": 0}
            levels["3.8"] = tcb[7]
        name = f"{self.product}-B0" if self.product is Product.MILAN and kind is VekKind.VCEK else str(self.product)
        found = {"1": extension("1", encode_integer(int(self.turin)))}
        found["2"] = extension("2", encode(IA5_STRING, name.encode()))
        found |= {arc: extension(arc, encode_integer(value)) for arc, value in levels.items()}
        if kind is VekKind.VCEK:
            found["4"] = extension("4", self.chip_id[:8] if self.turin else self.chip_id)
        else:
            found["5"] = extension("5", encode(IA5_STRING, b"CN=cc-example.test"))
        if self.simulated:
            found["mark"] = mark_extension()
        return found

    def vek_fields(self, kind: VekKind = VekKind.VCEK) -> VekFields:
        """Return a VEK, not yet signed."""
        subject = "SIMULATED-VCEK" if self.simulated else f"SEV-{kind}"
        return VekFields(
            issuer=names.issuer_name(self.product, kind),
            validity=validity(BEGIN, VEK_END),
            subject=amd_name(subject),
            spki=spki(self.keys.vek),
            extensions=tuple(self.extensions(kind).values()),
            signer=self.keys.ask if kind is VekKind.VCEK else self.keys.asvk,
        )

    def vcek(self, *, changed: dict[str, bytes | None] | None = None, **fields: Any) -> bytes:
        """Return a VCEK's DER; `changed` replaces or drops extensions, `fields` any part."""
        return self._vek(VekKind.VCEK, changed or {}, fields)

    def vlek(self, *, changed: dict[str, bytes | None] | None = None, **fields: Any) -> bytes:
        """Return a VLEK's DER; else as `vcek`."""
        return self._vek(VekKind.VLEK, changed or {}, fields)

    def report_fields(self, **fields: Any) -> ReportFields:
        """Return a report's fields, right for the product unless `fields` says otherwise."""
        cpuid = {
            Product.MILAN: b"\x19\x01\x01",
            Product.GENOA: b"\x19\x11\x01",
            Product.TURIN: b"\x1a\x02\x01",
            Product.SIMULATED: b"\x00\x00\x00",
        }[self.product]
        right = ReportFields(
            version=5 if self.simulated else 3,
            current_tcb=self.tcb,
            reported_tcb=self.tcb,
            committed_tcb=self.tcb,
            launch_tcb=self.tcb,
            cpuid=b"" if fields.get("version") == 2 else cpuid,
            chip_id=self.chip_id,
        )
        return replace(right, **fields)

    def report(self, **fields: Any) -> bytes:
        """Return a signed report of 1184 bytes."""
        return sign_report(self.report_fields(**fields).signed_part(), self.keys.vek)

    def _vek(self, kind: VekKind, changed: dict[str, bytes | None], fields: dict[str, Any]) -> bytes:
        extensions = {arc: value for arc, value in (self.extensions(kind) | changed).items() if value is not None}
        return replace(self.vek_fields(kind), **({"extensions": tuple(extensions.values())} | fields)).der()

    @property
    def _mark(self) -> bytes | None:
        return names.SIMULATED_MARK if self.simulated else None


@cache
def fake_amd(product: Product = Product.MILAN) -> FakeAmd:
    """Return the hierarchy of `product` under the shared keys."""
    return FakeAmd(product=product, keys=shared_keys())


@cache
def borrowed_names(product: Product = Product.MILAN) -> FakeAmd:
    """Return a hierarchy with the same names under other keys: a forger's."""
    return FakeAmd(product=product, keys=strange_keys())


def extension(arc: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return an extension of AMD's arc."""
    return raw_extension(f"{AMD_ARC}.{arc}", value, critical=critical)


def raw_extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return any extension."""
    mark = encode(BOOLEAN, b"\xff") if critical else b""
    return encode(SEQUENCE, encode_oid(oid), mark, encode(OCTET_STRING, value))


def mark_extension(*, critical: bool = True, value: bytes = names.SIMULATED_MARK) -> bytes:
    """Return the mark of a simulated platform."""
    return raw_extension(names.SIMULATED_MARK_OID, value, critical=critical)


def validity(begin: datetime, end: datetime) -> bytes:
    """Return a VEK's validity."""
    return encode(SEQUENCE, *(encode(UTC_TIME, f"{time:%y%m%d%H%M%SZ}".encode()) for time in (begin, end)))


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a key's SPKI DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(der: bytes) -> bytes:
    """Return one certificate in PEM."""
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n"


def sign_report(signed_part: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the report whose first 0x2A0 bytes are given, signed as a chip signs."""
    r, s = decode_dss_signature(key.sign(signed_part, ec.ECDSA(hashes.SHA384())))
    return with_signature(signed_part, r, s)


def with_signature(signed_part: bytes, r: int, s: int) -> bytes:
    """Return the report with this signature, whatever it is."""
    return signed_part + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)


def signature_of(report: bytes) -> tuple[int, int]:
    """Return R and S of a report."""
    return int.from_bytes(report[0x2A0:0x2E8], "little"), int.from_bytes(report[0x2E8:0x330], "little")


_SIGNED: dict[tuple[Any, ...], bytes] = {}


def _signed(make: Any, *arguments: Any) -> bytes:
    # PSS is randomised: the same certificate must have the same bytes each time it is asked for.
    owner = make.__self__
    key = (make.__name__, owner.product, id(owner.keys), arguments)
    if key not in _SIGNED:
        _SIGNED[key] = make(*arguments).der()
    return _SIGNED[key]


def _x509_name(common_name: str) -> x509.Name:
    parts = (
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def _usage(*, cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
