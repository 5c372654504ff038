"""A host that owns the guest's clock, and one that starts more guests than it should: what the participants make of it.

No promise rests on the guest's time, and only a participant can count launches, because no guest remembers another.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.guest import LiveGuest, SteeredClock
from tests.support.manifests import AT, NOT_AFTER, World
from tests.support.sdk import StandingClock
from tests.support.sides import Side, release_all, sides
from tests.support.tampering import LyingGuest

from twocvm_sdk.channel import ATTEST_PATH
from twocvm_sdk.resuming import Patience
from twocvm_verifier.errors import TwoCvmError


class RunningBack(SteeredClock):
    """A clock that is earlier each time it is asked for the date."""

    def now(self) -> datetime:
        """Return an earlier date than the last."""
        self.at -= timedelta(days=1)
        return self.at


def _refused(act: Callable[[], object]) -> str:
    with pytest.raises(TwoCvmError) as refused:
        act()
    return refused.value.code


def _uploads(guest: LyingGuest) -> list[str]:
    return [request for request in guest.requests if request.startswith("PUT /v1/artifacts/")]


# The guest's clock.


@pytest.mark.parametrize("clock", [SteeredClock(datetime(1971, 1, 1, tzinfo=UTC)), RunningBack()], ids=["old", "back"])
def test_a_guest_whose_date_is_wrong_or_runs_back_harms_nobody(tmp_path: Path, clock: SteeredClock) -> None:
    """A session goes its way, proofs are fresh by their nonces, and nothing that is handed out has a date."""
    with LiveGuest(World(), clock=clock) as guest:
        everybody = release_all(guest, tmp_path)
        with everybody["analytics"].connect() as session:
            assert session.receipt(wait_seconds=20).body.outcome == "completed"


@pytest.mark.parametrize("date", [AT, NOT_AFTER - timedelta(seconds=1)], ids=["stands", "stands at the last second"])
def test_a_guest_whose_clock_stands_gets_nothing_after_the_last_day(tmp_path: Path, date: datetime) -> None:
    """The manifest's dates are judged by each participant's own clock, whatever the guest's shows."""
    with LyingGuest(World(), clock=SteeredClock(date)) as guest:
        guest.lock()
        everybody = sides(guest, tmp_path)
        for side in everybody.values():
            with side.connect() as session:
                session.join(side.files)
        late = Side(guest, "hospital-a", tmp_path, clock=StandingClock(NOT_AFTER + timedelta(seconds=1)))
        assert _refused(late.release) == "OUTSIDE_VALIDITY"
        assert _uploads(guest) == []


def test_an_ended_session_does_not_come_back_with_its_clock(tmp_path: Path) -> None:
    """A deadline that has passed has passed: turning the guest's clock back opens nothing again."""
    with LyingGuest(World()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        with side.connect() as session:
            session.join(side.files)
            guest.clock.ahead_seconds += guest.world.manifest.rules.deadline_seconds
            assert guest.wait_for("expired") == "expired"
            guest.clock.ahead_seconds = -1e6
            assert _refused(lambda: session.release(side.files, wait_seconds=5)) == "LOG_STARTED"
            assert session.receipt(wait_seconds=5).body.outcome == "expired"
        assert _uploads(guest) == []


def test_a_guest_whose_deadline_never_comes_is_left(tmp_path: Path) -> None:
    """Nobody waits for longer than by its own clock, and who has waited can withdraw."""

    class Standing(SteeredClock):
        """A clock on which no second passes."""

        def monotonic_seconds(self) -> float:
            """Return always the same."""
            return 0.0

    with LyingGuest(World(), clock=Standing()) as guest:
        side = Side(guest, "hospital-a", tmp_path)
        side.lock()
        with side.connect() as session:
            assert _refused(lambda: session.release(side.files, wait_seconds=0.2)) == "ROSTER_WAIT_ENDED"
            session.withdraw()
            assert session.receipt(wait_seconds=5).body.outcome == "withdrawn"
        assert _uploads(guest) == []


# A connection that lives for long.


def test_a_proof_that_cannot_be_made_anew_ends_a_release(tmp_path: Path) -> None:
    """After a minute a connection that was kept alive proves nothing: without a new proof no further item leaves."""
    with LyingGuest(World()) as guest:
        guest.lock()
        everybody = sides(guest, tmp_path)
        for name in ("hospital-a", "hospital-b"):
            with everybody[name].connect() as session:
                session.join(everybody[name].files)
        clock = SteeredClock()

        def grow_old_and_silent() -> None:
            clock.ahead_seconds = 61.0
            guest.refusals[ATTEST_PATH] = (500, "application/json", b"{}")

        guest.hooks["/v1/artifacts/step-0"] = grow_old_and_silent
        with Side(guest, "analytics", tmp_path, clock=clock).connect(patience=Patience(attempts=1)) as session:
            files = everybody["analytics"].files
            assert {"step-0", "step-1"} <= files.keys()
            assert _refused(lambda: session.release(files, wait_seconds=5)) == "ATTESTATION_REFUSED"
            # The connection has ended with it, and a new one is none without a proof either.
            assert _refused(session.status) == "ATTESTATION_REFUSED"
        assert _uploads(guest) == ["PUT /v1/artifacts/step-0"]


# More guests than one.


def test_a_fork_in_time_gets_nothing_a_second_time(tmp_path: Path) -> None:
    """The host runs a session, and starts another guest under the same manifest: nobody signs, so nothing leaves."""
    world = World()
    with LiveGuest(world) as first:
        everybody = release_all(first, tmp_path)
        with everybody["analytics"].connect() as session:
            assert session.receipt(wait_seconds=20).body.outcome == "completed"
    with LyingGuest(world) as second:
        # Consents are for the manifest, so the host can lock as many guests as it likes.
        second.lock()
        for side in sides(second, tmp_path).values():
            assert _refused(side.release) == "GO_ALREADY_GIVEN"
        assert _uploads(second) == []
        with second.connect("analytics") as client:
            assert client.get("/v1/roster").json() == {"complete": False, "goes": []}


def test_a_withdrawal_that_is_led_to_another_guest_takes_the_go_back(tmp_path: Path) -> None:
    """Whoever withdraws and meets another instance is told so; nothing more goes to the one that was meant."""
    world = World()
    with LyingGuest(world) as meant, LyingGuest(world) as other:
        meant.lock()
        other.lock()
        side = Side(meant, "hospital-a", tmp_path)
        with side.connect() as session:
            session.join(side.files)
        with side.connect(url=other.url) as session:
            assert _refused(session.withdraw) == "GUEST_REPLACED"
        assert (meant.state, other.state) == ("locked", "withdrawn")
        assert _refused(side.release) == "GO_WITHDRAWN"
        assert _uploads(meant) == []
        with side.connect() as session:
            session.withdraw()
        assert meant.state == "withdrawn"


def test_a_withdrawal_takes_back_the_go_for_its_own_guest_alone(tmp_path: Path) -> None:
    """Who gave a go to the guest that is withdrawn from meant that one, and hears nothing of an earlier launch."""
    world = World()
    with LyingGuest(world) as first, LyingGuest(world) as second:
        first.lock()
        second.lock()
        side = Side(first, "hospital-a", tmp_path)
        with side.connect() as session:
            session.join(side.files)
        with side.connect(url=second.url) as session:
            session.join(side.files, again=True)
            session.withdraw()
        assert (first.state, second.state) == ("locked", "withdrawn")
        with side.connect() as session:
            session.join(side.files)


def test_a_fork_in_time_after_a_crash_gets_nothing(tmp_path: Path) -> None:
    """A guest that is killed before it ran may have run for all that anybody knows: its successor is another launch."""
    world = World()
    with LiveGuest(world) as first:
        first.lock()
        for side in sides(first, tmp_path).values():
            with side.connect() as session:
                session.join(side.files)
        with first.connect("analytics") as client:
            goes = client.get("/v1/roster").json()["goes"]
    with LyingGuest(world) as second:
        second.lock()
        for side in sides(second, tmp_path).values():
            assert _refused(side.release) == "GO_ALREADY_GIVEN"
        # And the goes for the first are worth nothing to the second, even from the hands of who gave them.
        for go in goes:
            with second.connect(go["participant"]) as client:
                assert client.send("POST", "/v1/join", go).json()["code"] == "STATEMENT_OTHER_GUEST"
        assert _uploads(second) == []
