"""The states of a guest's session, and what each of them does with everything that can happen to it.

One launch has one session, and the session goes one way: there is no road back to an earlier state, no second lock and
no second run. All of that is the one table below, which decides every pair of state and input: it moves, it stays, it
refuses with a code, or it says that the pair cannot come about (then the guest's own code is wrong, and it stops).
Nothing here reads a clock, a socket or a file. `docs/spec/session.md` shows the table and the drawing made from it;
`session.pml`, beside this file, is a model with the same table, in which every order of events is tried.

>>> step(State.LOCKED, Input.ROSTER)
<State.COLLECTING: 'collecting'>
>>> refusal(State.RUNNING, Input.WITHDRAW)
'TOO_LATE'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from twocvm_verifier.errors import LockError, ReleaseError


class State(StrEnum):
    """Where a session is; the value is what `GET /v1/session` shows, and nothing more is shown."""

    UNLOCKED = "unlocked"
    LOCKED = "locked"
    COLLECTING = "collecting"
    RUNNING = "running"
    FILTERING = "filtering"
    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    FAILED = "failed"
    WIPED = "wiped"


ENDED: Final = frozenset({State.COMPLETED, State.WITHDRAWN, State.EXPIRED, State.FAILED})


class Input(Enum):
    """What can happen to a session; the value is the sentence that the specification has for it."""

    LOCK = "a verified manifest with every participant's consent arrives"
    RELOCK = "the manifest in force arrives again"
    READ = "a participant reads the manifest, the roster, the log or its failures"
    GO = "a participant's verified go arrives"
    ROSTER = "the last go makes the roster complete"
    ITEM = "an item begins to arrive, or has arrived and is to be admitted"
    RUN = "the last item is admitted"
    WITHDRAW = "a participant's verified withdrawal arrives"
    RAN = "every node of the run has ended well"
    SEALED = "every output is filtered and sealed"
    FAIL = "a node, a filter or the supervisor fails"
    DEADLINE = "the deadline passes"
    OUTPUT = "a recipient reads or acknowledges an output"
    RECEIPT = "a participant reads its receipt"
    SETTLE = "nobody is owed anything any more, or has had long enough to fetch it"
    HALT = "the machine is told to stop"


class Rule(Enum):
    """A cell that is neither a move nor a refusal."""

    STAY = "stays"
    NEVER = "cannot come about"


@dataclass(frozen=True, slots=True)
class Refuse:
    """A cell that refuses the input with a code of `twocvm_verifier.codes` and leaves the state as it is."""

    code: str


Cell: TypeAlias = State | Rule | Refuse

# The short names exist for the table alone, which is read by its columns.
_STAY, _NEVER = Rule.STAY, Rule.NEVER
_LOCK, _COLL, _RUNN, _FILT, _DONE = State.LOCKED, State.COLLECTING, State.RUNNING, State.FILTERING, State.COMPLETED
_WDRN, _EXPD, _FAIL, _WIPE = State.WITHDRAWN, State.EXPIRED, State.FAILED, State.WIPED
_OPEN = Refuse("NOT_LOCKED")
_SHUT = Refuse("LOCKED_ALREADY")
_WAIT = Refuse("ROSTER_INCOMPLETE")
_LATE = Refuse("TOO_LATE")
_HAVE = Refuse("ITEM_ADMITTED")
_SOON = Refuse("OUTPUTS_NOT_READY")
_NORE = Refuse("RECEIPT_NOT_READY")
_OVER = Refuse("SESSION_ENDED")

# fmt: off
_ROWS: Final[Mapping[Input, tuple[Cell, ...]]] = {
    # A late word of the run (RAN, SEALED, FAIL) is heard in a state that ended without it, and changes nothing.
    #                unlocked locked collect running filter  done    withdr. expired failed  wiped
    Input.LOCK:     (_LOCK,  _SHUT,  _SHUT,  _SHUT,  _SHUT,  _SHUT,  _SHUT,  _SHUT,  _SHUT,  _SHUT),
    Input.RELOCK:   (_NEVER, _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _OVER),
    Input.READ:     (_OPEN,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY,  _OVER),
    Input.GO:       (_OPEN,  _STAY,  _STAY,  _LATE,  _LATE,  _LATE,  _OVER,  _OVER,  _OVER,  _OVER),
    Input.ROSTER:   (_NEVER, _COLL,  _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER),
    Input.ITEM:     (_OPEN,  _WAIT,  _STAY,  _HAVE,  _HAVE,  _HAVE,  _OVER,  _OVER,  _OVER,  _OVER),
    Input.RUN:      (_NEVER, _NEVER, _RUNN,  _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _NEVER),
    Input.WITHDRAW: (_OPEN,  _WDRN,  _WDRN,  _LATE,  _LATE,  _LATE,  _STAY,  _OVER,  _OVER,  _OVER),
    Input.RAN:      (_NEVER, _NEVER, _NEVER, _FILT,  _NEVER, _NEVER, _NEVER, _STAY,  _STAY,  _STAY),
    Input.SEALED:   (_NEVER, _NEVER, _NEVER, _NEVER, _DONE,  _NEVER, _NEVER, _STAY,  _STAY,  _STAY),
    Input.FAIL:     (_NEVER, _NEVER, _NEVER, _FAIL,  _FAIL,  _NEVER, _NEVER, _STAY,  _STAY,  _STAY),
    Input.DEADLINE: (_STAY,  _EXPD,  _EXPD,  _EXPD,  _EXPD,  _STAY,  _STAY,  _STAY,  _STAY,  _STAY),
    Input.OUTPUT:   (_OPEN,  _SOON,  _SOON,  _SOON,  _SOON,  _STAY,  _OVER,  _OVER,  _OVER,  _OVER),
    Input.RECEIPT:  (_OPEN,  _NORE,  _NORE,  _NORE,  _NORE,  _STAY,  _STAY,  _STAY,  _STAY,  _OVER),
    Input.SETTLE:   (_NEVER, _NEVER, _NEVER, _NEVER, _NEVER, _WIPE,  _WIPE,  _WIPE,  _WIPE,  _STAY),
    Input.HALT:     (_WIPE,  _WIPE,  _WIPE,  _WIPE,  _WIPE,  _WIPE,  _WIPE,  _WIPE,  _WIPE,  _STAY),
}
# fmt: on

TABLE: Final[Mapping[tuple[State, Input], Cell]] = MappingProxyType(
    {(state, given): cell for given, row in _ROWS.items() for state, cell in zip(State, row, strict=True)}
)


def step(state: State, given: Input) -> State:
    """Return the state that follows `state` when `given` happens; it may be the same one.

    Raises:
        LockError: A lock is refused here.
        ReleaseError: Anything else is refused here; the code says why.
        RuntimeError: The pair cannot come about, so the caller is wrong.
    """
    cell = TABLE[state, given]
    if isinstance(cell, State):
        return cell
    if cell is Rule.STAY:
        return state
    if isinstance(cell, Refuse):
        error = LockError if given is Input.LOCK else ReleaseError
        raise error(cell.code, f"session: got {given.name.lower()} while {state}")
    raise RuntimeError(f"session: {given.name} cannot come about while {state}")


def refusal(state: State, given: Input) -> str | None:
    """Return the code with which `state` refuses `given`, or None where it does not."""
    cell = TABLE[state, given]
    return cell.code if isinstance(cell, Refuse) else None
