"""Write the table of the guest's session into its model, so that what `spin` checks is what the guest does.

The model (`guest/twocvm_guest/session/session.pml`) keeps the table between two markers; a test fails when it differs
from what the table of `machine` says. To bring it up to date: `python -m tools.session_model`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from twocvm_guest.session.machine import TABLE, Cell, Input, Refuse, Rule, State

Table: TypeAlias = Mapping[tuple[State, Input], Cell]

MODEL: Final = Path(__file__).parent.parent / "guest" / "twocvm_guest" / "session" / "session.pml"
_BEGIN: Final = "/* begin table */\n"
_END: Final = "/* end table */\n"
_LINE_CHARACTERS: Final = 110


def promela(table: Table) -> str:
    """Return every cell of a table in Promela: the names of states and answers, and what each input does."""
    codes = sorted({cell.code for cell in table.values() if isinstance(cell, Refuse)})
    names = _wrapped("mtype = { ", [*State, "moves", "stays", *codes], ", ", " }")
    return "\n".join([names, *(_inline(table, given) for given in Input)]) + "\n"


def rendered(model: str, *, table: Table = TABLE) -> str:
    """Return `model` with the table between its markers made anew.

    Args:
        model: The whole file.
        table: The guest's own, but where a test breaks it.

    Raises:
        ValueError: The markers are not there exactly once.
    """
    before, begin, rest = model.partition(_BEGIN)
    _old, end, after = rest.partition(_END)
    if not (begin and end) or _BEGIN in after:
        raise ValueError("model: needs its two markers, once")
    return before + begin + promela(table) + end + after


def _inline(table: Table, given: Input) -> str:
    by_cell: dict[Cell, list[State]] = {}
    for state in State:
        by_cell.setdefault(table[state, given], []).append(state)
    options = [_option(states, cell) for cell, states in by_cell.items()]
    head = ["", f"inline on_{given.name.lower()}() {{", "    if"]
    return "\n".join([*head, *options, "    fi", "}"])


def _option(states: list[State], cell: Cell) -> str:
    tests = [f"G.state == {state}" for state in states]
    return _wrapped("    :: ", tests, " || ", f" -> {_effect(cell)}")


def _effect(cell: Cell) -> str:
    if isinstance(cell, State):
        return f"G.state = {cell}; answer = moves"
    if isinstance(cell, Refuse):
        return f"answer = {cell.code}"
    return "answer = stays" if cell is Rule.STAY else "assert(cannot_come_about)"


def _wrapped(head: str, words: list[str], separator: str, tail: str) -> str:
    lines, line = [], head
    for index, word in enumerate(words):
        piece = word + (separator if index < len(words) - 1 else tail)
        if len(line) + len(piece.rstrip()) > _LINE_CHARACTERS:
            lines.append(line.rstrip())
            line = "       "
        line += piece
    return "\n".join([*lines, line])


def main() -> None:
    """Write the model."""
    MODEL.write_text(rendered(MODEL.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{MODEL.name}: {len(TABLE)} cells\n")


if __name__ == "__main__":
    main()
