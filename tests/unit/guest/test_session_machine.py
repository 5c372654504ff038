"""The session's table: complete, one-way, and drawn as it is."""

from __future__ import annotations

import pytest
from tools.session_diagram import PAGE, rendered

from twocvm_guest.session.machine import ENDED, TABLE, Input, Refuse, Rule, State, refusal, step
from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import LockError, ReleaseError

_STORY = (
    (Input.LOCK, State.LOCKED),
    (Input.GO, State.LOCKED),
    (Input.ROSTER, State.COLLECTING),
    (Input.ITEM, State.COLLECTING),
    (Input.RUN, State.RUNNING),
    (Input.RAN, State.FILTERING),
    (Input.SEALED, State.COMPLETED),
    (Input.OUTPUT, State.COMPLETED),
    (Input.RECEIPT, State.COMPLETED),
    (Input.SETTLE, State.WIPED),
)


def _reachable(start: State) -> set[State]:
    found: set[State] = set()
    edge = {start}
    while edge:
        edge = {cell for (state, _), cell in TABLE.items() if state in edge and isinstance(cell, State)} - found
        found |= edge
    return found


def test_table_decides_every_pair() -> None:
    """Each state has a cell for each input, and each refusal a code with its row."""
    assert set(TABLE) == {(state, given) for state in State for given in Input}
    assert all(cell.code in CODES for cell in TABLE.values() if isinstance(cell, Refuse))


def test_story_runs_to_its_end() -> None:
    """The plain course of a session goes from unlocked to wiped."""
    state = State.UNLOCKED
    for given, want in _STORY:
        state = step(state, given)
        assert state is want


@pytest.mark.parametrize("state", State)
def test_no_way_leads_back(state: State) -> None:
    """No state can be reached from itself, so nothing is ever done twice."""
    assert state not in _reachable(state)


@pytest.mark.parametrize("state", [state for state in State if state is not State.WIPED])
def test_every_state_ends_wiped(state: State) -> None:
    """Wherever a session is, it can end, and it ends wiped."""
    assert State.WIPED in _reachable(state)


def test_one_lock_and_one_run() -> None:
    """Exactly one cell locks and exactly one starts the run."""
    assert [pair for pair, cell in TABLE.items() if cell is State.LOCKED] == [(State.UNLOCKED, Input.LOCK)]
    assert [pair for pair, cell in TABLE.items() if cell is State.RUNNING] == [(State.COLLECTING, Input.RUN)]


def test_withdrawal_and_run_exclude_each_other() -> None:
    """Once the run is decided no withdrawal is taken, and once somebody withdrew nothing can run."""
    for state in _reachable(State.COLLECTING) & {State.RUNNING, State.FILTERING, State.COMPLETED}:
        assert refusal(state, Input.WITHDRAW) == "TOO_LATE"
    assert State.RUNNING not in _reachable(State.WITHDRAWN)
    assert State.WITHDRAWN not in _reachable(State.RUNNING)


@pytest.mark.parametrize("state", [state for state in State if state is not State.COMPLETED])
def test_outputs_only_when_completed(state: State) -> None:
    """No state but completed serves an output, so a partial one is never seen."""
    assert isinstance(TABLE[state, Input.OUTPUT], Refuse)


@pytest.mark.parametrize("state", State)
def test_receipts_exactly_with_an_outcome(state: State) -> None:
    """A receipt is served in every state that has an outcome and in no other."""
    assert (TABLE[state, Input.RECEIPT] is Rule.STAY) == (state in ENDED)


def test_step_refuses_with_the_class_of_the_request() -> None:
    """A refused lock is a LockError, anything else refused is a ReleaseError, and the code is the cell's."""
    with pytest.raises(LockError) as locked:
        step(State.LOCKED, Input.LOCK)
    assert locked.value.code == "LOCKED_ALREADY"
    with pytest.raises(ReleaseError) as early:
        step(State.LOCKED, Input.ITEM)
    assert early.value.code == "ROSTER_INCOMPLETE"


def test_step_stops_at_what_cannot_come_about() -> None:
    """A pair that cannot come about is our own mistake and not a refusal."""
    with pytest.raises(RuntimeError):
        step(State.UNLOCKED, Input.RUN)


def test_page_shows_the_table() -> None:
    """The drawing and the table in the specification are those of the code."""
    page = PAGE.read_text(encoding="utf-8")
    assert rendered(page) == page
