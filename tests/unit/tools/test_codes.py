"""The table of codes is whole: every code is raised, tested and documented, and nothing else is raised."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tools import codes_page

from twocvm_verifier.codes import CODES, GROUPS

ROOT = Path(__file__).parents[3]
SOURCES = ("certs", "verifier", "sdk", "guest")
EXIT_STATUSES = {1, 10, 11, 12, 20, 30, 40, 41, 50}
# A code as it stands in source and tests.
WORD = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")


@cache
def strings_in(folders: tuple[str, ...], *, without: str = "") -> frozenset[str]:
    """Return every whole string constant in the Python files of these folders, docstrings included."""
    found: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if without and without in path.as_posix():
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return frozenset(found)


def malformed_documents() -> set[str]:
    """Return the documents that source raises `MalformedError` for, as their codes."""
    texts = strings_in(SOURCES, without="/codes/")
    return {name for name in CODES if name.removeprefix("MALFORMED_").lower().replace("_", "-") in texts} | {
        name for name in CODES if name.removeprefix("MALFORMED_").lower().replace("_", " ") in texts
    }


def test_page_is_current():
    """`docs/codes.md` says what the table says; `python -m tools.codes_page` writes it again."""
    assert codes_page.PAGE.read_text(encoding="utf-8") == codes_page.page()


def test_every_code_is_raised_somewhere():
    """No row of the table is left over from something that is gone."""
    texts = strings_in(SOURCES, without="/codes/")
    raised = {name for name in CODES if name in texts}
    raised |= {name for name in malformed_documents() if name.startswith("MALFORMED_")}
    missing = sorted(set(CODES) - raised)
    assert not missing, "\n".join(["raised nowhere:", *missing])


def test_every_code_is_provoked_by_some_test():
    """Every code stands in a test that names it; the missing ones are listed."""
    named = {word for text in strings_in(("tests",)) for word in WORD.findall(text)}
    missing = sorted(set(CODES) - named)
    assert not missing, "\n".join(["provoked by no test:", *missing])


def test_rows_are_complete():
    """Every row has a known exit status, an HTTP status, a sentence and a place where the rule stands."""
    for name, code in CODES.items():
        assert WORD.fullmatch(name), name
        assert code.exit_status in EXIT_STATUSES, name
        assert 400 <= code.http_status < 600, name
        assert code.meaning.endswith("."), name
        assert code.spec, name


def test_malformed_codes_are_malformed():
    """A code that says malformed ends with 30 and answers 400."""
    for name, code in CODES.items():
        if name.startswith("MALFORMED_"):
            assert (code.exit_status, code.http_status) == (30, 400), name


def test_places_in_our_own_documents_exist():
    """Where a row's rule stands in `docs/`, the page is there."""
    for name, code in CODES.items():
        if code.spec.startswith("docs/"):
            assert (ROOT / code.spec.split(",")[0].split(" ")[0]).is_file(), name


def test_groups_are_apart():
    """Every code stands in one group."""
    assert sum(len(group) for group in GROUPS.values()) == len(CODES)
