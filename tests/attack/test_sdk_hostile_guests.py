"""Guests that were proven and then lie, and hosts that carry connections elsewhere: nothing leaves, no lie comes in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.attested_guest import chip
from tests.support.guest import LiveGuest
from tests.support.hostile_guest import BODY_BYTES, FIELDS
from tests.support.manifests import World, party
from tests.support.sides import Side, release_all, sides, together
from tests.support.tampering import LyingGuest, Switchboard

from twocvm_guest.platforms.simulated import sign_report
from twocvm_verifier import strictjson
from twocvm_verifier.errors import FetchError, MalformedError, TwoCvmError
from twocvm_verifier.eventlog import go_digest
from twocvm_verifier.framing import roster_digest

UPLOAD = "PUT /v1/artifacts/records-a"


@pytest.fixture
def guest() -> Iterator[LyingGuest]:
    """A guest that was locked honestly, and will lie."""
    with LyingGuest(World()) as lying:
        lying.lock()
        yield lying


def _edited(edit: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """Return the lie that changes an answer's JSON in place; it stays canonical."""

    def lie(body: bytes) -> bytes:
        value = json.loads(body)
        edit(value)
        return strictjson.canonical(value)

    return lie


def _refused(act: Callable[[], object]) -> str:
    with pytest.raises(TwoCvmError) as refused:
        act()
    return refused.value.code


# What the guest is locked to.


def test_a_served_manifest_that_differs(guest: LyingGuest, tmp_path: Path) -> None:
    """A guest that serves another manifest than it is proven under is left before a go."""
    guest.lies["/v1/manifest"] = _edited(lambda value: value["manifest"].update(purpose="Something else"))
    assert _refused(Side(guest, "hospital-a", tmp_path).connect) == "MANIFEST_DIFFERS"
    assert guest.count("POST /v1/join") == 0


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda value: value["consents"].pop(), "CONSENTS_INCOMPLETE"),
        (lambda value: value.update(consents=[]), "CONSENTS_INCOMPLETE"),
        (lambda value: value["consents"].append(value["consents"][-1]), "MALFORMED_STATEMENT"),
        (lambda value: value["consents"].reverse(), "MALFORMED_STATEMENT"),
        (lambda value: value["consents"][1].update(key=value["consents"][0]["key"]), "STATEMENT_KEY"),
        (lambda value: value["consents"][0].update(manifest="00" * 32), "STATEMENT_OTHER_MANIFEST"),
        (lambda value: value["consents"][0].update(signature=value["consents"][1]["signature"]), "STATEMENT_SIGNATURE"),
    ],
)
def test_consents_that_are_not_everybodys(guest: LyingGuest, tmp_path: Path, edit, code: str) -> None:
    """One consent of each participant, under its own key, or nobody connects."""
    guest.lies["/v1/manifest"] = _edited(edit)
    assert _refused(Side(guest, "hospital-a", tmp_path).connect) == code


def test_consents_that_are_not_those_of_the_lock(guest: LyingGuest, tmp_path: Path) -> None:
    """Valid consents that the guest was not locked with do not fit the lock event."""
    # hospital-b signs with ECDSA, so that a second consent of its differs from the first.
    again = guest.world.consent("hospital-b").to_json()
    guest.lies["/v1/manifest"] = _edited(lambda value: value["consents"].__setitem__(2, again))
    assert _refused(Side(guest, "hospital-a", tmp_path).connect) == "LOG_LOCK_MISMATCH"


# The log.


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda value: value["events"].pop(), "LOG_HEAD_MISMATCH"),
        (lambda value: value.update(events=[]), "LOG_HEAD_MISMATCH"),
        (lambda value: value["events"][0].update(platform="snp"), "LOG_HEAD_MISMATCH"),
        (lambda value: value["events"][1].update(consents="00" * 32), "LOG_HEAD_MISMATCH"),
        (lambda value: value["events"].insert(0, value["events"][0]), "MALFORMED_LOG"),
        (lambda value: value["events"].append({"seq": 2, "type": "reset"}), "MALFORMED_LOG"),
        (lambda value: value["events"].append({**value["events"][1], "seq": 2}), "LOG_ORDER"),
        (lambda value: value.update(more=1), "MALFORMED_LOG"),
    ],
)
def test_a_log_that_is_not_the_guests_history(guest: LyingGuest, tmp_path: Path, edit, code: str) -> None:
    """A log that is cut, changed, doubled or made up is refused before a go."""
    guest.lies["/v1/log"] = _edited(edit)
    assert _refused(Side(guest, "hospital-a", tmp_path).connect) == code


def test_a_log_that_goes_back_on_the_same_connection(guest: LyingGuest, tmp_path: Path) -> None:
    """Once a proof has shown a go, a log without it is refused."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect() as session:
        session.join(side.files)
        session.instance.reprove()
        guest.lies["/v1/log"] = _edited(lambda value: value["events"].pop())
        assert _refused(session.log) == "LOG_HEAD_MISMATCH"


def test_a_history_of_another_instance(tmp_path: Path) -> None:
    """The log of another guest under the same manifest does not lead to this one's heads."""
    world = World()
    with LyingGuest(world) as other, LyingGuest(world) as guest:
        theirs: list[bytes] = []
        other.lies["/v1/log"] = lambda body: theirs.append(body) or body  # type: ignore[func-returns-value]
        for each in (other, guest):
            each.lock()
            with each.connect("hospital-b") as client:
                client.join()
        with Side(other, "hospital-a", tmp_path).connect():
            guest.lies["/v1/log"] = lambda _: theirs[-1]
        assert _refused(Side(guest, "hospital-a", tmp_path).connect) == "LOG_HEAD_MISMATCH"


@pytest.mark.parametrize("late", [{"type": "run"}, {"type": "end", "outcome": "failed"}])
def test_a_session_that_is_over_gets_no_go(guest: LyingGuest, tmp_path: Path, late: dict[str, str]) -> None:
    """A log with a run or an end in it is too late for a go; here one that was made up cannot even be ordered."""
    guest.lies["/v1/log"] = _edited(lambda value: value["events"].append({"seq": 2, **late}))
    side = Side(guest, "hospital-a", tmp_path)

    def join() -> None:
        with side.connect() as session:
            session.join(side.files)

    assert _refused(join) == ("LOG_ORDER" if late["type"] == "run" else "LOG_STARTED")
    assert guest.count("POST /v1/join") == 0


# The roster.


def _joined(guest: LyingGuest, folder: Path, *, without: str = "") -> dict[str, Side]:
    everybody = sides(guest, folder)
    for side in everybody.values():
        if side.name != without:
            with side.connect() as session:
                session.join(side.files)
    return everybody


def _foreign_go(guest: LyingGuest, **changes: Any) -> Any:
    with guest.connect("hospital-b") as client:
        return client.go(**changes).to_json()


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda goes: goes.pop(), "ROSTER_MISMATCH"),
        (lambda goes: goes.clear(), "ROSTER_MISMATCH"),
        (lambda goes: goes.append(goes[-1]), "MALFORMED_STATEMENT"),
        (lambda goes: goes.__setitem__(1, goes[0]), "MALFORMED_STATEMENT"),
        (lambda goes: goes[2].update(report_id="00" * 32), "STATEMENT_OTHER_GUEST"),
        (lambda goes: goes[2].update(guest_spki_sha256="00" * 32), "STATEMENT_OTHER_GUEST"),
        (lambda goes: goes[2].update(manifest="00" * 32), "STATEMENT_OTHER_MANIFEST"),
        (lambda goes: goes[2].update(at="2026-06-02T00:00:00Z"), "STATEMENT_SIGNATURE"),
        (lambda goes: goes[2].update(items={}), "STATEMENT_SIGNATURE"),
    ],
)
def test_a_roster_that_is_not_everybodys(guest: LyingGuest, tmp_path: Path, edit, code: str) -> None:
    """A roster that is short, doubled, of another guest or manifest, or changed releases nothing."""
    side = _joined(guest, tmp_path)["hospital-a"]
    guest.lies["/v1/roster"] = _edited(lambda value: edit(value["goes"]))
    assert _refused(side.release) == code
    assert guest.count(UPLOAD) == 0


def test_a_go_that_is_not_the_one_in_the_log(guest: LyingGuest, tmp_path: Path) -> None:
    """Another valid go of a participant than the log has is equivocation, and releases nothing."""
    side = _joined(guest, tmp_path)["hospital-a"]
    other = _foreign_go(guest)
    guest.lies["/v1/roster"] = _edited(lambda value: value["goes"].__setitem__(2, other))
    assert _refused(side.release) == "LOG_ROSTER_MISMATCH"
    assert guest.count(UPLOAD) == 0


def test_a_go_in_ones_own_name_that_one_did_not_give(guest: LyingGuest, tmp_path: Path) -> None:
    """A valid go under one's own key that the ledger does not know is noticed."""
    side = _joined(guest, tmp_path)["hospital-a"]
    with guest.connect("hospital-a") as client:
        other = client.go().to_json()
    guest.lies["/v1/roster"] = _edited(lambda value: value["goes"].__setitem__(1, other))
    assert _refused(side.release) == "GO_NOT_OURS"
    assert guest.count(UPLOAD) == 0


def test_a_roster_that_no_proof_binds(guest: LyingGuest, tmp_path: Path) -> None:
    """A complete roster that is only served, and not in the log that the chip signed, releases nothing."""
    side = _joined(guest, tmp_path, without="hospital-b")["hospital-a"]
    missing = guest.world.party("hospital-b")
    assert missing.name == party("hospital-b").name
    go = _foreign_go(guest)
    roster: list[Any] = []

    def serve(value: Any) -> None:
        roster[:] = [*value["goes"], go]
        value.update(complete=True, goes=roster)

    def pretend(value: Any) -> None:
        signed = [{k: v for k, v in one.items() if k not in ("key", "signature")} for one in roster or [go]]
        digest = go_digest(signed[-1])
        value["events"] += [
            {"seq": 4, "type": "go", "participant": "hospital-b", "sha256": digest.hex()},
            {"seq": 5, "type": "roster", "digest": roster_digest(strictjson.canonical(signed)).hex()},
        ]

    with guest.connect("analytics") as client:
        serve(client.get("/v1/roster").json())
    guest.lies["/v1/roster"] = _edited(serve)
    guest.lies["/v1/log"] = _edited(pretend)
    assert _refused(side.release) == "LOG_ROSTER_MISMATCH"
    assert guest.count(UPLOAD) == 0


def test_the_host_cannot_split_the_participants_over_two_guests(tmp_path: Path) -> None:
    """Two guests under one manifest each get some goes, and neither gets an item."""
    world = World()
    with LyingGuest(world) as first, LyingGuest(world) as second:
        for guest in (first, second):
            guest.lock()
        acts = [
            Side(first, "hospital-a", tmp_path),
            Side(first, "analytics", tmp_path),
            Side(second, "hospital-b", tmp_path),
        ]
        for side in acts:
            with side.connect() as session, pytest.raises(FetchError) as refused:
                session.release(side.files, wait_seconds=0.1)
            assert refused.value.code == "ROSTER_WAIT_ENDED"
        assert not [request for guest in (first, second) for request in guest.requests if "/v1/artifacts/" in request]


# Which guest answers.


def test_a_guest_that_is_replaced_while_it_is_locked(tmp_path: Path) -> None:
    """Locking one guest and being shown another one that is locked alike is refused."""
    world = World()
    with LiveGuest(world) as other:
        other.lock()
        # One chip, one root: the two differ in nothing but their launch.
        with LiveGuest(world) as guest, Switchboard(guest, other) as board:
            side = Side(guest, "hospital-a", tmp_path)
            guest_url, guest.url = guest.url, board.url
            assert _refused(side.lock) == "GUEST_REPLACED"
            guest.url = guest_url


def test_a_guest_that_says_it_is_locked_and_is_not(tmp_path: Path) -> None:
    """The answer to a lock proves nothing: the next connection does."""
    with LyingGuest(World()) as guest:
        guest.refusals["/v1/manifest"] = (200, "application/json", b"{}")
        assert _refused(Side(guest, "hospital-a", tmp_path).lock) == "NOT_LOCKED"


def test_consents_are_judged_before_a_guest_is_asked(tmp_path: Path) -> None:
    """An incomplete or foreign set of consents is not even sent."""
    with LyingGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        consents = guest.world.consents()
        assert _refused(lambda: side.lock(consents=consents[:-1])) == "CONSENTS_INCOMPLETE"
        other = guest.world.consent("analytics", manifest_hash=bytes(32))
        assert _refused(lambda: side.lock(consents=(other, *consents[1:]))) == "STATEMENT_OTHER_MANIFEST"
        assert guest.requests == []


# Outputs and receipts.


@pytest.mark.parametrize("lie", [lambda _: b"MODEL", lambda _: b"mode", lambda _: b"model!", lambda _: b""])
def test_an_output_that_is_not_the_receipts(guest: LyingGuest, tmp_path: Path, lie) -> None:
    """An output of other bytes or another length leaves no file, and an older file as it was."""
    everybody = release_all(guest, tmp_path)
    guest.lies["/v1/outputs/model"] = lie
    place = tmp_path / "out"
    place.mkdir()
    (place / "old").write_bytes(b"old")
    for target in (place / "new", place / "old"):
        with everybody["analytics"].connect() as session:
            output = session.output("model")
            assert _refused(lambda: output.save(target)) == "OUTPUT_MISMATCH"  # noqa: B023 - called at once
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [("old", b"old")]
    with everybody["analytics"].connect() as session:
        assert _refused(session.output("model").read) == "OUTPUT_MISMATCH"


def test_an_output_that_ends_early(guest: LyingGuest, tmp_path: Path) -> None:
    """An output whose connection breaks leaves nothing."""
    everybody = release_all(guest, tmp_path)
    with everybody["analytics"].connect() as session:
        output = session.output("model")
        guest.silences.add("/v1/outputs/model")
        with pytest.raises(TwoCvmError):
            output.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_receipt_of_another_participant(guest: LyingGuest, tmp_path: Path) -> None:
    """A genuine receipt of somebody else's is refused."""
    everybody = release_all(guest, tmp_path)
    theirs: list[bytes] = []
    guest.lies["/v1/receipt"] = lambda body: theirs.append(body) or body  # type: ignore[func-returns-value]
    with everybody["hospital-a"].connect() as session:
        session.receipt()
    guest.lies["/v1/receipt"] = lambda _: theirs[0]
    with everybody["hospital-b"].connect() as session:
        assert _refused(session.receipt) == "RECEIPT_OF_ANOTHER"


def test_a_receipt_of_another_instance(tmp_path: Path) -> None:
    """A genuine receipt of the same participant from another launch is refused."""
    world = World()
    theirs: list[bytes] = []
    with LyingGuest(world) as first:
        first.lies["/v1/receipt"] = lambda body: theirs.append(body) or body  # type: ignore[func-returns-value]
        with release_all(first, tmp_path / "first")["analytics"].connect() as session:
            session.receipt()
    with LyingGuest(world) as second:
        second.lies["/v1/receipt"] = lambda _: theirs[0]
        with release_all(second, tmp_path / "second")["analytics"].connect() as session:
            assert _refused(lambda: session.output("model")) == "RECEIPT_SIGNATURE"


@pytest.mark.parametrize("field", ["host_data", "policy", "chip_id", "measurement"])
def test_a_receipt_whose_report_is_not_of_this_guest(guest: LyingGuest, tmp_path: Path, field: str) -> None:
    """A receipt that a chip signed for this REPORT_ID and key, and for another launch otherwise, is refused."""
    everybody = release_all(guest, tmp_path)

    def edit(value: Any) -> None:
        kind, report = value["evidence"]["snp"]
        body = bytearray(strictjson.parse_base64url(report)[:BODY_BYTES])
        start, size = FIELDS[field]
        body[start : start + size] = other[field]
        value["evidence"]["snp"] = [kind, strictjson.base64url(sign_report(bytes(body), key=key))]

    key = chip().certificates.vcek_key
    with everybody["analytics"].connect() as session:
        report = session.proof.verified.report
        # Each by itself would pass the policy and the manifest, but for those that name one chip or one measurement.
        other = {
            "host_data": guest.world.manifest.hash,
            "policy": (int.from_bytes(report.raw[8:16], "little") ^ (1 << 20)).to_bytes(8, "little"),
            "chip_id": bytes(64),
            "measurement": bytes(48),
        }
        guest.lies["/v1/receipt"] = _edited(edit)
        expected = {"chip_id": "CHIP_ID_MISMATCH", "measurement": "MEASUREMENT_MISMATCH"}
        assert _refused(session.receipt) == expected.get(field, "RECEIPT_OF_ANOTHER")


def test_a_receipt_that_was_changed(guest: LyingGuest, tmp_path: Path) -> None:
    """A receipt with one other byte in its statement is refused, and so no output is fetched."""
    everybody = release_all(guest, tmp_path)

    def edit(value: Any) -> None:
        payload = value["receipt"]["payload"]
        value["receipt"]["payload"] = payload[:100] + ("A" if payload[100] != "A" else "B") + payload[101:]

    guest.lies["/v1/receipt"] = _edited(edit)
    with everybody["analytics"].connect() as session, pytest.raises(TwoCvmError):
        session.output("model")
    assert guest.count("GET /v1/outputs/model") == 0


# Answers that are none.


@pytest.mark.parametrize(
    ("status", "media_type", "body", "code", "exit_status"),
    [
        (401, "application/problem+json", b'{"code":"NO_SUCH_CODE"}', "GUEST_DENIED", 41),
        (403, "text/html", b"<h1>no</h1>", "GUEST_DENIED", 41),
        (404, "application/problem+json", b"not json", "GUEST_DENIED", 41),
        (409, "application/problem+json", b"[]", "GUEST_REFUSED", 50),
        (409, "application/problem+json", b'{"code":"GO_STANDS"}', "GO_STANDS", 50),
        (409, "application/problem+json", b'{"code":"INTERNAL"}', "GUEST_REFUSED", 50),
        (403, "application/problem+json", b'{"code":"GO_STANDS"}', "GUEST_DENIED", 41),
        (422, "application/problem+json", b'{"code":1}', "GUEST_REJECTED", 30),
        (429, "application/problem+json", b"x" * 20_000, "GUEST_FAILED", 40),
        (500, "application/problem+json", b'{"code":"INTERNAL","detail":"secret"}', "GUEST_FAILED", 40),
        (503, "text/plain", b"", "GUEST_FAILED", 40),
    ],
)
def test_a_refusal_keeps_its_code_where_it_is_one(
    guest: LyingGuest, tmp_path: Path, status: int, media_type: str, body: bytes, code: str, exit_status: int
) -> None:
    """A refusal is taken at its code only under that code's own status, and else at its status."""
    guest.refusals["/v1/join"] = (status, media_type, body)
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect() as session, pytest.raises(TwoCvmError) as refused:
        session.join(side.files)
    assert (refused.value.code, refused.value.exit_status) == (code, exit_status)


def test_what_a_guest_says_cannot_move_the_terminal(guest: LyingGuest, tmp_path: Path) -> None:
    """Control characters of a refusal reach nobody's screen."""
    body = json.dumps({"code": "X\x1b[2J", "detail": "\x1b]0;owned\x07\r\n" + "y" * 5000}).encode()
    guest.refusals["/v1/join"] = (409, "application/problem+json", body)
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect() as session, pytest.raises(TwoCvmError) as refused:
        session.join(side.files)
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/v1/manifest", "application/json", b"{}"),
        ("/v1/manifest", "text/html", b"{}"),
        ("/v1/manifest", "application/json", b'{"consents": [], "manifest": {}}'),
        ("/v1/manifest", "application/json", b'{"consents":[],"extra":1,"manifest":{}}'),
        ("/v1/session", "application/json", b'{"state":1}'),
        ("/v1/session", "application/json", b'{"state":"\\u001b"}'),
        ("/v1/join", "application/json", b'{"ok":true}'),
        ("/v1/roster", "application/json", b'{"complete":1,"goes":[]}'),
        ("/v1/log", "application/json", b"[]"),
        ("/v1/failures", "application/json", b'{"failures":[]}'),
        ("/v1/failures", "application/json", b'{"failures":{"step-0":"NO_SUCH_CODE"}}'),
        ("/v1/failures", "application/json", b'{"failures":{"step-0":1}}'),
    ],
)
def test_an_answer_of_another_form_is_refused(
    guest: LyingGuest, tmp_path: Path, path: str, media_type: str, body: bytes
) -> None:
    """An answer of another type or form than its route's is malformed, whatever it says."""
    side = _joined(guest, tmp_path)["hospital-a"] if path == "/v1/roster" else Side(guest, "hospital-a", tmp_path)
    guest.refusals[path] = (200, media_type, body)

    def use() -> None:
        with side.connect() as session:
            session.status()
            session.failures()
            session.release(side.files, wait_seconds=0)

    with pytest.raises(MalformedError):
        use()


def test_an_endless_answer_is_not_read(guest: LyingGuest, tmp_path: Path) -> None:
    """An answer longer than its route's longest is refused, and not kept."""
    guest.refusals["/v1/session"] = (200, "application/json", b" " * (17 * 1024 * 1024))
    with Side(guest, "hospital-a", tmp_path).connect() as session, pytest.raises(MalformedError) as refused:
        session.status()
    assert refused.value.code == "MALFORMED_ANSWER"


def test_everybody_is_served_while_one_lies_in_wait(guest: LyingGuest, tmp_path: Path) -> None:
    """After refusals of every kind the guest still serves the honest to the end."""
    side = Side(guest, "hospital-a", tmp_path)
    guest.refusals["/v1/join"] = (500, "text/plain", b"")
    with side.connect() as session, pytest.raises(TwoCvmError):
        session.join(side.files)
    guest.refusals.clear()
    with together(*(each.release for each in sides(guest, tmp_path).values())):
        pass
    assert guest.wait_for("completed") == "completed"
