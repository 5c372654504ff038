"""Evidence of Azure's confidential VMs: what its parts are read as, and that they belong together."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, fake_amd
from tests.support.azure import PCRS, FakeAzure, attestation_key, flipped, hcl_report, jwk, quote, runtime_data

from twocvm_verifier import SnpVerifier, framing, strictcbor
from twocvm_verifier.appraisal import appraise_examination
from twocvm_verifier.azure.hcl import MAX_HCL_BYTES, parse_hcl
from twocvm_verifier.azure.member import parse_member
from twocvm_verifier.azure.quote import MAX_QUOTE_BYTES, parse_quote
from twocvm_verifier.azure.runtime import parse_runtime
from twocvm_verifier.azure.verify import (
    AZURE_RULES,
    AzureCase,
    Quoted,
    VerifiedAzureReport,
    boot_of,
    quoted_of,
    verify_azure,
)
from twocvm_verifier.binding import NOT_LOCKED, LogPosition, cert_claims
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.policy.model import Policy
from twocvm_verifier.snp.rules import enforce, examine

AMD = fake_amd()
AZURE = FakeAzure()
BOUND = bytes(range(64))
REPORT = AMD.report(report_data=AZURE.report_data())
RUNTIME = AZURE.runtime
HCL = hcl_report(REPORT, RUNTIME)
MEMBER = AZURE.bound_to(BOUND)


def verified(**fields: Any):
    """Return the paravisor's report, verified, with changes."""
    report = AMD.report(**{"report_data": AZURE.report_data()} | fields)
    return SnpVerifier(roots=AMD.roots()).verify(report, vek=AMD.vcek(), at=AT)


def quoted(member: bytes) -> Quoted:
    """Return what came beside the report."""
    return Quoted(member=parse_member(member), report_data=BOUND)


CODES = {
    parse_hcl: {"MALFORMED_HCL_REPORT"},
    parse_runtime: {"MALFORMED_AZURE_RUNTIME"},
    parse_quote: {"MALFORMED_TPM_QUOTE"},
    parse_member: {"MALFORMED_AZURE_EVIDENCE", "MALFORMED_AZURE_RUNTIME", "MALFORMED_TPM_QUOTE"},
}


def refused(parse: Any, raw: bytes) -> str:
    """Return the field that a parser refuses, with a code of its format or of a part of it."""
    with pytest.raises(MalformedError) as refusal:
        parse(raw)
    assert refusal.value.code in CODES[parse]
    return refusal.value.field


def test_hcl_report_is_taken_apart() -> None:
    """The report and the runtime data are found behind their headers, whatever zeros follow."""
    parsed = parse_hcl(HCL)
    assert (parsed.report, parsed.runtime) == (REPORT, RUNTIME)
    assert parse_hcl(hcl_report(REPORT, RUNTIME, padding_bytes=0)) == parsed


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (0x00, b"HCLB", "magic"),
        (0x04, b"\x00", "version"),
        (0x04, b"\x03", "version"),
        (0x08, b"\x00", "report_size"),
        (0x0C, b"\x01", "request_type"),
        (0x10, b"\x01", "status"),
        (0x14, b"\x01", "reserved"),
        (0x4C0, b"\x00", "runtime_header_size"),
        (0x4C4, b"\x02", "runtime_version"),
        (0x4C8, b"\x04", "report_type"),
        (0x4CC, b"\x02", "hash_type"),
        (0x4D0, bytes(4), "runtime_size"),
        (0x4D0, b"\xff\xff\xff\xff", "runtime_size"),
        (len(HCL) - 1, b"\x01", "padding"),
    ],
)
def test_hcl_report_of_another_form_is_refused(offset: int, value: bytes, field: str) -> None:
    """Each field of both headers, and the padding, has the one value that Azure's SNP reports have."""
    assert refused(parse_hcl, HCL[:offset] + value + HCL[offset + len(value) :]) == field


def test_hcl_report_has_its_sizes() -> None:
    """What is shorter than its headers, or longer than any NV index, is none."""
    assert refused(parse_hcl, HCL[:0x4D3]) == "length"
    assert refused(parse_hcl, HCL + bytes(MAX_HCL_BYTES)) == "length"


def test_runtime_data_is_read() -> None:
    """The key, the configuration and the user data are those that were written."""
    raw = runtime_data(attestation_key().public_key(), **{"user-data": "AB" * 64, "further": [True]})
    found = parse_runtime(raw)
    assert found.attestation_key.public_numbers() == attestation_key().public_key().public_numbers()
    assert found.configuration["secure-boot"] is True
    assert (found.user_data, found.raw) == (b"\xab" * 64, raw)


KEY = attestation_key().public_key()


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": None},
        {"keys": {}},
        {"keys": []},
        {"keys": ["HCLAkPub"]},
        {"keys": [jwk(KEY), jwk(KEY)]},
        {"keys": [jwk(KEY, kid="HCLEkPub")]},
        {"keys": [jwk(KEY, kty="EC")]},
        {"keys": [jwk(KEY, e="Aw")]},
        {"keys": [jwk(KEY, key_ops=["sign", "decrypt"])]},
        {"keys": [jwk(KEY, n=None)]},
        {"keys": [jwk(KEY, n="AQAB")]},
        {"keys": [jwk(KEY, n="f" + jwk(KEY)["n"][1:])]},
        {"keys": [jwk(KEY, n=jwk(KEY)["n"][:-2] + "AA")]},
        {"vm-configuration": None},
        {"vm-configuration": []},
        {"user-data": None},
        {"user-data": "00" * 63},
        {"user-data": "ab" * 64},
    ],
)
def test_runtime_data_without_its_parts_is_refused(changes: dict[str, Any]) -> None:
    """One usable attestation key, a configuration and 64 bytes of user data are there, or it is none."""
    refused(parse_runtime, runtime_data(KEY, **changes))


def test_runtime_data_is_an_object() -> None:
    """JSON that is none is refused, as is what is no JSON."""
    refused(parse_runtime, b"[]")
    refused(parse_runtime, RUNTIME + b"\x00")


def test_quote_is_read() -> None:
    """Every field is where TPM 2.0 has it."""
    found = parse_quote(quote(extra_data=b"e" * 32, reset_count=3, restart_count=2, safe=0))
    assert (found.extra_data, found.reset_count, found.restart_count, found.safe) == (b"e" * 32, 3, 2, False)
    assert (found.clock, found.firmware_version) == (1000, 0x2020031200120003)
    assert (found.selected, found.pcr_digest) == (tuple(range(24)), framing.sha256(b"".join(PCRS)))
    some = parse_quote(quote(extra_data=b"", banks=struct.pack(">IHB", 1, 0x000B, 3) + b"\x01\x80\x00"))
    assert some.selected == (0, 15)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"magic": b"\xffTCH"}, "magic"),
        ({"kind": 0x8017}, "type"),
        ({"signer": b""}, "signer"),
        ({"signer": b"\x00\x0b" + bytes(33)}, "signer"),
        ({"extra_data": bytes(67)}, "extra_data"),
        ({"safe": 2}, "safe"),
        ({"banks": struct.pack(">I", 0)}, "banks"),
        ({"banks": struct.pack(">I", 2)}, "banks"),
        ({"banks": struct.pack(">IHB", 1, 0x0004, 3) + b"\xff\xff\xff"}, "bank"),
        ({"banks": struct.pack(">IHB", 1, 0x000B, 4) + b"\xff\xff\xff\xff"}, "select_size"),
        ({"pcr_digest": bytes(48)}, "pcr_digest"),
        ({"rest": b"\x00"}, "length"),
        ({"rest": bytes(MAX_QUOTE_BYTES)}, "length"),
    ],
)
def test_quote_of_another_form_is_refused(changes: dict[str, Any], field: str) -> None:
    """What no TPM made, what is no quote, and what has another bank, size or end is refused."""
    assert refused(parse_quote, quote(**{"extra_data": b"e"} | changes)) == field


def test_quote_that_ends_early_is_refused() -> None:
    """Every shorter beginning of a quote is none."""
    whole = quote(extra_data=b"e" * 32)
    for length in range(len(whole)):
        refused(parse_quote, whole[:length])


def test_member_is_what_it_writes() -> None:
    """What is read is written in the same bytes."""
    assert parse_member(MEMBER).encode() == MEMBER
    assert parse_member(MEMBER).pcrs == PCRS


@pytest.mark.parametrize(
    "changes",
    [
        {"pcrs": bytes(31)},
        {"quote": b""},
        {"runtime": b"{}"},
        {"signature": bytes(255)},
        {"signature": "s"},
        {"x": b""},
    ],
)
def test_member_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    """Four byte strings of their sizes, and no other member."""
    whole = strictcbor.parse(MEMBER, document="azure evidence", max_bytes=6144)
    assert isinstance(whole, dict)
    refused(parse_member, strictcbor.encode(whole | changes))


def test_member_is_a_map() -> None:
    """Another value, and one that is too long, is none."""
    refused(parse_member, strictcbor.encode([b""]))
    refused(parse_member, strictcbor.encode({"pcrs": bytes(6200)}))


@given(st.binary(max_size=400))
def test_parsers_are_total(raw: bytes) -> None:
    """Any bytes are read or refused as malformed, and nothing else happens."""
    for parse, whole in (
        (parse_hcl, HCL),
        (parse_runtime, RUNTIME),
        (parse_quote, quote(extra_data=b"")),
        (parse_member, MEMBER),
    ):
        for attempt in (raw, whole[: len(raw)] + raw, raw + whole[len(raw) :]):
            try:
                parse(attempt)
            except MalformedError:
                continue


def test_parts_that_belong_together_are_verified() -> None:
    """The result is a report still, that binds what the quote was asked for and not what the paravisor put there."""
    found = verify_azure(verified(), quoted(MEMBER))
    assert isinstance(found, VerifiedAzureReport)
    assert (found.bound_data, found.report.report_data) == (BOUND, AZURE.report_data())
    assert found.product is AMD.product


OTHER = FakeAzure(runtime=runtime_data(KEY, **{"user-data": "11" * 64}))


@pytest.mark.parametrize(
    ("fields", "member", "code"),
    [
        ({"vmpl": 1}, MEMBER, "AZURE_VMPL"),
        ({"vmpl": 0xFFFFFFFF}, MEMBER, "AZURE_VMPL"),
        ({"report_data": bytes(64)}, MEMBER, "AZURE_RUNTIME_MISMATCH"),
        ({"report_data": AZURE.report_data()[:32] + b"\x01" * 32}, MEMBER, "AZURE_RUNTIME_MISMATCH"),
        ({}, OTHER.bound_to(BOUND), "AZURE_RUNTIME_MISMATCH"),
        ({}, replace(parse_member(MEMBER), signature=bytes(256)).encode(), "AZURE_QUOTE_SIGNATURE"),
        ({}, AZURE.bound_to(bytes(64)), "AZURE_EXTRA_DATA"),
        ({}, AZURE.member(extra_data=b"").encode(), "AZURE_EXTRA_DATA"),
        ({}, AZURE.member(extra_data=BOUND).encode(), "AZURE_EXTRA_DATA"),
        ({}, AZURE.bound_to(BOUND, banks=struct.pack(">IHB", 1, 11, 3) + b"\xff\xfe\xff"), "AZURE_PCR_SELECTION"),
        ({}, AZURE.bound_to(BOUND, pcr_digest=bytes(32)), "AZURE_PCR_DIGEST"),
        ({}, AZURE.bound_to(BOUND, pcrs=PCRS[::-1]), "AZURE_PCR_DIGEST"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(fields: dict[str, Any], member: bytes, code: str) -> None:
    """Each rule refuses with its own code, whatever else holds."""
    with pytest.raises(TwoCvmError) as refusal:
        verify_azure(verified(**fields), quoted(member))
    assert refusal.value.code == code


def test_nothing_expected_is_refused() -> None:
    """A quote for nothing answers nobody, not even who expects nothing."""
    case = AzureCase(verified=verified(), member=AZURE.member(extra_data=b""), extra_data=b"")
    with pytest.raises(TwoCvmError) as refusal:
        enforce(AZURE_RULES, case)
    assert refusal.value.code == "AZURE_EXTRA_DATA"


def test_every_rule_is_asked() -> None:
    """What builds on a broken rule says so, and the rest is asked all the same."""
    case = AzureCase(verified=verified(vmpl=2, report_data=bytes(64)), member=parse_member(MEMBER), extra_data=b"x")
    outcomes = {outcome.id: outcome for outcome in examine(AZURE_RULES, case)}
    assert [name for name, outcome in outcomes.items() if outcome.error] == [
        "azure.report.vmpl",
        "azure.runtime.report_data",
    ]
    assert outcomes["azure.quote.pcrs"].not_asked == "builds on azure.quote.signature"


def test_no_bit_of_a_members_parts_can_be_changed() -> None:
    """One bit anywhere in runtime data, quote, signature or PCRs, and it is refused."""
    report, step = verified(), 37
    for bit in range(0, 8 * len(MEMBER), step):
        with pytest.raises(TwoCvmError):
            verify_azure(report, quoted(flipped(MEMBER, bit)))


def test_starts_of_a_guest_are_told_apart() -> None:
    """A reset, a restart or another key is another start; another nonce is none."""
    first = boot_of(parse_member(MEMBER))
    assert boot_of(parse_member(AZURE.bound_to(bytes(64)))) == first
    assert boot_of(parse_member(AZURE.bound_to(BOUND, reset_count=8))) != first
    assert boot_of(parse_member(AZURE.bound_to(BOUND, restart_count=1))) != first
    other = rsa.generate_private_key(65537, 2048)
    strangers = FakeAzure(key=other, runtime=runtime_data(other.public_key()))
    assert boot_of(parse_member(strangers.bound_to(BOUND))) != first


def test_broken_evidence_is_never_judged_as_a_plain_report() -> None:
    """Where the report is authentic and what came beside it is not, nothing in it counts and nothing is proved."""
    claims = cert_claims(spki_sha256=bytes(32), manifest=NOT_LOCKED, log=LogPosition(head=bytes(32), events=1))
    verifier = SnpVerifier(roots=AMD.roots())
    for bound, authentic in ((claims.report_data(), True), (BOUND, False)):
        beside = quoted_of(AZURE.bound_to(bound), claims=claims.encode())
        examination = verifier.examine(REPORT, vek=AMD.vcek(), at=AT, quoted=beside)
        assert (examination.verified is not None) == authentic
        appraisal = appraise_examination(examination, policy=Policy.builtin(), at=AT, simulated=False)
        assert appraisal.authentic == authentic
        assert appraisal.platform == "azure"
        assert {check.code for check in appraisal.findings} == (set() if authentic else {"AZURE_EXTRA_DATA"})


def test_quote_is_asked_for_64_bytes() -> None:
    """What is bound has one length, so that no two preimages are the same."""
    with pytest.raises(ValueError, match="64"):
        framing.quote_extra_data(bytes(63))
