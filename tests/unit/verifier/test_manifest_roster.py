"""Exactly one statement for each participant, or none counts."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from tests.support.manifests import GUEST_SPKI_SHA256, REPORT_ID, Document, World, party

from twocvm_verifier.errors import BindingError, MalformedError, SignatureError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Roster, parse_statements, verify_consents, verify_roster
from twocvm_verifier.manifest.statements import Consent, Go, Statement, sign_go
from twocvm_verifier.strictjson import canonical

WORLD = World()


def _roster(goes: tuple[Statement, ...], manifest: Manifest = WORLD.manifest) -> Roster:
    return verify_roster(goes, manifest=manifest, report_id=REPORT_ID, guest_spki_sha256=GUEST_SPKI_SHA256)


def test_complete_consents() -> None:
    """The consents of all participants are accepted as they travelled."""
    consents = verify_consents(WORLD.consents(), WORLD.manifest)
    assert consents.statements == WORLD.consents()
    travelling = canonical([consent.to_json() for consent in WORLD.consents()])
    assert consents.digest == hashlib.sha256(travelling).digest()


def test_complete_roster() -> None:
    """The goes of all participants are a roster in any order, with one digest."""
    goes = WORLD.goes()
    roster = _roster(goes)
    assert roster == _roster(goes[::-1])
    assert roster.statements == goes
    bodies = canonical([go.object for go in goes])
    assert roster.digest == hashlib.sha256(b"2cvm.roster.v1\x00" + bodies).digest()
    assert dict(roster.go_of("hospital-a").items) == WORLD.commitments("hospital-a")
    with pytest.raises(KeyError):
        roster.go_of("stranger")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_short(missing: int) -> None:
    """Whoever is missing, nothing is complete."""
    consents, goes = WORLD.consents(), WORLD.goes()
    with pytest.raises(BindingError) as refusal:
        verify_consents(consents[:missing] + consents[missing + 1 :], WORLD.manifest)
    assert refusal.value.code == "CONSENTS_INCOMPLETE"
    with pytest.raises(BindingError) as refusal:
        _roster(goes[:missing] + goes[missing + 1 :])
    assert refusal.value.code == "ROSTER_MISMATCH"


@pytest.mark.parametrize("statements", [(), (0, 0, 1), (0, 0, 1, 2), (0, 2, 1)])
def test_nobody_doubled_and_consents_sorted(statements: tuple[int, ...]) -> None:
    """Doubling one participant does not stand for another, nor beside all of them; consents are sorted."""
    consents = tuple(WORLD.consents()[index] for index in statements)
    with pytest.raises(BindingError) as refusal:
        verify_consents(consents, WORLD.manifest)
    assert refusal.value.code == "CONSENTS_INCOMPLETE"
    goes = tuple(WORLD.goes()[index] for index in statements)
    if set(statements) == {0, 1, 2} and len(statements) == 3:
        _roster(goes)
    else:
        with pytest.raises(BindingError) as refusal:
            _roster(goes)
        assert refusal.value.code == "ROSTER_MISMATCH"


def test_padded_with_a_stranger() -> None:
    """A go of somebody whom the manifest does not name is refused, even beside all the others."""
    stranger = party("stranger")
    go = sign_go(
        stranger.consent_key,
        manifest_hash=WORLD.manifest.hash,
        participant="stranger",
        report_id=REPORT_ID,
        guest_spki_sha256=GUEST_SPKI_SHA256,
        at=WORLD.manifest.not_before,
        items={},
    )
    with pytest.raises(BindingError) as refusal:
        _roster((*WORLD.goes(), go))
    assert refusal.value.code == "STATEMENT_PARTICIPANT"


def test_equivocating() -> None:
    """One participant's go to another guest spoils the roster of this one."""
    goes = (*WORLD.goes()[:2], WORLD.go("hospital-b", report_id=bytes(32)))
    with pytest.raises(BindingError) as refusal:
        _roster(goes)
    assert refusal.value.code == "STATEMENT_OTHER_GUEST"


def test_goes_of_another_manifest() -> None:
    """Goes for a manifest of the same participants are none for this one."""

    def edit(document: Document) -> None:
        document["purpose"] = "Another purpose"

    with pytest.raises(BindingError) as refusal:
        _roster(World(edit=edit).goes())
    assert refusal.value.code == "STATEMENT_OTHER_MANIFEST"


def test_one_bad_signature_spoils_all() -> None:
    """A roster with one forged signature is none."""
    first, *others = WORLD.goes()
    with pytest.raises(SignatureError):
        _roster((replace(first, signature=bytes(64)), *others))


@pytest.mark.parametrize("kind", [Consent, Go])
def test_arrays_travel_sorted(kind: type[Consent | Go]) -> None:
    """An array of statements is read as it is written, and only sorted, and nobody twice."""
    statements = WORLD.consents() if kind is Consent else WORLD.goes()
    value = [statement.to_json() for statement in statements]
    assert parse_statements(kind, value) == statements
    for wrong in (value[::-1], [value[0], value[0]], {"0": value[0]}, [value], "x"):
        with pytest.raises(MalformedError):
            parse_statements(kind, wrong)


def test_a_roster_of_many() -> None:
    """Fifty participants with four items each make a roster."""
    world = World(participants=50, items=200)
    assert len(_roster(world.goes(), world.manifest).statements) == 50
