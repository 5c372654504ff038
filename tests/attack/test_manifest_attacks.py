"""Threats against what participants agree on: each a way to make two parties mean different things."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from tests.support.manifests import (
    GUEST_SPKI_SHA256,
    REPORT_ID,
    Document,
    World,
    broken_at,
    party,
)

from twocvm_verifier.errors import BindingError, MalformedError, SignatureError, VerificationError
from twocvm_verifier.framing import item_commitment, sha256
from twocvm_verifier.manifest import ManifestError, parse_manifest
from twocvm_verifier.manifest.roster import Roster, parse_statements, verify_consents, verify_roster
from twocvm_verifier.manifest.statements import Consent, Go, Statement, verify_go, verify_withdraw
from twocvm_verifier.strictjson import canonical

WORLD = World()


def _roster(goes: tuple[Statement, ...], world: World = WORLD) -> Roster:
    return verify_roster(goes, manifest=world.manifest, report_id=REPORT_ID, guest_spki_sha256=GUEST_SPKI_SHA256)


@pytest.mark.parametrize(
    "place", ["/egress", "/components/0/network", "/data/0/also_for", "/platform/debug", "/rules/x"]
)
def test_unknown_fields_are_not_dropped(place: str) -> None:
    """The paper's prototype drops what it does not know; here nobody can sign a field that nobody reads."""
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(broken_at(WORLD, place, True))
    assert {str(problem.rule) for problem in refusal.value.problems} == {"unknown"}


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "/etc/passwd", "..\\x", "a\x00b", "~", "-rf", "CON", "a%2f"])
def test_names_cannot_leave_their_folder(name: str) -> None:
    """The paper's prototype joins names to paths; here no name has a character that a path could use."""
    document = json.loads(WORLD.raw)
    document["data"][0]["name"] = name
    document["channels"][0]["to"] = f"component:step-0.{name}"
    with pytest.raises(ManifestError):
        parse_manifest(canonical(document))


def test_one_key_read_twice() -> None:
    """A document in which a reader could take either of two recipients is refused by every reader."""
    first = b'"recipients":["analytics"]'
    raw = WORLD.raw.replace(first, first + b',"recipients":["hospital-a"]')
    assert raw != WORLD.raw
    with pytest.raises(ManifestError):
        parse_manifest(raw)


@pytest.mark.parametrize("purpose", ["Share with A\u202eB htiw", "Only\u200b A", "Cafe\u0301", "line\u2028break"])
def test_text_that_looks_like_another(purpose: str) -> None:
    """Text that a screen shows otherwise than it is compared is refused."""
    with pytest.raises(ManifestError):
        parse_manifest(broken_at(WORLD, "/purpose", purpose))


def test_permissions_are_enforced_on_every_path() -> None:
    """The paper's prototype declares data permissions and enforces none; here one leaking path refuses the manifest."""

    def edit(document: Document) -> None:
        document["data"][0]["must_not_reach"] = ["hospital-b"]

    with pytest.raises(ManifestError) as refusal:
        parse_manifest(World(components=8, edit=edit).raw)
    assert [str(problem.rule) for problem in refusal.value.problems] == ["must-not-reach"]


@pytest.mark.parametrize(
    "name",
    ["wasi:sockets/tcp@0.2.3", "wasi:sockets/ip-name-lookup@0.2.3", "wasi:http/outgoing-handler@0.2.3",
     "wasi:cli/run@0.2.3", "wasi:filesystem/types@0.3.0", "example:host/anything@1.0.0"],
)  # fmt: skip
def test_imports_are_listed_or_denied(name: str) -> None:
    """The paper's prototype checks some imports; here every one is on its profile's list or wired."""

    def edit(document: Document) -> None:
        document["components"][0]["imports"].append(name)

    with pytest.raises(ManifestError) as refusal:
        parse_manifest(World(edit=edit).raw)
    assert [str(problem.rule) for problem in refusal.value.problems] == ["import"]


def test_hashes_are_pinned() -> None:
    """The paper's prototype pins nothing; here no component can be named without the digest of its file."""
    document = json.loads(WORLD.raw)
    del document["components"][0]["sha256"]
    with pytest.raises(ManifestError) as refusal:
        parse_manifest(canonical(document))
    assert {str(problem.rule) for problem in refusal.value.problems} == {"missing"}


def test_any_change_needs_every_consent_again() -> None:
    """No consent outlives a change of the manifest, of whatever size."""
    changed = World(edit=lambda document: document["rules"].update(deadline_seconds=3601))
    with pytest.raises(BindingError) as refusal:
        verify_consents(WORLD.consents(), changed.manifest)
    assert refusal.value.code == "STATEMENT_OTHER_MANIFEST"


def test_consents_cannot_be_made_from_each_other() -> None:
    """One participant's consent under another's name has the wrong key, and with that one's key no signature."""
    mine, theirs = WORLD.consent("hospital-a"), WORLD.consent("hospital-b")
    renamed = replace(mine, body=theirs.body)
    with pytest.raises(BindingError) as refusal:
        verify_consents((WORLD.consent("analytics"), mine, renamed), WORLD.manifest)
    assert refusal.value.code == "STATEMENT_KEY"
    with pytest.raises(SignatureError):
        verify_consents((WORLD.consent("analytics"), mine, replace(theirs, signature=mine.signature)), WORLD.manifest)


@pytest.mark.parametrize("indices", [*itertools.product(range(3), repeat=2), (0, 1, 1), (0, 0, 1, 2)])
def test_short_doubled_and_padded_rosters(indices: tuple[int, ...]) -> None:
    """No choice of goes but one of each participant is a roster."""
    with pytest.raises(BindingError) as refusal:
        _roster(tuple(WORLD.goes()[index] for index in indices))
    assert refusal.value.code == "ROSTER_MISMATCH"


def test_participants_split_over_two_guests() -> None:
    """A host that shows half of the participants one guest and half another gets no roster at either."""
    there = WORLD.goes(report_id=bytes([2]) * 32)
    for mixed in ((WORLD.goes()[0], *there[1:]), (*WORLD.goes()[:2], there[2])):
        with pytest.raises(BindingError) as refusal:
            _roster(mixed)
        assert refusal.value.code == "STATEMENT_OTHER_GUEST"


def test_replayed_goes_and_withdrawals() -> None:
    """What was signed for one launch, one key or one manifest opens and ends no other."""
    other = World(edit=lambda document: document.update(purpose="Other"))
    for world, guest in ((WORLD, {"report_id": bytes(32)}), (WORLD, {"guest_spki_sha256": bytes(32)}), (other, {})):
        with pytest.raises(BindingError):
            _roster((*WORLD.goes()[:2], world.go("hospital-b", **guest)))  # type: ignore[arg-type]
    with pytest.raises(BindingError):
        verify_withdraw(WORLD.withdraw("hospital-a", report_id=bytes(32)), manifest=WORLD.manifest, report_id=REPORT_ID)
    with pytest.raises(BindingError):
        verify_withdraw(other.withdraw("hospital-a"), manifest=WORLD.manifest, report_id=REPORT_ID)


def test_a_tls_key_signs_no_statement() -> None:
    """Whoever steals a participant's TLS key can agree to nothing in its name."""
    stolen = party("hospital-a").tls_key
    with pytest.raises(BindingError) as refusal:
        verify_go(
            WORLD.go("hospital-a", key=stolen),
            manifest=WORLD.manifest,
            report_id=REPORT_ID,
            guest_spki_sha256=GUEST_SPKI_SHA256,
        )
    assert refusal.value.code == "STATEMENT_KEY"


def test_guessing_an_item_from_the_roster() -> None:
    """What a roster shows of an item of one bit is the same for neither of its values without the salt."""
    shown = WORLD.go("hospital-a").body
    assert isinstance(shown, Go)
    guesses = {
        item_commitment(salt=salt, size_bytes=len(value), sha256=sha256(value))
        for value in (b"0", b"1", WORLD.content["records-a"])
        for salt in (bytes(32), sha256(b""), REPORT_ID)
    }
    assert shown.items["records-a"] not in guesses | {sha256(WORLD.content["records-a"])}


@pytest.mark.parametrize("trick", ["further", "missing", "unsorted", "twice", "kind"])
def test_arrays_of_statements_have_one_reading(trick: str) -> None:
    """Members added, dropped, doubled or moved in an array of consents are refused unverified."""
    value: list[dict[str, object]] = [dict(consent.to_json()) for consent in WORLD.consents()]  # type: ignore[arg-type]
    if trick == "further":
        value[0]["role"] = "admin"
    elif trick == "missing":
        del value[0]["participant"]
    elif trick == "unsorted":
        value.reverse()
    elif trick == "twice":
        value.append(value[-1])
    kind: type[Consent | Go] = Go if trick == "kind" else Consent
    with pytest.raises(MalformedError):
        parse_statements(kind, value)  # type: ignore[arg-type]


def test_every_refusal_of_a_statement_says_not_authentic() -> None:
    """A statement that does not hold ends the command line with 10, whatever the reason."""
    forged = replace(WORLD.consent("hospital-a"), signature=bytes(64))
    with pytest.raises(VerificationError) as refusal:
        verify_consents((WORLD.consent("analytics"), forged), WORLD.manifest)
    assert refusal.value.exit_status == 10
