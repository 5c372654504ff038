"""How patient a guest is, without waiting: every phase with its limit, by a clock that the test moves."""

from __future__ import annotations

import pytest

from twocvm_guest.tls.watch import Limits, Phase, Watch

LIMITS = Limits(handshake_seconds=1, head_seconds=2, idle_seconds=3, stall_seconds=4, stall_bytes=100, linger_seconds=5)
SECONDS = {Phase.HANDSHAKE: 1, Phase.HEAD: 2, Phase.IDLE: 3, Phase.BODY: 4, Phase.ANSWER: 4}


@pytest.mark.parametrize("phase", SECONDS)
def test_phase_ends_after_its_time(phase: Phase) -> None:
    """Up to its limit a client is waited for, and not a moment longer."""
    watch = Watch(LIMITS, now=10.0)
    assert not watch.overdue(phase, requests=0, moved_bytes=0, now=10.0)
    assert not watch.overdue(phase, requests=0, moved_bytes=0, now=10.0 + SECONDS[phase])
    assert watch.overdue(phase, requests=0, moved_bytes=0, now=10.01 + SECONDS[phase])


def test_work_of_the_guest_itself_has_no_limit_here() -> None:
    """While the guest is the one to act, no client is late."""
    watch = Watch(LIMITS, now=0.0)
    assert not watch.overdue(Phase.WORK, requests=1, moved_bytes=0, now=0.0)
    assert not watch.overdue(Phase.WORK, requests=1, moved_bytes=0, now=1e9)


@pytest.mark.parametrize("phase", [Phase.BODY, Phase.ANSWER])
def test_what_moves_is_kept_and_what_drips_is_not(phase: Phase) -> None:
    """Enough bytes in the time begin it anew; fewer do not, however often they come."""
    watch = Watch(LIMITS, now=0.0)
    watch.overdue(phase, requests=1, moved_bytes=0, now=0.0)
    for step in range(1, 50):
        assert not watch.overdue(phase, requests=1, moved_bytes=100 * step, now=3.0 * step)
    began, moved = 3.0 * 49, 100 * 49
    assert not watch.overdue(phase, requests=1, moved_bytes=moved + 98, now=began + 3.9)
    assert watch.overdue(phase, requests=1, moved_bytes=moved + 99, now=began + 4.1)


@pytest.mark.parametrize("phase", [Phase.HANDSHAKE, Phase.HEAD, Phase.IDLE])
def test_bytes_do_not_buy_time_in_other_phases(phase: Phase) -> None:
    """A handshake or a head is complete in its time, or not at all."""
    watch = Watch(LIMITS, now=0.0)
    watch.overdue(phase, requests=0, moved_bytes=0, now=0.0)
    assert watch.overdue(phase, requests=0, moved_bytes=1 << 30, now=SECONDS[phase] + 0.1)


def test_same_phase_of_the_next_request_is_another_turn() -> None:
    """A client that asks again and again is never taken for one that stands still."""
    watch = Watch(LIMITS, now=0.0)
    for number in range(100):
        assert not watch.overdue(Phase.IDLE, requests=number, moved_bytes=0, now=2.9 * number)
