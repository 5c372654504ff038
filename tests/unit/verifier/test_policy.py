"""Policies: the strict default, the strict document, and the digest that names one."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.platform import BitDemand, Mitigations
from twocvm_verifier.policy import AbiVersion, Policy, RequiredLevels, parse_policy
from twocvm_verifier.result import Level
from twocvm_verifier.unchecked import Unchecked

DIGEST = "ab" * 48
CHIP = "cd" * 64


def problems(text: str) -> str:
    """Return what is said of a document that is refused."""
    with pytest.raises(MalformedError) as caught:
        parse_policy(text)
    assert caught.value.code == "MALFORMED_POLICY"
    return caught.value.detail


def test_builtin_is_strict_and_says_what_it_cannot_decide():
    """The default refuses what no reference is needed for, and names everything else it leaves open."""
    policy = Policy.builtin()
    assert policy.guest_policy == BitDemand(required=0, forbidden=1 << 19 | 1 << 18)
    assert (policy.vmpl, policy.provisional_firmware, policy.max_crl_age_seconds) == ((0,), False, 30 * 86_400)
    assert policy.require_levels.levels == tuple(Level)
    unchecked = {field.name for field in fields(policy) if isinstance(getattr(policy, field.name), Unchecked)}
    assert unchecked == {
        "minimum_abi",
        "minimum_firmware",
        "minimum_tcb",
        "mitigations",
        "closed_advisories",
        "measurements",
        "firmware_measurements",
        "launches",
        "host_data",
        "family_ids",
        "image_ids",
        "report_ids",
        "id_key_digests",
        "author_key_digests",
        "minimum_guest_svn",
        "pcrs",
        "chip_ids",
        "csp_ids",
    }


def test_empty_document_is_the_default():
    """What a document does not say is as in the default."""
    assert parse_policy("") == Policy.builtin()


def test_whole_document_is_read():
    """Every field, in the form that people write."""
    policy = parse_policy(
        f"""
        name = "hospital"
        products = ["Genoa", "Turin"]
        vmpl = [0, 1]
        provisional_firmware = true
        measurements = ["{DIGEST}"]
        id_key_digests = ["{DIGEST}"]
        author_key_digests = {{ unchecked = "we trust the id key" }}
        chip_ids = ["{CHIP}"]
        require_host_data = true
        max_crl_age_seconds = {{ unchecked = "not built yet" }}
        require_levels = {{ levels = ["AL2", "AL1"], reason = "the kernel is the provider's" }}
        [guest_policy]
        required = ["single_socket"]
        forbidden = ["debug", "migrate_ma", "smt"]
        minimum_abi = "1.51"
        [platform_info]
        required = ["alias_check_complete"]
        forbidden = ["smt_en"]
        [minimum_tcb.Genoa]
        bootloader = 9
        microcode = 72
        [minimum_tcb.Turin]
        fmc = 1
        [mitigations]
        launch = "0x3"
        current = "0x3f"
        """
    )
    assert policy.name == "hospital"
    assert policy.products == ("Genoa", "Turin")
    assert policy.vmpl == (0, 1)
    assert policy.provisional_firmware
    assert policy.measurements == policy.id_key_digests == (bytes.fromhex(DIGEST),)
    assert policy.author_key_digests == Unchecked("we trust the id key")
    assert policy.chip_ids == (bytes.fromhex(CHIP),)
    assert policy.require_host_data
    assert policy.max_crl_age_seconds == Unchecked("not built yet")
    assert policy.require_levels == RequiredLevels(
        levels=(Level.AL1, Level.AL2), at_rest=True, others=Unchecked("the kernel is the provider's")
    )
    assert policy.guest_policy == BitDemand(required=1 << 20, forbidden=1 << 19 | 1 << 18 | 1 << 16)
    assert policy.minimum_abi == AbiVersion(major=1, minor=51)
    assert policy.platform_info == BitDemand(required=1 << 5, forbidden=1)
    assert policy.minimum_tcb == {"Genoa": {"bootloader": 9, "microcode": 72}, "Turin": {"fmc": 1}}
    assert policy.mitigations == Mitigations(launch=3, current=0x3F)


@pytest.mark.parametrize(
    "keys",
    [
        "",
        f'id_key_digests = ["{"0" * 96}"]',
        f'author_key_digests = ["{"0" * 96}", "{DIGEST}"]',
        'id_key_digests = { unchecked = "any" }',
    ],
    ids=["none", "nobody's", "nobody's too", "unchecked"],
)
def test_a_least_version_needs_a_signer(keys):
    """Anybody can sign an id block with any number, so a least GUEST_SVN without a key is refused, and said to be."""
    text = f"minimum_guest_svn = 2\n{keys}"
    assert "anybody can sign" in problems(text)
    with pytest.raises(ValueError, match="anybody can sign"):
        replace(Policy.builtin(), minimum_guest_svn=2)
    for name in ("id_key_digests", "author_key_digests"):
        policy = parse_policy(f'minimum_guest_svn = 4294967295\n{name} = ["{DIGEST}"]')
        assert policy.minimum_guest_svn == (1 << 32) - 1
    # Without the key of the author, anybody may vouch, but nobody else may sign.
    mixed = f'minimum_guest_svn = 2\nid_key_digests = ["{DIGEST}"]\nauthor_key_digests = ["{"0" * 96}"]'
    assert parse_policy(mixed).minimum_guest_svn == 2


def test_debug_stays_forbidden_until_it_is_left_open_with_a_reason():
    """A table about something else, or an empty list, lets nothing in by its silence."""
    builtin = Policy.builtin().guest_policy.forbidden
    for text in ('guest_policy.minimum_abi = "1.51"', "guest_policy.forbidden = []", 'guest_policy.required = ["smt"]'):
        assert parse_policy(text).guest_policy.forbidden == builtin
    assert parse_policy('guest_policy.forbidden = ["smt"]').guest_policy.forbidden == builtin | 1 << 16
    opened = parse_policy('guest_policy.unchecked = { debug = "our own cluster" }')
    assert opened.guest_policy.forbidden == 1 << 18
    assert opened.open_guest_policy == {"debug": Unchecked("our own cluster")}
    assert parse_policy('guest_policy.required = ["debug"]').guest_policy == BitDemand(
        required=1 << 19, forbidden=1 << 18
    )


@pytest.mark.parametrize(
    "field",
    [
        "vmpl",
        "minimum_firmware",
        "minimum_tcb",
        "mitigations",
        "closed_advisories",
        "measurements",
        "launches",
        "host_data",
        "family_ids",
        "image_ids",
        "report_ids",
        "id_key_digests",
        "author_key_digests",
        "minimum_guest_svn",
        "pcrs",
        "chip_ids",
        "csp_ids",
        "max_crl_age_seconds",
    ],
)
def test_not_checking_needs_a_reason(field):
    """A field may be left unchecked with a reason, and only so."""
    assert getattr(parse_policy(f'{field} = {{ unchecked = "because" }}'), field) == Unchecked("because")
    for wrong in ('""', '" "', "1", "true", '"\\u0007"'):
        assert field in problems(f"{field} = {{ unchecked = {wrong} }}")
    assert field in problems(f'{field} = {{ unchecked = "because", also = 1 }}')


def test_not_requiring_levels_needs_a_reason():
    """All four levels, or fewer with a reason, or none with a reason."""
    assert parse_policy('require_levels = ["AL1", "AL2", "AL3", "AL4"]').require_levels.levels == tuple(Level)
    assert parse_policy('require_levels = { unchecked = "a test" }').require_levels.levels == ()
    assert "reason" in problems('require_levels = ["AL1"]')
    assert "reason" in problems('require_levels = { levels = ["AL1"] }')
    assert "reason" in problems('require_levels = { levels = ["AL1"], reason = " " }')
    assert "require_levels" in problems('require_levels = { reason = "x" }')
    assert "require_levels" in problems("require_levels = 4")


@pytest.mark.parametrize(
    "line",
    [
        "unknown = 1",
        "name = 1",
        'name = ""',
        'name = "\\u202e"',
        f'name = "{"x" * 129}"',
        "products = []",
        'products = ["Rome"]',
        'products = ["Genoa", "Genoa"]',
        'products = "Genoa"',
        "products = [1]",
        "vmpl = 0",
        "vmpl = [4]",
        "vmpl = [true]",
        "vmpl = [-1]",
        'provisional_firmware = "no"',
        "provisional_firmware = 0",
        "measurements = []",
        'measurements = ["ab"]',
        f'measurements = ["{DIGEST.upper()}"]',
        f'measurements = ["{DIGEST}", "{DIGEST}"]',
        "minimum_guest_svn = 0",
        "minimum_guest_svn = -1",
        "minimum_guest_svn = 4294967296",
        "minimum_guest_svn = true",
        'minimum_guest_svn = "1"',
        "minimum_guest_svn = []",
        'chip_ids = ["00"]',
        "chip_ids = [1]",
        "max_crl_age_seconds = -1",
        "max_crl_age_seconds = 1e9",
        "max_crl_age_seconds = 99999999999",
        "require_host_data = 1",
        'require_levels = ["AL5"]',
        'require_levels = ["AL1", "AL1"]',
        "guest_policy = 1",
        'guest_policy.required = ["debugging"]',
        'guest_policy.required = "debug"',
        "guest_policy.required = [1]",
        "guest_policy.unknown = 1",
        'guest_policy = { required = ["debug"], forbidden = ["debug"] }',
        "guest_policy.unchecked = 1",
        'guest_policy.unchecked = { debug = "" }',
        'guest_policy.unchecked = { unknown = "x" }',
        'guest_policy = { unchecked = { debug = "x" }, forbidden = ["debug"] }',
        'guest_policy = { unchecked = { debug = "x" }, required = ["debug"] }',
        'guest_policy.minimum_abi = "1"',
        'guest_policy.minimum_abi = "1.256"',
        "guest_policy.minimum_abi = 1.51",
        'platform_info.required = ["smt"]',
        "platform_info.minimum_abi = 1",
        "minimum_tcb = {}",
        "minimum_tcb.Rome.snp = 1",
        "minimum_tcb.Genoa = 1",
        "minimum_tcb.Genoa.ucode = 1",
        "minimum_tcb.Genoa.snp = 256",
        "minimum_tcb.Genoa.snp = true",
        "minimum_tcb_of = {}",
        "minimum_tcb_of.latest.Genoa.snp = 1",
        "minimum_tcb_of.launch = {}",
        "minimum_tcb_of.launch.Rome.snp = 1",
        "minimum_firmware = {}",
        'minimum_firmware.Rome = "1.55.1"',
        "minimum_firmware.Genoa = 1",
        'minimum_firmware.Genoa = "1.55"',
        'minimum_firmware.Genoa = "1.55.256"',
        "closed_advisories = []",
        'closed_advisories = ["BadRAM"]',
        "closed_advisories = [1]",
        "launches = []",
        'launches = ["00"]',
        "launches = [1]",
        'host_data = ["00"]',
        'family_ids = ["00"]',
        'image_ids = ["00"]',
        'report_ids = ["00"]',
        "csp_ids = []",
        'csp_ids = [""]',
        'require_levels = { levels = ["AL1", "AL2", "AL3", "AL4"], at_rest = 1 }',
        'require_levels = { unchecked = "x", at_rest = "no" }',
        "mitigations.launch = 3",
        'mitigations.launch = "3"',
        'mitigations.launch = "0x1ffffffffffffffff"',
        "mitigations.later = 1",
    ],
)
def test_wrong_fields_are_named(line):
    """Anything that a field does not take is refused, and the field is named."""
    assert line.split(" ")[0].split(".")[0] in problems(line)


def test_all_problems_are_reported_at_once():
    """Who mends a policy does it in one go."""
    said = problems("unknown = 1\nvmpl = 7\nproducts = []\n")
    assert all(name in said for name in ("unknown", "vmpl", "products"))


@pytest.mark.parametrize("text", ["= 1", "a = ", "[[", "name = 'x'\nname = 'y'", "x = " + "[" * 5000, "a = 2026-13-01"])
def test_other_text_is_not_toml(text):
    """Whatever the text, the answer is a policy or a refusal of ours."""
    assert problems(text)


def test_documents_are_bounded():
    """A policy of megabytes is not read."""
    assert "want at most" in problems("#" * 262_145)


def test_digest_names_the_policy():
    """Equal policies have one digest, and any difference shows in it."""
    builtin = Policy.builtin()
    assert builtin.sha256 == parse_policy("").sha256
    for change in (
        {"name": "other"},
        {"open_guest_policy": {"debug": Unchecked("x")}},
        {"vmpl": (0, 1)},
        {"vmpl": Unchecked("x")},
        {"provisional_firmware": True},
        {"minimum_tcb": {"Genoa": {"snp": 1}}},
        {"mitigations": Mitigations(launch=1 << 63, current=0)},
        {"minimum_abi": AbiVersion(major=1, minor=0)},
        {"measurements": (bytes(48),)},
        {"guest_policy": BitDemand(required=0, forbidden=0)},
        {"max_crl_age_seconds": 1},
        {"require_levels": RequiredLevels(levels=(), at_rest=True, others=Unchecked("x"))},
    ):
        assert replace(builtin, **change).sha256 != builtin.sha256, change


def test_digest_of_the_default_is_a_vector():
    """The builtin policy's digest changes only when the policy or the format does (`docs/spec/appraisal.md`)."""
    assert Policy.builtin().sha256.hex() == "acdfbe863a92238939b35fa5e1e106c0509e49f6bc664be3d547e91a01236a89"


def test_policies_are_values():
    """Frozen to the inside: neither a field nor the minimum TCB can be changed afterwards."""
    least = {"Genoa": {"snp": 1}}
    policy = replace(Policy.builtin(), minimum_tcb=least)
    least["Genoa"]["snp"] = 0
    assert policy.minimum_tcb["Genoa"]["snp"] == 1
    with pytest.raises(TypeError):
        policy.minimum_tcb["Genoa"]["snp"] = 0
    with pytest.raises(FrozenInstanceError):
        policy.vmpl = (1,)


@pytest.mark.parametrize(
    "field",
    ["products", "vmpl", "measurements", "launches", "host_data", "id_key_digests", "chip_ids", "csp_ids"],
)
def test_empty_lists_are_a_mistake(field):
    """An empty list means neither nothing nor anything."""
    with pytest.raises(ValueError, match="accepts nothing"):
        replace(Policy.builtin(), **{field: ()})


@pytest.mark.parametrize("reason", ["", "  ", "a\x00b", "\u202e"])
def test_unchecked_needs_a_reason(reason):
    """Not checking says why, in text that can be shown."""
    with pytest.raises(ValueError, match="reason"):
        Unchecked(reason)


def test_other_values_have_no_form():
    """A policy holding something else is a mistake, not a digest."""
    with pytest.raises(TypeError, match="float"):
        replace(Policy.builtin(), max_crl_age_seconds=1.5).to_json()
