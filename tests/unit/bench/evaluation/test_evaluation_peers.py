"""Peers do the same work on the same bytes, and each is timed with all of it."""

from __future__ import annotations

import pytest
from bench.evaluation import build
from bench.evaluation.model import MissingError, Plan
from bench.evaluation.peers import chapter, verifying, workloads
from tests.support.evaluations import measured, runs


def test_both_accept_every_report() -> None:
    """Ours and go-sev-guest judge all reports in each sample, with one verdict; without Go, it is said."""
    mine = verifying.ours().candidate
    (own,) = mine.sample()
    mine.close()
    assert own.seconds > 0
    try:
        theirs = verifying.theirs()
    except MissingError as missing:
        pytest.skip(str(missing))
    (answer,) = theirs.candidate.sample()
    theirs.candidate.close()
    assert answer.digest == own.digest == "32 accepted"
    assert set(theirs.files) == {"go-sev-guest"}


def test_without_go_the_column_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Go has ours alone."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="go-sev-guest: no Go on this machine"):
        verifying.theirs()


def test_both_starts_end_with_one_result() -> None:
    """The fresh process compiles what is not compiled yet, and computes what the warm runtime does."""
    small = next(each for each in workloads(Plan(reduced=True, fetches=False)) if each.name == "peers/start-small")
    try:
        opened = [offer.open() for offer in small.offers]
    except MissingError as missing:
        pytest.skip(str(missing))
    assert len({opened_one.candidate.sample()[0].digest for opened_one in opened}) == 1
    compiled, *_ = opened[-1].files
    assert (build.BUILT / "cache" / compiled).read_bytes()[:4] == b"\0asm"
    for each in opened:
        each.candidate.close()


def test_chapter_names_both() -> None:
    """The report says who else was asked."""
    assert "go-sev-guest" in chapter(runs(measured(name="peers/verify"))).paragraphs[0]
