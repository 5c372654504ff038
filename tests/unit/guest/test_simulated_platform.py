"""The simulated platform: AMD's shapes, marks that cannot be missed, and trust only for who asks for it."""

from __future__ import annotations

import struct
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from tests.support.manifests import World
from tests.support.simulated import ISSUED_AT, chip, launch, lenient_policy, verifier_of

import twocvm_certs
from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS, SimulatedChip, SimulatedPlatform
from twocvm_verifier import Policy, SnpVerifier, Unchecked, amd_roots, appraise, appraise_guest, simulated_roots
from twocvm_verifier.errors import AppraisalError, ChainError, SignatureError, TwoCvmError
from twocvm_verifier.result import Verdict
from twocvm_verifier.snp.revocation import REQUIRE, FoundCrl

MEASUREMENT, HOST_DATA, REPORT_DATA = bytes(range(48)), bytes([7]) * 32, bytes(range(64))
PLATFORM = launch(host_data=HOST_DATA, measurement=MEASUREMENT)
REPORT = PLATFORM.report(REPORT_DATA)
GENUINE_VCEK = x509.load_der_x509_certificate(
    (Path(__file__).parents[3] / "examples" / "genuine" / "vcek.der").read_bytes()
)
MARK_OID = x509.ObjectIdentifier("2.25.162484738496803347589541942800404766721")
MARK = b"\x0c\x1b" + b"INSECURE SIMULATED PLATFORM"
AMD_HWID = x509.ObjectIdentifier("1.3.6.1.4.1.3704.1.4")
AMD_PRODUCT_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.3704.1.2")


def _certificates(platform: SimulatedPlatform = PLATFORM) -> dict[str, x509.Certificate]:
    ask, ark = x509.load_pem_x509_certificates(platform.chain())
    return {"ARK": ark, "ASK": ask, "VCEK": x509.load_der_x509_certificate(platform.vek())}


def _value(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes:
    extension = certificate.extensions.get_extension_for_oid(oid).value
    assert isinstance(extension, x509.UnrecognizedExtension)
    return extension.value


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _others(name: x509.Name) -> list[x509.NameAttribute]:
    return [attribute for attribute in name if attribute.oid != NameOID.COMMON_NAME]


def _oids(certificate: x509.Certificate) -> list[str]:
    return [extension.oid.dotted_string for extension in certificate.extensions]


def test_a_report_has_every_field_at_its_place() -> None:
    """Read by offsets alone, a report is one of version 5, unsigned bytes zero, with what it was asked for."""
    chip_id = chip(0).chip_id
    tcb = bytes((10, 0, 0, 0, 0, 0, 25, 84))
    expected = {
        0x000: struct.pack("<IIQ", 5, 0, 0x30000),
        0x010: bytes(32),
        0x030: struct.pack("<II", 0, 1) + tcb + struct.pack("<QII", 0b100101, 0, 0),
        0x050: REPORT_DATA + MEASUREMENT + HOST_DATA + bytes(96),
        0x160: b"\xff" * 32,
        0x180: tcb + bytes(24) + chip_id + tcb,
        0x1E8: bytes((43, 55, 1, 0, 43, 55, 1, 0)) + tcb + struct.pack("<QQ", 1, 1) + bytes(152),
        0x2A0 + 48: bytes(24),
        0x2E8 + 48: bytes(24),
        0x330: bytes(368),
    }
    assert len(REPORT) == 1184
    for offset, value in expected.items():
        assert REPORT[offset : offset + len(value)] == value, hex(offset)


def test_the_signature_is_the_chip_s_over_the_first_0x2a0_bytes() -> None:
    """R and S, little endian, verify with nothing but the certificate's key and the library."""
    key = _certificates()["VCEK"].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(REPORT[at : at + 72], "little") for at in (0x2A0, 0x2E8))
    key.verify(encode_dss_signature(r, s), REPORT[:0x2A0], ec.ECDSA(hashes.SHA384()))


def test_who_asks_for_the_simulation_gets_it() -> None:
    """A verifier with the platform's own root takes its report, and says that the root is simulated."""
    verified = verifier_of(PLATFORM).verify(REPORT, vek=PLATFORM.vek(), chain=PLATFORM.chain(), at=ISSUED_AT)
    assert verified.roots_simulated
    assert (verified.product, verified.report.measurement) == ("Simulated", MEASUREMENT)
    assert (verified.report.host_data, verified.report.report_data) == (HOST_DATA, REPORT_DATA)


@pytest.mark.parametrize("chain", [PLATFORM.chain(), None], ids=["with its chain", "without"])
def test_amd_s_roots_refuse_it(chain: bytes | None) -> None:
    """Nobody who trusts AMD's roots takes a simulated report, whatever chain comes along."""
    verifier = SnpVerifier(roots=amd_roots(), crls=Unchecked("not needed to refuse"))
    with pytest.raises(ChainError) as caught:
        verifier.verify(REPORT, vek=PLATFORM.vek(), chain=chain, at=ISSUED_AT)
    assert caught.value.exit_status == 10


def test_another_simulated_root_refuses_it() -> None:
    """Trust in one simulated platform is none in another."""
    other = SnpVerifier(roots=simulated_roots(launch(host_data=bytes(32), measurement=MEASUREMENT, on=1).root_pem))
    with pytest.raises(ChainError):
        other.verify(REPORT, vek=PLATFORM.vek(), chain=PLATFORM.chain(), at=ISSUED_AT)


def test_its_revocation_list_is_its_own_roots() -> None:
    """The list is in force for a year, revokes nothing, and is enough where a verifier requires one."""
    verifier = SnpVerifier(roots=simulated_roots(PLATFORM.root_pem), crls=REQUIRE)
    verified = verifier.verify(REPORT, vek=PLATFORM.vek(), crl=PLATFORM.crl(), at=ISSUED_AT)
    assert isinstance(verified.revocation, FoundCrl)
    crl = verified.revocation.verified.crl
    assert (crl.number, crl.revoked) == (1, frozenset())
    assert crl.this_update < ISSUED_AT < crl.next_update == crl.this_update + timedelta(days=365)
    assert verified.valid_until == crl.next_update


def test_another_chips_revocation_list_is_not() -> None:
    """Every simulated root has the same name, so another's list is a forgery, and none of AMD's is known."""
    other = launch(host_data=bytes(32), measurement=MEASUREMENT, on=1)
    with pytest.raises(SignatureError) as caught:
        SnpVerifier(roots=simulated_roots(PLATFORM.root_pem), crls=REQUIRE).verify(
            REPORT, vek=PLATFORM.vek(), crl=other.crl(), at=ISSUED_AT
        )
    assert caught.value.code == "CRL_SIGNATURE"


@pytest.mark.parametrize("policy", [Policy.builtin(), lenient_policy()], ids=["builtin", "lenient"])
def test_no_result_on_it_is_secure(policy: Policy) -> None:
    """The best verdict on a simulated report is a warning, with `secure` false in the result."""
    verified = verifier_of(PLATFORM).verify(REPORT, vek=PLATFORM.vek(), at=ISSUED_AT)
    result = appraise(verified, policy=policy, at=ISSUED_AT).to_json()
    assert (result["verdict"], result["secure"], result["platform"]) == (Verdict.WARNING, False, "simulated")


@pytest.mark.parametrize("allowed", [True, False])
def test_the_manifest_must_allow_it_too(allowed: bool) -> None:  # noqa: FBT001 - a parameter of a test
    """With the right root, a manifest that does not say `simulated` still refuses it."""
    products = ["Simulated"] if allowed else ["Genoa"]
    world = World(edit=lambda document: document["platform"].update(simulated=allowed, products=products))
    guest = launch(host_data=bytes(32), measurement=world.manifest.platform.measurements[0])
    verified = verifier_of(guest).verify(guest.report(REPORT_DATA), vek=guest.vek(), at=ISSUED_AT)
    appraisal = appraise_guest(
        verified,
        policy=lenient_policy(),
        platform=world.manifest.platform,
        manifest_hash=world.manifest.hash,
        report_data=REPORT_DATA,
        at=ISSUED_AT,
    )
    assert (appraisal.verdict, appraisal.secure) == (
        Verdict.WARNING if allowed else Verdict.CONTRAINDICATED,
        False,
    )
    if not allowed:
        with pytest.raises(AppraisalError) as caught:
            appraisal.require()
        assert "SIMULATED_NOT_ACCEPTED" in {check.code for check in caught.value.findings}


@pytest.mark.parametrize("kind", ["ARK", "ASK", "VCEK"])
def test_every_certificate_is_marked(kind: str) -> None:
    """Name and a critical extension say what it is, on all three."""
    certificate = _certificates()[kind]
    assert _common_name(certificate) == f"SIMULATED-{kind}"
    mark = certificate.extensions.get_extension_for_oid(MARK_OID)
    assert mark.critical
    assert _value(certificate, MARK_OID) == MARK


def test_the_chip_s_certificate_has_the_shape_of_amd_s() -> None:
    """But for its marks, the certificate has what a genuine one has, in the same order and spelling."""
    vcek = _certificates()["VCEK"]
    assert vcek.serial_number == GENUINE_VCEK.serial_number == 0
    assert vcek.version is GENUINE_VCEK.version
    assert _oids(vcek) == [*_oids(GENUINE_VCEK), MARK_OID.dotted_string]
    assert _others(vcek.subject) == _others(GENUINE_VCEK.subject)
    assert _others(vcek.issuer) == _others(GENUINE_VCEK.issuer)
    assert _value(vcek, AMD_HWID) == chip(0).chip_id
    assert _value(vcek, AMD_PRODUCT_NAME) == b"\x16\x09Simulated"
    assert isinstance(vcek.signature_algorithm_parameters, padding.PSS)
    # From `[0] version` to the issuer: version, serial number and algorithm, byte for byte.
    assert vcek.tbs_certificate_bytes[4:79] == GENUINE_VCEK.tbs_certificate_bytes[4:79]


def test_the_chip_s_certificate_lasts_as_long_as_amd_s() -> None:
    """It is valid a day before it was asked for, and seven years."""
    vcek = _certificates()["VCEK"]
    assert vcek.not_valid_before_utc == ISSUED_AT - timedelta(days=1)
    life = vcek.not_valid_after_utc - vcek.not_valid_before_utc
    genuine = GENUINE_VCEK.not_valid_after_utc - GENUINE_VCEK.not_valid_before_utc
    assert abs(life - genuine) <= timedelta(days=1)


@pytest.mark.parametrize("kind", ["ARK", "ASK"])
def test_the_authorities_have_the_shape_of_amd_s(kind: str) -> None:
    """But for keys, marks and the place of a CRL, they are AMD's for Genoa."""
    ours = _certificates()[kind]
    genuine = x509.load_der_x509_certificate(twocvm_certs.load(f"{kind.lower()}-genoa"))
    assert ours.serial_number == genuine.serial_number
    assert ours.not_valid_before_utc == genuine.not_valid_before_utc
    assert ours.not_valid_after_utc == genuine.not_valid_after_utc
    assert _others(ours.subject) == _others(genuine.subject)
    crl_place = ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string
    assert set(_oids(ours)) == {*_oids(genuine), MARK_OID.dotted_string} - {crl_place}
    key = ours.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert _certificates()["VCEK"].tbs_certificate_bytes[12:79] in ours.tbs_certificate_bytes
    assert (key.key_size, key.public_numbers().e) == (4096, 65537)


def test_each_certificate_is_signed_by_the_next() -> None:
    """The library verifies every link of the chain, the root by itself."""
    chain = _certificates()
    chain["VCEK"].verify_directly_issued_by(chain["ASK"])
    chain["ASK"].verify_directly_issued_by(chain["ARK"])
    chain["ARK"].verify_directly_issued_by(chain["ARK"])


def test_what_is_handed_out_holds_no_private_key() -> None:
    """The root that others are given is two certificates and nothing else."""
    assert PLATFORM.root_pem == PLATFORM.chain()
    assert PLATFORM.root_pem.count(b"BEGIN CERTIFICATE") == PLATFORM.root_pem.count(b"-----BEGIN") == 2


def test_every_launch_has_a_report_id_of_its_own() -> None:
    """REPORT_ID stays the same for one launch and is another for the next, on the same chip."""
    again = launch(host_data=HOST_DATA, measurement=MEASUREMENT)
    ids = [platform.report(bytes(64))[0x140:0x160] for platform in (PLATFORM, PLATFORM, again)]
    assert ids[0] == ids[1] != ids[2]
    assert again.vek() == PLATFORM.vek()


def test_every_chip_has_a_root_of_its_own() -> None:
    """A platform made from nothing shares neither chip nor root with any other."""
    platform = SimulatedPlatform.create(host_data=bytes(32), measurement=MEASUREMENT, at=ISSUED_AT, latency_seconds=0)
    assert platform.root_pem != PLATFORM.root_pem
    assert platform.report(bytes(64))[0x1A0:0x1E0] != REPORT[0x1A0:0x1E0]
    verifier_of(platform).verify(platform.report(bytes(64)), vek=platform.vek(), at=ISSUED_AT)


def test_reports_are_answered_one_at_a_time() -> None:
    """Eight callers at once wait for each other, 4.4 ms each, as they do for the real one."""
    slow = SimulatedPlatform(
        chip(0), host_data=HOST_DATA, measurement=MEASUREMENT, latency_seconds=HARDWARE_LATENCY_SECONDS
    )
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=8) as pool:
        reports = list(pool.map(slow.report, [bytes([number]) * 64 for number in range(8)]))
    assert time.monotonic() - started >= 8 * HARDWARE_LATENCY_SECONDS
    assert [report[0x50] for report in reports] == list(range(8))


@pytest.mark.parametrize(("host_data", "measurement"), [(bytes(31), bytes(48)), (bytes(32), bytes(32)), (b"", b"")])
def test_a_launch_takes_whole_values(host_data: bytes, measurement: bytes) -> None:
    """A short HOST_DATA or MEASUREMENT is our own mistake, never padded."""
    with pytest.raises(ValueError, match="got"):
        launch(host_data=host_data, measurement=measurement)


@pytest.mark.parametrize("report_data", [b"", bytes(32), bytes(63), bytes(65)])
def test_a_report_takes_64_bytes(report_data: bytes) -> None:
    """Any other length of report data is our own mistake, never padded or cut."""
    with pytest.raises(ValueError, match="report_data"):
        PLATFORM.report(report_data)


def test_a_chip_is_made_at_a_time_that_means_something() -> None:
    """A time without a zone is our own mistake."""
    with pytest.raises(ValueError, match="zone"):
        SimulatedChip.create(at=ISSUED_AT.replace(tzinfo=None))


def test_it_is_what_a_guest_expects_of_its_platform() -> None:
    """The platform has the attester's name and answers, and no CRL to hand over."""
    attester: Attester = PLATFORM
    assert (attester.name, attester.crl()) == ("simulated", PLATFORM.crl())


def test_a_certificate_without_its_mark_is_no_simulated_root() -> None:
    """A root is taken for simulated only with all its marks, so a plain one cannot be slipped in."""
    genuine = b"".join(
        x509.load_der_x509_certificate(twocvm_certs.load(name)).public_bytes(Encoding.PEM)
        for name in ("ask-genoa", "ark-genoa")
    )
    with pytest.raises(TwoCvmError):
        simulated_roots(genuine)
