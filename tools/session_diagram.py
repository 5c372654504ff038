"""Draw the guest's session from its table: the drawing and the table of `docs/spec/session.md`.

The document keeps both between markers; a test fails when they differ from what the table says. To bring them up to
date: `python tools/session_diagram.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from twocvm_guest.session.machine import TABLE, Input, Refuse, Rule, State

PAGE = Path(__file__).parent.parent / "docs" / "spec" / "session.md"


def drawing() -> str:
    """Return the states and every move between two of them, as a mermaid state diagram."""
    moves: dict[tuple[State, State], list[str]] = {}
    for (state, given), cell in TABLE.items():
        if isinstance(cell, State):
            moves.setdefault((state, cell), []).append(given.name.lower())
    lines = [f"    {state} --> {target}: {', '.join(inputs)}" for (state, target), inputs in moves.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> unlocked", *lines, "    wiped --> [*]", "```"])


def table() -> str:
    """Return the whole table: a row for each input, a column for each state."""
    head = ["input", *State]
    rows = [[f"`{given.name.lower()}`: {given.value}", *(_cell(state, given) for state in State)] for given in Input]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def rendered(page: str) -> str:
    """Return `page` with what stands between its markers made anew."""
    for name, make in (("drawing", drawing), ("table", table)):
        page = _replaced(page, name, make)
    return page


def _cell(state: State, given: Input) -> str:
    cell = TABLE[state, given]
    if isinstance(cell, State):
        return f"**{cell}**"
    if isinstance(cell, Refuse):
        return f"`{cell.code}`"
    return "=" if cell is Rule.STAY else ""


def _replaced(page: str, name: str, make: Callable[[], str]) -> str:
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    before, _, rest = page.partition(begin)
    _old, marker, after = rest.partition(end)
    if not marker or begin in after:
        raise ValueError(f"{name}: the page needs its two markers, once")
    return before + begin + make() + end + after


def main() -> None:
    """Write the page."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(TABLE)} cells\n")


if __name__ == "__main__":
    main()
