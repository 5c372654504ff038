"""Statements: one form, one key, one signature, and bound to one manifest and one guest."""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import AT, GUEST_SPKI_SHA256, NAMED, REPORT_ID, Document, World, party

from twocvm_verifier.errors import BindingError, MalformedError, SignatureError, TwoCvmError
from twocvm_verifier.manifest.statements import (
    Consent,
    Go,
    Statement,
    Withdraw,
    consents_digest,
    parse_statement,
    parse_statement_file,
    sign_statement,
    signed_bytes,
    verify_consent,
    verify_go,
    verify_withdraw,
)
from twocvm_verifier.strictjson import canonical

WORLD = World()
HASHES = st.binary(min_size=32, max_size=32)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0))
CONSENTS = st.builds(Consent, manifest=HASHES, participant=NAMES)
WITHDRAWALS = st.builds(Withdraw, manifest=HASHES, participant=NAMES, report_id=HASHES)
GOES = st.builds(
    Go,
    manifest=HASHES,
    participant=NAMES,
    report_id=HASHES,
    guest_spki_sha256=HASHES,
    at=TIMES,
    items=st.dictionaries(NAMES, HASHES, max_size=4),
)
BODIES = st.one_of(CONSENTS, GOES, WITHDRAWALS)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

STATEMENTS: dict[str, tuple[type[Consent | Go | Withdraw], Statement]] = {
    "consent": (Consent, WORLD.consent("hospital-a")),
    "go": (Go, WORLD.go("hospital-a")),
    "withdrawal": (Withdraw, WORLD.withdraw("hospital-a")),
}


def _go(statement: Statement) -> Go:
    return verify_go(statement, manifest=WORLD.manifest, report_id=REPORT_ID, guest_spki_sha256=GUEST_SPKI_SHA256)


VERIFY: dict[type[Consent | Go | Withdraw], Callable[[Statement], Consent | Go | Withdraw]] = {
    Consent: lambda statement: verify_consent(statement, WORLD.manifest),
    Go: _go,
    Withdraw: lambda statement: verify_withdraw(statement, manifest=WORLD.manifest, report_id=REPORT_ID),
}


@given(BODIES)
def test_round_trip(body: Consent | Go | Withdraw) -> None:
    """What is signed and written is read as the same statement."""
    statement = sign_statement(KEY, body)
    assert parse_statement_file(type(body), statement.to_bytes()) == statement


@given(st.sampled_from([Consent, Go, Withdraw]), st.binary(max_size=64))
def test_total_on_bytes(kind: type[Consent | Go | Withdraw], raw: bytes) -> None:
    """Any bytes give a statement or MalformedError."""
    with pytest.raises(MalformedError):
        parse_statement_file(kind, raw)


JSON = st.recursive(
    st.one_of(st.text(max_size=4), st.integers(-9, 9), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


@given(st.sampled_from(sorted(STATEMENTS)), st.data())
def test_total_on_changed_members(name: str, data: st.DataObject) -> None:
    """Any JSON in the place of a member gives a statement or MalformedError."""
    kind, statement = STATEMENTS[name]
    value: Document = dict(statement.to_json())  # type: ignore[arg-type]
    value[data.draw(st.sampled_from(sorted(value)))] = data.draw(JSON)
    try:
        parse_statement(kind, value)
    except MalformedError:
        return


@pytest.mark.parametrize("participant", NAMED)
def test_every_kind_of_key_verifies(participant: str) -> None:
    """Ed25519, P-256 and P-384 keys sign statements of all three kinds."""
    assert verify_consent(WORLD.consent(participant), WORLD.manifest).participant == participant
    go = _go(WORLD.go(participant))
    assert (go.at, dict(go.items)) == (AT, WORLD.commitments(participant))
    withdraw = verify_withdraw(WORLD.withdraw(participant), manifest=WORLD.manifest, report_id=REPORT_ID)
    assert withdraw.report_id == REPORT_ID


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("participant", NAMED)
def test_signatures_have_no_second_spelling(name: str, participant: str) -> None:
    """No bit of a signature can be flipped, no byte added or taken, and the high s is refused."""
    kind = STATEMENTS[name][0]
    statement = {
        Consent: lambda: WORLD.consent(participant),
        Go: lambda: WORLD.go(participant),
        Withdraw: lambda: WORLD.withdraw(participant),
    }[kind]()
    good = statement.signature
    half = len(good) // 2
    wrong = [good[:-1], good + b"\x00", b"", b"\x00" + good, bytes(len(good)), good[:half] + bytes(half)]
    wrong += [bytes(byte ^ (1 << bit if at == index else 0) for at, byte in enumerate(good)) for bit in (0, 7)
              for index in (0, half - 1, half, len(good) - 1)]  # fmt: skip
    orders = {
        32: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        48: int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    }
    if participant == "hospital-a":
        # Ed25519: s + L is the same scalar.
        high = int.from_bytes(good[half:], "little") + 2**252 + 27742317777372353535851937790883648493
        wrong.append(good[:half] + high.to_bytes(32, "little"))
    else:
        high = orders[half] - int.from_bytes(good[half:], "big")
        wrong.append(good[:half] + high.to_bytes(half, "big"))
    for signature in wrong:
        with pytest.raises(SignatureError) as refusal:
            VERIFY[kind](replace(statement, signature=signature))
        assert refusal.value.code == "STATEMENT_SIGNATURE"


@pytest.mark.parametrize("name", STATEMENTS)
def test_members_are_exactly_those_of_the_kind(name: str) -> None:
    """A further member and a missing one are refused, whichever it is."""
    kind, statement = STATEMENTS[name]
    value: Any = statement.to_json()
    for key in value:
        with pytest.raises(MalformedError):
            parse_statement(kind, {other: member for other, member in value.items() if other != key})
    with pytest.raises(MalformedError) as refusal:
        parse_statement(kind, {**value, "note": "x"})
    assert refusal.value.code == "MALFORMED_STATEMENT"


@pytest.mark.parametrize(("name", "other"), list(itertools.permutations(STATEMENTS, 2)))
def test_kinds_are_not_each_other(name: str, other: str) -> None:
    """A statement of one kind is none of another, by its members; and by its label, were its members the same."""
    statement = STATEMENTS[name][1]
    kind, example = STATEMENTS[other]
    with pytest.raises(MalformedError):
        parse_statement(kind, statement.to_json())
    assert _label(statement) != _label(example)
    with pytest.raises(TypeError):
        VERIFY[kind](statement)


def _label(statement: Statement) -> bytes:
    return signed_bytes(statement.body).partition(b"\x00")[0]


WRONG_MEMBERS = {
    "manifest in upper case": ("manifest", "AB" * 32),
    "manifest too short": ("manifest", "ab" * 31),
    "a name with a slash": ("participant", "hospital/a"),
    "a number for a name": ("participant", 1),
    "report id of nothing": ("report_id", ""),
    "a leaf of other length": ("guest_spki_sha256", "ab" * 33),
    "a day that never was": ("at", "2026-02-30T00:00:00Z"),
    "a time with a fraction": ("at", "2026-01-01T00:00:00.5Z"),
    "a time as a number": ("at", 1),
    "items as an array": ("items", []),
    "an item's name with dots": ("items", {"..": "ab" * 32}),
    "a commitment that is none": ("items", {"records-a": "ab"}),
    "a commitment as a number": ("items", {"records-a": 1}),
    "a padded key": ("key", "AAAA===="),
    "a key of nothing": ("key", ""),
    "a key that is none": ("key", "AAAA"),
    "a padded signature": ("signature", "AA=="),
    "a signature with spare bits": ("signature", "AB"),
}


@pytest.mark.parametrize(("member", "value"), WRONG_MEMBERS.values(), ids=WRONG_MEMBERS.keys())
def test_members_have_one_form(member: str, value: object) -> None:
    """A member in any form but its one is refused."""
    go: Any = STATEMENTS["go"][1].to_json()
    with pytest.raises(MalformedError) as refusal:
        parse_statement(Go, {**go, member: value}, pointer="/goes/0")
    assert refusal.value.field.startswith(f"/goes/0/{member}")


@pytest.mark.parametrize("raw", [b" ", b"\n"])
def test_files_are_canonical(raw: bytes) -> None:
    """A statement's file is its JCS and nothing after it."""
    good = STATEMENTS["go"][1].to_bytes()
    assert parse_statement_file(Go, good) == STATEMENTS["go"][1]
    with pytest.raises(MalformedError):
        parse_statement_file(Go, good + raw)


def test_a_consent_to_another_manifest() -> None:
    """A consent to one manifest is none to another, however alike they are."""
    with pytest.raises(BindingError) as refusal:
        verify_consent(World(participants=4).consent("hospital-a"), WORLD.manifest)
    assert refusal.value.code == "STATEMENT_OTHER_MANIFEST"


def test_a_consent_of_a_stranger() -> None:
    """Somebody whom the manifest does not name cannot agree to it."""
    statement = sign_statement(KEY, Consent(manifest=WORLD.manifest.hash, participant="stranger"))
    with pytest.raises(BindingError) as refusal:
        verify_consent(statement, WORLD.manifest)
    assert refusal.value.code == "STATEMENT_PARTICIPANT"


@pytest.mark.parametrize("key", ["another's consent key", "its own TLS key", "a new key"])
def test_a_key_that_is_not_the_participants(key: str) -> None:
    """Only the one consent key of the manifest signs for a participant: no other of its keys, and nobody else's."""
    wrong = {
        "another's consent key": party("hospital-b", "p256").consent_key,
        "its own TLS key": party("hospital-a").tls_key,
        "a new key": KEY,
    }[key]
    body = Consent(manifest=WORLD.manifest.hash, participant="hospital-a")
    with pytest.raises(BindingError) as refusal:
        verify_consent(sign_statement(wrong, body), WORLD.manifest)
    assert refusal.value.code == "STATEMENT_KEY"


@pytest.mark.parametrize("name", STATEMENTS)
def test_signed_bodies_cannot_change(name: str) -> None:
    """A body of which anything was changed after signing does not verify."""
    kind, statement = STATEMENTS[name]
    other = {"consent": "hospital-b", "go": "hospital-a", "withdrawal": "hospital-b"}[name]
    body: Any = replace(statement.body, participant=other)
    if isinstance(body, Go):
        body = replace(body, at=datetime(2026, 6, 1, 13, tzinfo=UTC))
    key = WORLD.consent(other)
    with pytest.raises(SignatureError):
        VERIFY[kind](replace(statement, body=body, key_spki_der=key.key_spki_der))


@pytest.mark.parametrize("change", ["report_id", "guest_spki_sha256"])
def test_a_go_for_another_guest(change: str) -> None:
    """A go for another launch, or for another key of the same launch, opens nothing here."""
    with pytest.raises(BindingError) as refusal:
        _go(WORLD.go("hospital-a", **{change: bytes(32)}))  # type: ignore[arg-type]
    assert refusal.value.code == "STATEMENT_OTHER_GUEST"


def test_a_withdrawal_from_another_guest() -> None:
    """A withdrawal from one launch ends no other."""
    with pytest.raises(BindingError) as refusal:
        VERIFY[Withdraw](WORLD.withdraw("hospital-a", report_id=bytes(32)))
    assert refusal.value.code == "STATEMENT_OTHER_GUEST"


@pytest.mark.parametrize("items", [{}, {"records-b": bytes(32)}, {"records-a": bytes(32), "step-0": bytes(32)}])
def test_a_go_has_exactly_its_owners_items(items: dict[str, bytes]) -> None:
    """A go that leaves an item out, adds one, or commits to another's, is refused."""
    with pytest.raises(BindingError) as refusal:
        _go(WORLD.go("hospital-a", items=items))
    assert refusal.value.code == "GO_ITEMS"


def test_a_go_commits_as_the_manifest_does() -> None:
    """Where the manifest states a commitment, a go that states another is refused."""

    def edit(document: Document) -> None:
        document["data"][0]["commitment"] = "05" * 32

    world = World(edit=edit)
    guest = {"manifest": world.manifest, "report_id": REPORT_ID, "guest_spki_sha256": GUEST_SPKI_SHA256}
    fits = world.go("hospital-a", items={"records-a": bytes([5]) * 32})
    assert verify_go(fits, **guest).participant == "hospital-a"  # type: ignore[arg-type]
    with pytest.raises(BindingError) as refusal:
        verify_go(world.go("hospital-a"), **guest)  # type: ignore[arg-type]
    assert refusal.value.code == "GO_COMMITMENT"


def test_items_of_a_go_cannot_change_later() -> None:
    """A go keeps its own copy of its items, and nobody can change it."""
    items = {"records-a": bytes(32)}
    go = Go(manifest=bytes(32), participant="a", report_id=bytes(32), guest_spki_sha256=bytes(32), at=AT, items=items)
    before = copy.deepcopy(dict(go.items))
    items["records-a"] = bytes([1]) * 32
    assert dict(go.items) == before
    with pytest.raises(TypeError):
        go.items["x"] = b""  # type: ignore[index]


def test_consents_digest() -> None:
    """The digest is over the array as it travels, keys and signatures included."""
    consents = WORLD.consents()
    travelling = canonical([consent.to_json() for consent in consents])
    assert consents_digest(consents) == hashlib.sha256(travelling).digest()


@given(st.sampled_from(sorted(STATEMENTS)), st.data())
def test_any_changed_byte_is_refused(name: str, data: st.DataObject) -> None:
    """No byte of a signed statement's file can be another and the statement still verify."""
    kind, statement = STATEMENTS[name]
    raw = bytearray(statement.to_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TwoCvmError):
        VERIFY[kind](parse_statement_file(kind, bytes(raw)))
