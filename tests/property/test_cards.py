"""Whatever strangers write, a card is their text and our elements, and nothing else."""

from __future__ import annotations

import traceback
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.attested_guest import Scene
from tests.support.manifests import AT

from twocvm_sdk.cards import receipt_card, session_card
from twocvm_verifier.errors import AppraisalError, BindingError
from twocvm_verifier.eventlog import Outcome
from twocvm_verifier.markup import card, escape, visible
from twocvm_verifier.ratls.proof import judge_certificate
from twocvm_verifier.result import Appraisal, Check, CollateralUse, Level, LevelProof, Status

SCENE = Scene()
PROOF = judge_certificate(SCENE.server_identity().certificate_der, expectation=SCENE.expectation(), at=AT)
HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "</td></tr></table><img src=x onerror=alert(1)>",
            '" onmouseover="alert(1)',
            "' style='position:fixed",
            "<!--",
            "]]>",
            "&lt;script&gt;",
            "javascript:alert(1)",
            "\u202egnp.exe",
            "a\x00b\x1b[31m",
            "{{7*7}}",
            "$$\\href{javascript:alert(1)}{x}$$",
        ]
    ),
)
OURS = {"div", "strong", "table", "tr", "th", "td", "details", "summary"}


class Reader(HTMLParser):
    """Reads a page: which elements there are with which attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.texts: list[str] = []
        self.others: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.add(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        """Note what is no element and no text."""
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


PLAIN = Reader(card("title", [("name", "text")], folded=[("name", "text")])).attributes


def require_ours(page: str) -> Reader:
    """Return what a page holds, which has our elements and attributes alone."""
    read = Reader(page)
    assert read.elements <= OURS
    assert read.attributes <= PLAIN
    assert read.others == []
    return read


@given(HOSTILE, st.lists(st.tuples(HOSTILE, HOSTILE), max_size=3), st.lists(st.tuples(HOSTILE, HOSTILE), max_size=2))
def test_a_card_is_text(title: str, rows: list[tuple[str, str]], folded: list[tuple[str, str]]) -> None:
    """The text of a card is what was given, in order, and its elements are ours."""
    read = require_ours(card(title, rows, folded=folded))
    given_texts = [title, *(text for row in rows for text in row)]
    given_texts += ["in full"] if folded else []
    given_texts += [text for row in folded for text in row]
    assert "".join(read.texts) == "".join(text if text == "in full" else visible(text) for text in given_texts)


@given(HOSTILE)
def test_everything_can_be_seen(text: str) -> None:
    """No character of a card is invisible or turns a line round, and text that can be seen is as it was."""
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    assert not set(escape(text)) & set("<>\"'")


@given(HOSTILE)
def test_an_appraisal_is_text(text: str) -> None:
    """Every field of an appraisal that evidence, a verifier or a policy's reason can reach is escaped."""
    checks = tuple(
        Check(id=text, status=status, code="DEBUG_ALLOWED", level=Level.AL1, expected=text, actual=text, detail=text)
        for status in Status
    )
    appraisal = Appraisal(
        platform="simulated",
        checks=checks,
        levels=(LevelProof(level=Level.AL1, proved_by=text, detail=text),),
        advisories=(),
        facts={},
        collateral=(CollateralUse(kind=text, sha256=bytes(32), source=text, not_after=AT),),
        policy_sha256=bytes(32),
        valid_until=AT + timedelta(days=1),
        judged_at=AT,
    )
    assert visible(text) in "".join(require_ours(appraisal._repr_html_()).texts)


@given(HOSTILE)
def test_a_session_and_a_receipt_are_text(text: str) -> None:
    """Names, purposes and notices come from strangers, and a card takes them as text."""
    named = SimpleNamespace(name=text, participant=text, sealed=SimpleNamespace(size_bytes=1, sha256=bytes(32)))
    manifest = SimpleNamespace(
        name=text,
        purpose=text,
        hash=bytes(32),
        participants=(named,),
        items_of=lambda _: (named,),
        components_of=lambda _: (named,),
        outputs_of=lambda _: (named,),
    )
    read = require_ours(
        session_card(guest=text, participant=text, manifest=manifest, proof=PROOF, notice=text)  # type: ignore[arg-type]
    )
    assert "".join(read.texts).count(visible(text)) >= 6
    body = SimpleNamespace(
        participant=text,
        outcome=Outcome.COMPLETED,
        manifest_hash=bytes(32),
        report_id=bytes(32),
        inputs=(named,),
        outputs=(named,),
        other_outputs=(text,),
        log=SimpleNamespace(events=3),
    )
    assert visible(text) in "".join(require_ours(receipt_card(body)).texts)  # type: ignore[arg-type]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """A card has no address, no script and no style that reaches beyond its element."""
    page = PROOF.appraisal._repr_html_()
    for word in ("http:", "https:", "<script", "<style", "<link", "url(", "position", "class=", "id="):
        assert word not in page


@pytest.mark.parametrize("colour", ["#", "rgb", "color:", "background"])
def test_a_card_is_read_in_the_dark(colour: str) -> None:
    """Text and lines have the page's own colours."""
    assert all(colour not in (value or "").replace("color:inherit", "") for _, value in PLAIN)


def test_an_error_says_what_came_what_was_wanted_and_what_to_do() -> None:
    """What ends a cell shows code, meaning and where it stands below what came and what was wanted."""
    check = replace(PROOF.appraisal.checks[0], status=Status.FAIL, expected="this", actual="that", detail="is another")
    for error in (BindingError("REPORT_DATA_MISMATCH", "report: got x, want y"), AppraisalError((check,))):
        shown = "".join(traceback.format_exception(error))
        assert error.detail in shown
        assert f"{error.code}: {error.row.meaning} [{error.row.spec}]" in shown
    assert f"{check.id}: got that, want this" in shown
