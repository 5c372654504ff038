"""Values that stand for something verified are made in one place only."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SOURCES = [path for package in ("certs", "verifier", "sdk", "guest") for path in (REPOSITORY / package).rglob("*.py")]


@pytest.mark.parametrize(
    ("value", "home"), [("Manifest", "parse.py"), ("Roster", "roster.py"), ("Consents", "roster.py")]
)
def test_made_in_one_place(value: str, home: str) -> None:
    """Only the parser makes a manifest, and only the verification makes a roster or a set of consents."""
    makers = {path for path, called in _called().items() if value in called}
    assert makers == {f"verifier/twocvm_verifier/manifest/{home}"}


@cache
def _called() -> Mapping[str, frozenset[str]]:
    """Return the names of what each source calls, by its path."""
    return {
        path.relative_to(REPOSITORY).as_posix(): frozenset(
            _name(call.func)
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(call, ast.Call)
        )
        for path in SOURCES
    }


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Name):
        return called.id
    return called.attr if isinstance(called, ast.Attribute) else ""
