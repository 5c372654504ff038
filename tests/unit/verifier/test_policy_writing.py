"""Policies written down again, drafted from evidence, and told in words."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, fake_amd

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise, parse_policy
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Mitigations
from twocvm_verifier.policy import (
    AbiVersion,
    FirmwareVersion,
    PcrValues,
    RequiredLevels,
    decides_nothing,
    document_of,
    explain,
    open_fields,
    policy_of_document,
    policy_of_evidence,
    policy_toml,
)
from twocvm_verifier.policy.explanation import MEANINGS
from twocvm_verifier.result import Level
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import canonical, parse

LAUNCH = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
FULL = replace(
    Policy.builtin(),
    name='a "name" with \\ and ü',
    products=("Genoa",),
    guest_policy=BitDemand(required=1 << 20, forbidden=1 << 18),
    open_guest_policy={"debug": Unchecked("our own cluster")},
    minimum_abi=AbiVersion(major=1, minor=51),
    platform_info=BitDemand(required=1 << 5, forbidden=1),
    vmpl=Unchecked("vTPM"),
    provisional_firmware=True,
    minimum_firmware={"Genoa": FirmwareVersion(major=1, minor=55, build=40)},
    minimum_tcb={"Genoa": {"snp": 23, "microcode": 84}},
    minimum_tcb_of={"launch": {"Genoa": {"snp": 24}}},
    mitigations=Mitigations(launch=1 << 63, current=3),
    closed_advisories=("badram", "entrysign"),
    measurements=(b"m" * 48, b"n" * 48),
    firmware_measurements=(b"p" * 48,),
    launches=(LAUNCH,),
    host_data=(b"h" * 32,),
    family_ids=(b"f" * 16,),
    image_ids=(b"i" * 16,),
    report_ids=(b"r" * 32,),
    id_key_digests=(b"k" * 48,),
    author_key_digests=(b"a" * 48,),
    minimum_guest_svn=7,
    pcrs={"sha256": PcrValues(named={7: (b"7" * 32,), 4: (b"4" * 32, b"5" * 32)}, others=Unchecked("the host's"))},
    chip_ids=(b"c" * 64,),
    csp_ids=("CN=cc-example.test",),
    require_host_data=True,
    max_crl_age_seconds=60,
    require_levels=RequiredLevels(levels=(Level.AL1, Level.AL2), at_rest=True, others=Unchecked("the provider's")),
)
BUILTIN_SHA256 = "acdfbe863a92238939b35fa5e1e106c0509e49f6bc664be3d547e91a01236a89"
NO_LEVELS = replace(
    FULL, require_levels=RequiredLevels(levels=(), at_rest=False, others=Unchecked("a test")), minimum_tcb_of={}
)


@pytest.mark.parametrize("policy", [Policy.builtin(), FULL, NO_LEVELS], ids=["builtin", "full", "no levels"])
def test_what_is_written_is_read_back(policy):
    """As TOML and as JSON, with the same digest; every field stands there."""
    text = policy_toml(policy, about=("one line",))
    assert text.startswith("# one line\n")
    assert parse_policy(text) == policy
    assert parse_policy(text).sha256 == policy.sha256
    raw = canonical(document_of(policy))
    assert policy_of_document(parse(raw, document="policy", max_bytes=1 << 20)) == policy
    written = set(tomllib.loads(text))
    assert written >= set(MEANINGS) - {"minimum_tcb_of", "firmware_measurements", "minimum_guest_svn", "pcrs"}


def test_a_field_that_came_later_changes_no_digest():
    """A policy that says nothing in a later field is written, and named, as before there was the field."""
    assert not {"firmware_measurements", "minimum_guest_svn", "pcrs"} & set(document_of(Policy.builtin()))
    assert Policy.builtin().sha256.hex() == BUILTIN_SHA256
    assert replace(Policy.builtin(), firmware_measurements=(bytes(48),)).sha256 != Policy.builtin().sha256
    keyed = replace(Policy.builtin(), id_key_digests=(b"k" * 48,))
    digests = {replace(keyed, minimum_guest_svn=least).sha256 for least in (1, 2, Unchecked("any version"))}
    assert len(digests | {keyed.sha256}) == 4
    assert replace(Policy.builtin(), pcrs=FULL.pcrs).sha256 != Policy.builtin().sha256


@pytest.mark.parametrize(
    "change",
    [
        {"guest_policy": BitDemand(required=0, forbidden=0)},
        {"platform_info": BitDemand(required=1 << 6, forbidden=0)},
        {"guest_policy": BitDemand(required=1 << 40, forbidden=0)},
    ],
)
def test_what_cannot_be_said_is_not_written(change):
    """DEBUG left open without a reason, or a bit without a name, has no form in a document."""
    with pytest.raises(ValueError, match="cannot be written"):
        document_of(replace(Policy.builtin(), **change))


@pytest.mark.parametrize("document", [[], "x", 3, None])
def test_a_document_is_a_table(document):
    """Anything but a table is refused as malformed."""
    with pytest.raises(MalformedError, match="not a table"):
        policy_of_document(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*MEANINGS, "unchecked", "required", "Genoa", "levels"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_documents_are_total(document):
    """Any value is a policy, or refused as malformed."""
    try:
        policy = policy_of_document(document)
    except MalformedError:
        return
    assert isinstance(policy, Policy)


HEX = st.binary(min_size=48, max_size=48)
BITS = st.sampled_from(sorted(GUEST_POLICY_BITS))


@given(
    measurements=st.lists(HEX, min_size=1, max_size=3, unique=True).map(tuple),
    reason=st.text(st.characters(categories=["L", "Nd"], include_characters=' "\\#'), min_size=1, max_size=20),
    opened=st.sets(BITS, max_size=3),
    platform=st.sets(st.sampled_from(sorted(PLATFORM_INFO_BITS)), max_size=3),
    tcb=st.dictionaries(st.sampled_from(["snp", "tee", "microcode"]), st.integers(0, 255), max_size=3),
)
def test_writing_round_trips(measurements, reason, opened, platform, tcb):
    """Whatever text, bits and numbers a policy has, it is read back the same."""
    try:
        why = Unchecked(reason)
    except ValueError:
        return
    builtin = Policy.builtin()
    mask = sum(1 << GUEST_POLICY_BITS[name] for name in opened)
    policy = replace(
        builtin,
        measurements=measurements,
        guest_policy=BitDemand(required=0, forbidden=builtin.guest_policy.forbidden & ~mask),
        open_guest_policy=dict.fromkeys(opened, why),
        platform_info=BitDemand(required=sum(1 << PLATFORM_INFO_BITS[name] for name in platform), forbidden=0),
        minimum_tcb={"Milan": tcb},
        chip_ids=why,
    )
    assert parse_policy(policy_toml(policy)) == policy


def test_a_draft_of_a_signed_guest_takes_its_later_versions_alone():
    """Its GUEST_SVN becomes the least; that of a guest without an id block, or of version 0, says nothing."""
    amd = fake_amd()
    signed = {"id_key_digest": b"k" * 48, "guest_svn": 3}
    assert policy_of_evidence(verified(amd, **signed), name="draft").minimum_guest_svn == 3
    for unsigned in ({}, signed | {"guest_svn": 0}):
        draft = policy_of_evidence(verified(amd, **unsigned), name="draft")
        assert isinstance(draft.minimum_guest_svn, Unchecked)


def verified(amd, *, vlek=False, **fields):
    """Return a verified report of this hierarchy."""
    vek = amd.vlek() if vlek else amd.vcek()
    return SnpVerifier(roots=amd.roots()).verify(amd.report(**fields), vek=vek, at=AT)


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"id_key_digest": b"k" * 48, "author_key_digest": b"a" * 48, "family_id": b"f" * 16, "image_id": b"i" * 16},
        {"version": 5, "launch_mit_vector": 3, "current_mit_vector": 7, "platform_info": 0x3F},
        {"policy": 0x30000 | 1 << 20 | 1 << 23 | 1 << 25, "platform_info": 0x08},
        {"launch_tcb": bytes(8)},
    ],
)
def test_a_draft_accepts_its_report(product, fields):
    """What is drafted from a report is met by it, after it was written and read; a neighbour is refused."""
    amd = fake_amd(product)
    if product is Product.SIMULATED:
        fields = {"version": 5} | fields
    report = verified(amd, **fields)
    policy = parse_policy(policy_toml(policy_of_evidence(report, name="draft")))
    assert not appraise(report, policy=policy, at=AT).findings
    assert not decides_nothing(policy)
    other = verified(amd, **fields | {"measurement": bytes(48)})
    assert {finding.code for finding in appraise(other, policy=policy, at=AT).findings} == {"MEASUREMENT_MISMATCH"}


def test_a_draft_of_a_vlek_names_its_provider():
    """Only that provider's VLEKs are accepted, and any chip: a VLEK is of none."""
    amd = fake_amd(Product.MILAN)
    report = verified(amd, vlek=True, flags=1 << 2)
    policy = policy_of_evidence(report, name="draft")
    assert policy.csp_ids == ("CN=cc-example.test",)
    assert not appraise(report, policy=policy, at=AT).findings


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"policy": 0xB0000}, "DEBUG_ALLOWED"),
        ({"vmpl": 1}, "VMPL_REFUSED"),
        ({"committed_version": (1, 1, 1)}, "FIRMWARE_PROVISIONAL"),
    ],
)
def test_a_draft_never_accepts_what_the_default_refuses(fields, code):
    """Evidence that is unacceptable makes no policy that accepts it."""
    report = verified(fake_amd(Product.MILAN), **fields)
    policy = policy_of_evidence(report, name="draft")
    assert {finding.code for finding in appraise(report, policy=policy, at=AT).findings} == {code}


def test_what_is_left_open_is_listed():
    """Each with its reason, and whether its author wrote it."""
    builtin = {each.field for each in open_fields(Policy.builtin())}
    unchecked = {each.name for each in fields(Policy) if isinstance(getattr(Policy.builtin(), each.name), Unchecked)}
    assert builtin == unchecked
    assert all(each.by_default for each in open_fields(Policy.builtin()))
    left = {each.field: each for each in open_fields(FULL)}
    assert set(left) == {
        "vmpl",
        "guest_policy.debug",
        "provisional_firmware",
        "pcrs.sha256.others",
        "require_levels.AL3",
        "require_levels.AL4",
    }
    assert left["guest_policy.debug"].reason == "our own cluster"
    assert not any(each.by_default for each in left.values())


def test_a_policy_without_reference_values_decides_nothing():
    """Nor does one about bits alone; one reference value, or one reason of its author's, is enough."""
    assert decides_nothing(Policy.builtin())
    assert decides_nothing(parse_policy('platform_info.required = ["ecc_en"]'))
    assert not decides_nothing(parse_policy('measurements = { unchecked = "the manifest pins them" }'))
    assert not decides_nothing(parse_policy("minimum_tcb.Genoa.snp = 23"))


def test_every_field_is_explained():
    """In words that name what is demanded, or why nothing is."""
    for policy in (Policy.builtin(), FULL, NO_LEVELS):
        said = {field: demands for field, _, demands in explain(policy)}
        assert set(said) == set(MEANINGS)
        assert all(said.values())
    said = {field: demands for field, _, demands in explain(FULL)}
    assert said["guest_policy"] == (
        "migrate_ma must be clear, single_socket must be set; debug is left open: our own cluster; at least ABI 1.51"
    )
    assert said["vmpl"] == "not checked: vTPM"
    assert said["minimum_firmware"] == "Genoa: 1.55.40"
    assert said["minimum_tcb_of"] == "launch: Genoa: snp: 24"
    assert said["require_host_data"] == "yes"
    assert said["minimum_guest_svn"] == "7"
    four, five, seven = (number.encode().hex() * 32 for number in "457")
    assert said["pcrs"] == f"sha256: PCR 4 is {four} or {five}, PCR 7 is {seven}; not the others: the host's"
    assert said["require_levels"] == "AL1, AL2, for a release and at rest; not the others: the provider's"
    assert str(LAUNCH) in said["launches"]
    said = {field: demands for field, _, demands in explain(Policy.builtin())}
    assert said["platform_info"] == "either is accepted for every bit"
    assert said["minimum_tcb_of"] == "nothing more"
    assert "at rest they are listed" in said["require_levels"]
    assert {field: demands for field, _, demands in explain(NO_LEVELS)}["require_levels"] == "none: a test"


def test_every_field_of_a_policy_has_a_meaning():
    """Nothing that can be demanded is missing from the explanation; two fields stand in the table of bits."""
    names = {each.name for each in fields(Policy)}
    assert names - set(MEANINGS) == {"open_guest_policy", "minimum_abi"}
    assert set(MEANINGS) <= names
