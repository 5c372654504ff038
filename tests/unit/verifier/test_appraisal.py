"""Appraisal: every demand of policy and manifest, met and not met, with the code of the finding."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.amd import AT, BEGIN, VEK_END, FakeAmd, fake_amd
from tests.support.azure import FakeAzure
from tests.support.manifests import World

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise, appraise_guest, simulated_roots
from twocvm_verifier.appraisal import appraise_examination
from twocvm_verifier.appraisal.bindings import Bindings, with_bindings
from twocvm_verifier.azure.verify import quoted_of
from twocvm_verifier.binding import LogPosition, cert_claims
from twocvm_verifier.errors import AppraisalError, BindingError, NotFoundError, UnsupportedError
from twocvm_verifier.manifest.platform import BitDemand, Ledger, Mitigations, Platform
from twocvm_verifier.policy import AbiVersion, FirmwareVersion, PcrValues, RequiredLevels
from twocvm_verifier.policy.model import TCBS
from twocvm_verifier.result import Appraisal, Level, Status, Verdict
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.verify import VerifiedReport

MILAN, GENOA, TURIN, SIMULATED = (fake_amd(product) for product in Product)
MEASUREMENT = bytes(range(48))
MANIFEST = bytes(range(1, 33))
BOUND = bytes(range(64))
NO_CRL = Unchecked("no CRL in this test")
# Everything that a release needs, and nothing open.
POLICY = replace(Policy.builtin(), max_crl_age_seconds=NO_CRL)
PLATFORM = Platform(
    measurements=(MEASUREMENT,),
    firmware_measurements=(),
    id_key_digests=(),
    author_key_digests=(),
    products=("Milan", "Turin"),
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


def verified(amd: FakeAmd = MILAN, **fields) -> VerifiedReport:
    """Return a verified report with these fields."""
    return SnpVerifier(roots=amd.roots()).verify(amd.report(**fields), vek=amd.vcek(), at=AT)


def at_rest(policy: Policy, amd: FakeAmd = MILAN, /, **fields) -> Appraisal:
    """Return the appraisal of evidence at rest."""
    return appraise(verified(amd, **fields), policy=policy, at=AT)


def of_guest(
    *,
    policy: Policy = POLICY,
    platform: Platform = PLATFORM,
    amd: FakeAmd = MILAN,
    expected: bytes = BOUND,
    **fields,
) -> Appraisal:
    """Return the appraisal of a guest that is bound to `BOUND` unless told otherwise."""
    report = verified(amd, **{"report_data": BOUND} | fields)
    return appraise_guest(report, policy=policy, platform=platform, manifest_hash=MANIFEST, report_data=expected, at=AT)


def codes(appraisal: Appraisal) -> set[str]:
    """Return the codes of all findings."""
    return {finding.code for finding in appraisal.findings}


def status(appraisal: Appraisal, identifier: str) -> Status:
    """Return how one check ended; each id stands exactly once."""
    (check,) = (check for check in appraisal.checks if check.id == identifier)
    return check.status


def test_builtin_accepts_with_a_warning_and_says_what_is_open():
    """A plain report is accepted, never called secure, and what was not decided is listed."""
    appraisal = at_rest(Policy.builtin())
    assert (appraisal.verdict, appraisal.secure, appraisal.exit_status) == (Verdict.WARNING, False, 0)
    assert status(appraisal, "snp.chain.revocation") is Status.WARN
    open_ids = {check.id for check in appraisal.checks if check.status is Status.SKIP}
    assert {"policy.measurement", "policy.tcb.reported", "policy.chip_id", "policy.level.al4"} <= open_ids
    assert all(check.detail for check in appraisal.checks if check.status in (Status.SKIP, Status.WARN))
    assert [proof.proved_by for proof in appraisal.levels] == ["signature", "REPORTED_TCB", "", ""]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"policy": 0xB0000}, "DEBUG_ALLOWED"),
        ({"policy": 0x70000}, "MIGRATION_ALLOWED"),
        ({"vmpl": 1}, "VMPL_REFUSED"),
        ({"vmpl": 0xFFFFFFFF}, "VMPL_REFUSED"),
        ({"policy": 0x30000 | 56 | 1 << 8}, "ABI_REFUSED"),
        ({"policy": 0x30200}, "ABI_REFUSED"),
        ({"committed_version": (6, 55, 1)}, "FIRMWARE_PROVISIONAL"),
        ({"committed_version": (7, 54, 1)}, "FIRMWARE_PROVISIONAL"),
        ({"committed_version": (7, 55, 0)}, "FIRMWARE_PROVISIONAL"),
        ({"committed_tcb": bytes([4, 0, 0, 0, 0, 0, 0x18, 0xDA])}, "FIRMWARE_PROVISIONAL"),
    ],
)
def test_builtin_refuses(fields, code):
    """What needs no reference to be refused is refused."""
    appraisal = at_rest(Policy.builtin(), **fields)
    assert codes(appraisal) == {code}
    assert (appraisal.verdict, appraisal.exit_status) == (Verdict.CONTRAINDICATED, 11)
    with pytest.raises(AppraisalError) as caught:
        appraisal.require()
    assert caught.value.code == code


def test_everything_wrong_is_found_at_once():
    """No finding hides another."""
    appraisal = at_rest(Policy.builtin(), policy=0xF0000, vmpl=2, committed_version=(1, 1, 1))
    assert codes(appraisal) == {"DEBUG_ALLOWED", "MIGRATION_ALLOWED", "VMPL_REFUSED", "FIRMWARE_PROVISIONAL"}


TCB = {"bootloader": 4, "tee": 0, "snp": 0x18, "microcode": 0xDB}
DEMANDS = [
    ("products", ("Genoa",), ("Milan",), "PRODUCT_NOT_ACCEPTED", "product"),
    ("chip_ids", (bytes(64),), (MILAN.chip_id,), "CHIP_NOT_ACCEPTED", "chip_id"),
    ("measurements", (bytes(48),), (bytes(48), MEASUREMENT), "MEASUREMENT_MISMATCH", "measurement"),
    ("id_key_digests", (b"x" * 48,), (bytes(48),), "ID_KEY_MISMATCH", "id_key_digest"),
    ("author_key_digests", (b"x" * 48,), (bytes(48),), "AUTHOR_KEY_MISMATCH", "author_key_digest"),
    ("minimum_tcb", {"Milan": TCB | {"snp": 0x19}}, {"Milan": TCB}, "TCB_OUT_OF_DATE", "tcb.reported"),
    (
        "guest_policy",
        BitDemand(required=1 << 20, forbidden=0),
        BitDemand(required=1 << 16, forbidden=1 << 20),
        "GUEST_POLICY_REFUSED",
        "guest_policy.single_socket",
    ),
    (
        "platform_info",
        BitDemand(required=0, forbidden=1 << 5),
        BitDemand(required=1 << 5, forbidden=1 << 1),
        "PLATFORM_INFO_REFUSED",
        "platform_info.alias_check_complete",
    ),
]


@pytest.mark.parametrize(("field", "wrong", "right", "code", "identifier"), DEMANDS, ids=[row[0] for row in DEMANDS])
def test_every_demand_of_the_policy(field, wrong, right, code, identifier):
    """Met, it passes; not met, it is the one kind of finding; unchecked, it says so."""
    refused = at_rest(replace(POLICY, **{field: wrong}))
    assert codes(refused) == {code}
    assert status(refused, f"policy.{identifier}") is Status.FAIL
    assert status(at_rest(replace(POLICY, **{field: right})), f"policy.{identifier}") is Status.PASS


@pytest.mark.parametrize(("field", "wrong", "right", "code", "identifier"), DEMANDS, ids=[row[0] for row in DEMANDS])
def test_every_demand_of_the_manifest(field, wrong, right, code, identifier):
    """What all participants signed is asked exactly as the policy is, under its own name."""
    refused = of_guest(platform=replace(PLATFORM, **{field: wrong}))
    assert codes(refused) - {"LEVEL_NOT_PROVED"} == {code}
    assert status(refused, f"manifest.platform.{identifier}") is Status.FAIL
    accepted = of_guest(platform=replace(PLATFORM, **{field: right}))
    assert status(accepted, f"manifest.platform.{identifier}") is Status.PASS
    assert not accepted.findings


LAUNCH = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
REFERENCES = [
    ("host_data", b"h" * 32, "HOST_DATA_MISMATCH", "host_data"),
    ("family_ids", b"f" * 16, "ID_BLOCK_MISMATCH", "family_id"),
    ("image_ids", b"i" * 16, "ID_BLOCK_MISMATCH", "image_id"),
    ("report_ids", b"r" * 32, "REPORT_ID_MISMATCH", "report_id"),
]


@pytest.mark.parametrize(("field", "value", "code", "name"), REFERENCES, ids=[row[0] for row in REFERENCES])
def test_every_reference_value_of_the_policy(field, value, code, name):
    """Listed, it passes; another, it is refused; unchecked, it says so. For a release as at rest."""
    policy = replace(POLICY, **{field: (bytes(len(value)), value)})
    assert status(at_rest(policy, **{name: value}), f"policy.{name}") is Status.PASS
    assert codes(at_rest(policy, **{name: b"x" * len(value)})) == {code}
    assert status(at_rest(POLICY), f"policy.{name}") is Status.SKIP
    assert code in codes(of_guest(policy=policy, **{name: b"x" * len(value)}))


@pytest.mark.parametrize("version", [(1, 55, 39), (1, 54, 99), (0, 99, 99)])
def test_least_firmware_version(version):
    """Compared as a version, of what runs and of what is committed; a product without one is refused."""
    least = FirmwareVersion(major=1, minor=55, build=40)
    policy = replace(POLICY, minimum_firmware={"Milan": least}, provisional_firmware=True)
    # A report writes build, minor, major.
    good, low = (40, 55, 1), tuple(reversed(version))
    assert not at_rest(policy, current_version=good, committed_version=good).findings
    for current, committed in ((low, good), (good, low)):
        refused = at_rest(policy, current_version=current, committed_version=committed)
        assert codes(refused) == {"FIRMWARE_OUT_OF_DATE"}
    other = replace(policy, minimum_firmware={"Genoa": least})
    assert codes(at_rest(other, current_version=good, committed_version=good)) == {"FIRMWARE_OUT_OF_DATE"}


@pytest.mark.parametrize("field", ["reported", "committed", "current", "launch"])
def test_a_tcb_may_have_a_minimum_of_its_own(field):
    """It holds beside the common one, whichever is greater, and alone where there is no common one."""
    own = {field: {"Milan": {"snp": 0x19}}}
    for common in (Unchecked("a test"), {"Milan": TCB}, {"Milan": {"tee": 0}}):
        appraisal = at_rest(replace(POLICY, minimum_tcb=common, minimum_tcb_of=own))
        assert [finding.id for finding in appraisal.findings] == [f"policy.tcb.{field}"]
    alone = at_rest(replace(POLICY, minimum_tcb_of={field: {"Milan": {"snp": 0x18}}}))
    assert not alone.findings
    assert [status(alone, f"policy.tcb.{name}") for name in TCBS].count(Status.SKIP) == 3
    greater = {"Milan": TCB | {"snp": 0x19}}
    weaker = replace(POLICY, minimum_tcb=greater, minimum_tcb_of={field: {"Milan": {"snp": 1}}})
    assert len(at_rest(weaker).findings) == 4
    unnamed = replace(POLICY, minimum_tcb={"Milan": TCB}, minimum_tcb_of={field: {"Genoa": {"snp": 1}}})
    assert [finding.id for finding in at_rest(unnamed).findings] == [f"policy.tcb.{field}"]


def test_provider_of_a_vlek_is_listed():
    """Another provider's key is refused, and so is a VCEK, which is of no provider."""
    report = SnpVerifier(roots=MILAN.roots()).verify(MILAN.report(flags=1 << 2), vek=MILAN.vlek(), at=AT)
    ours, other = (replace(POLICY, csp_ids=(name,)) for name in ("CN=cc-example.test", "CN=other.test"))
    assert status(appraise(report, policy=ours, at=AT), "policy.csp_id") is Status.PASS
    assert codes(appraise(report, policy=other, at=AT)) == {"CSP_NOT_ACCEPTED"}
    (check,) = (check for check in at_rest(other).checks if check.id == "policy.csp_id")
    assert (check.status, check.actual) == (Status.FAIL, "none")
    assert "no provider" in check.detail


@pytest.mark.parametrize("vcpus", [1, 2, 300])
def test_a_launch_is_accepted_with_any_number_of_vcpus(vcpus):
    """One line of the policy covers them all, and proves kernel and software; another launch is refused."""
    policy = replace(POLICY, launches=(LAUNCH,))
    appraisal = at_rest(policy, measurement=LAUNCH.measurement(vcpus))
    assert (appraisal.verdict, status(appraisal, "policy.measurement")) == (Verdict.AFFIRMING, Status.PASS)
    (check,) = (check for check in appraisal.checks if check.id == "policy.measurement")
    assert check.actual.endswith(f"with {vcpus} vCPUs")
    assert codes(at_rest(policy)) == {"MEASUREMENT_MISMATCH"}
    assert not at_rest(replace(policy, measurements=(MEASUREMENT,))).findings
    assert codes(at_rest(replace(policy, measurements=(b"x" * 48,)))) == {"MEASUREMENT_MISMATCH"}


def test_masked_chip_id_matches_no_list():
    """Who lists the zero CHIP_ID accepts no masked chip by it."""
    report = SnpVerifier(roots=MILAN.roots()).verify(
        MILAN.report(flags=1 << 2, chip_id=bytes(64)), vek=MILAN.vlek(), at=AT
    )
    appraisal = appraise(report, policy=replace(POLICY, chip_ids=(bytes(64),)), at=AT)
    assert codes(appraisal) == {"CHIP_NOT_ACCEPTED"}


@pytest.mark.parametrize("field", ["reported", "committed", "current", "launch"])
def test_every_tcb_has_the_minimum(field):
    """Committed and launch say whether firmware was, or can be, rolled back; all four are compared."""
    low = bytes([4, 0, 0, 0, 0, 0, 0x17, 0xDB])
    policy = replace(POLICY, minimum_tcb={"Milan": TCB}, provisional_firmware=True)
    if field == "reported":
        appraisal = at_rest(replace(POLICY, minimum_tcb={"Milan": TCB | {"microcode": 0xDC}}))
        assert {finding.id for finding in appraisal.findings} >= {"policy.tcb.reported"}
    else:
        appraisal = at_rest(policy, **{f"{field}_tcb": low})
        assert [finding.id for finding in appraisal.findings] == [f"policy.tcb.{field}"]
    assert codes(appraisal) == {"TCB_OUT_OF_DATE"}


@pytest.mark.parametrize("component", ["fmc", "bootloader", "tee", "snp", "microcode"])
def test_every_component_has_the_minimum(component):
    """Turin's first mutable code too; a higher component makes up for no lower one."""
    right = {"fmc": 1, "bootloader": 2, "tee": 3, "snp": 4, "microcode": 0xDB}
    assert not at_rest(replace(POLICY, minimum_tcb={"Turin": right}), TURIN).findings
    wrong = dict.fromkeys(right, 0) | {component: right[component] + 1}
    appraisal = at_rest(replace(POLICY, minimum_tcb={"Turin": wrong}), TURIN)
    assert codes(appraisal) == {"TCB_OUT_OF_DATE"}
    assert all(component in finding.detail for finding in appraisal.findings)


def test_product_without_a_minimum_is_refused_where_others_have_one():
    """A policy that names Genoa's minimum does not accept any Milan by its silence."""
    assert codes(at_rest(replace(POLICY, minimum_tcb={"Genoa": TCB}))) == {"TCB_OUT_OF_DATE"}


@pytest.mark.parametrize("when", ["launch", "current"])
def test_mitigation_vectors_are_sets_of_bits(when):
    """A greater number without the bit does not do, and a report without vectors has none."""
    policy = replace(POLICY, mitigations=replace(Mitigations(launch=0, current=0), **{when: 0b0100}))
    other = {"version": 5, f"{when}_mit_vector": 0b1011}
    assert [finding.id for finding in at_rest(policy, **other).findings] == [f"policy.mitigations.{when}"]
    assert codes(at_rest(policy)) == {"MITIGATION_MISSING"}
    assert not at_rest(policy, version=5, **{f"{when}_mit_vector": 0b0110}).findings


@pytest.mark.parametrize("bit", [16, 18, 19, 20, 21, 22, 23, 24, 25])
def test_every_bit_of_the_guest_policy(bit):
    """Each bit may be required, forbidden or left open, alone."""
    found = 0x20000 | (1 << bit)
    required = replace(POLICY, guest_policy=BitDemand(required=1 << bit, forbidden=0))
    forbidden = replace(POLICY, guest_policy=BitDemand(required=0, forbidden=1 << bit))
    either = replace(POLICY, guest_policy=BitDemand(required=0, forbidden=0))
    assert not at_rest(required, policy=found).findings
    assert len(at_rest(required, policy=0x20000).findings) == 1
    assert len(at_rest(forbidden, policy=found).findings) == 1
    assert not at_rest(forbidden, policy=0x20000).findings
    assert not at_rest(either, policy=found).findings


def test_a_bit_that_is_left_open_shows_its_reason():
    """DEBUG is accepted only where somebody says why, and that is what the result says."""
    policy = replace(
        POLICY,
        guest_policy=BitDemand(required=0, forbidden=1 << 18),
        open_guest_policy={"debug": Unchecked("our own cluster")},
    )
    (check,) = (c for c in at_rest(policy, policy=0xB0000).checks if c.id == "policy.guest_policy.debug")
    assert (check.status, check.detail, check.actual) == (Status.SKIP, "our own cluster", "set")


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 4, 5, 7])
def test_every_bit_of_platform_info(bit):
    """Each bit may be required, forbidden or left open, alone."""
    required = replace(POLICY, platform_info=BitDemand(required=1 << bit, forbidden=0))
    forbidden = replace(POLICY, platform_info=BitDemand(required=0, forbidden=1 << bit))
    assert not at_rest(required, platform_info=1 << bit).findings
    assert codes(at_rest(required, platform_info=0xFF & ~(1 << bit))) == {"PLATFORM_INFO_REFUSED"}
    assert codes(at_rest(forbidden, platform_info=1 << bit)) == {"PLATFORM_INFO_REFUSED"}
    assert not at_rest(forbidden, platform_info=0xFF & ~(1 << bit)).findings


def test_least_abi_is_compared_as_a_version():
    """Minor 9 is below minor 51, and major decides first."""
    policy = replace(POLICY, minimum_abi=AbiVersion(major=1, minor=51))
    assert not at_rest(policy, policy=0x30000 | 1 << 8 | 51).findings
    assert codes(at_rest(policy, policy=0x30000 | 1 << 8 | 9)) == {"ABI_REFUSED"}
    assert codes(at_rest(policy, policy=0x30000 | 55)) == {"ABI_REFUSED"}


def test_vmpls_may_be_several_or_unchecked():
    """Another level is accepted only where the policy says so."""
    assert not at_rest(replace(POLICY, vmpl=(0, 1)), vmpl=1).findings
    unchecked = at_rest(replace(POLICY, vmpl=Unchecked("vTPM")), vmpl=2)
    assert status(unchecked, "policy.vmpl") is Status.SKIP
    assert not unchecked.findings


def test_provisional_firmware_may_be_accepted():
    """Only where the policy says so, and then it shows."""
    appraisal = at_rest(replace(POLICY, provisional_firmware=True), committed_version=(1, 1, 1))
    assert not appraisal.findings
    assert status(appraisal, "policy.firmware.committed") is Status.SKIP


@pytest.mark.parametrize("level", list(Level))
def test_levels_count_at_rest_only_where_the_policy_says_so(level):
    """Listed always, required for a release, and at rest where the policy file sets them."""
    required = RequiredLevels(levels=(level,), at_rest=True, others=Unchecked("a test"))
    appraisal = at_rest(replace(POLICY, require_levels=required))
    proved = level in (Level.AL1, Level.AL2)
    assert codes(appraisal) == (set() if proved else {"LEVEL_NOT_PROVED"})
    assert not at_rest(replace(POLICY, require_levels=replace(required, at_rest=False))).findings


def test_matched_measurement_proves_kernel_and_software():
    """With a reference value and nothing open, evidence at rest is affirmed."""
    appraisal = at_rest(replace(POLICY, measurements=(MEASUREMENT,)))
    assert [proof.proved_by for proof in appraisal.levels] == [
        "signature",
        "REPORTED_TCB",
        "MEASUREMENT",
        "MEASUREMENT",
    ]
    assert (appraisal.verdict, appraisal.secure) == (Verdict.AFFIRMING, True)
    assert appraisal.valid_until == VEK_END


def test_only_verified_reports_are_appraised():
    """Neither bytes nor a parsed report come through."""
    for wrong in (MILAN.report(), verified().report, None):
        with pytest.raises(TypeError, match="verified"):
            appraise(wrong, policy=POLICY, at=AT)
        with pytest.raises(TypeError, match="verified"):
            appraise_guest(wrong, policy=POLICY, platform=PLATFORM, manifest_hash=MANIFEST, report_data=BOUND, at=AT)


@pytest.mark.parametrize(
    ("at", "code"),
    [(BEGIN - timedelta(seconds=1), "CHAIN_NOT_YET_VALID"), (VEK_END + timedelta(seconds=1), "CHAIN_EXPIRED")],
)
def test_chain_is_valid_when_it_is_judged(at, code):
    """What was verified in time and is judged out of time is not authentic any more."""
    rest = appraise(verified(), policy=POLICY, at=at)
    guest = appraise_guest(
        verified(report_data=BOUND), policy=POLICY, platform=PLATFORM, manifest_hash=MANIFEST, report_data=BOUND, at=at
    )
    for appraisal in (rest, guest):
        assert (codes(appraisal), appraisal.exit_status) == ({code}, 10)


def test_guest_with_everything_right_is_affirmed():
    """The release path ends in a verdict that is secure, with every check listed once."""
    appraisal = of_guest().require()
    assert (appraisal.verdict, appraisal.secure) == (Verdict.AFFIRMING, True)
    ids = [check.id for check in appraisal.checks]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("offset", [0, 31, 32, 63])
def test_every_byte_of_report_data_is_bound(offset):
    """One bit off in either half, and the report is somebody else's: not authentic."""
    other = bytearray(BOUND)
    other[offset] ^= 1
    appraisal = of_guest(expected=bytes(other))
    assert codes(appraisal) == {"REPORT_DATA_MISMATCH"}
    assert appraisal.exit_status == 10
    with pytest.raises(BindingError) as caught:
        appraisal.require()
    assert caught.value.code == "REPORT_DATA_MISMATCH"


@pytest.mark.parametrize("wrong", [b"", bytes(63), bytes(65)])
def test_expected_values_are_never_optional(wrong):
    """An absent or short expectation is the caller's mistake, never a check that is left out."""
    with pytest.raises(ValueError, match="64 bytes"):
        of_guest(expected=wrong)
    for manifest_hash in (b"", bytes(32), bytes(31)):
        with pytest.raises(ValueError, match="hash"):
            appraise_guest(
                verified(), policy=POLICY, platform=PLATFORM, manifest_hash=manifest_hash, report_data=BOUND, at=AT
            )


def test_host_data_is_zero_or_this_manifest():
    """A guest born for another manifest is refused; one born for none only where that is demanded."""
    required = replace(POLICY, require_host_data=True)
    assert not of_guest(host_data=MANIFEST).findings
    assert not of_guest(policy=required, host_data=MANIFEST).findings
    assert codes(of_guest(host_data=b"x" * 32)) == {"HOST_DATA_MISMATCH"}
    assert codes(of_guest(policy=required)) == {"HOST_DATA_MISMATCH"}


def test_release_needs_a_crl_or_a_reason():
    """Where the policy demands a CRL and none is at hand, it cannot be judged now, which is not a refusal."""
    appraisal = of_guest(policy=Policy.builtin())
    assert (appraisal.verdict, appraisal.exit_status) == (Verdict.ERROR, 40)
    with pytest.raises(NotFoundError) as caught:
        appraisal.require()
    assert caught.value.code == "CRL_MISSING"
    assert status(of_guest(), "snp.chain.revocation") is Status.SKIP


def test_policy_may_leave_crls_out_at_rest():
    """The reason that was given is the one that is shown: the verifier's first, then the policy's."""
    (check,) = (check for check in at_rest(POLICY).checks if check.id == "snp.chain.revocation")
    assert (check.status, check.detail) == (Status.SKIP, NO_CRL.reason)
    report = SnpVerifier(roots=MILAN.roots(), crls=Unchecked("offline")).verify(MILAN.report(), vek=MILAN.vcek(), at=AT)
    (check,) = (c for c in appraise(report, policy=POLICY, at=AT).checks if c.id == "snp.chain.revocation")
    assert check.detail == "offline"


def test_ledgers_are_refused_not_ignored():
    """A manifest that names a ledger is refused by a version that cannot look into one."""
    ledger = Ledger(origin="log.example.test", key="k", witnesses=(), quorum=0)
    appraisal = of_guest(platform=replace(PLATFORM, ledgers=(ledger,)))
    assert (codes(appraisal), appraisal.exit_status) == ({"LEDGER_UNSUPPORTED"}, 20)
    with pytest.raises(UnsupportedError):
        appraisal.require()


def test_vmpl_of_the_manifest_counts():
    """The manifest's one VMPL holds beside the policy's."""
    appraisal = of_guest(policy=replace(POLICY, vmpl=(0, 1)), vmpl=1)
    assert [finding.id for finding in appraisal.findings] == ["manifest.platform.vmpl"]


def test_both_must_be_met():
    """A measurement that the manifest accepts and the policy does not is refused, and the reverse."""
    ours = replace(POLICY, measurements=(b"x" * 48,))
    assert codes(of_guest(policy=ours)) == {"MEASUREMENT_MISMATCH", "LEVEL_NOT_PROVED"}


def test_simulated_evidence_needs_root_and_manifest():
    """Both words, and even then never more than a warning."""
    allowed = replace(PLATFORM, products=("Simulated",), simulated=True)
    appraisal = of_guest(amd=SIMULATED, platform=allowed).require()
    assert (appraisal.verdict, appraisal.secure, appraisal.platform) == (Verdict.WARNING, False, "simulated")
    assert all(proof.proved_by for proof in appraisal.levels)
    refused = of_guest(amd=SIMULATED, platform=replace(allowed, simulated=False))
    assert codes(refused) == {"SIMULATED_NOT_ACCEPTED", "LEVEL_NOT_PROVED"}


def test_real_evidence_suits_a_manifest_that_allows_simulation():
    """Allowing a simulated platform does not refuse a real one."""
    assert of_guest(platform=replace(PLATFORM, simulated=True)).secure


def test_simulated_evidence_at_rest_proves_nothing():
    """Without a manifest that allows it, no level is proved, and the result says what it is."""
    report = SnpVerifier(roots=simulated_roots(SIMULATED.chain())).verify(
        SIMULATED.report(), vek=SIMULATED.vcek(), at=AT
    )
    appraisal = appraise(report, policy=replace(POLICY, measurements=(MEASUREMENT,)), at=AT)
    assert appraisal.verdict is Verdict.WARNING
    assert not any(proof.proved_by for proof in appraisal.levels)
    assert status(appraisal, "snp.chain.simulated") is Status.WARN


def test_examination_of_forged_evidence_has_rules_and_claims_only():
    """What is not authentic is not appraised: no level, no collateral, no demand; only which rules broke."""
    verifier = SnpVerifier(roots=MILAN.roots())
    forged = verifier.examine(MILAN.report(chip_id=bytes(64)), vek=MILAN.vcek(), at=AT)
    appraisal = appraise_examination(forged, policy=POLICY, at=AT, simulated=False)
    assert (appraisal.verdict, appraisal.exit_status, appraisal.authentic) == (Verdict.CONTRAINDICATED, 10, False)
    assert codes(appraisal) == {"CHIP_ID_MISMATCH"}
    assert all(check.id.startswith("snp.") for check in appraisal.checks)
    assert not any(proof.proved_by for proof in appraisal.levels)
    assert appraisal.facts["chip_id"] == "00" * 64


def test_examination_of_good_evidence_is_the_same_appraisal():
    """Both ways of asking end in the same result."""
    vek, report = MILAN.vcek(), MILAN.report()
    verifier = SnpVerifier(roots=MILAN.roots())
    found = appraise_examination(verifier.examine(report, vek=vek, at=AT), policy=POLICY, at=AT, simulated=False)
    assert found.to_json() == appraise(verifier.verify(report, vek=vek, at=AT), policy=POLICY, at=AT).to_json()


def test_facts_are_what_the_report_says():
    """Hashes as hex, TCBs by component in the product's layout, the host's VMPL by name."""
    facts = at_rest(replace(POLICY, vmpl=Unchecked("a test")), TURIN, vmpl=0xFFFFFFFF).facts
    assert facts["reported_tcb"] == {
        "raw": "01020304000000db",
        "fmc": 1,
        "bootloader": 2,
        "tee": 3,
        "snp": 4,
        "microcode": 0xDB,
    }
    assert (facts["vmpl"], facts["measurement"], facts["product"]) == ("host", MEASUREMENT.hex(), "Turin")


SPEC = Path(__file__).parents[3] / "docs" / "spec" / "appraisal.md"


# What only the policy, or only the manifest, can demand.
OF_ONE_AUTHOR = (
    "level|simulated|ledgers|csp_id|advisories|firmware.version|host_data|family_id|image_id|report_id|guest_svn|pcrs"
)


def test_specification_lists_every_check():
    """`docs/spec/appraisal.md`, and `azure.md` beside it, name each check with each of its codes, and no other."""
    written: dict[str, set[str]] = {}
    text = SPEC.read_text(encoding="utf-8") + SPEC.with_name("azure.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", text, re.MULTILINE):
        first, *more = re.findall(r"`([^`]+)`", row[0])
        code_names = set(re.findall(r"`([A-Z_]+)`", row[1]))
        for name in (first, *(first.rsplit(".", 1)[0] + other for other in more)):
            if code_names:
                written[name] = code_names
    found: dict[str, set[str]] = {}
    naming = replace(POLICY, closed_advisories=("badram",), id_key_digests=(b"k" * 48,), minimum_guest_svn=1)
    examination = SnpVerifier(roots=MILAN.roots()).examine(MILAN.report(), vek=MILAN.vcek(), at=AT)
    agreed = appraise_examination(examination, policy=POLICY, at=AT, simulated=False, manifest=World().manifest)
    claims = cert_claims(spki_sha256=bytes(32), manifest=bytes(32), log=LogPosition(head=bytes(32), events=0))
    asked = Bindings(report_data=bytes(64), claims=claims, nonce=bytes(32))
    bound = with_bindings(agreed, examination.report.report_data, asked)
    azure = FakeAzure()
    quoted = quoted_of(azure.bound_to(claims.report_data()), claims=claims.encode())
    report = MILAN.report(report_data=azure.report_data())
    paravisor = SnpVerifier(roots=MILAN.roots()).verify(report, vek=MILAN.vcek(), at=AT, quoted=quoted)
    pcrs = {"sha256": PcrValues(named={4: (bytes(32),)}, others=Unchecked("a test"))}
    of_paravisor = [appraise(paravisor, policy=each, at=AT) for each in (POLICY, replace(POLICY, pcrs=pcrs))]
    for appraisal in (of_guest(), at_rest(POLICY, SIMULATED), at_rest(naming), bound, *of_paravisor):
        for check in appraisal.checks:
            name = re.sub(r"^policy\.advisories\..*", "policy.advisories.ID", check.id)
            name = re.sub(rf"^(policy|manifest\.platform)(?=\.(?!{OF_ONE_AUTHOR}))", "*", name)
            name = re.sub(r"^(policy\.pcrs\.sha256)\.\d+$", r"\1.N", name)
            name = re.sub(r"(platform_info|guest_policy)\.(?!abi$)\w+", r"\1.NAME", name)
            found.setdefault(name, set()).add(check.code)
    assert found.keys() == written.keys()
    assert all(found[name] <= written[name] for name in found)
