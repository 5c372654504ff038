"""After a broken connection a session goes on, on a newly verified one, to the same instance and no other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.chaos import Break, Wire
from tests.support.guest import LiveGuest, ScriptedWorkers
from tests.support.manifests import World
from tests.support.sides import Side, release_all, sides
from tests.support.tampering import LyingGuest

from twocvm_sdk.history import History
from twocvm_sdk.ledger import Ledger
from twocvm_sdk.resuming import Patience
from twocvm_verifier.errors import BindingError, FetchError, LogProofError, ReleaseError

CONTENT = {"records-a": bytes(index % 251 for index in range(60_000))}
UPLOAD = "PUT /v1/artifacts/records-a"
AT_ONCE = Patience(attempts=200, first_pause_seconds=0.0)


@pytest.fixture
def guest() -> Iterator[LyingGuest]:
    """A guest that counts what is asked of it, and lies only where a test says."""
    with LyingGuest(World(contents=CONTENT)) as counted:
        counted.lock()
        yield counted


def _others_joined(guest: LiveGuest, folder: Path) -> Side:
    """Have everybody but one participant join, and return that one."""
    everybody = sides(guest, folder)
    side = everybody.pop("hospital-a")
    for other in everybody.values():
        with other.connect() as session:
            session.join(other.files)
    return side


def _finish(guest: LyingGuest, folder: Path) -> None:
    for name in ("hospital-b", "analytics"):
        Side(guest, name, folder).release()
    assert guest.wait_for("completed") == "completed"
    assert guest.workers.seen["records-a"] == CONTENT["records-a"]


def _goes(side: Side) -> int:
    manifest_hash = side.world.manifest.hash
    return len(Ledger(folder=side.identity.ledger_folder, manifest_hash=manifest_hash, participant=side.name).goes())


@pytest.mark.parametrize("end", [{"reset": False}, {"reset": True}], ids=["ended", "reset"])
@pytest.mark.parametrize(
    ("way", "first", "later"),
    [("up_bytes", 12_000, range(100, 66_000, 4_000)), ("down_bytes", 40_000, range(100, 30_000, 2_000))],
    ids=["up", "down"],
)
def test_a_release_gets_through_a_wire_that_breaks_everywhere(
    guest: LyingGuest, tmp_path: Path, way: str, first: int, later: range, end: dict
) -> None:
    """Connections that each break a little later than the one before end in one go, one item, and a completed run."""
    side = _others_joined(guest, tmp_path)
    with Wire(guest) as wire:
        # The first gets as far as a session; those after it break in the handshake, in the evidence, in each request.
        wire.breaks.extend(Break(**{way: size}, **end) for size in (first, *later))
        with side.connect(url=wire.url, patience=AT_ONCE) as session:
            session.release(side.files)
            for _ in range(50):
                session.log()
            assert session.log().admitted == {"records-a"}
        assert wire.connections >= 14
    assert _goes(side) == 1
    _finish(guest, tmp_path)


@pytest.mark.parametrize("up_bytes", [9_000, 30_000, 60_000])
def test_an_upload_that_breaks_is_sent_again_whole(guest: LyingGuest, tmp_path: Path, up_bytes: int) -> None:
    """Wherever an upload breaks, the guest keeps nothing of it, and gets all of it over the next connection."""
    side = _others_joined(guest, tmp_path)
    seen: list[tuple[int, int]] = []
    with Wire(guest) as wire:
        wire.breaks.append(Break(up_bytes=up_bytes))
        with side.connect(url=wire.url, patience=AT_ONCE) as session:
            session.release(side.files, progress=lambda name, sent, total: seen.append((sent, total)))
        assert wire.connections == 2
    assert seen[-1] == (60_000, 60_000)
    assert guest.count(UPLOAD) in (1, 2)
    _finish(guest, tmp_path)


def test_a_guest_that_has_not_noticed_is_waited_for(guest: LyingGuest, tmp_path: Path) -> None:
    """While the guest still holds the broken upload open the item is in transit, and is sent again afterwards."""
    side = _others_joined(guest, tmp_path)
    with Wire(guest) as wire:
        wire.breaks.append(Break(up_bytes=40_000, unnoticed_seconds=1.0))
        with side.connect(url=wire.url, patience=Patience(attempts=40, longest_pause_seconds=0.1)) as session:
            session.release(side.files)
    assert guest.count(UPLOAD) >= 3
    _finish(guest, tmp_path)


def test_a_host_that_swaps_the_guest_gets_nothing(guest: LyingGuest, tmp_path: Path) -> None:
    """A connection that is cut and leads to another guest under the same manifest then is refused, and says nothing."""
    with LyingGuest(guest.world) as other, Wire(guest) as wire:
        other.lock()
        heard = len(other.requests)
        side = _others_joined(guest, tmp_path)
        wire.breaks.append(Break(up_bytes=30_000))
        with side.connect(url=wire.url, patience=AT_ONCE) as session:
            wire.target, shown = other, session.proof.report_id
            with pytest.raises(BindingError) as refused:
                session.release(side.files)
            assert session.proof.report_id == shown
        assert (refused.value.code, refused.value.exit_status) == ("GUEST_REPLACED", 10)
        assert set(other.requests[heard:]) == {"POST /.well-known/2cvm/attest"}
        assert guest.count(UPLOAD) == 1
    side.release()
    _finish(guest, tmp_path)


def test_a_guest_that_lies_after_a_break_gets_nothing(guest: LyingGuest, tmp_path: Path) -> None:
    """Manifest, consents and log are verified again on the new connection, before anything is sent."""
    side = _others_joined(guest, tmp_path)
    with Wire(guest) as wire:
        wire.breaks.append(Break(up_bytes=30_000))
        with side.connect(url=wire.url, patience=AT_ONCE) as session:
            guest.hooks["/v1/artifacts/records-a"] = lambda: guest.lies.update({"/v1/log": lambda _: b'{"events":[]}'})
            with pytest.raises(LogProofError) as refused:
                session.release(side.files)
    assert refused.value.code == "LOG_HEAD_MISMATCH"
    assert guest.count(UPLOAD) == 1


def test_patience_ends(guest: LyingGuest, tmp_path: Path) -> None:
    """A guest that cannot be reached any more is tried as often as was said, and no more."""
    with Wire(guest) as wire:
        side = Side(guest, "hospital-a", tmp_path)
        wire.breaks.append(Break(up_bytes=4_000))
        with side.connect(url=wire.url, patience=Patience(attempts=5, first_pause_seconds=0.001)) as session:
            wire.target = None
            with pytest.raises(FetchError) as lost:
                session.release(side.files)
        assert lost.value.code == "CONNECTION_LOST"
        # The first one, and then four more attempts of one step.
        assert wire.connections == 5


def test_nobody_is_impatient_by_mistake() -> None:
    """Patience has an attempt and no negative pause, and by default outlasts a guest that notices late."""
    for wrong in ({"attempts": 0}, {"first_pause_seconds": -1.0}, {"longest_pause_seconds": -1.0}):
        with pytest.raises(ValueError, match="patience"):
            Patience(**wrong)  # type: ignore[arg-type]
    assert sum(Patience().pauses()) > 30


def test_a_refusal_is_not_tried_again(guest: LyingGuest, tmp_path: Path) -> None:
    """What the guest refuses is refused at once."""
    side = Side(guest, "hospital-a", tmp_path)
    guest.refusals["/v1/join"] = (409, "application/problem+json", b'{"code":"GO_STANDS"}')
    with side.connect() as session, pytest.raises(ReleaseError):
        session.join(side.files)
    assert guest.count("POST /v1/join") == 1


def test_a_closed_session_stays_closed(guest: LyingGuest, tmp_path: Path) -> None:
    """After its end a session opens no further connection."""
    with Side(guest, "hospital-a", tmp_path).connect() as session:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        session.status()


@pytest.mark.parametrize(
    "act",
    [lambda session: session.status(), lambda session: session.log(), lambda session: session.withdraw()],
    ids=["status", "log", "withdraw"],
)
def test_every_call_outlives_its_connection(guest: LyingGuest, tmp_path: Path, act: Callable) -> None:
    """A connection that was lost between two calls is replaced by the second."""
    with Wire(guest) as wire, Side(guest, "hospital-a", tmp_path).connect(url=wire.url, patience=AT_ONCE) as session:
        session.instance._connection.close()
        act(session)
        assert wire.connections == 2


def test_an_answer_to_a_withdrawal_may_be_lost(guest: LyingGuest, tmp_path: Path) -> None:
    """A withdrawal whose answer was lost is said again, and is one withdrawal."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect(patience=AT_ONCE) as session:
        guest.silences.add("/v1/withdraw")
        guest.hooks["/v1/withdraw"] = lambda: guest.silences.clear() if guest.count("POST /v1/withdraw") > 1 else None
        session.withdraw()
        assert session.receipt().outcome == "withdrawn"
    assert guest.count("POST /v1/withdraw") == 2


def test_an_output_that_breaks_is_fetched_again(tmp_path: Path) -> None:
    """An output whose connection breaks in the middle is whole in the end, on disk and in memory."""
    model = bytes(index % 249 for index in range(4_000))
    with LiveGuest(World(), workers=ScriptedWorkers(outputs={"model": model})) as guest, Wire(guest) as wire:
        side = release_all(guest, tmp_path)["analytics"]
        with side.connect(url=wire.url) as session:
            session.output("model")
            before_bytes = wire.carried[-1][1]
        for take in (lambda output: output.save(tmp_path / "model"), lambda output: output.read()):
            wire.breaks.append(Break(down_bytes=before_bytes + 2_500))
            connections = wire.connections
            with side.connect(url=wire.url, patience=AT_ONCE) as session:
                taken = take(session.output("model"))
            assert wire.connections == connections + 2
    assert taken == (tmp_path / "model").read_bytes() == model


def test_a_log_that_went_back_between_two_connections(guest: LyingGuest, tmp_path: Path) -> None:
    """A proof with fewer events than one that was there before it was asked for is no proof of this instance's now."""
    side = Side(guest, "hospital-a", tmp_path)
    with side.connect() as session:
        early = session.proof
        session.join(side.files)
        late = session.instance.reprove()
    history = History(early)
    history.see(late, at_least=0)
    history.see(early, at_least=early.log.events)
    with pytest.raises(LogProofError) as refused:
        history.see(early, at_least=history.events)
    assert refused.value.code == "LOG_WENT_BACK"
