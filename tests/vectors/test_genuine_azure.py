"""Genuine evidence of Azure's VMs: what Azure's vTPMs made is accepted, and one bit of it changed is not."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from tests.support.azure import GenuineAzure, flipped, genuine_azure
from tests.support.vectors import require_vectors

from twocvm_verifier import SnpVerifier, amd_roots, appraise
from twocvm_verifier.azure.hcl import parse_hcl
from twocvm_verifier.azure.member import parse_member
from twocvm_verifier.azure.quote import parse_quote
from twocvm_verifier.azure.runtime import parse_runtime
from twocvm_verifier.azure.verify import AZURE_RULES, AzureCase, VerifiedAzureReport
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.policy import policy_of_evidence
from twocvm_verifier.snp.rules import enforce
from twocvm_verifier.snp.verify import VerifiedReport

VERIFIER = SnpVerifier(roots=amd_roots())
EVIDENCE = genuine_azure()
ids = [vector.name for vector in EVIDENCE]


def case_of(vector: GenuineAzure, **changes: object) -> AzureCase:
    """Return what the rules are asked about, its chip's signature verified to AMD's roots."""
    report = VERIFIER.verify(vector.report, vek=vector.vek, at=vector.at)
    return AzureCase(verified=report, member=replace(vector.member, **changes), extra_data=vector.nonce)


def code_of(vector: GenuineAzure, **changes: object) -> str:
    """Return the code that changed evidence is refused with."""
    with pytest.raises(TwoCvmError) as refusal:
        enforce(AZURE_RULES, case_of(vector, **changes))
    return refusal.value.code


def test_vectors_are_here() -> None:
    """Says visibly, on a machine without genuine evidence, that this file tested nothing."""
    require_vectors()
    assert len(EVIDENCE) == 4


@pytest.mark.parametrize("vector", EVIDENCE, ids=ids)
def test_genuine_evidence_holds(vector: GenuineAzure) -> None:
    """From AMD's root to the PCRs; but one was made for nobody, with an empty nonce, and is refused for it alone."""
    if vector.nonce:
        enforce(AZURE_RULES, case_of(vector))
    else:
        assert code_of(vector) == "AZURE_EXTRA_DATA"
    member = vector.member
    assert parse_member(member.encode()).encode() == member.encode()
    assert member.runtime.configuration["tpm-enabled"] is True


@pytest.mark.parametrize("vector", EVIDENCE, ids=ids)
def test_each_part_broken_by_one_bit_gives_its_error(vector: GenuineAzure) -> None:
    """A bit of the signature, the quote, a PCR, the runtime data and the challenge each give their own code."""
    member = vector.member
    assert code_of(vector, signature=flipped(member.signature, 9)) == "AZURE_QUOTE_SIGNATURE"
    runtime = member.runtime.raw.replace(b'"secure-boot":true', b'"secure-boot":false')
    assert code_of(vector, runtime=parse_runtime(runtime)) == "AZURE_RUNTIME_MISMATCH"
    raw = member.quote.raw
    # Of the quote's own fields: the signer's name, clock, reset count, firmware version, PCR selection and digest.
    behind = 44 + len(member.quote.extra_data)
    for offset in (9, behind + 3, behind + 11, behind + 14, behind + 20, behind + 33, len(raw) - 1):
        assert code_of(vector, quote=parse_quote(flipped(raw, 8 * offset))) == "AZURE_QUOTE_SIGNATURE", offset
    for offset in (0, 5, 7, behind + 28, behind + 30, behind + 31, behind + 36):
        with pytest.raises(MalformedError):
            parse_quote(flipped(raw, 8 * offset))
    if vector.nonce:
        assert code_of(vector, quote=parse_quote(flipped(raw, 8 * 44))) == "AZURE_QUOTE_SIGNATURE"
        pcrs = (flipped(member.pcrs[0], 0), *member.pcrs[1:])
        assert code_of(vector, pcrs=pcrs) == "AZURE_PCR_DIGEST"
        other = replace(case_of(vector), extra_data=flipped(vector.nonce, 0))
        with pytest.raises(TwoCvmError) as refusal:
            enforce(AZURE_RULES, other)
        assert refusal.value.code == "AZURE_EXTRA_DATA"


def verified(vector: GenuineAzure) -> VerifiedAzureReport:
    """Return a machine's report with its quote, whoever that was made for."""
    report = case_of(vector).verified
    given = {each.name: getattr(report, each.name) for each in fields(VerifiedReport)}
    return VerifiedAzureReport(**given, member=vector.member, bound=bytes(64))


@pytest.mark.parametrize("vector", EVIDENCE, ids=ids)
def test_draft_of_a_machine_refuses_other_software(vector: GenuineAzure) -> None:
    """Four machines started four loaders: what is drafted from one refuses PCR 4 of each other, and none of its own."""
    policy = policy_of_evidence(verified(vector), name="draft")
    refused = {
        other.name: [check.id for check in appraise(verified(other), policy=policy, at=other.at).findings]
        for other in EVIDENCE
    }
    assert not any("pcrs" in check for check in refused.pop(vector.name))
    assert all("policy.pcrs.sha256.4" in each for each in refused.values())


def test_evidence_of_two_vms_cannot_be_mixed() -> None:
    """One VM's report vouches for no other VM's vTPM."""
    require_vectors()
    for vector in EVIDENCE:
        for other in EVIDENCE:
            if other is not vector:
                assert code_of(vector, runtime=other.member.runtime) == "AZURE_RUNTIME_MISMATCH"
                assert code_of(vector, quote=other.member.quote) == "AZURE_QUOTE_SIGNATURE"


def test_envelope_without_a_quote_is_read_and_one_of_tdx_is_refused() -> None:
    """Azure's own sample has user data in it; the report of Intel's chips is none of SNP's."""
    folder = require_vectors() / "azure"
    parsed = parse_hcl((folder / "azure-encryption-attestation" / "hcl_report.bin").read_bytes())
    runtime = parse_runtime(parsed.runtime)
    assert runtime.user_data.hex().startswith("e2f9ee8d")
    assert runtime.user_data.endswith(bytes(32))
    with pytest.raises(MalformedError) as refusal:
        parse_hcl((folder / "confidential-containers-az-tdx-vtpm-evidence-v0" / "hcl_report.bin").read_bytes())
    assert refusal.value.field == "report_type"
