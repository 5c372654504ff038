"""Parsing of ATTESTATION_REPORT: what is taken, and everything that is not."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.amd import fake_amd, sign_report

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import HOST_VMPL, parse_report

AMD = fake_amd(Product.GENOA)


def refusal(raw: bytes) -> str:
    """Return the field that `raw` is refused for."""
    with pytest.raises(MalformedError) as caught:
        parse_report(raw)
    assert caught.value.code == "MALFORMED_REPORT"
    assert caught.value.exit_status == 30
    return caught.value.field


def with_byte(raw: bytes, offset: int, value: int) -> bytes:
    """Return `raw` with one byte changed."""
    return raw[:offset] + bytes([value]) + raw[offset + 1 :]


@pytest.mark.parametrize("size", [0, 1, 0x2A0, 1183, 1185, 2368])
def test_only_the_exact_length_is_a_report(size):
    """A report is 1184 bytes, never one more or less."""
    assert refusal(AMD.report().ljust(4096, b"\x00")[:size]) == "length"


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_fields_come_back_as_they_were_written(version):
    """Every field of every known version is read from its own place."""
    fields = AMD.report_fields(
        version=version,
        guest_svn=7,
        policy=0x30133,
        family_id=b"f" * 16,
        image_id=b"i" * 16,
        vmpl=3,
        current_tcb=bytes([5, 0, 0, 0, 0, 0, 6, 7]),
        platform_info=0xA5,
        flags=0b00111,
        report_data=b"d" * 64,
        measurement=b"m" * 48,
        host_data=b"h" * 32,
        id_key_digest=b"k" * 48,
        author_key_digest=b"a" * 48,
        report_id=b"r" * 32,
        report_id_ma=b"n" * 32,
        reported_tcb=bytes([1, 2, 0, 0, 0, 0, 3, 4]),
        chip_id=b"c" * 64,
        committed_tcb=bytes([8, 0, 0, 0, 0, 0, 9, 10]),
        current_version=(1, 2, 3),
        committed_version=(4, 5, 6),
        launch_tcb=bytes([11, 0, 0, 0, 0, 0, 12, 13]),
        launch_mit_vector=14 if version == 5 else 0,
        current_mit_vector=15 if version == 5 else 0,
    )
    report = parse_report(sign_report(fields.signed_part(), AMD.keys.vek))
    for field in dataclasses.fields(fields):
        if hasattr(report, field.name):
            assert getattr(report, field.name) == getattr(fields, field.name), field.name
    assert (report.author_key_en, report.mask_chip_key, report.signing_key) == (True, True, 1)
    assert (report.current_build, report.current_minor, report.current_major) == (1, 2, 3)
    assert (report.committed_build, report.committed_minor, report.committed_major) == (4, 5, 6)
    assert (report.family, report.model, report.stepping) == ((0, 0, 0) if version == 2 else (0x19, 0x11, 1))


def test_raw_is_kept_as_received():
    """What is verified later is the bytes that came, also when they came as another kind of buffer."""
    raw = AMD.report()
    assert parse_report(bytearray(raw)).raw == raw


@pytest.mark.parametrize("version", [0, 1, 6, 255, 2**32 - 1])
def test_unknown_versions_are_refused(version):
    """A version whose layout is not known is not guessed at."""
    assert refusal(AMD.report(version=version)) == "version"


@pytest.mark.parametrize("version", [3, 4, 5])
def test_report_relabelled_as_version_2_is_refused(version):
    """CPUID bytes stand where version 2 reserves, so a newer report cannot pass for an older one."""
    assert refusal(with_byte(AMD.report(version=version), 0, 2)) == "reserved"


@pytest.mark.parametrize("version", [2, 3, 4])
def test_mitigation_vectors_exist_in_version_5_alone(version):
    """A version-5 report with mitigations cannot pass for an older one."""
    raw = AMD.report(version=5, cpuid=b"" if version == 2 else b"\x19\x11\x01", launch_mit_vector=1)
    assert refusal(with_byte(raw, 0, version)) == "reserved"


@pytest.mark.parametrize("offset", [0x1EB, 0x1EF, 0x18B, 0x19F, 0x208, 0x29F])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_reserved_bytes_are_zero(version, offset):
    """Every reserved run is zero to its last byte."""
    assert refusal(with_byte(AMD.report(version=version), offset, 1)) == "reserved"


@pytest.mark.parametrize("offset", range(0x4C, 0x50))
def test_bytes_after_the_flags_are_zero(offset):
    """The word after the flags is reserved."""
    assert refusal(with_byte(AMD.report(), offset, 1)) == "flags"


@pytest.mark.parametrize("bit", range(5, 32))
def test_reserved_flags_are_zero(bit):
    """Flags above SIGNING_KEY are reserved."""
    assert refusal(AMD.report(flags=1 << bit)) == "flags"


@pytest.mark.parametrize("key", [2, 3, 4, 5, 6])
def test_unknown_signing_keys_are_refused(key):
    """Only VCEK, VLEK and none exist."""
    assert refusal(AMD.report(flags=key << 2)) == "signing_key"


@pytest.mark.parametrize("algorithm", [0, 2, 2**32 - 1])
def test_unknown_signature_algorithms_are_refused(algorithm):
    """Only ECDSA P-384 with SHA-384 exists."""
    assert refusal(AMD.report(signature_algo=algorithm)) == "signature_algo"


@pytest.mark.parametrize("bit", range(26, 64))
def test_reserved_policy_bits_are_zero(bit):
    """Bits of POLICY that this version does not know are refused, not ignored."""
    assert refusal(AMD.report(policy=0x30000 | 1 << bit)) == "policy"


def test_policy_bit_17_is_one():
    """Bit 17 of POLICY must be one."""
    assert refusal(AMD.report(policy=0x10000)) == "policy"


@pytest.mark.parametrize("bit", range(8, 64))
def test_reserved_platform_info_bits_are_zero(bit):
    """Bits of PLATFORM_INFO that this version does not know are refused."""
    assert refusal(AMD.report(platform_info=1 << bit)) == "platform_info"


def test_known_platform_info_bits_pass():
    """All eight known bits may be set; Turin sets bit 6."""
    assert parse_report(AMD.report(platform_info=0xFF)).platform_info == 0xFF


@pytest.mark.parametrize("vmpl", [4, 0xFFFFFFFE, 0x80000000])
def test_impossible_vmpls_are_refused(vmpl):
    """A VMPL is 0 to 3, or the host's mark."""
    assert refusal(AMD.report(vmpl=vmpl)) == "vmpl"


def test_report_for_the_host_parses():
    """A report that the host asked for is well formed; policy judges it."""
    assert parse_report(AMD.report(vmpl=HOST_VMPL)).vmpl == HOST_VMPL


@pytest.mark.parametrize("offset", [0x2A0 + 48, 0x2A0 + 71, 0x2E8 + 48, 0x2E8 + 71, 0x330, 0x49F])
def test_signature_padding_is_zero(offset):
    """Beyond 48 bytes of R and of S everything is zero, to the end."""
    assert refusal(with_byte(AMD.report(), offset, 1)) == "signature"
