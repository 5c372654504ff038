"""How far evidence reaches is decided by what MEASUREMENT covers, and nobody reaches higher than what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.amd import AT, fake_amd
from tests.support.azure import FakeAzure

from twocvm_verifier import Policy, SnpVerifier, appraise
from twocvm_verifier.appraisal import appraise_guest
from twocvm_verifier.appraisal.demands import Matched, demands_of_policy, match_measurement
from twocvm_verifier.azure.verify import quoted_of
from twocvm_verifier.binding import LogPosition, cert_claims
from twocvm_verifier.manifest.platform import BitDemand, Mitigations, Platform
from twocvm_verifier.policy.drafting import policy_of_evidence
from twocvm_verifier.policy.model import RequiredLevels
from twocvm_verifier.result import Appraisal, Level, Status, Verdict
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.unchecked import Unchecked

AMD = fake_amd()
AZURE = FakeAzure()
M = bytes(range(48))
OTHER = b"o" * 48
MANIFEST = bytes(range(1, 33))
CLAIMS = cert_claims(spki_sha256=bytes(32), manifest=MANIFEST, log=LogPosition(head=bytes(32), events=1))
BOUND = CLAIMS.report_data()
RELEASING = replace(Policy.builtin(), max_crl_age_seconds=Unchecked("a test"))
LAUNCH = LaunchPrefix(digest=b"d" * 48, first_vcpu=b"f" * 48, other_vcpu=b"g" * 48)
PLATFORM = Platform(
    measurements=(M,),
    firmware_measurements=(),
    id_key_digests=(),
    author_key_digests=(),
    products=("Milan",),
    minimum_tcb={},
    guest_policy=BitDemand(required=0, forbidden=0),
    platform_info=BitDemand(required=0, forbidden=0),
    mitigations=Mitigations(launch=0, current=0),
    vmpl=0,
    chip_ids=(),
    operator="external",
    simulated=False,
    ledgers=(),
)
OF_FIRMWARE = replace(PLATFORM, measurements=(), firmware_measurements=(M,))
AL2 = [Level.AL1, Level.AL2]


def by_vcek(**fields: Any) -> VerifiedReport:
    """Return the report of a machine whose chip has a VCEK: its owner's, or a cloud's such as GCP."""
    return SnpVerifier(roots=AMD.roots()).verify(AMD.report(**{"report_data": BOUND} | fields), vek=AMD.vcek(), at=AT)


def by_vlek(**fields: Any) -> VerifiedReport:
    """Return the report of a machine that a provider such as AWS runs."""
    report = AMD.report(report_data=BOUND, flags=1 << 2, chip_id=bytes(64), **fields)
    return SnpVerifier(roots=AMD.roots()).verify(report, vek=AMD.vlek(), at=AT)


def by_paravisor(**fields: Any) -> VerifiedReport:
    """Return the report of a paravisor such as Azure's, with its vTPM's quote."""
    quoted = quoted_of(AZURE.bound_to(BOUND), claims=CLAIMS.encode())
    report = AMD.report(report_data=AZURE.report_data(), **fields)
    return SnpVerifier(roots=AMD.roots()).verify(report, vek=AMD.vcek(), at=AT, quoted=quoted)


def for_release(verified: VerifiedReport, policy: Policy, platform: Platform = PLATFORM) -> Appraisal:
    """Return the appraisal of a guest that something may be released to."""
    return appraise_guest(verified, policy=policy, platform=platform, manifest_hash=MANIFEST, report_data=BOUND, at=AT)


def proved(appraisal: Appraisal) -> list[Level]:
    """Return the levels that are proved."""
    return [proof.level for proof in appraisal.levels if proof.proved_by]


def refused(appraisal: Appraisal) -> list[str]:
    """Return the ids of the checks that failed."""
    return [check.id for check in appraisal.findings]


def test_image_reaches_all_levels() -> None:
    """An image that manifest or policy names, on a machine of its owner's, is proved up to its software."""
    for policy in (RELEASING, replace(RELEASING, measurements=(M,))):
        appraisal = for_release(by_vcek(), policy)
        assert proved(appraisal) == list(Level)
        assert appraisal.verdict is Verdict.AFFIRMING


@pytest.mark.parametrize(
    ("policy", "platform"),
    [
        (replace(RELEASING, firmware_measurements=(M,)), PLATFORM),
        (replace(RELEASING, firmware_measurements=(M,), measurements=(M,)), PLATFORM),
        (replace(RELEASING, measurements=(M,)), OF_FIRMWARE),
        (RELEASING, OF_FIRMWARE),
        (RELEASING, replace(PLATFORM, firmware_measurements=(M,))),
    ],
    ids=["the policy", "the policy says both", "the manifest", "the manifest alone", "the manifest says both"],
)
def test_firmware_reaches_al2_whoever_says_more(policy: Policy, platform: Platform) -> None:
    """Where anybody who knows it says that MEASUREMENT is of firmware alone, it proves no kernel."""
    appraisal = for_release(by_vcek(), policy, platform)
    assert proved(appraisal) == AL2
    assert refused(appraisal) == ["policy.level.al3", "policy.level.al4"]
    assert {check.code for check in appraisal.findings} == {"LEVEL_NOT_PROVED"}
    details = {proof.level: proof.detail for proof in appraisal.levels}
    assert "firmware" in details[Level.AL3]
    assert "firmware" in details[Level.AL2]


def test_vlek_needs_the_policys_own_word() -> None:
    """A provider starts its own firmware: a manifest that calls it an image proves nothing."""
    appraisal = for_release(by_vlek(), RELEASING)
    assert proved(appraisal) == AL2
    assert refused(appraisal) == ["policy.level.al3", "policy.level.al4"]
    assert proved(for_release(by_vlek(), replace(RELEASING, measurements=(M,)))) == list(Level)
    assert proved(for_release(by_vlek(), replace(RELEASING, measurements=(M,)), OF_FIRMWARE)) == AL2


def test_paravisor_reaches_al2_whoever_says_more() -> None:
    """Under a paravisor MEASUREMENT is the paravisor's, whatever manifest and policy call it."""
    appraisal = for_release(by_paravisor(), replace(RELEASING, measurements=(M,)))
    assert proved(appraisal) == AL2
    assert refused(appraisal) == ["policy.level.al3", "policy.level.al4"]
    assert appraisal.platform == "azure"


@pytest.mark.parametrize("verified", [by_vcek, by_vlek, by_paravisor])
def test_policy_may_do_with_less_and_says_why(verified: Any) -> None:
    """With a reason in the policy, evidence that reaches AL2 is enough for a release, and is never secure."""
    enough = RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=False, others=Unchecked("we trust the provider"))
    policy = replace(RELEASING, firmware_measurements=(M,), require_levels=enough)
    appraisal = for_release(verified(), policy, OF_FIRMWARE)
    assert refused(appraisal) == []
    assert (appraisal.verdict, appraisal.secure) == (Verdict.WARNING, False)
    left = next(check for check in appraisal.checks if check.id == "policy.level.al4")
    assert (left.status, left.detail) == (Status.SKIP, "we trust the provider")


def test_providers_firmware_on_a_machine_of_somebody_elses() -> None:
    """Anybody with a chip can start the firmware that a provider publishes: who names the provider refuses a VCEK."""
    enough = RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=False, others=Unchecked("we trust who rents there"))
    provider = by_vlek().vek.vek.csp_id
    policy = replace(RELEASING, firmware_measurements=(M,), require_levels=enough, csp_ids=(provider,))
    assert refused(for_release(by_vlek(), policy, OF_FIRMWARE)) == []
    for elsewhere in (by_vcek(), by_paravisor()):
        assert refused(for_release(elsewhere, policy, OF_FIRMWARE)) == ["policy.csp_id"]


@pytest.mark.parametrize("author", ["policy", "manifest.platform"])
def test_measurement_that_an_author_does_not_know_proves_nothing(author: str) -> None:
    """Lists of firmware are asked like those of images, and what stands in neither is refused."""
    policy = replace(RELEASING, firmware_measurements=(OTHER,)) if author == "policy" else RELEASING
    platform = replace(OF_FIRMWARE, firmware_measurements=(OTHER,)) if author != "policy" else PLATFORM
    appraisal = for_release(by_vcek(), policy, platform)
    assert f"{author}.measurement" in refused(appraisal)
    assert proved(appraisal) == AL2


def test_nothing_named_proves_nothing() -> None:
    """At rest, by a policy without reference values, kernel and software are not proved."""
    assert proved(appraise(by_vcek(), policy=RELEASING, at=AT)) == AL2


SIGNED = replace(RELEASING, id_key_digests=(b"k" * 48,), author_key_digests=(b"a" * 48, b"b" * 48), minimum_guest_svn=2)
ANY_IMAGE = replace(PLATFORM, measurements=())
BLOCK = {"id_key_digest": b"k" * 48, "author_key_digest": b"b" * 48}


@pytest.mark.parametrize("version", [2, 3, (1 << 32) - 1])
@pytest.mark.parametrize("measurement", [M, OTHER])
def test_update_of_a_signed_image_needs_no_new_policy(version: int, measurement: bytes) -> None:
    """Whatever its MEASUREMENT: an accepted key signed it, and its version is the least or a later one."""
    appraisal = for_release(by_vcek(**BLOCK, guest_svn=version, measurement=measurement), SIGNED, ANY_IMAGE)
    assert proved(appraisal) == list(Level)
    assert {proof.proved_by for proof in appraisal.levels[2:]} == {"ID_BLOCK"}
    assert appraisal.verdict is Verdict.AFFIRMING


@pytest.mark.parametrize(
    ("fields", "checks"),
    [
        (BLOCK | {"guest_svn": 1}, ["policy.guest_svn"]),
        (BLOCK | {"guest_svn": 0}, ["policy.guest_svn"]),
        (BLOCK | {"guest_svn": 3, "id_key_digest": b"x" * 48}, ["policy.id_key_digest"]),
        (BLOCK | {"guest_svn": 3, "author_key_digest": b"x" * 48}, ["policy.author_key_digest"]),
        (BLOCK | {"guest_svn": 3, "author_key_digest": bytes(48)}, ["policy.author_key_digest"]),
        (
            {"guest_svn": 9, "id_key_digest": b"m" * 48, "author_key_digest": b"n" * 48},
            ["policy.id_key_digest", "policy.author_key_digest"],
        ),
    ],
    ids=["version 1", "version 0", "another signer", "another author", "no author", "the host signs for itself"],
)
def test_going_back_is_refused(fields: dict[str, Any], checks: list[str]) -> None:
    """An older version of the image, or a number that somebody else signed, is refused and proves nothing."""
    appraisal = for_release(by_vcek(**fields), SIGNED, ANY_IMAGE)
    assert proved(appraisal) == AL2
    assert refused(appraisal) == [*checks, "policy.level.al3", "policy.level.al4"]
    codes = {check.id: check.code for check in appraisal.findings}
    assert {codes[each] for each in checks} <= {"GUEST_SVN_TOO_LOW", "ID_KEY_MISMATCH", "AUTHOR_KEY_MISMATCH"}


def test_least_version_holds_beside_a_measurement() -> None:
    """A MEASUREMENT that is named proves the levels, and an old version of it is refused all the same."""
    appraisal = for_release(by_vcek(**BLOCK, guest_svn=1), replace(SIGNED, measurements=(M,)))
    assert [check.code for check in appraisal.findings] == ["GUEST_SVN_TOO_LOW"]
    assert {proof.proved_by for proof in appraisal.levels[2:]} == {"MEASUREMENT"}
    signed_but_unknown = for_release(by_vcek(**BLOCK, guest_svn=3, measurement=OTHER), SIGNED, PLATFORM)
    assert "manifest.platform.measurement" in refused(signed_but_unknown)
    assert proved(signed_but_unknown) == AL2


@pytest.mark.parametrize("verified", [by_vlek, by_paravisor])
def test_providers_id_block_is_of_its_firmware(verified: Any) -> None:
    """Where a provider launches, what is signed is what the provider starts first, and proves no kernel."""
    appraisal = for_release(verified(**BLOCK, guest_svn=3), SIGNED, ANY_IMAGE)
    assert proved(appraisal) == AL2
    assert refused(appraisal) == ["policy.level.al3", "policy.level.al4"]


def test_keys_alone_prove_no_level() -> None:
    """Keys without a least version take every image that was ever signed, so they prove no level by themselves."""
    policy = replace(SIGNED, minimum_guest_svn=Unchecked("any version"))
    assert proved(for_release(by_vcek(**BLOCK, guest_svn=3), policy, ANY_IMAGE)) == AL2


def test_what_a_measurement_is_to_an_author() -> None:
    """Of firmware before all else, then of an image or of a launch with any number of vCPUs."""
    policy = replace(RELEASING, launches=(LAUNCH,), measurements=(OTHER,), firmware_measurements=(M,))
    demands = demands_of_policy(policy)
    assert match_measurement(demands, M) is Matched.FIRMWARE
    assert match_measurement(demands, OTHER) is Matched.IMAGE
    assert match_measurement(demands, LAUNCH.measurement(3)) is Matched.IMAGE
    assert match_measurement(demands, bytes(48)) is Matched.NONE
    assert match_measurement(demands_of_policy(RELEASING), M) is Matched.NOTHING_ASKED
    check = next(each for each in appraise(by_vcek(), policy=policy, at=AT).checks if each.id == "policy.measurement")
    assert check.status is Status.PASS
    assert check.expected == f"{OTHER.hex()}, {LAUNCH}, {M.hex()} (firmware alone)"


@pytest.mark.parametrize("verified", [by_vlek, by_paravisor])
def test_draft_from_a_providers_machine_claims_no_image(verified: Any) -> None:
    """What a provider's machine shows is written down as firmware alone."""
    policy = policy_of_evidence(verified(), name="draft")
    assert isinstance(policy.measurements, Unchecked)
    assert policy.firmware_measurements == (M,)
    assert policy_of_evidence(by_vcek(), name="draft").measurements == (M,)


def test_paravisor_is_said_to_be_trusted_in_every_result() -> None:
    """At rest and for a release, by name, and with what its vTPM says; nowhere else."""
    for appraisal in (appraise(by_paravisor(), policy=RELEASING, at=AT), for_release(by_paravisor(), RELEASING)):
        said = next(check for check in appraisal.checks if check.id == "azure.trusted_base")
        assert (said.status, said.code) == (Status.WARN, "PARAVISOR_TRUSTED")
        assert not appraisal.secure
        facts = appraisal.facts
        assert (facts["vmpl"], facts["bound_data"]) == (0, BOUND.hex())
        assert facts["report_data"] == AZURE.report_data().hex()
        assert facts["paravisor"]["configuration"]["secure-boot"] is True
        assert len(facts["paravisor"]["pcrs"]) == 24
    ids = {check.id for check in appraise(by_vcek(), policy=RELEASING, at=AT).checks}
    assert not any(each.startswith("azure.") for each in ids)
