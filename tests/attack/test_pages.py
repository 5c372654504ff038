"""Pages in a real browser: hostile text stays text, nothing is fetched or run, and everybody can read them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from tests.support.amd import AT
from tests.support.appraisals import CASES, HOSTILE, document
from tests.support.verifier_service import parts
from tests.support.webdriver import DESKTOP, PHONE, look, opened

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.pages.rendering import Origin, content_security_policy, front_page, report_page
from twocvm_verifier.pages.report import error_document
from twocvm_verifier.service.front import front_document

HERE = Origin(maker="twocvm", service="", until="")
AXE = Path(__file__).parents[2] / "build/axe/node_modules/axe-core/axe.min.js"
POLICY = f"{content_security_policy()}; frame-ancestors 'none'"
SCREENS = [(DESKTOP, "light"), (PHONE, "dark"), (DESKTOP, "dark"), (PHONE, "light")]
# What an injection would leave behind.
ACTIVE = "script, img, iframe, object, embed, form, input, button, a[href^='javascript'], link, base, use, image"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def pages() -> Mapping[str, str]:
    """Return every kind of page, by its path."""
    made = {f"/{name.replace(' ', '-')}": report_page(document(name), HERE) for name in CASES}
    error = error_document(MalformedError("report", "length", HOSTILE), judged_at=AT)
    hostile = dict(front_document(parts(issuer=HOSTILE, federations=frozenset({HOSTILE}))))
    return made | {
        "/error": report_page(error, HERE),
        "/front": front_page(front_document(parts()), HERE),
        "/hostile-front": front_page(hostile, Origin(maker=HOSTILE, service=HOSTILE, until=HOSTILE)),
    }


PAGES = pages()
# Enough of each for what takes the browser a while.
SOME = ("/affirming", "/refused", "/simulated", "/hostile", "/error", "/front")


@contextmanager
def serving(asked: list[str]) -> Iterator[str]:
    """Serve the pages as the service does, and note what else is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in PAGES:
                asked.append(self.path)
            body = PAGES.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A real browser."""
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def test_hostile_text_neither_runs_nor_loads_anything(browser: Chrome) -> None:
    """On every page there is no active element, nothing is asked for but the page, and nothing had to be blocked."""
    asked: list[str] = []
    with serving(asked) as url:
        for path in PAGES:
            look(browser, url + path, width=DESKTOP, dark=False)
            assert browser.execute_script(f"return document.querySelectorAll(`{ACTIVE}`).length") == 0, path
        said = [entry["message"] for entry in browser.get_log("browser") if "/favicon.ico" not in entry["message"]]
    # A browser asks for an icon by itself; the page's own policy forbids it to.
    assert [path for path in asked if path != "/favicon.ico"] == []
    assert said == []


def test_a_page_that_does_is_noticed(browser: Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy that pages are served under blocks a script, a picture, a frame and a style; and says so."""
    bad = "<!doctype html><title>x</title><style>p{}</style><script>x()</script><img src=/x><iframe src=/y></iframe>"
    monkeypatch.setitem(PAGES, "/bad", bad)  # type: ignore[arg-type]
    asked: list[str] = []
    with serving(asked) as url:
        look(browser, url + "/bad", width=DESKTOP, dark=False)
        said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert {"/x", "/y"}.isdisjoint(asked)
    for directive in ("style", "script", "img", "frame"):
        assert directive in said


def test_what_is_shown_is_what_was_written(browser: Chrome) -> None:
    """A reader sees the hostile text itself, in the page's words."""
    with serving([]) as url:
        look(browser, url + "/hostile", width=DESKTOP, dark=False)
        browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
        text = browser.execute_script("return document.body.innerText")
    assert HOSTILE in text
    assert browser.title == "affirming: an appraisal of 1 Jun 2026, 00:00:00 UTC"


@pytest.mark.parametrize(("width", "light"), SCREENS)
def test_every_page_fits_its_screen(browser: Chrome, width: int, light: str) -> None:
    """Nothing is cut off and nothing scrolls sideways, at any width; the colours follow the reader's."""
    with serving([]) as url:
        for path in PAGES:
            look(browser, url + path, width=width, dark=light == "dark")
            browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, path
            ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(15, 18, 22)") == (light == "dark"), path


def test_paper_has_what_is_folded(browser: Chrome) -> None:
    """In print everything is unfolded, for there is nobody to click."""
    with serving([]) as url:
        look(browser, url + "/refused", width=DESKTOP, dark=False)
        folded = browser.execute_script("return document.documentElement.scrollHeight")
        look(browser, url + "/refused", width=DESKTOP, dark=False, media="print")
        printed = browser.execute_script(
            "return [...document.querySelectorAll('.checks')].every(each => each.getBoundingClientRect().height > 0)"
        )
    assert folded
    assert printed


def _violations(browser: Chrome) -> list[Any]:
    # Scripts of the test's own are none of the page's, and its policy does not hold for them.
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run(document, arguments[0]).then(done)", RULES
    )
    assert found["passes"]
    return [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]]


# Both widths and both lights, each once.
@pytest.mark.parametrize(("width", "light"), SCREENS[:2])
def test_everybody_can_read_it(browser: Chrome, width: int, light: str) -> None:
    """Axe finds no fault: contrast, headings, landmarks, names, tables; on a large screen, on a small one at night."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed in build/axe")
    with serving([]) as url:
        for path in SOME:
            look(browser, url + path, width=width, dark=light == "dark")
            browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert _violations(browser) == [], path
