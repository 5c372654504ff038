"""What somebody can try with a bundle, a policy, an advisory or a measurement, and what stops each."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.amd import AT, borrowed_names, fake_amd

from twocvm_verifier import Policy, SnpVerifier, Unchecked, amd_roots, appraise, parse_policy
from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.bundle import Case, bundle_of, judge, parse_bundle, rejudge
from twocvm_verifier.errors import BindingError, MalformedError
from twocvm_verifier.policy import decides_nothing, policy_of_evidence
from twocvm_verifier.result import AdvisoryStatus
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import base64url, canonical

MILAN, GENOA = fake_amd(Product.MILAN), fake_amd(Product.GENOA)
DEBUGGED = MILAN.report(policy=0xB0000)


def case(**changes) -> Case:
    """Return evidence of a guest that its host may debug, which is refused."""
    given = Case(
        report=DEBUGGED,
        vek=MILAN.vcek(),
        chain=None,
        crl=None,
        manifest=None,
        policy=Policy.builtin(),
        advisories=shipped_advisories(),
        judged_at=AT,
    )
    return replace(given, **changes)


def document(given: Case) -> dict:
    """Return the bundle of a case as its object."""
    return json.loads(bundle_of(given, judge(given, roots=MILAN.roots())).encode())


def refused(value: dict) -> str:
    """Return the code with which an edited bundle is refused."""
    with pytest.raises((BindingError, MalformedError)) as caught:
        rejudge(parse_bundle(canonical(value)), roots=MILAN.roots())
    return caught.value.code


GOOD = document(case(report=MILAN.report()))
BAD = document(case())


@pytest.mark.parametrize(
    "edit",
    [
        {"result": GOOD["result"]},
        {"result": BAD["result"] | {"verdict": "affirming", "secure": True}},
        {"result": BAD["result"] | {"checks": BAD["result"]["checks"][:-1]}},
        {"result": BAD["result"] | {"advisories": []}},
        {"report": base64url(MILAN.report())},
        {"judged_at": "2026-06-01T00:00:01Z"},
        {"advisories": BAD["advisories"][1:]},
        {"policy": BAD["policy"] | {"vmpl": [0, 1]}},
        {"policy": BAD["policy"] | {"name": "stricter than it looks"}},
        {"crl": "AAAA"},
        {"chain": base64url(borrowed_names().chain())},
        {"vek": base64url(borrowed_names().vcek())},
    ],
    ids="-".join,
)
def test_no_part_of_a_bundle_can_be_changed_alone(edit):
    """The verdict follows from the rest: whatever is changed, another one follows, and the bundle is refused."""
    assert refused(BAD | edit) == "BUNDLE_VERDICT_DIFFERS"


def test_a_bundle_with_a_lax_policy_does_not_convince_who_brings_his_own():
    """Anybody can make a consistent bundle that accepts DEBUG: its policy's digest tells, and another refuses."""
    lax = parse_policy('guest_policy.unchecked = { debug = "trust me" }')
    bundle = parse_bundle(canonical(document(case(policy=lax))))
    assert not rejudge(bundle, roots=MILAN.roots()).findings
    assert rejudge(bundle, roots=MILAN.roots()).policy_sha256 != Policy.builtin().sha256
    own = judge(replace(bundle.case, policy=Policy.builtin()), roots=MILAN.roots())
    assert {finding.code for finding in own.findings} == {"DEBUG_ALLOWED"}


def test_a_bundle_brings_no_root():
    """Evidence under roots of somebody's own, with AMD's names and its own chain, is authentic to nobody else."""
    forger = borrowed_names()
    given = case(report=forger.report(), vek=forger.vcek(), chain=forger.chain())
    raw = bundle_of(given, judge(given, roots=forger.roots())).encode()
    for roots in (MILAN.roots(), amd_roots()):
        with pytest.raises(BindingError) as caught:
            rejudge(parse_bundle(raw), roots=roots)
        assert caught.value.code == "BUNDLE_VERDICT_DIFFERS"


def test_a_policy_left_short_is_not_filled_in():
    """A bundle whose policy leaves a field to the reader's default would mean another thing in another version."""
    short = {key: value for key, value in BAD["policy"].items() if key != "provisional_firmware"}
    assert refused(BAD | {"policy": short}) == "MALFORMED_BUNDLE"


def test_a_policy_drafted_from_a_debugged_guest_still_refuses_it():
    """Whoever is handed bad evidence to draft from gets no policy that accepts it."""
    verified = SnpVerifier(roots=MILAN.roots()).verify(DEBUGGED, vek=MILAN.vcek(), at=AT)
    policy = policy_of_evidence(verified, name="draft")
    assert {finding.code for finding in appraise(verified, policy=policy, at=AT).findings} == {"DEBUG_ALLOWED"}


def test_a_policy_that_is_empty_says_so():
    """A file that looks like a policy and accepts whatever is genuine is found by `policy check`."""
    assert decides_nothing(parse_policy('name = "production"\nrequire_host_data = true\n'))


def test_a_rolled_back_platform_is_not_closed():
    """Firmware that was old at launch, or can be made old again, leaves the attack open, whatever runs now."""
    names = {"entrysign", "cachewarp"}
    for field in ("launch_tcb", "committed_tcb"):
        fields = {field: bytes([4, 0, 0, 0, 0, 0, 0x18, 0xD0]), "version": 3}
        verified = SnpVerifier(roots=MILAN.roots()).verify(MILAN.report(**fields), vek=MILAN.vcek(), at=AT)
        appraisal = appraise(verified, policy=Policy.builtin(), at=AT)
        assert {each.status for each in appraisal.advisories if each.id in names} == {AdvisoryStatus.OPEN}


def test_an_old_report_version_hides_nothing():
    """A host that gives a report without CPUID or mitigation vectors gains no all-clear from what it leaves out."""
    policy = replace(Policy.builtin(), closed_advisories=("entrysign", "rmpocalypse"))
    verified = SnpVerifier(roots=MILAN.roots()).verify(MILAN.report(version=2), vek=MILAN.vcek(), at=AT)
    findings = appraise(verified, policy=policy, at=AT).findings
    assert [finding.code for finding in findings] == ["ADVISORY_NOT_CLOSED"] * 2


def test_a_launch_does_not_cover_another_chips_registers():
    """One line covers every number of vCPUs of one launch: another first or other page is another launch."""
    launch = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
    other = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"d" * 48)
    policy = replace(Policy.builtin(), launches=(launch,), measurements=Unchecked("the launch is pinned"))
    for measured, codes in ((launch, set()), (other, {"MEASUREMENT_MISMATCH"})):
        report = MILAN.report(measurement=measured.measurement(2))
        verified = SnpVerifier(roots=MILAN.roots()).verify(report, vek=MILAN.vcek(), at=AT)
        assert {finding.code for finding in appraise(verified, policy=policy, at=AT).findings} == codes
