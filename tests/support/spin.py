"""The model checker spin, run on a Promela model until every state is seen or a property breaks."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CANNOT_COME_ABOUT = "cannot come about"
_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found.

    Attributes:
        errors: How many errors; the search stops at the first.
        states: How many states were seen.
        complete: Whether every state was seen.
        broken: The property that broke, `CANNOT_COME_ABOUT` where an input came in a state that has none, or "".
    """

    errors: int
    states: int
    complete: bool
    broken: str


def search(model: str, folder: Path, *, launches: int) -> Search:
    """Search a model of the session; where spin or a C compiler is missing, the test is skipped.

    Args:
        model: Promela.
        folder: For what is compiled; empty.
        launches: How many guests (1 or 2).
    """
    spin, compiler = shutil.which("spin"), shutil.which("gcc")
    if spin is None or compiler is None:
        pytest.skip("the model checker spin, or gcc, is not installed: nothing is model-checked")
    (folder / "model.pml").write_text(model, encoding="ascii")
    # Optimising takes longer than it saves where there are few states.
    level = "-O0" if launches == 1 else "-O1"
    _run(folder, spin, f"-DLAUNCHES={launches}", "-a", "model.pml")
    _run(folder, compiler, level, "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
    said = _run(folder, "./pan", "-m100000")
    words = said.split()
    errors = int(words[words.index("errors:") + 1])
    named = re.search(r"printf\('(\w+)'\)", _run(folder, "./pan", "-r")) if errors else None
    return Search(
        errors=errors,
        states=int(words[words.index("stored") - 2]),
        complete="Search not completed" not in said and "max search depth too small" not in said,
        broken=named[1] if named else CANNOT_COME_ABOUT if errors else "",
    )


def _run(folder: Path, *command: str) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return ran.stdout + ran.stderr
