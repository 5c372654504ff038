"""Withdrawal against run: decided once, whoever is faster, and everybody is told the same."""

import threading
from pathlib import Path

from tests.support.guest import LiveGuest
from tests.support.manifests import World
from tests.support.sides import sides

from twocvm_sdk import Session
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.eventlog import EventType

ROUNDS = 5
DECIDED = {EventType.RUN, EventType.WITHDRAW}


def _race(folder: Path, *, head_start_seconds: float) -> tuple[str, list[str]]:
    """Have one withdraw while another sends the last item, and return the outcome and what each was refused."""
    with LiveGuest(World()) as guest:
        everybody = sides(guest, folder)
        everybody["analytics"].lock()
        for side in everybody.values():
            with side.connect() as session:
                session.join(side.files)
        for name in ("hospital-b", "analytics"):
            everybody[name].release()
        refused: list[str] = []
        ready = threading.Barrier(2)

        def attempt(name: str) -> None:
            with everybody[name].connect() as session:
                ready.wait(20)
                try:
                    _act(session, everybody[name].files, head_start_seconds)
                except ReleaseError as error:
                    refused.append(error.code)

        threads = [threading.Thread(target=attempt, args=(name,)) for name in ("hospital-a", "hospital-b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        logs = []
        for side in everybody.values():
            with side.connect() as session:
                session.wait(wait_seconds=20)
                # Before the receipt: when everybody has theirs, the guest ends and tells nothing more.
                decided = [event.type for event in session.log().events if event.type in DECIDED]
                outcome = session.receipt(wait_seconds=20).outcome
                logs.append((outcome, decided))
        assert logs[0] == logs[1] == logs[2]
        assert len(logs[0][1]) == 1
        assert guest.workers.runs == (1 if outcome == "completed" else 0)
        return str(outcome), refused


def _act(session: Session, files: dict[str, Path], head_start_seconds: float) -> None:
    if session.identity.name == "hospital-a":
        session.release(files)
    else:
        # A release asks for a roster and a proof first; a withdrawal does not.
        threading.Event().wait(head_start_seconds)
        session.withdraw()


def test_withdrawal_and_run_are_decided_once(tmp_path: Path) -> None:
    """Of a last item and a withdrawal at once exactly one is taken, and every receipt and log tell the same."""
    seen = set()
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome, refused = _race(folder, head_start_seconds=0.015 * number)
        seen.add(outcome)
        if outcome == "completed":
            assert refused == ["TOO_LATE"]
        else:
            assert outcome == "withdrawn"
            assert refused in (["LOG_STARTED"], ["SESSION_ENDED"])
    assert seen
