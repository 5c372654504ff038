"""Leaving something out never helps: no input is there whose absence turns a refusal into an acceptance.

Two things that come with evidence prove nothing and can only refuse: a chain, which is compared with the anchors, and a
revocation list beside one that is good enough already. For them the property is that evidence without them is accepted
only where it would be with the right ones.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.amd import AT, borrowed_names, extension, fake_amd
from tests.support.crls import ISSUER_SERIAL, crl_of
from tests.support.manifests import AT as SESSION_AT
from tests.support.manifests import World
from tests.support.sessions import PaperSession
from tests.support.simulated import lenient_policy, verifier_of

from twocvm_verifier import Policy, SnpVerifier, appraise_guest
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.manifest.platform import BitDemand, Mitigations, Platform
from twocvm_verifier.receipt_file import verify_receipt_file
from twocvm_verifier.snp.der import encode_integer
from twocvm_verifier.snp.revocation import PREFER, REQUIRE, Crls
from twocvm_verifier.strictjson import Json, canonical

AMD, FORGER, GENOA = fake_amd(), borrowed_names(), fake_amd("Genoa")
ROOTS = AMD.roots()
MANIFEST_HASH = b"\x01" * 32
BOUND = bytes(range(64))
DAY = timedelta(days=1)

# Each input of a judgement: the right one first, and then what may stand in its place; "" is that it is left out.
INPUTS: dict[str, dict[str, bytes]] = {
    "report": {
        "right": AMD.report(report_data=BOUND),
        "of another chip": AMD.report(report_data=BOUND, chip_id=bytes(64)),
        "of another session": AMD.report(),
        "of a debugged guest": AMD.report(report_data=BOUND, policy=0xB0000),
        "forged": FORGER.report(report_data=BOUND),
        "unsigned": AMD.report(report_data=BOUND, flags=7 << 2)[:0x2A0] + bytes(0x200),
        "": b"",
    },
    "vek": {
        "right": AMD.vcek(),
        "of another TCB": AMD.vcek(changed={"3.3": extension("3.3", encode_integer(3))}),
        "of an operator": AMD.vlek(),
        "forged": FORGER.vcek(),
        "": b"",
    },
    "chain": {"right": AMD.chain(), "of another product": GENOA.chain(), "forged": FORGER.chain(), "junk": b"x"},
    "crl": {
        "right": crl_of(AMD),
        "revoking": crl_of(AMD, number=9, revoked=(ISSUER_SERIAL,)),
        "ended": crl_of(AMD, this_update=AT - 99 * DAY, next_update=AT - DAY),
        "not begun": crl_of(AMD, this_update=AT + DAY),
        "of another product": crl_of(GENOA),
        "forged": crl_of(FORGER),
        "junk": b"x",
    },
}
OPTIONAL = ("chain", "crl")
NO_BITS = BitDemand(required=0, forbidden=0)
PLATFORM = Platform(
    measurements=(bytes(range(48)),),
    firmware_measurements=(),
    id_key_digests=(),
    author_key_digests=(),
    products=("Milan",),
    minimum_tcb={},
    guest_policy=NO_BITS,
    platform_info=NO_BITS,
    mitigations=Mitigations(launch=0, current=0),
    vmpl=0,
    chip_ids=(),
    operator="external",
    simulated=False,
    ledgers=(),
)
CHOICES = [
    dict(zip(INPUTS, names, strict=True))
    for names in product(*([*values, ""] if name in OPTIONAL else values for name, values in INPUTS.items()))
]


def released(chosen: dict[str, str], use: Crls) -> bool:
    """Whether something is released on the strength of these inputs; each judgement is a new verifier's."""
    return _released(*(INPUTS[name].get(value) for name, value in chosen.items()), use)


@cache
def _released(report: bytes, vek: bytes, chain: bytes | None, crl: bytes | None, use: Crls) -> bool:
    try:
        verified = SnpVerifier(roots=ROOTS, crls=use).verify(report, vek=vek, at=AT, chain=chain, crl=crl)
        appraise_guest(
            verified,
            policy=Policy.builtin(),
            platform=PLATFORM,
            manifest_hash=MANIFEST_HASH,
            report_data=BOUND,
            at=AT,
        ).require()
    except TwoCvmError:
        return False
    return True


@pytest.mark.parametrize("use", [PREFER, REQUIRE], ids=["prefer", "require"])
def test_only_the_right_inputs_release(use: Crls):
    """Of all combinations, those with every input right are accepted, with the chain or without it, and no others."""
    accepted = [chosen for chosen in CHOICES if released(chosen, use)]
    right = dict.fromkeys(INPUTS, "right")
    assert accepted == [right, right | {"chain": ""}]


@pytest.mark.parametrize("use", [PREFER, REQUIRE], ids=["prefer", "require"])
@pytest.mark.parametrize("left_out", INPUTS)
def test_leaving_an_input_out_never_releases(left_out: str, use: Crls):
    """What is released without an input is released with the right one in its place; so absence proves nothing."""
    for chosen in CHOICES:
        if released(chosen | {left_out: ""}, use):
            assert released(chosen | {left_out: "right"}, use)
            assert left_out == "chain", "nothing but the chain, which is only compared, may be left out"


WORLD = World()
SESSION = PaperSession(WORLD)
VERIFIER = verifier_of(SESSION.platform)
DOCUMENT: dict[str, Json] = json.loads(SESSION.file("analytics").encode())
CHAIN = ("evidence", "chain")
Path = tuple[str | int, ...]


def places(value: Json, at: Path = ()) -> Iterator[Path]:
    """Return where every member and every element of `value` stands."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in pairs:
        yield (*at, key)
        yield from places(member, (*at, key))


# The owner's policy is in the file for the record alone, and decides nothing.
PLACES = [path for path in places(DOCUMENT) if path[0] != "policy" or len(path) == 1]


def parent(document: Json, path: Path) -> dict | list | None:
    """Return what the last step of `path` leads out of, or None where it is not there any more."""
    for step in path[:-1]:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document if isinstance(document, (dict, list)) else None


def without(paths: list[Path]) -> Json:
    """Return the receipt file without what stands at `paths`."""
    document = copy.deepcopy(DOCUMENT)
    for path in sorted(paths, key=str, reverse=True):
        holder = parent(document, path)
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
        elif holder is not None and isinstance(path[-1], int) and path[-1] < len(holder):
            del holder[path[-1]]
    return document


def accepted(document: Json) -> bool:
    """Whether a judge accepts the receipt."""
    try:
        verify_receipt_file(
            canonical(document), manifest=WORLD.manifest.hash, policy=lenient_policy(), verifier=VERIFIER, at=SESSION_AT
        )
    except TwoCvmError:
        return False
    return True


def test_any_one_thing_left_out_of_a_receipt_file_refuses_it():
    """Every member and every element, at every depth, is needed; but the chain, which the judge's roots replace."""
    assert accepted(DOCUMENT)
    assert [path for path in PLACES if accepted(without([path]))] == [CHAIN]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(PLACES), min_size=1, max_size=6, unique=True))
def test_leaving_more_out_of_a_receipt_file_never_helps(paths: list[Path]):
    """What lacks several things is refused as what lacks one of them: nothing becomes consistent by lacking more."""
    assert accepted(without(paths)) == (paths == [CHAIN])


# The same participants under the same manifest, in another guest.
FOREIGN: dict[str, Json] = json.loads(PaperSession(WORLD).file("analytics").encode())


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["goes", "guest_spki", "log", "receipt"]), st.sampled_from(PLACES))
def test_a_part_of_another_session_is_not_hidden_by_leaving_something_out(part: str, path: Path):
    """What another guest said stays refused, whatever else is left out beside it."""
    document = without([path])
    document[part] = FOREIGN[part]
    assert not accepted(document)
