"""Who may ask for evidence, how often, and that strangers never crowd out participants."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from tests.support.guest import SteeredClock

from twocvm_guest.service.pace import BURST, PER_SECOND, WAITING_STRANGERS, Pace
from twocvm_guest.tls import PeerConnection, ServerIdentity
from twocvm_verifier.errors import ReleaseError


class StoppedClock(SteeredClock):
    """A clock that only a test moves."""

    def monotonic_seconds(self) -> float:
        """Return what the test says."""
        return self.ahead_seconds


def peer() -> PeerConnection:
    """Return a connection like any other."""
    identity: ServerIdentity = None  # type: ignore[assignment]
    return PeerConnection(
        identity=identity, participant_spki_sha256=None, export=lambda _: b"", close_after_response=lambda: None
    )


def refused(pace: Pace, asking: PeerConnection, *, known: bool = False) -> bool:
    """Return whether a connection is refused now."""
    try:
        with pace.turn(asking, known=known):
            return False
    except ReleaseError as error:
        return error.code == "TOO_MANY_REQUESTS"


def test_connection_asks_a_few_times_and_then_once_a_second() -> None:
    """After its burst a connection is refused until time has passed, and others are not affected."""
    clock = StoppedClock()
    pace, greedy = Pace(clock), peer()
    assert [refused(pace, greedy) for _ in range(BURST + 1)] == [False] * BURST + [True]
    assert not refused(pace, peer())
    clock.ahead_seconds += 1 / PER_SECOND
    assert [refused(pace, greedy) for _ in range(2)] == [False, True]


def test_rest_gives_back_no_more_than_the_burst() -> None:
    """A connection that rested for long may ask as often in a row as a new one."""
    clock = StoppedClock()
    pace, patient = Pace(clock), peer()
    assert not refused(pace, patient)
    clock.ahead_seconds += 1e6
    assert [refused(pace, patient) for _ in range(BURST + 1)] == [False] * BURST + [True]


def test_strangers_leave_room_for_participants() -> None:
    """However many strangers wait for the platform, the next of them is refused and a participant is not."""
    pace = Pace(StoppedClock())
    with ExitStack() as waiting:
        for _ in range(WAITING_STRANGERS):
            waiting.enter_context(pace.turn(peer(), known=False))
        assert refused(pace, peer())
        assert not refused(pace, peer(), known=True)
    assert not refused(pace, peer())


def test_refusal_gives_its_place_back() -> None:
    """A request that ends, however it ends, makes room for another."""
    pace = Pace(StoppedClock())
    for _ in range(WAITING_STRANGERS + 1):
        with pytest.raises(KeyError), pace.turn(peer(), known=False):
            raise KeyError
    assert not refused(pace, peer())
