"""Fresh proofs from the go to the end, and what happens when one fails: withdrawn, or only said; silence is borne."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.chaos import Wire
from tests.support.guest import LiveGuest, ScriptedWorkers
from tests.support.manifests import World
from tests.support.sides import Side, release_all, sides, together
from tests.support.tampering import LyingGuest

from twocvm_sdk import Session
from twocvm_sdk.ledger import Ledger
from twocvm_sdk.watch import FailedProof, Watching
from twocvm_verifier.errors import FetchError, HandshakeError, ReleaseError

ATTEST = "POST /.well-known/2cvm/attest"
OFTEN = Watching(interval_seconds=0.05)
REPORT = Watching(interval_seconds=0.05, on_failed_proof=FailedProof.REPORT)


@pytest.fixture
def guest() -> Iterator[LyingGuest]:
    """The guest that is meant."""
    with LyingGuest(World(contents={"records-a": bytes(900_000)})) as meant:
        meant.lock()
        yield meant


@pytest.fixture
def other(guest: LyingGuest) -> Iterator[LyingGuest]:
    """Another guest under the same manifest."""
    with LyingGuest(guest.world) as second:
        second.lock()
        yield second


@pytest.fixture
def wire(guest: LyingGuest) -> Iterator[Wire]:
    """What the host carries connections over."""
    with Wire(guest) as carried:
        yield carried


def _failure(session: Session, act: Callable[[], object]) -> HandshakeError:
    with pytest.raises(HandshakeError) as failed:
        act()
    session.close()
    return failed.value


def _wait(condition: Callable[[], object]) -> None:
    last = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < last, "it never came about"
        time.sleep(0.01)


def _withdrawn(side: Side) -> list[bool]:
    manifest_hash = side.world.manifest.hash
    ledger = Ledger(folder=side.identity.ledger_folder, manifest_hash=manifest_hash, participant=side.name)
    return [go.withdrawn_at is not None for go in ledger.goes()]


def test_proofs_are_asked_for_from_the_go_on(guest: LyingGuest, tmp_path: Path) -> None:
    """Before the go nobody asks, from then on it is asked over and over, and with the session it ends."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect(watching=OFTEN) as session:
        time.sleep(0.3)
        assert guest.count(ATTEST) == 2
        session.join(side.files)
        _wait(lambda: guest.count(ATTEST) > 5)
        session.status()
    assert "watch" not in {thread.name for thread in threading.enumerate()}
    asked = guest.count(ATTEST)
    time.sleep(0.2)
    assert guest.count(ATTEST) == asked


def test_who_waits_for_the_end_watches_too(tmp_path: Path) -> None:
    """A later process that only waits for its output asks for fresh proofs until the end."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LyingGuest(World(), workers=workers) as guest:
        everybody = release_all(guest, tmp_path)
        asked = guest.count(ATTEST)
        with everybody["analytics"].connect(watching=OFTEN) as session:
            ending = threading.Timer(1.0, workers.may_end.set)
            ending.start()
            assert session.receipt().outcome == "completed"
            ending.join()
        assert guest.count(ATTEST) > asked + 4


def test_a_guest_that_was_swapped_is_withdrawn_from(
    guest: LyingGuest, other: LyingGuest, wire: Wire, tmp_path: Path
) -> None:
    """One proof of another instance ends the session, if the right instance can still be had to hear it."""
    side = Side(guest, "hospital-a", tmp_path)
    heard = len(other.requests)
    with side.connect(url=wire.url, watching=OFTEN) as session:
        wire.targets.append(other)
        session.join(side.files)
        failed = _failure(session, lambda: session.release(side.files))
    assert (failed.code, failed.exit_status) == ("GUEST_REPLACED", 10)
    assert failed.detail.endswith("; the session was withdrawn from")
    assert guest.state == "withdrawn"
    assert _withdrawn(side) == [True]
    assert set(other.requests[heard:]) == {ATTEST}


def test_a_withdrawal_that_nobody_can_hear_still_counts_here(
    guest: LyingGuest, other: LyingGuest, wire: Wire, tmp_path: Path
) -> None:
    """Nothing is said to an instance that is not proven, and nobody with this ledger releases to the old one again."""
    everybody = sides(guest, tmp_path)
    side = everybody["hospital-a"]
    heard = len(other.requests)
    with side.connect(url=wire.url, watching=OFTEN) as session:
        session.join(side.files)
        wire.target = other
        failed = _failure(session, lambda: session.release(side.files))
    assert failed.detail.endswith("; the withdrawal is in the ledger, and could not be handed over: GUEST_REPLACED")
    assert guest.state == "locked"
    assert set(other.requests[heard:]) == {ATTEST}
    for act in (lambda again: again.join(side.files), lambda again: again.release(side.files)):
        with side.connect() as again, pytest.raises(ReleaseError) as refused:
            act(again)
        assert refused.value.code == "GO_WITHDRAWN"
    with side.connect() as again:
        again.withdraw()
    assert guest.state == "withdrawn"


def test_a_withdrawal_by_another_process_stops_a_release_under_way(guest: LyingGuest, tmp_path: Path) -> None:
    """A host that keeps a withdrawal from the guest gets nothing from a release that began before it."""
    everybody = sides(guest, tmp_path)
    side = everybody["hospital-a"]

    def release() -> None:
        with side.connect() as session, pytest.raises(ReleaseError) as refused:
            session.release(side.files, wait_seconds=20)
        assert refused.value.code == "GO_WITHDRAWN"

    with together(release):
        _wait(lambda: guest.count("POST /v1/join"))
        guest.refusals["/v1/withdraw"] = (500, "text/plain", b"")
        with side.connect() as another, pytest.raises(FetchError):
            another.withdraw()
        for name in ("hospital-b", "analytics"):
            with everybody[name].connect() as session:
                session.join(everybody[name].files)
    assert not any(request.startswith("PUT /v1/artifacts/") for request in guest.requests)


def test_who_only_wants_to_be_told_withdraws_nothing(
    guest: LyingGuest, other: LyingGuest, wire: Wire, tmp_path: Path
) -> None:
    """By the rule `report` the session refuses to go on, and neither guest nor ledger hears of it."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect(url=wire.url, watching=REPORT) as session:
        wire.targets.append(other)
        with pytest.raises(HandshakeError, match="nothing was withdrawn"):
            session.release(side.files)
        failed = _failure(session, lambda: session.join(side.files))
    assert failed.detail.endswith("; nothing was withdrawn")
    assert guest.state == "locked"
    assert _withdrawn(side) == [False]
    assert guest.count("POST /v1/withdraw") == 0


def test_an_upload_stops_in_the_middle(guest: LyingGuest, other: LyingGuest, wire: Wire, tmp_path: Path) -> None:
    """When a proof fails while an item is sent, the rest of it never leaves."""
    everybody = sides(guest, tmp_path)
    for name in ("hospital-b", "analytics"):
        with everybody[name].connect() as session:
            session.join(everybody[name].files)
    side, sent = everybody["hospital-a"], []

    def swap(name: str, sent_bytes: int, total_bytes: int) -> None:
        sent.append(sent_bytes)
        if len(sent) == 2:
            wire.targets.append(other)
            _wait(lambda: not wire.targets)
            _wait(lambda: session._watch._failure is not None)

    with side.connect(url=wire.url, watching=OFTEN) as session:
        assert _failure(session, lambda: session.release(side.files, progress=swap)).code == "GUEST_REPLACED"
    assert sent == [0, 262_144]
    assert guest.state == "withdrawn"


def test_a_withdrawal_can_be_too_late(tmp_path: Path) -> None:
    """Once the run has begun the guest refuses, and the failure says so."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LyingGuest(World(), workers=workers) as guest, LyingGuest(guest.world) as other, Wire(guest) as wire:
        other.lock()
        side = release_all(guest, tmp_path)["analytics"]
        with side.connect(url=wire.url, watching=OFTEN) as session:
            wire.targets.append(other)
            failed = _failure(session, session.receipt)
        assert failed.detail.endswith("; the withdrawal was refused: TOO_LATE")
        workers.may_end.set()
        with side.connect() as session:
            assert session.receipt().outcome == "completed"


def test_silence_is_borne_for_a_while(guest: LyingGuest, wire: Wire, tmp_path: Path) -> None:
    """A guest that cannot be reached has not failed; one that stays away is given up, and withdrawn from by nobody."""
    side = Side(guest, "hospital-a", tmp_path)
    rule = Watching(interval_seconds=0.05, silence_seconds=0.6)
    with side.connect(url=wire.url, watching=rule) as session:
        session.join(side.files)
        wire.targets.extend([None, None, None])
        _wait(lambda: not wire.targets)
        time.sleep(0.3)
        session._watch.require_proven()
        wire.target = None
        with pytest.raises(FetchError) as silent:
            session.release(side.files, wait_seconds=20)
    assert (silent.value.code, silent.value.exit_status) == ("GUEST_SILENT", 40)
    assert "CONNECTION_LOST" in silent.value.detail
    assert _withdrawn(side) == [False]


def test_a_ledger_that_cannot_be_written_withdraws_nothing(
    guest: LyingGuest, other: LyingGuest, wire: Wire, tmp_path: Path
) -> None:
    """What cannot be written down is not signed; the session ends all the same."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect(url=wire.url, watching=OFTEN) as session:
        session.join(side.files)
        next(side.identity.ledger_folder.glob("*.json")).write_bytes(b"{}")
        wire.targets.append(other)
        _wait(lambda: session._watch._failure)
        failed = _failure(session, session.receipt)
    assert "nothing was withdrawn, for it could not be written down: MALFORMED_LEDGER" in failed.detail
    assert guest.state == "locked"


def test_an_error_of_the_watch_itself_is_a_failure(guest: LyingGuest, tmp_path: Path) -> None:
    """Whatever ends the watch, a session that is watched no more releases no more."""
    side = Side(guest, "hospital-a", tmp_path)

    def broken() -> None:
        raise ZeroDivisionError

    with side.connect(watching=REPORT) as session:
        session._watch._dial = broken  # type: ignore[assignment, misc]
        session.join(side.files)
        _wait(lambda: session._watch._failure)
        with pytest.raises(RuntimeError, match="watch"):
            session.release(side.files)


def test_nobody_watches_at_impossible_times() -> None:
    """Intervals and silences are positive."""
    for wrong in ({"interval_seconds": 0.0}, {"silence_seconds": -1.0}):
        with pytest.raises(ValueError, match="watching"):
            Watching(**wrong)  # type: ignore[arg-type]


def test_a_live_guest_is_never_withdrawn_from(tmp_path: Path) -> None:
    """A whole session under the closest watch ends as it would without."""
    with LiveGuest(World()) as guest:
        everybody = sides(guest, tmp_path)
        everybody["analytics"].lock()
        acts = [lambda each=each: _whole(each) for each in everybody.values()]
        threads = [threading.Thread(target=act) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [_withdrawn(side) for side in everybody.values()] == [[False]] * 3


def _whole(side: Side) -> None:
    with side.connect(watching=Watching(interval_seconds=0.01)) as session:
        session.release(side.files, wait_seconds=20)
        assert session.receipt(wait_seconds=20).outcome == "completed"
