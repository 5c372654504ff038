"""The threat model names files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/threat-model.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
]


def _functions() -> dict[str, set[str]]:
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        found[str(path.relative_to(ROOT))] = set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M))
    return found


FUNCTIONS = _functions()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_row_names_what_exists(row):
    """Every row has a mechanism, a file that exists, and at least one test that exists."""
    assert len(row) == 4, "a row has threat, mechanism, file and tests"
    _, mechanism, file, tests = row
    assert mechanism
    assert (ROOT / file.strip("`")).exists()
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    for name in named:
        path, _, function = name.rpartition("::")
        assert function in FUNCTIONS[path] if path else (ROOT / name).exists()


def test_page_has_rows():
    """The reader of this page found its tables."""
    assert len(ROWS) > 80
