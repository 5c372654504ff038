"""The model of the session: it has the guest's own table, holds in every state, and breaks when it is broken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.spin import CANNOT_COME_ABOUT, search
from tools.session_model import MODEL, rendered

from twocvm_guest.session.machine import TABLE, Cell, Input, Rule, State

TEXT = MODEL.read_text(encoding="ascii")
_FIRST = "    ALWAYS(ONE_LOCK)\n"


def test_model_has_the_guests_transitions() -> None:
    """Whoever changes the table and not the model, or the model and not the table, finds out here."""
    assert rendered(TEXT) == TEXT


def test_every_cell_is_in_the_model() -> None:
    """No cell of the table can change without the model's text changing with it."""
    for pair, cell in TABLE.items():
        other: Cell = Rule.STAY if cell is not Rule.STAY else Rule.NEVER
        assert rendered(TEXT, table={**TABLE, pair: other}) != TEXT, pair


@pytest.mark.parametrize(("launches", "fewest_states"), [(1, 20_000), (2, 400_000)])
def test_every_property_holds_in_every_state(tmp_path: Path, launches: int, fewest_states: int) -> None:
    """Every order of events is tried, to the last, and no property breaks."""
    found = search(TEXT, tmp_path, launches=launches)
    assert found.errors == 0
    assert found.complete
    # Fewer would mean that the attacker has lost some of its choices.
    assert found.states >= fewest_states


@pytest.mark.parametrize("reached", ["state == completed && guest[0].outputs", "said_withdrawn", "said_too_late"])
def test_what_is_allowed_comes_about(tmp_path: Path, reached: str) -> None:
    """The properties do not hold because nothing ever happens: a run ends well, and both answers are given."""
    probe = f'    :: guest[0].{reached} -> printf("REACHED"); assert(false)\n'
    found = search(_replaced(TEXT, _FIRST, probe + _FIRST), tmp_path, launches=1)
    assert found.broken == "REACHED"


_BROKEN_TABLES: Mapping[str, tuple[dict[tuple[State, Input], Cell], str]] = {
    "a second lock": ({(State.LOCKED, Input.LOCK): State.LOCKED}, "ONE_LOCK"),
    "a way back": ({(State.EXPIRED, Input.LOCK): State.LOCKED}, "NO_WAY_BACK"),
    "items before the roster": ({(State.LOCKED, Input.ITEM): Rule.STAY}, "ITEMS_AFTER_ROSTER"),
    "withdrawal from a run": ({(State.RUNNING, Input.WITHDRAW): State.WITHDRAWN}, "RUN_OR_WITHDRAWAL"),
    "a withdrawal that changes nothing": ({(State.COLLECTING, Input.WITHDRAW): Rule.STAY}, "WITHDRAWN_IS_TRUE"),
    "an end after the end": ({(State.COMPLETED, Input.DEADLINE): State.EXPIRED}, "NO_WAY_BACK"),
    "outputs before they are sealed": ({(State.FILTERING, Input.OUTPUT): Rule.STAY}, "NOTHING_EARLY"),
    "a receipt of a run that goes on": ({(State.RUNNING, Input.RECEIPT): Rule.STAY}, "NOTHING_EARLY"),
    "a log that is served after the wipe": ({(State.WIPED, Input.READ): Rule.STAY}, "NOTHING_LATE"),
    "an item after the end": ({(State.EXPIRED, Input.ITEM): Rule.STAY}, "NOTHING_LATE"),
    "a late word of the run that nobody expects": ({(State.EXPIRED, Input.RAN): Rule.NEVER}, CANNOT_COME_ABOUT),
}


@pytest.mark.parametrize("name", _BROKEN_TABLES)
def test_a_broken_table_is_found(tmp_path: Path, name: str) -> None:
    """A table with one wrong cell breaks the property that the cell is for."""
    wrong, broken = _BROKEN_TABLES[name]
    found = search(_only(broken, rendered(TEXT, table={**TABLE, **wrong})), tmp_path, launches=1)
    assert (found.errors, found.broken) == (1, broken)


def _for_any_launch(then: str) -> tuple[str, str]:
    return f":: launch == g && NAMES(G, who) ->\n{then}", f":: NAMES(G, who) ->\n{then}"


# By name: how many launches it takes, what the model says, what it says instead, and what breaks.
_BROKEN_RULES: Mapping[str, tuple[int, str, str, str]] = {
    "a lock without a consent": (1, "STEP(consented, lock(OURS))", "STEP(true, lock(OURS))", "ONE_LOCK"),
    "a roster without one go": (1, ":: EVERY_GO(G) ->", ":: G.go[OTHER] != 0 ->", "RELEASE_AFTER_ROSTER"),
    "a run without one item": (1, ":: EVERY_ITEM(G) ->", ":: G.admitted[OTHER] ->", "RUN_IS_AGREED"),
    "a second go in the first one's place": (
        1,
        "answer == stays && G.go[who] == 0 ->",
        "answer == stays && G.go[who] != 0 -> G.go[who] = what\n        :: answer == stays && G.go[who] == 0 ->",
        "RUN_IS_AGREED",
    ),
    "data that outlives its session": (
        1,
        "   G.items = false;\n        G.outputs",
        "   G.outputs",
        "WITHDRAWN_IS_TRUE",
    ),
    "a release before the roster": (
        1,
        "G.roster && NOT_STARTED(G) -> relied",
        "true -> relied",
        "RELEASE_AFTER_ROSTER",
    ),
    "a release under another manifest": (1, "wiped && x.manifest == OURS)", "wiped)", "RELEASE_AFTER_ROSTER"),
    "a go for another launch": (2, *_for_any_launch("        if\n        :: G.go"), "NOTHING_FORGED"),
    "a withdrawal from another launch": (2, *_for_any_launch("        on_withdraw"), "NOTHING_FORGED"),
    "a second launch without a word": (2, "(ledger[g] || again || !ledger[1 - g])", "true", "AGAIN_BY_WORD"),
    "a ledger that is written after the go": (
        2,
        "    :: sent_go[g] = true\n    :: goto start\n    fi;",
        "    :: sent_go[g] = true; ledger[g] = false\n    :: goto start\n    fi;\n"
        "    if\n    :: ledger[g] = true\n    :: goto start\n    fi;",
        "AGAIN_BY_WORD",
    ),
}


@pytest.mark.parametrize("name", _BROKEN_RULES)
def test_a_broken_rule_is_found(tmp_path: Path, name: str) -> None:
    """A guest or a participant that leaves out one rule breaks the property that the rule is for."""
    launches, old, new, broken = _BROKEN_RULES[name]
    found = search(_only(broken, _replaced(TEXT, old, new)), tmp_path, launches=launches)
    assert (found.errors, found.broken) == (1, broken)


def _only(wanted: str, model: str) -> str:
    """Leave one property in a model, because which of several breaks first says nothing."""
    if wanted != CANNOT_COME_ABOUT:
        model = _replaced(model, "#define cannot_come_about false", "#define cannot_come_about true")
    assert wanted == CANNOT_COME_ABOUT or f"    ALWAYS({wanted})\n" in model
    return re.sub(r"    ALWAYS\((\w+)\)\n", lambda line: line[0] if line[1] == wanted else "", model).replace(
        "end:\n    if\n    fi", "end:\n    false"
    )


def _replaced(model: str, old: str, new: str) -> str:
    assert model.count(old) == 1, "the model no longer says what this test breaks"
    return model.replace(old, new)
