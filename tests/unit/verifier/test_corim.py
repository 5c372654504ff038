"""CoRIM: what a policy demands of it, what is said aloud, and what is no CoRIM at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, CHIP_ID
from tests.support.corims import (
    BY_CHIP,
    BY_CSP,
    VERAISON,
    comid,
    corim,
    digest,
    raw_value,
    signed,
    svn,
    triple,
    version,
)
from tests.support.manifests import MEASUREMENT

from twocvm_verifier import Policy, Unchecked, strictcbor, strictjson
from twocvm_verifier.corim import ReferenceValues, Trusted, Unsigned, parse_reference_values, trust_of
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.manifest.platform import BitDemand
from twocvm_verifier.policy.reference import parse_values, with_values
from twocvm_verifier.snp.launch import LaunchPrefix

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_384 = ec.generate_private_key(ec.SECP384R1())
OTHER = b"o" * 48
# SMT allowed, bit 17, ABI 1.51.
POLICY = 0x30133
LEAST = 0xDB18000000000004


def pem(key: Any) -> bytes:
    """Return a key's public half as a file has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read(raw: bytes, *, reason: str = "", trust: Any = None) -> ReferenceValues:
    """Return what some bytes come to."""
    return parse_reference_values(raw, trust=trust or Unsigned(), open_reason=reason)


def values(*triples: Any, reason: str = "", **members: Any) -> dict[str, Any]:
    """Return the values of a CoRIM of these triples."""
    return dict(read(corim(*triples, **members), reason=reason).values)


def code_of(raw: bytes, **how: Any) -> str:
    """Return the code of the refusal of some bytes."""
    with pytest.raises(TwoCvmError) as refused:
        read(raw, **how)
    return refused.value.code


def test_a_measurement():
    """The least that a CoRIM says: which guest."""
    assert values(triple({641: digest()})) == {"measurements": (MEASUREMENT,)}


@pytest.mark.parametrize(
    ("mkey", "value", "field", "expected"),
    [
        (3, raw_value(b"f" * 16), "family_ids", (b"f" * 16,)),
        (4, raw_value(b"i" * 16), "image_ids", (b"i" * 16,)),
        (5, {15: 1}, "vmpl", (1,)),
        (5, raw_value(b"\x02\x00\x00\x00"), "vmpl", (2,)),
        (642, digest(b"h" * 32), "host_data", (b"h" * 32,)),
        (643, digest(b"k" * 48), "id_key_digests", (b"k" * 48,)),
        (644, digest(b"a" * 48), "author_key_digests", (b"a" * 48,)),
        (645, raw_value(b"r" * 32), "report_ids", (b"r" * 32,)),
        (3328, raw_value(CHIP_ID), "chip_ids", (CHIP_ID,)),
        (3328, raw_value(CHIP_ID[:8]), "chip_ids", (CHIP_ID[:8] + bytes(56),)),
    ],
)
def test_fields_of_a_report(mkey, value, field, expected):
    """Each number is the field that the profile says."""
    assert values(triple({mkey: value})) == {field: expected}


def test_bits_that_must_be_as_they_are():
    """Without a mask every bit with a name is demanded as it stands; the ABI version is said not to be."""
    raw = corim(triple({2: raw_value(POLICY.to_bytes(8, "little"))}))
    assert code_of(raw) == "CORIM_NOT_JUDGED"
    found = read(raw, reason="any ABI").values["guest_policy"]
    assert (found.required, found.forbidden & 1 << 19) == (1 << 16, 1 << 19)


def test_bits_under_a_mask():
    """What the mask leaves out is left open, but for what the built-in policy forbids."""
    value, mask = (1 << 20).to_bytes(8, "little"), (1 << 20 | 1 << 16).to_bytes(8, "little")
    found = values(triple({2: raw_value(value, mask)}))["guest_policy"]
    assert found == BitDemand(required=1 << 20, forbidden=1 << 16 | 1 << 18 | 1 << 19)
    info = values(triple({7: raw_value(b"\x01" + bytes(7), b"\x03" + bytes(7))}))["platform_info"]
    assert info == BitDemand(required=1, forbidden=2)


def test_bits_without_a_name():
    """What a later firmware may mean is said, never dropped."""
    raw = corim(triple({7: raw_value((1 << 40).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little"))}))
    assert "have no name here" in read(raw, reason="known to us").unread[0]


def test_veraison_turns_the_bytes_around():
    """What its services publish under the older name has numbers in big endian."""
    turned = triple({2: raw_value((POLICY & ~0xFFFF).to_bytes(8, "big")), 5: raw_value(b"\x00\x00\x00\x01")})
    found = values(turned, profile=VERAISON)
    assert (found["guest_policy"].required, found["vmpl"]) == (1 << 16, (1,))
    assert code_of(corim(turned)) == "MALFORMED_CORIM"


def test_least_security_versions():
    """Each component is a least one, for each product whose layout the number has."""
    found = values(triple({647: svn(LEAST)}))["minimum_tcb_of"]["reported"]
    least = {"bootloader": 4, "snp": 24, "microcode": 219}
    assert dict(found) == {"Milan": least, "Genoa": least}
    assert set(values(triple({6: svn(0)}))["minimum_tcb_of"]["current"]) == {"Milan", "Genoa", "Turin"}


def test_a_product_by_its_cpuid():
    """Family and model name the product, and its layout is the only one."""
    raw = corim(triple({648: {15: 0x1A}, 649: {15: 2}, 3968: svn(0x01020304)}))
    found = read(raw).values
    assert found["products"] == ("Turin",)
    assert dict(found["minimum_tcb_of"]["launch"]) == {"Turin": {"fmc": 4, "bootloader": 3, "tee": 2, "snp": 1}}


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({641: digest(), 647: svn(LEAST, exact=True)}, "reported TCB (mkey 647) is asked as the least one"),
        ({641: digest(), 647: {1: LEAST}}, "reported TCB (mkey 647) is asked as the least one"),
        ({641: digest(), 3330: version("1.55.8")}, "firmware (mkey 3330, 3936) is asked as the least one"),
        ({641: digest(), 640: raw_value(bytes(64))}, "REPORT_DATA"),
        ({641: digest(), 1: svn(3)}, "GUEST_SVN (mkey 1) is not asked: no key"),
        ({641: digest(), 643: digest(bytes(48)), 1: svn(3)}, "GUEST_SVN (mkey 1) is not asked: no key"),
        ({643: digest(OTHER), 1: svn(3, exact=True)}, "GUEST_SVN (mkey 1) is asked as the least one"),
        ({643: digest(OTHER), 1: {1: 3}}, "GUEST_SVN (mkey 1) is asked as the least one"),
        ({643: digest(OTHER), 1: svn(0, exact=True)}, "that GUEST_SVN (mkey 1) is 0 is not asked"),
        ({641: digest(), 9999: svn(3)}, "a field (mkey 9999)"),
        ({641: digest() | {11: "name"}}, "mkey 641 has a value 11"),
        ({641: digest(), 648: {15: 0x19}}, "stands alone"),
    ],
)
def test_what_is_not_judged_as_it_is_named_is_said(measured, said):
    """It is refused with all of it in words, and read only for who gives a reason."""
    raw = corim(triple(measured))
    with pytest.raises(TwoCvmError) as refused:
        read(raw)
    assert (refused.value.code, said in refused.value.detail) == ("CORIM_NOT_JUDGED", True)
    found = read(raw, reason="we looked at it")
    assert [said in each for each in found.unread] == [True]
    assert json.loads(found.raw)["open"] == "we looked at it"


def test_versions_of_the_firmware():
    """Of the running and the committed one the lower is demanded."""
    found = values(triple({3330: version("1.55.8"), 3936: version("1.54.9")}), reason="least is enough")
    assert {str(each) for each in found["minimum_firmware"].values()} == {"1.54.9"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (corim(triple({641: digest()}), _2=["x"]), "other CoRIMs"),
        (corim(triple({641: digest()}), _9=1), "member 9"),
        (corim(tags=[CBORTag(506, comid(triple({641: digest()}))), CBORTag(505, b"swid")]), "tag 505"),
        (corim(tags=[CBORTag(506, comid(triple({641: digest()}), _3=[]))]), "member 3"),
        (corim(tags=[CBORTag(506, comid(_4={0: [triple({641: digest()})], 3: []}))]), "kind 3"),
        (corim(triple({641: digest()}, group="lab")), "an environment has a member 2"),
        (corim(triple({641: digest()}, instance=CBORTag(560, b"x" * 40))), "no CHIP_ID"),
        (corim(triple({5: {15: 0}}, instance=CBORTag(560, MEASUREMENT))), "no CHIP_ID"),
        (corim([triple({641: digest()})[0], [{0: 641, 1: digest(), 2: []}]]), "a member 2"),
        (corim([triple({})[0], [{0: 641, 1: digest()}, {1: {3: {3: False}}}]]), "no key"),
        (corim([triple({})[0], [{0: 641, 1: digest()}, {0: "641", 1: digest()}]]), "key is no number"),
    ],
)
def test_what_else_a_corim_names_is_said(raw, said):
    """Nothing is passed over in silence, wherever it stands."""
    assert code_of(raw) == "CORIM_NOT_JUDGED"
    assert any(said in each for each in read(raw, reason="known").unread)


def test_whose_chip_or_provider():
    """The instance of an environment is a chip, or the provider of a VLEK."""
    found = values(triple({641: digest()}, instance=CBORTag(560, CHIP_ID)))
    assert found["chip_ids"] == (CHIP_ID,)
    found = values(triple({641: digest()}, class_id=BY_CSP, instance=CBORTag(560, b"acme")))
    assert found == {"csp_ids": ("acme",), "firmware_measurements": (MEASUREMENT,)}
    # Veraison's services find a triple by its measurement.
    assert "chip_ids" not in values(triple({641: digest()}, instance=CBORTag(560, MEASUREMENT)))
    assert values(triple({641: digest()}, class_id=b"\x06\x09" + BY_CHIP)) == {"measurements": (MEASUREMENT,)}
    same = triple({3328: raw_value(CHIP_ID)}, instance=CBORTag(560, CHIP_ID))
    assert values(same) == {"chip_ids": (CHIP_ID,)}


@pytest.mark.parametrize(("mkey", "field"), [(643, "id_key_digests"), (644, "author_key_digests")])
def test_least_version_of_who_signed(mkey, field):
    """GUEST_SVN is demanded where the triple names who signs, which says which image it is a version of."""
    signed_by = {mkey: digest(b"k" * 48), 1: svn((1 << 32) - 1)}
    found = values(triple(signed_by))
    assert found == {field: (b"k" * 48,), "minimum_guest_svn": (1 << 32) - 1}
    policy = read(corim(triple(signed_by))).on(Policy.builtin(), at=AT)
    assert policy.minimum_guest_svn == (1 << 32) - 1
    # The least of all is met by every guest, so nothing is left open.
    assert "minimum_guest_svn" not in values(triple({641: digest(), 1: svn(0)}))


def test_version_of_a_providers_firmware_claims_no_image():
    """What a provider has signed is its firmware: its GUEST_SVN would prove an image where nobody names MEASUREMENT."""
    raw = corim(triple({643: digest(b"k" * 48), 1: svn(3)}, class_id=BY_CSP))
    assert code_of(raw) == "CORIM_NOT_JUDGED"
    assert "minimum_guest_svn" not in read(raw, reason="known").values


def test_versions_that_differ_are_alternatives():
    """Two images of one signer with a least version each are no list, so one policy cannot say them."""
    signed_by = digest(b"k" * 48)
    one = triple({643: signed_by, 4: raw_value(b"a" * 16), 1: svn(1)})
    other = triple({643: signed_by, 4: raw_value(b"b" * 16), 1: svn(2)})
    assert code_of(corim(one, other)) == "CORIM_ALTERNATIVES"


def test_alternatives_in_one_list():
    """Guests that differ in one list are one policy; so is the same said twice."""
    both = values(triple({641: digest(), 5: {15: 0}}), triple({641: digest(OTHER), 5: {15: 0}}))
    assert both == {"measurements": (MEASUREMENT, OTHER), "vmpl": (0,)}
    assert values(triple({641: digest()}), triple({641: digest()})) == {"measurements": (MEASUREMENT,)}


@pytest.mark.parametrize(
    "second",
    [
        {641: digest(OTHER), 5: {15: 1}},
        {641: digest(OTHER)},
        {641: digest(), 5: {15: 0}, 647: svn(1)},
    ],
)
def test_alternatives_that_would_mix(second):
    """Where triples differ in more, half of one and half of another would be accepted; so they are refused."""
    raw = corim(triple({641: digest(), 5: {15: 0}}), triple(second))
    assert code_of(raw) == "CORIM_ALTERNATIVES"


NOT_CORIM: dict[str, bytes] = {
    "empty": b"",
    "no tag": cbor2.dumps({1: []}),
    "another tag": cbor2.dumps(CBORTag(502, {1: []})),
    "no map": cbor2.dumps(CBORTag(501, [])),
    "no tags": corim(triple({641: digest()}), _1=None),
    "empty tags": corim(triple({641: digest()}), _1=[]),
    "tags without tags": corim(tags=[b"x"]),
    "a tag of no bytes": corim(tags=[CBORTag(506, "x")]),
    "no comid": corim(tags=[CBORTag(505, b"x")]),
    "a comid that is no map": corim(tags=[CBORTag(506, b"\x80")]),
    "no triples": corim(tags=[CBORTag(506, comid(_4=[]))]),
    "triples of no array": corim(tags=[CBORTag(506, comid(_4={0: 1}))]),
    "too many triples": corim(tags=[CBORTag(506, comid(_4={0: [1] * 1025}))]),
    "a triple of three": corim([{}, [], 1]),
    "no reference value": corim(),
    "a triple of nothing": corim(triple({})),
    "measurement of no map": corim([triple({})[0], [{0: 641, 1: 3}]]),
    "twice one number": corim([triple({})[0], [{0: 641, 1: digest()}, {0: 641, 1: digest(OTHER)}]]),
    "no class": corim([{}, []]),
    "another class": corim(triple({641: digest()}, class_id=b"\x2a")),
    "a class of no bytes": corim([{0: {0: CBORTag(111, "x")}}, []]),
    "more of a class": corim([{0: {0: CBORTag(111, BY_CHIP), 1: "AMD"}}, []]),
    "an instance of no bytes": corim(triple({641: digest()}, instance=b"x")),
    "a provider of no text": corim(triple({641: digest()}, class_id=BY_CSP, instance=CBORTag(560, b"\xff"))),
    "a short digest": corim(triple({641: digest(b"x" * 47)})),
    "two digests": corim(triple({641: {2: [[7, MEASUREMENT], [1, MEASUREMENT]]}})),
    "no digest": corim(triple({641: {}})),
    "no bytes": corim(triple({3: {4: b"f" * 16}})),
    "too few bytes": corim(triple({3: raw_value(b"f" * 15)})),
    "two chips": corim(triple({3328: raw_value(bytes(range(64)))}, instance=CBORTag(560, CHIP_ID))),
    "a long chip": corim(triple({3328: raw_value(b"x" * 65)})),
    "a vmpl of text": corim(triple({5: {15: "0"}})),
    "a vmpl of four": corim(triple({5: {15: 4}})),
    "a truth for a number": corim(triple({5: {15: True}})),
    "another order": corim(triple({2: raw_value(POLICY.to_bytes(8, "big"))})),
    "no product": corim(triple({648: {15: 1}, 649: {15: 1}})),
    "a simulated product": corim(triple({648: {15: 0}, 649: {15: 0}})),
    "no security version": corim(triple({647: {1: "1"}})),
    "a long security version": corim(triple({647: {1: CBORTag(553, 1 << 64)}})),
    "a security version of no layout": corim(triple({647: svn((1 << 64) - 1)})),
    "a guest's version of text": corim(triple({643: digest(OTHER), 1: {1: "1"}})),
    "a guest's version beyond its bits": corim(triple({641: digest(), 1: svn(1 << 32)})),
    "a security version of another tag": corim(triple({647: {1: CBORTag(554, 1)}})),
    "a truth for a version": corim(triple({647: {1: CBORTag(553, True)}})),
    "no version": corim(triple({3330: {0: "1.2.3"}})),
    "a version of two": corim(triple({3330: version("1.55")})),
    "a version beyond a byte": corim(triple({3330: version("1.55.256")})),
    "no validity": corim(triple({641: digest()}), _4=1),
    "a validity without end": corim(triple({641: digest()}), _4={0: CBORTag(1, 1)}),
    "a time of no tag": corim(triple({641: digest()}), _4={1: 5}),
    "a time of text": corim(triple({641: digest()}), _4={1: CBORTag(1, "x")}),
    "a time beyond all": corim(triple({641: digest()}), _4={1: CBORTag(1, 1 << 60)}),
    "a truth for a time": corim(triple({641: digest()}), _4={1: CBORTag(1, True)}),
    "cose of three": cbor2.dumps(CBORTag(18, [b"", {}, b""])),
    "cose of no header": cbor2.dumps(CBORTag(18, [b"\x80", {}, b"", b""])),
    "cose that demands more": signed(corim(triple({641: digest()})), KEY, protected={1: -7, 2: [9]}),
}


@pytest.mark.parametrize("raw", NOT_CORIM.values(), ids=NOT_CORIM.keys())
def test_what_is_no_corim(raw):
    """Whatever is wrong is malformed, a reason for leaving things open or not."""
    trust = trust_of([pem(KEY)])
    with pytest.raises(MalformedError) as refused:
        parse_reference_values(raw, trust=trust, open_reason="any")
    assert refused.value.code in ("MALFORMED_CORIM", "MALFORMED_REFERENCE_VALUES")


@pytest.mark.parametrize("profile", [None, CBORTag(32, "tag:example.com,2026:x"), "x", [CBORTag(32, "a")] * 2, 7])
def test_other_profiles_may_mean_anything(profile):
    """Without a known profile nothing is read."""
    assert code_of(corim(triple({641: digest()}), _3=profile)) == "CORIM_PROFILE"


def test_a_profile_in_a_list():
    """Earlier drafts have a list of one."""
    assert values(triple({641: digest()}), _3=[CBORTag(32, VERAISON)])


@pytest.mark.parametrize("key", [KEY, KEY_384], ids=["ES256", "ES384"])
def test_a_signature_of_who_is_trusted(key):
    """It counts under the caller's keys, whichever of them it is."""
    raw = signed(corim(triple({641: digest()})), key)
    assert read(raw, trust=trust_of([pem(KEY), pem(KEY_384)])).values == {"measurements": (MEASUREMENT,)}


@pytest.mark.parametrize(
    ("raw", "trust"),
    [
        (signed(corim(triple({641: digest()})), KEY), Unsigned()),
        (signed(corim(triple({641: digest()})), KEY), Trusted(keys=(KEY_384.public_key(),))),
        (signed(corim(triple({641: digest()})), KEY, protected={}), Trusted(keys=(KEY.public_key(),))),
        (signed(corim(triple({641: digest()})), KEY, protected={1: -35}), Trusted(keys=(KEY.public_key(),))),
        (signed(corim(triple({641: digest()})), KEY)[:-1] + b"\x00", Trusted(keys=(KEY.public_key(),))),
        (
            cbor2.dumps(CBORTag(18, [cbor2.dumps({1: -7}), {}, corim(triple({641: digest()})), b"short"])),
            Trusted(keys=(KEY.public_key(),)),
        ),
    ],
    ids=["nobody", "another key", "no algorithm", "another algorithm", "changed", "short"],
)
def test_a_signature_of_somebody_else(raw, trust):
    """Who is not trusted vouches for nothing, whatever the header says."""
    if raw.endswith(b"\x00"):
        raw = raw[:-1] + bytes([signed(b"", KEY)[-1] ^ 1])
    assert code_of(raw, trust=trust) == "CORIM_UNTRUSTED"


@pytest.mark.parametrize(
    "bad", [b"no key", pem(ed25519.Ed25519PrivateKey.generate()), pem(ec.generate_private_key(ec.SECP521R1()))]
)
def test_keys_that_sign_no_corim(bad):
    """Only the two curves, in PEM."""
    with pytest.raises(MalformedError):
        trust_of([bad])


def test_no_key_is_trust_in_nobody():
    """Without keys signed CoRIMs are refused."""
    assert trust_of([]) == Unsigned()


def test_reference_values_end():
    """Before and after its time a CoRIM counts for nothing; at its ends it does."""
    begin, end = AT - timedelta(days=1), AT + timedelta(days=1)
    times = {0: CBORTag(1, int(begin.timestamp())), 1: CBORTag(1, int(end.timestamp()))}
    found = read(corim(triple({641: digest()}), _4=times))
    for at in (begin, end):
        assert found.on(Policy.builtin(), at=at).measurements == (MEASUREMENT,)
    for at in (begin - timedelta(seconds=1), end + timedelta(seconds=1)):
        with pytest.raises(TwoCvmError) as ended:
            found.on(Policy.builtin(), at=at)
        assert ended.value.code == "REFERENCE_VALUES_ENDED"
    only_end = read(corim(triple({641: digest()}), _4={1: times[1]}))
    assert only_end.not_before == datetime(1970, 1, 1, tzinfo=UTC)


def test_values_written_out():
    """Who has no CoRIM writes the same fields; the digest names the document, whatever its spelling."""
    raw = json.dumps({"values": {"measurements": [MEASUREMENT.hex()]}}).encode()
    found = read(raw)
    assert found.values == {"measurements": (MEASUREMENT,)}
    assert read(b" " * 0 + strictjson.canonical(json.loads(raw))).sha256 == found.sha256
    assert found.on(Policy.builtin(), at=AT) == replace(Policy.builtin(), measurements=(MEASUREMENT,))


def test_a_corim_in_a_document():
    """It is the same as the bare one, and named by the same digest."""
    bare = read(corim(triple({641: digest()})))
    assert read(bare.raw).sha256 == bare.sha256


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"values": {}},
        {"values": []},
        {"values": {"name": "x"}},
        {"values": {"measurements": []}},
        {"values": {"measurements": {"unchecked": "why"}}},
        {"values": {"guest_policy": {"required": [], "minimum_abi": "1.51"}}},
        {"values": {"guest_policy": {"unchecked": {"debug": "why"}}}},
        {"values": {"vmpl": [0]}, "more": 1},
        {"corim": 1},
        {"corim": "!"},
        {"corim": strictjson.base64url(corim(triple({641: digest()}))), "open": " "},
        {"corim": strictjson.base64url(corim(triple({641: digest()}))), "open": "x" * 1025},
    ],
)
def test_documents_that_are_no_reference_values(document):
    """Nothing is left open by a reference value, and nothing unknown is passed over."""
    raw = json.dumps(document).encode()
    assert code_of(raw if raw[:1] == b"{" else b'{"values":' + raw + b"}") == "MALFORMED_REFERENCE_VALUES"


def test_values_only_narrow_a_policy():
    """What both name is what stands in both, bits add up, and an open bit that is demanded is open no more."""
    mine = replace(
        Policy.builtin(),
        measurements=(MEASUREMENT, OTHER),
        open_guest_policy={"smt": Unchecked("ours"), "cxl_allow": Unchecked("ours")},
    )
    theirs = parse_values({"measurements": [OTHER.hex()], "guest_policy": {"required": ["smt"]}, "vmpl": [0]})
    both = with_values(mine, theirs)
    assert (both.measurements, both.vmpl, list(both.open_guest_policy)) == ((OTHER,), (0,), ["cxl_allow"])
    assert both.guest_policy.required == 1 << 16
    assert both.guest_policy.forbidden == mine.guest_policy.forbidden
    assert with_values(both, theirs) == both


def test_advisories_of_both_must_be_closed():
    """A list of what must all hold grows, where one of what is accepted shrinks."""
    mine = replace(Policy.builtin(), closed_advisories=("a", "b"))
    assert with_values(mine, parse_values({"closed_advisories": ["b", "c"]})).closed_advisories == ("a", "b", "c")


LAUNCH = LaunchPrefix(digest=b"d" * 48, first_vcpu=b"f" * 48, other_vcpu=b"o" * 48)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"measurements": (MEASUREMENT,)}, {"launches": [str(LAUNCH)]}),
        ({"measurements": (MEASUREMENT,)}, {"measurements": [MEASUREMENT.hex()], "launches": [str(LAUNCH)]}),
        ({"launches": (LAUNCH,)}, {"firmware_measurements": [OTHER.hex()]}),
        ({"firmware_measurements": (OTHER,)}, {"measurements": [MEASUREMENT.hex()]}),
        ({"measurements": (MEASUREMENT,), "launches": (LAUNCH,)}, {"measurements": [MEASUREMENT.hex()]}),
    ],
)
def test_values_add_no_list_of_measurements(mine, theirs):
    """Of the lists of MEASUREMENT one is enough, so another beside the policy's would accept what it refuses."""
    with pytest.raises(TwoCvmError) as refused:
        with_values(replace(Policy.builtin(), **mine), parse_values(theirs))
    assert refused.value.code == "REFERENCE_VALUES_CONFLICT"
    assert with_values(Policy.builtin(), parse_values(theirs)) != Policy.builtin()


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"measurements": (MEASUREMENT,)}, {"measurements": [OTHER.hex()]}),
        ({}, {"vmpl": [1]}),
        ({}, {"guest_policy": {"required": ["debug"]}}),
        ({"minimum_tcb": {"Milan": {"snp": 3}}}, {"minimum_tcb": {"Milan": {"snp": 2}}}),
    ],
)
def test_values_that_no_guest_could_meet(mine, theirs):
    """They are refused, rather than one put in the place of the other."""
    with pytest.raises(TwoCvmError) as refused:
        with_values(replace(Policy.builtin(), **mine), parse_values(theirs))
    assert refused.value.code == "REFERENCE_VALUES_CONFLICT"


TAGGED = st.recursive(
    st.integers(-(1 << 64), (1 << 64) - 1) | st.booleans() | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-100, 1000) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(TAGGED)
def test_numbers_and_truths_are_read_again(value):
    """What a general encoder writes in its shortest form is read as it was."""
    assert strictcbor.parse_tagged(cbor2.dumps(value), document="corim", max_bytes=10_000) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_tagged_values_or_malformed(raw):
    """Reading is total."""
    try:
        strictcbor.parse_tagged(raw, document="corim", max_bytes=199)
    except MalformedError:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"\xf6",
        b"\xf9\x3c\x00",
        b"\xf8\x14",
        b"\x18\x17",
        b"\x19\x00\xff",
        b"\x1b" + bytes(8),
        b"\x9f\xff",
        b"\xa1\xf5\x00",
        b"\xa2\x01\x00\x01\x00",
        b"\xa1\x80\x00",
        b"\x01\x01",
        b"\x81" * 20 + b"\x01",
        b"\xc1" * 20 + b"\x01",
        b"\x01" * 2000,
    ],
)
def test_other_spellings_and_kinds(raw):
    """One spelling for each number, no floats, no null, keys once, an end."""
    with pytest.raises(MalformedError):
        strictcbor.parse_tagged(raw, document="corim", max_bytes=1000)
