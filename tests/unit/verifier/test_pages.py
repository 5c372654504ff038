"""Pages for people: what stands on them, that it is all text, and that they need nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError
from tests.support.amd import AT
from tests.support.appraisals import CASES, HOSTILE, MILAN, UNSEEN, document, judged
from tests.support.htmltext import parsed
from tests.support.manifests import World

from twocvm_guest.main import run
from twocvm_verifier import Policy, strictjson
from twocvm_verifier.clock import format_time
from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.evidence import Evidence, encode_json
from twocvm_verifier.markup import visible
from twocvm_verifier.pages.anchors import trusted
from twocvm_verifier.pages.rendering import Origin, content_security_policy, maker, moment, report_page
from twocvm_verifier.pages.report import error_document
from twocvm_verifier.pages.reproduction import Asked, reproduction_of
from twocvm_verifier.policy import parse_policy
from twocvm_verifier.result import Status
from twocvm_verifier.snp.roots import amd_roots

HERE = Origin(maker="twocvm", service="", until="")
GENUINE = Path(__file__).parents[3] / "examples/genuine"
ELEMENTS = {
    "b", "body", "code", "dd", "details", "div", "dl", "dt", "em", "footer", "h1", "h2", "h3", "head", "header", "html",
    "li", "main", "meta", "ol", "p", "path", "pre", "rect", "section", "small", "span", "strong", "style", "summary",
    "svg", "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "aria-hidden", "aria-label", "aria-labelledby", "charset", "class", "content", "d", "datetime", "focusable",
    "height", "http-equiv", "id", "lang", "name", "open", "preserveaspectratio", "role", "scope", "tabindex", "viewbox",
    "width",
}  # fmt: skip
# What a template chooses by, and never shows.
CHOSEN = {"status", "state", "schema"}


def page_of(name: str) -> str:
    """Return the page of a case."""
    return report_page(document(name), HERE)


def squeezed(text: str) -> str:
    """Return text with all white space as one space, as a browser shows it."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", CASES)
def test_everything_judged_is_on_the_page(name):
    """Each check stands there with its answer, each level, attack and certificate, and the verdict in the title."""
    made, appraisal, _ = judged(name)
    html = page_of(name)
    text = squeezed(parsed(html).text)
    for check in appraisal.checks:
        for shown in (check.id, check.expected, check.actual, check.detail, check.spec):
            assert squeezed(visible(shown)) in text, check.id
    for check in appraisal.findings:
        assert check.code in text
        assert squeezed(CODES[check.code].meaning) in text
    for attack in appraisal.advisories:
        assert attack.title in text
        assert attack.detail in text
    for piece in appraisal.collateral:
        assert piece.sha256.hex() in text
        assert moment(format_time(piece.not_after)) in text
    assert all(proof.detail in text for proof in appraisal.levels)
    assert made.policy.sha256.hex() in text
    assert f"{appraisal.verdict}: an appraisal of" in re.findall("<title>(.*?)</title>", html)[0]
    assert f'class="banner {appraisal.verdict}' in html


def test_a_simulated_platform_is_unmistakable():
    """Title, banner and headline say it, whatever the verdict is; no other page does."""
    html = page_of("simulated")
    assert "<title>SIMULATED, warning" in html
    assert '<p class="hazard"><strong>Simulated platform</strong>' in html
    assert "--simulated-root" in html
    for name in set(CASES) - {"simulated"}:
        assert 'class="hazard"' not in page_of(name)


def test_a_headline_never_says_more_than_was_proved():
    """Forged evidence is nobody's word, and a refusal is not softened by anything else."""
    said = {name: str(document(name)["headline"]) for name in CASES}
    assert said["affirming"].startswith("Genuine, and everything")
    assert said["warning"].startswith("Genuine and not refused")
    assert said["refused"].startswith("Refused.")
    assert said["forged"].startswith("Not authentic.")
    assert said["simulated"].startswith("A simulated platform.")
    assert "which nobody vouches for" in page_of("forged")


def test_the_chain_has_its_dates_and_what_is_wrong_with_them():
    """Root, intermediate, key and list stand with begin and end; an issuer that nobody trusts is called that."""
    assert [link["name"] for link in document("affirming")["chain"]] == [
        "ARK-Milan", "SEV-Milan", "SEV-VCEK", "Revocation list 3",
    ]  # fmt: skip
    assert [link["source"] for link in document("affirming")["chain"]] == ["shipped", "shipped", "evidence", "evidence"]
    assert [link["name"] for link in document("hostile")["chain"]][1:3] == ["SEV-VLEK-Milan", "SEV-VLEK"]
    assert [link["name"] for link in document("simulated")["chain"]] == [
        "SIMULATED-ARK", "SIMULATED-ASK", "SIMULATED-VCEK",
    ]  # fmt: skip
    assert document("unknown issuer")["chain"][0]["state"] == "unknown"
    assert document("ended")["chain"][-1]["state"] == "ended"
    assert document("early")["chain"][0]["state"] == "future"


def test_the_tcb_stands_beside_its_floors():
    """Each component has the greatest floor that is set for it, and says whether it is met."""
    table = document("refused")["tcb"]
    rows = {row["name"]: dict(zip(table["components"], row["cells"], strict=True)) for row in table["rows"]}
    assert rows["reported"]["snp"] == [24, "25", "below"]
    assert rows["launch"]["snp"] == [24, "30", "below"]
    assert rows["launch"]["tee"] == [0, "0", "met"]
    assert rows["reported"]["microcode"] == [219, "", "free"]
    assert (table["floors"], document("warning")["tcb"]["floors"]) == (True, False)


def test_what_a_paravisors_vtpm_says_stands_there():
    """Its rules are a group of their own, its PCRs are judged among the policy's, and all of them are facts."""
    found = document("paravisor")
    groups = {group["title"]: [check["id"] for check in group["checks"]] for group in found["groups"]}
    assert groups["Paravisor"][-1] == "azure.trusted_base"
    assert [name for name in groups["Policy"] if "pcrs" in name] == [
        "policy.pcrs.sha256.4", "policy.pcrs.sha256.7", "policy.pcrs.sha256.others",
    ]  # fmt: skip
    assert [finding["id"] for finding in found["findings"]] == ["policy.pcrs.sha256.7"]
    facts = dict(found["facts"])
    assert (facts["paravisor pcrs 7"], facts["paravisor user_data"]) == ("07" * 32, "00" * 64)
    assert facts["paravisor configuration secure-boot"] == "true"
    assert not any(name.startswith("paravisor") for name, _ in document("refused")["facts"])


def test_a_manifests_floors_count_too():
    """What the manifest demands of the TCB is a floor as the policy's is."""
    from dataclasses import replace

    from twocvm_verifier.pages.levels import tcb_of

    def demanding(document):
        document["platform"] |= {"minimum_tcb": {"Milan": {"snp": 200}}, "products": ["Milan"], "simulated": False}

    made, appraisal, _ = judged("affirming")
    table = tcb_of(replace(made, manifest=World(edit=demanding).manifest), appraisal)
    assert table["rows"][0]["cells"][2] == [24, "200", "below"]


def test_what_is_open_is_said_with_its_reason():
    """What was not asked stands under its reason, and what the author left open by his own."""
    made, appraisal, _ = judged("hostile")
    found = document("hostile")
    assert ["host_data", made.policy.host_data.reason] in found["open"]
    skipped = {identifier for group in found["skipped"] for identifier in group["ids"]}
    assert skipped == {check.id for check in appraisal.checks if check.status is Status.SKIP}


def _replaced(value, key=""):
    """Return a document in which every text that is shown is hostile."""
    if isinstance(value, dict):
        return {name: _replaced(member, name) for name, member in value.items()}
    if isinstance(value, list):
        return [_replaced(member, key) for member in value]
    return HOSTILE + UNSEEN if isinstance(value, str) and key not in CHOSEN | {"counts", "cells"} else value


@pytest.mark.parametrize("name", CASES)
def test_hostile_text_is_text_wherever_it_stands(name):
    """With hostile text in every field the page has the same elements and attributes, and shows the text as it is."""
    hostile = parsed(report_page(_replaced(document(name)), Origin(maker=HOSTILE, service=HOSTILE, until=HOSTILE)))
    assert hostile.elements <= ELEMENTS
    assert hostile.attributes <= ATTRIBUTES
    assert visible(HOSTILE + UNSEEN) in hostile.text
    assert "\u202e" not in hostile.text
    assert "\x07" not in hostile.text


def test_what_strangers_choose_arrives_as_text():
    """A policy's name and reasons and an operator's name from a certificate go the whole way, and stay text."""
    page = parsed(page_of("hostile"))
    assert page.elements <= ELEMENTS
    assert visible(HOSTILE) in page.text
    assert "VLEK of <script src=/x>" in page.text


@pytest.mark.parametrize("name", CASES)
def test_a_page_needs_nothing_from_anywhere(name):
    """No element loads, runs or sends anything, no style fetches, and its own policy forbids all but its style."""
    html = page_of(name)
    page = parsed(html)
    assert page.elements <= ELEMENTS
    assert page.attributes <= ATTRIBUTES
    assert content_security_policy() in page.values["content"]
    [style] = re.findall("<style>(.*?)</style>", html, re.S)
    assert not re.search(r"url\(|@import|expression|src", style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = content_security_policy()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert {"noindex, nofollow, noarchive", "no-referrer"} <= page.values["content"]


def test_a_document_survives_being_kept():
    """It is JSON that the strict reader takes, and gives the same page afterwards."""
    for name in CASES:
        kept = strictjson.parse(strictjson.canonical(document(name)), document="page", max_bytes=1 << 20)
        assert report_page(kept, HERE) == page_of(name)


def test_a_document_that_lacks_something_is_no_page():
    """What a template wants and a document does not have is an error, never an empty place."""
    lacking = {key: value for key, value in document("affirming").items() if key != "findings"}
    with pytest.raises(UndefinedError):
        report_page(lacking, HERE)


def test_only_the_paragraph_on_its_origin_differs():
    """Two makers' pages of one document are equal, but for what says where they came from."""
    theirs = report_page(document("refused"), Origin(maker=maker(), service="https://v.example", until=format_time(AT)))
    assert theirs != page_of("refused")
    assert _without_origin(theirs) == _without_origin(page_of("refused"))
    assert "Judged by https://v.example (twocvm " in theirs
    assert "until 1 Jun 2026, 00:00:00 UTC" in theirs


def _without_origin(html: str) -> str:
    return re.sub(r'<p class="origin">.*?</p>', "", html, flags=re.S)


def test_what_was_asked_beyond_the_command_is_said():
    """A release and a binding cannot be asked again at rest, and the page does not pretend otherwise."""
    asked = document("affirming", asked=Asked(release=True, bound=True, bundle=None))["reproduction"]
    assert len(asked["notes"]) == 2
    assert document("affirming")["reproduction"]["notes"] == []


@pytest.mark.parametrize("name", ["affirming", "warning", "refused"])
def test_the_policy_is_there_in_full(name):
    """What stands on the page is the policy, with the digest that it says."""
    found = document(name)
    assert parse_policy("\n".join(found["policy_toml"])).sha256.hex() == found["policy_sha256"]
    assert found["reproduction"]["builtin"] is (name == "warning")


def test_the_command_on_the_page_comes_to_the_same(tmp_path, monkeypatch, capsys):
    """Its files, by its names, with the digests that stand there: the very command writes the very page."""
    monkeypatch.chdir(tmp_path)
    options = ["--report", str(GENUINE / "report.bin"), "--vek", str(GENUINE / "vcek.der"), "--offline", "-q"]
    policy = tmp_path / "mine.toml"
    policy.write_text('name = "mine"\nmeasurements = { unchecked = "a test" }\n')
    bundle = tmp_path / "bundle.json"
    first = ["--policy", str(policy), "--at", "2026-11-22T12:00:00Z", "--html", "one.html"]
    assert run(["appraise", *options, *first, "--bundle-out", str(bundle)]) == 11
    assert run(["appraise", "--bundle", str(bundle), "--html", "three.html", "-q"]) == 11
    (tmp_path / "report.bin").write_bytes((GENUINE / "report.bin").read_bytes())
    (tmp_path / "vek.der").write_bytes((GENUINE / "vcek.der").read_bytes())
    policy.rename(tmp_path / "policy.toml")
    for written, again in (("one.html", "two.html"), ("three.html", "four.html")):
        html = Path(written).read_text(encoding="utf-8")
        [command] = re.findall(r'<pre class="command"[^>]*><code>(.*?)</code>', html)
        assert run([*shlex.split(command)[1:], "--html", again]) == 11
        assert Path(again).read_text(encoding="utf-8") == html
        for name in re.findall(r"<dt>([a-z.]+)<small>[0-9]+ bytes", html):
            assert hashlib.sha256(Path(name).read_bytes()).hexdigest() in html
    assert "bundle.json" in Path("four.html").read_text(encoding="utf-8")
    capsys.readouterr()


def test_what_cannot_be_judged_has_a_page_too(tmp_path, capsys):
    """Malformed evidence and a missing key say their code, and that this is no verdict; the exit status stays."""
    page = tmp_path / "error.html"
    assert run(["appraise", "--report", __file__, "--html", str(page), "-o", "json"]) == 30
    assert json.loads(capsys.readouterr().out)["verdict"] == "error"
    text = squeezed(parsed(page.read_text(encoding="utf-8")).text)
    assert "MALFORMED_REPORT" in text
    assert CODES["MALFORMED_REPORT"].meaning in text
    assert "neither an acceptance nor a refusal" in text
    found = error_document(MalformedError("report", "x", HOSTILE), judged_at=AT)
    hostile = parsed(report_page(found, HERE))
    assert hostile.elements <= ELEMENTS
    assert visible(HOSTILE) in hostile.text


def test_without_the_extra_nothing_is_judged(tmp_path):
    """A missing library ends with 20 and names the extra, before anything is read."""
    without = "import sys; sys.modules['jinja2'] = None; from twocvm_guest.main import main; main()"
    page = tmp_path / "page.html"
    command = [sys.executable, "-c", without, "appraise", "--report", "none", "--html", str(page)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, page.exists()) == (20, "", False)
    assert "EXTRA_MISSING" in ended.stderr
    assert "twocvm[service]" in ended.stderr


def test_what_is_trusted_is_listed_whole():
    """Three roots with their intermediates, by the digests that stand in the documents; and a simulated one."""
    listed = trusted(amd_roots(), at=AT)
    assert [(each["product"], len(each["intermediates"])) for each in listed] == [
        ("Milan", 2), ("Genoa", 2), ("Turin", 2),
    ]  # fmt: skip
    assert listed[0]["sha256"] == "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"
    assert not any(each["ended"] for each in listed)
    _, _, simulated = judged("simulated")
    assert trusted(simulated, at=AT)[0]["name"] == "SIMULATED-ARK"
    assert trusted(MILAN.roots(), at=AT)[0]["name"] == "ARK-Milan"


def test_a_list_that_another_pushed_out_is_not_shown():
    """Where the newest list ever seen counts and another is at hand, no dates are made up for it."""
    from dataclasses import replace

    from twocvm_verifier.pages.anchors import chain_of

    made, appraisal, roots = judged("affirming")
    pieces = tuple(replace(piece, sha256=bytes(32)) if piece.kind == "crl" else piece for piece in appraisal.collateral)
    shown = chain_of(made, replace(appraisal, collateral=pieces), roots=roots)
    assert [link["role"] for link in shown] == ["root", "issuer", "leaf"]


def test_moments():
    """Times are written out for people, and what is no time stays as it is."""
    assert moment("2026-11-22T09:05:00Z") == "22 Nov 2026, 09:05:00 UTC"
    assert moment("soon") == "soon"


def test_evidence_of_a_vtpm_is_reproduced_as_evidence():
    """Where a vTPM speaks for the guest the report alone proves nothing of it: evidence as it was sent is named."""
    fields = {"report": b"r", "vek": b"v", "chain": None, "crl": None, "manifest": None, "claims": b"c", "azure": b"a"}
    case = SimpleNamespace(**fields, policy=Policy.builtin(), judged_at=AT)
    told = reproduction_of(case, simulated=False, asked=Asked(release=False, bound=True, bundle=None))
    assert "--report evidence.json" in told["command"]
    evidence = encode_json(Evidence(report=b"r", claims=b"c", vek=b"v", azure=b"a"))
    assert told["files"][0] == ["evidence.json", str(len(evidence)), hashlib.sha256(evidence).hexdigest()]
