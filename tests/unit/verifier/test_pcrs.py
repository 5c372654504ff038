"""PCRs in a policy: what a document may say of them, how evidence is held against them, and that none is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.amd import AT, fake_amd
from tests.support.azure import PCRS, FakeAzure

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise, framing, parse_policy
from twocvm_verifier.azure.verify import quoted_of
from twocvm_verifier.binding import LogPosition, cert_claims
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.policy import PcrValues, open_fields, policy_of_evidence, policy_toml
from twocvm_verifier.policy.pcrs import ALL_NAMED
from twocvm_verifier.policy.reference import parse_values, with_values
from twocvm_verifier.result import Appraisal, Check, Level, Status
from twocvm_verifier.service.ear import _vector
from twocvm_verifier.snp.verify import VerifiedReport

AMD, AZURE = fake_amd(), FakeAzure()
CLAIMS = cert_claims(spki_sha256=bytes(32), manifest=bytes(32), log=LogPosition(head=bytes(32), events=1))
WHY = Unchecked("they change with every update")
OTHER = b"o" * 32
OF_SOFTWARE = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14)


def hexed(number: int) -> str:
    """Return the value that the vTPM of these tests has in a PCR, as a policy writes it."""
    return PCRS[number].hex()


def under_paravisor(pcrs: tuple[bytes, ...] = PCRS) -> VerifiedReport:
    """Return the report of a paravisor with its vTPM's quote."""
    bound = AZURE.bound_to(CLAIMS.report_data(), pcrs=pcrs, pcr_digest=framing.sha256(b"".join(pcrs)))
    report = AMD.report(report_data=AZURE.report_data())
    quoted = quoted_of(bound, claims=CLAIMS.encode())
    return SnpVerifier(roots=AMD.roots()).verify(report, vek=AMD.vcek(), at=AT, quoted=quoted)


def native() -> VerifiedReport:
    """Return the report of a guest that no vTPM speaks for."""
    return SnpVerifier(roots=AMD.roots()).verify(AMD.report(), vek=AMD.vcek(), at=AT)


def demanding(others: Unchecked = WHY, **named: tuple[bytes, ...]) -> Policy:
    """Return a policy that names these PCRs, as `_4=(value,)`."""
    values = PcrValues(named={int(name[1:]): accepted for name, accepted in named.items()}, others=others)
    return replace(Policy.builtin(), pcrs={"sha256": values})


def asked(verified: VerifiedReport, policy: Policy) -> dict[str, Check]:
    """Return the checks of PCRs, by their ids without the bank's."""
    checks = appraise(verified, policy=policy, at=AT).checks
    return {check.id.removeprefix("policy.pcrs."): check for check in checks if check.id.startswith("policy.pcrs")}


def refusals(appraisal: Appraisal) -> dict[str, str]:
    """Return the code of each check that failed."""
    return {check.id: check.code for check in appraisal.findings}


def test_each_pcr_is_a_check_of_its_own() -> None:
    """With what was wanted and what was found; several values are alternatives, and the rest is left open aloud."""
    found = asked(under_paravisor(), demanding(_4=(OTHER, PCRS[4]), _7=(OTHER,)))
    assert list(found) == ["sha256.4", "sha256.7", "sha256.others"]
    four, seven, others = found.values()
    assert (four.status, four.expected, four.actual) == (Status.PASS, f"{OTHER.hex()}, {hexed(4)}", hexed(4))
    assert (seven.status, seven.code, seven.expected, seven.actual) == (
        Status.FAIL, "PCR_MISMATCH", OTHER.hex(), hexed(7),
    )  # fmt: skip
    assert (others.status, others.detail) == (Status.SKIP, WHY.reason)
    assert others.actual.startswith("PCRs 0, 1, 2, 3, 5, 6, 8, ")
    assert others.actual.endswith(", 23")


@pytest.mark.parametrize("number", range(24))
def test_no_pcr_that_is_named_may_differ(number: int) -> None:
    """Of a policy that names all, one value that differs refuses, and only that one; with none it is accepted."""
    every = {f"_{each}": (PCRS[each],) for each in range(24)}
    policy = demanding(ALL_NAMED, **every)
    changed = (*PCRS[:number], OTHER, *PCRS[number + 1 :])
    appraisal = appraise(under_paravisor(changed), policy=policy, at=AT)
    assert refusals(appraisal) == {f"policy.pcrs.sha256.{number}": "PCR_MISMATCH"}
    assert "sha256.others" not in asked(under_paravisor(), policy)
    assert not appraise(under_paravisor(), policy=policy, at=AT).findings


def test_guest_without_a_vtpm_meets_none() -> None:
    """A policy that names PCRs is met by a vTPM alone, whatever else a native guest proves."""
    found = asked(native(), demanding(_4=(PCRS[4], bytes(32))))
    assert (found["sha256.4"].status, found["sha256.4"].actual) == (Status.FAIL, "none")
    assert "no vTPM" in found["sha256.4"].detail


def test_policy_without_pcrs_says_so_under_a_paravisor() -> None:
    """What nobody looked at stands in the result with the reason; a native guest's result is what it was."""
    (found,) = asked(under_paravisor(), Policy.builtin()).items()
    assert found[0] == "sha256"
    assert (found[1].status, found[1].detail) == (Status.SKIP, Policy.builtin().pcrs.reason)
    assert asked(native(), Policy.builtin()) == {}


def test_pcrs_prove_no_level() -> None:
    """They are the paravisor's word: with all of them matched evidence reaches AL2, as without."""
    policy = replace(demanding(_4=(PCRS[4],)), firmware_measurements=(bytes(range(48)),))
    appraisal = appraise(under_paravisor(), policy=policy, at=AT)
    assert not appraisal.findings
    assert [proof.level for proof in appraisal.levels if proof.proved_by] == [Level.AL1, Level.AL2]
    assert not appraisal.secure


def test_tokens_say_which_facet() -> None:
    """A PCR that differs is of what runs in the guest, in a token's vector."""
    checks = asked(under_paravisor(), demanding(_7=(OTHER,))).values()
    assert _vector(checks, measured=False)["executables"] == 96


EVERY = "\n".join(f'{number} = ["{hexed(number)}"]' for number in range(24))
DOCUMENT = f"""
[pcrs.sha256]
7 = ["{hexed(7)}"]
4 = ["{hexed(4)}", "{OTHER.hex()}"]
others = {{ unchecked = "{WHY.reason}" }}
"""


def test_document_is_read() -> None:
    """By bank and number, in whatever order they stand; what is left open is listed with its reason."""
    policy = parse_policy(DOCUMENT)
    assert policy == demanding(_4=(PCRS[4], OTHER), _7=(PCRS[7],))
    assert list(policy.pcrs["sha256"].named) == [4, 7]
    assert [each.reason for each in open_fields(policy) if each.field == "pcrs.sha256.others"] == [WHY.reason]
    whole = parse_policy(f"[pcrs.sha256]\n{EVERY}")
    assert (whole.pcrs["sha256"].others, whole.pcrs["sha256"].left) == (ALL_NAMED, ())
    assert not [each for each in open_fields(whole) if each.field.startswith("pcrs")]
    assert str(whole.pcrs["sha256"]).endswith(f"PCR 23 is {hexed(23)}")
    assert parse_policy(policy_toml(whole)) == whole


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pcrs = {}", "at least one bank"),
        ("pcrs = []", "want a table"),
        (f'pcrs.sha384 = {{ 4 = ["{hexed(4)}"] }}', "unknown field 'sha384'"),
        ("pcrs.sha256 = 4", "want a table"),
        ("pcrs.sha256 = {}", "a reason for the PCRs that are left out"),
        (f'pcrs.sha256 = {{ 4 = ["{hexed(4)}"] }}', "a reason for the PCRs that are left out"),
        ('pcrs.sha256 = { others = { unchecked = "all" } }', "one of PCRs 0 to 7"),
        (f'pcrs.sha256 = {{ 11 = ["{hexed(11)}"], others = {{ unchecked = "x" }} }}', "one of PCRs 0 to 7"),
        ('pcrs.sha256 = { 4 = [], others = { unchecked = "x" } }', "a list that is not empty"),
        (f'pcrs.sha256 = {{ 4 = "{hexed(4)}", others = {{ unchecked = "x" }} }}', "a list that is not empty"),
        (f'pcrs.sha256 = {{ 4 = ["{hexed(4)}", "{hexed(4)}"], others = {{ unchecked = "x" }} }}', "stands twice"),
        ('pcrs.sha256 = { 4 = ["00"], others = { unchecked = "x" } }', "64 lower case hex digits"),
        (f'pcrs.sha256 = {{ 24 = ["{hexed(4)}"], others = {{ unchecked = "x" }} }}', "unknown field '24'"),
        (f'pcrs.sha256 = {{ 04 = ["{hexed(4)}"], others = {{ unchecked = "x" }} }}', "unknown field '04'"),
        (f'pcrs.sha256 = {{ 4 = ["{hexed(4)}"], others = {{ unchecked = " " }} }}', "want a reason"),
        (f'pcrs.sha256 = {{ 4 = ["{hexed(4)}"], others = {{}} }}', "want text"),
        (f'pcrs.sha256 = {{ 4 = ["{hexed(4)}"], others = "any" }}', "want a table"),
        ('pcrs.sha256 = { 4 = { unchecked = "x" }, others = { unchecked = "x" } }', "a list that is not empty"),
    ],
)
def test_what_no_document_may_say(line: str, said: str) -> None:
    """A PCR is named with values or left open with the reason of all that are; nothing else, and nothing by silence."""
    with pytest.raises(MalformedError) as refused:
        parse_policy(line)
    assert (refused.value.code, said in refused.value.detail) == ("MALFORMED_POLICY", True)


@pytest.mark.parametrize("named", [{}, {4: ()}, {4: (b"short",)}, {24: (OTHER,), 4: (OTHER,)}, {8: (OTHER,)}])
def test_what_no_program_may_say(named: dict[int, Any]) -> None:
    """Made in a program it has the same rules, and a policy has no empty table of banks."""
    with pytest.raises(ValueError, match="want"):
        PcrValues(named=named, others=WHY)
    with pytest.raises(ValueError, match="pcrs"):
        replace(Policy.builtin(), pcrs={})


def test_bank_that_nobody_quotes_is_met_by_nobody() -> None:
    """Evidence has one bank; what a program demands of another fails, and passes by no accident."""
    values = PcrValues(named={4: (PCRS[4],)}, others=WHY)
    found = asked(under_paravisor(), replace(Policy.builtin(), pcrs={"sha384": values}))
    assert (found["sha384.4"].status, found["sha384.4"].actual) == (Status.FAIL, "none")


def test_draft_names_the_start_of_a_guest() -> None:
    """PCRs of software as they are, zeros too: the same software on another machine is accepted, and other is not."""
    pcrs = (*PCRS[:9], bytes(32), *PCRS[10:])
    policy = parse_policy(policy_toml(policy_of_evidence(under_paravisor(pcrs), name="draft")))
    assert dict(policy.pcrs["sha256"].named) == {number: (pcrs[number],) for number in OF_SOFTWARE}
    assert not appraise(under_paravisor(pcrs), policy=policy, at=AT).findings
    assert refusals(appraise(under_paravisor(), policy=policy, at=AT)) == {"policy.pcrs.sha256.9": "PCR_MISMATCH"}
    elsewhere = tuple(pcrs[number] if number in OF_SOFTWARE else OTHER for number in range(24))
    assert not appraise(under_paravisor(elsewhere), policy=policy, at=AT).findings
    assert policy_of_evidence(native(), name="draft").pcrs == Policy.builtin().pcrs


def values(**named: list[str]) -> Any:
    """Return reference values of these PCRs."""
    return parse_values({"pcrs": {"sha256": {**{key[1:]: each for key, each in named.items()}, "others": WHY_SAID}}})


WHY_SAID = {"unchecked": "the publisher names these alone"}


def test_reference_values_only_narrow() -> None:
    """What both name is what stands in both; a PCR of either is named; what stays open keeps the policy's reason."""
    mine = demanding(_4=(PCRS[4], OTHER), _7=(PCRS[7],))
    theirs = values(_4=[OTHER.hex(), hexed(5)], _8=[hexed(8)])
    both = with_values(mine, theirs)
    assert both == demanding(_4=(OTHER,), _7=(PCRS[7],), _8=(PCRS[8],))
    assert with_values(both, theirs) == both
    open_before = with_values(Policy.builtin(), theirs).pcrs["sha256"]
    assert (list(open_before.named), open_before.others.reason) == ([4, 8], WHY_SAID["unchecked"])
    with pytest.raises(TwoCvmError) as refused:
        with_values(mine, values(_7=[OTHER.hex()]))
    assert (refused.value.code, "pcrs, 7" in refused.value.detail) == ("REFERENCE_VALUES_CONFLICT", True)
