"""What the service says of requests: lines, figures and spans, and nothing in them that a caller chose."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
from joserfc import jws
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient
from tests.support.audit_logs import KEY, OTHER_KEY, auditing, codes, examined
from tests.support.sdk import StandingClock
from tests.support.verifier_service import (
    FEDERATION,
    ISSUER,
    asked,
    by_parts,
    for_release,
    naming_policy,
    parts,
    report,
)

from twocvm_verifier.errors import FetchError, MalformedError, UnsupportedError
from twocvm_verifier.service import app as service_app
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.audit.folder import ACTIVE
from twocvm_verifier.service.audit.ledger import AuditLedger
from twocvm_verifier.service.limits import PROBES, Guard, Rate
from twocvm_verifier.service.logs import JsonLines, RequestLog, event, lines_on
from twocvm_verifier.service.metrics import FOLDER, Metrics, figures_at, forget_process, own_figures
from twocvm_verifier.service.observe import Observed, seen
from twocvm_verifier.service.route import Routes
from twocvm_verifier.service.settings import Audit, Logs, Settings, Tracing
from twocvm_verifier.service.settings import Metrics as MetricsSettings
from twocvm_verifier.service.tracing import Spans, open_spans
from twocvm_verifier.service.watching import AuditLines, AuditTold, CountedFetcher, Watch, open_watch

MARK = "m4rk3d"
APPRAISE = "/v1/appraise"


class Lines:
    """What was written."""

    def __init__(self, path: Path):
        self.path = path

    def getvalue(self) -> str:
        """Return all of it."""
        return self.path.read_text(encoding="ascii")


@pytest.fixture
def lines(tmp_path):
    """What is written, and logging as it was afterwards."""
    with (tmp_path / "lines").open("w+b") as file, lines_on(file.fileno()):
        yield Lines(tmp_path / "lines")


class World:
    """A service that is watched in every way."""

    def __init__(self, lines: Lines, *, sampled: float = 1.0, believe_callers: bool = False, **changes):
        self.lines = lines
        self.registry, self.exporter = CollectorRegistry(), InMemorySpanExporter()
        self.figures = Metrics(self.registry)
        self.spans = Spans(SimpleSpanProcessor(self.exporter), sampled=sampled, believe_callers=believe_callers)
        clock = StandingClock()
        self.app = create_app(parts(clock=clock, **changes))
        rate = Rate(per_second=1e6, burst=100_000, clock=clock)
        observed = Observed(
            Guard(self.app, rate=rate, concurrent=100, per_client=100),
            watchers=(RequestLog(quiet=PROBES), self.figures, self.spans),
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        self.client = TestClient(observed, base_url=ISSUER)

    def told(self) -> list[dict]:
        """Return the lines so far."""
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def figure(self, name: str, **labels: str) -> float:
        """Return a figure."""
        return self.registry.get_sample_value(f"twocvm_verifier_{name}", labels) or 0.0

    def everything(self) -> str:
        """Return all that was said, by whichever way."""
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        return self.lines.getvalue() + generate_latest(self.registry).decode() + spans


def test_a_request_has_a_line_a_figure_and_a_span(lines):
    """Route, status, verdict and time; the same request id in the line, the span and the answer."""
    world = World(lines, default=naming_policy())
    answer = world.client.post(APPRAISE, json=for_release())
    (line,) = world.told()
    assert line.pop("at").endswith("Z")
    assert line.pop("ms") > 0
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": answer.headers["x-request-id"],
        "method": "POST",
        "route": APPRAISE,
        "status": 200,
        "verdict": "affirming",
    }
    assert world.figure("requests_total", route=APPRAISE, status="2xx") == 1
    assert world.figure("verdicts_total", verdict="affirming") == 1
    assert world.figure("appraisal_seconds_count") == 1
    assert world.figure("requests_in_flight") == 0
    (span,) = world.exporter.get_finished_spans()
    assert span.name == f"POST {APPRAISE}"
    assert span.attributes["twocvm.request_id"] == answer.headers["x-request-id"]
    assert (span.attributes["http.route"], span.attributes["twocvm.verdict"]) == (APPRAISE, "affirming")
    assert span.end_time >= span.start_time
    assert span.parent is None


def test_what_nobody_wants_to_read_is_not_written(lines):
    """Below the level of our lines there are none."""
    event("nothing", level=logging.DEBUG)
    assert lines.getvalue() == ""


def test_a_refusal_has_its_code(lines):
    """What was answered with a problem is told with its code, also where no route was."""
    world = World(lines)
    world.client.post(APPRAISE, content=b"{", headers={"content-type": "application/json"})
    world.client.get(f"/{MARK}")
    world.client.request("BREW", APPRAISE)
    first, second, third = world.told()
    assert (first["code"], first["status"], first["route"]) == ("MALFORMED_APPRAISAL_REQUEST", 400, APPRAISE)
    assert (second["code"], second["status"], second["route"]) == ("SERVICE_ROUTE", 404, "none")
    assert (third["code"], third["status"], third["method"]) == ("SERVICE_METHOD", 405, "other")
    assert world.figure("refusals_total", code="SERVICE_ROUTE") == 1
    assert MARK not in world.everything()


def test_probes_are_quiet_until_something_is_wrong(lines):
    """A line each second for each probe would hide the others."""

    def broken():
        raise RuntimeError(f"{MARK}\r\n{MARK}")

    world = World(lines)
    world.client.get("/livez")
    assert world.told() == []
    wrong = World(lines, probes={"state": broken})
    wrong.client.get("/readyz")
    first, second = wrong.told()
    assert (first["event"], first["part"], first["kind"], first["level"]) == (
        "not-ready",
        "state",
        "RuntimeError",
        "error",
    )
    assert first["where"].startswith("health.py:")
    assert (second["route"], second["status"]) == ("/readyz", 503)
    assert MARK not in wrong.everything()


@pytest.mark.parametrize("good", ["a", "a" * 64, "01JD.x_y-z"])
def test_a_callers_request_id_is_kept_where_it_is_one(lines, good):
    """So that one request is found in the logs of all that it came through."""
    world = World(lines)
    assert world.client.get("/livez", headers={"X-Request-Id": good}).headers["x-request-id"] == good


@pytest.mark.parametrize("bad", ["", "a" * 65, "a b", f"{MARK}\x1b[31m", f"{MARK}\t", f'{MARK}"', f"{MARK}\xe9", "a,b"])
def test_another_is_replaced(lines, bad):
    """What could end a line, colour a terminal or be somebody's text is none, and is nowhere repeated."""
    world = World(lines)
    answer = world.client.get("/nowhere", headers={"X-Request-Id": bad.encode("latin-1")})
    assert len(answer.headers["x-request-id"]) == 20
    assert MARK not in world.everything() + str(answer.headers)


def test_two_request_ids_are_none(lines):
    """Of two, nobody knows which one others have taken."""
    world = World(lines)
    answer = world.client.get("/livez", headers=[("X-Request-Id", MARK), ("X-Request-Id", "other")])
    assert answer.headers["x-request-id"] not in (MARK, "other")


def every_request() -> list[tuple[str, str]]:
    """Return each route and method, with marks wherever the path has room."""
    found = []
    for part in vars(service_app).values():
        if isinstance(getattr(part, "routes", None), Routes):
            for route in part.routes:
                path = re.sub(r"\{[^}]*\}", MARK, route.path)
                found += [(method, path) for method in sorted(route.methods)]
    return found


def test_no_route_says_what_was_sent(lines):
    """Marks in path, query, headers and bodies of every route are in no line, figure or span."""
    world = World(lines)
    headers = {
        "authorization": f"Bearer {MARK}",
        "cookie": f"session={MARK}",
        "traceparent": f"00-{MARK}-{MARK}-01",
        "user-agent": MARK,
        "x-forwarded-for": MARK,
        "host": f"{MARK}.example",
        "if-match": f'"{MARK}"',
    }
    bodies = [b"{", json.dumps({"evidence": {"report": MARK}, "nonce": MARK}).encode()]
    requests = every_request()
    assert len(requests) > 12
    for method, path in requests:
        for body in bodies:
            for media_type in ("application/json", f"text/{MARK}"):
                world.client.request(
                    method,
                    path,
                    params={"nonce": MARK, MARK: "1"},
                    content=body,
                    headers={**headers, "content-type": media_type},
                )
    assert len(world.told()) > len(requests)
    assert MARK not in world.everything()


def test_what_is_judged_is_not_told(lines):
    """Evidence, nonce, token and session of a whole flow are in no line, figure or span."""
    world = World(lines)
    opened = world.client.post("/challenge-response/v1/newSession?nonceSize=32").json()
    request = asked(nonce="bm9uY2Utbm9uY2Utbm9uY2U")
    answer = world.client.post(APPRAISE, json=request).json()
    world.client.post(APPRAISE, json={"evidence": by_parts()})
    said = world.everything()
    secrets_of_it = (opened["nonce"], answer["token"], answer["token"].split(".")[1], request["nonce"])
    for secret in (*secrets_of_it, by_parts()["report"][:40], report().hex()[:64]):
        assert secret not in said
    assert sum(world.figure("verdicts_total", verdict=verdict) for verdict in ("warning", "contraindicated")) == 2


def test_errors_of_our_own_keep_their_text(lines):
    """A fault inside is told by its kind and place; what it says may quote a request."""
    world = World(lines)
    world.app.state.desk = None
    answer = world.client.post(APPRAISE, json={"evidence": MARK}, headers={"X-Request-Id": "r-1"})
    assert answer.status_code == 500
    fault, line = world.told()
    assert (fault["event"], fault["kind"], fault["request_id"]) == ("internal-error", "AttributeError", "r-1")
    assert "appraise.py:" in fault["where"]
    assert (line["code"], line["status"]) == ("SERVICE_INTERNAL", 500)
    (span,) = world.exporter.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert MARK not in world.everything()


def test_what_libraries_write_keeps_its_text(lines):
    """Of others' lines the place is told, and an error's kind: they may quote anything, in arguments or formats."""
    try:
        raise ValueError(MARK)
    except ValueError:
        logging.getLogger("uvicorn.error").exception(f"{MARK} %s", MARK)
    logging.getLogger("twocvm.verifier").error(MARK)
    logging.getLogger("other").warning(MARK, exc_info=(None, None, None))
    logging.getLogger("other").info(MARK)
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["event"] for line in told] == ["library"] * 3
    assert told[0]["error"] == "ValueError"
    assert told[0]["from"].startswith("uvicorn.error test_service_observe.py:")
    assert MARK not in lines.getvalue()


@pytest.mark.parametrize("text", ['a\r\n{"event":"forged"}', "\x1b]0;x\x07", "\u2028", "\ud800", "é", "\x00"], ids=repr)
def test_a_line_is_one_line(text):
    """Whatever a field holds, a line has one end, and no byte that a terminal acts on."""
    record = logging.LogRecord("twocvm.verifier", logging.INFO, "x.py", 1, "e", (), None)
    record.fields = {"text": text}
    line = JsonLines().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["text"] == text


def test_nobody_waits_for_who_does_not_read():
    """A reader that stands still loses lines and is told how many; no request waits for it, nor for one that left."""
    reader, writer = os.pipe()
    with lines_on(writer):
        for _ in range(2000):
            event("full", text="x" * 100)
        written = os.read(reader, 1 << 20).decode().splitlines()
        event("again")
        again, lost = (json.loads(line) for line in os.read(reader, 1 << 20).decode().splitlines())
        assert (again["event"], lost["event"]) == ("again", "lines-lost")
        assert len(written) + lost["lines"] == 2000
        assert all(json.loads(line)["event"] == "full" for line in written)
        os.close(reader)
        event("to nobody")
    os.close(writer)


def test_outside_of_a_request_nobody_reads_what_is_noted():
    """A problem that answers a connection belongs to no request."""
    seen().code = "X"
    assert seen().code == ""
    assert seen().request_id == "none"


def test_who_leaves_is_told_as_gone(lines):
    """A request whose client did not stay for its answer has a status of its own, and is no longer under way."""

    async def leave(scope, receive, send):
        raise asyncio.CancelledError

    figures = Metrics(registry := CollectorRegistry())
    observed = Observed(leave, watchers=(RequestLog(quiet=PROBES), figures), clock=StandingClock(), random_bytes=bytes)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(observed({"type": "http", "headers": [], "method": "GET", "path": "/"}, None, None))
    assert json.loads(lines.getvalue())["status"] == 499
    assert registry.get_sample_value("twocvm_verifier_requests_in_flight") == 0


def test_other_scopes_pass(lines):
    """What is no request is not told."""
    passed = []

    async def app(scope, receive, send):
        passed.append(scope["type"])

    asyncio.run(Observed(app, watchers=(), clock=StandingClock(), random_bytes=bytes)({"type": "lifespan"}, None, None))
    assert passed == ["lifespan"]


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("believed", [True, False])
def test_a_traceparent_is_believed_only_where_it_is_to_be(lines, believed):
    """Who is believed chooses trace ids and what is traced, so nobody is unless the owner says so."""
    world = World(lines, believe_callers=believed, sampled=0.0 if believed else 1.0)
    world.client.get("/livez", headers={"traceparent": TRACEPARENT})
    (span,) = world.exporter.get_finished_spans()
    assert (f"{span.context.trace_id:032x}" == TRACEPARENT.split("-")[1]) == believed
    assert (span.parent is not None) == believed


def test_some_requests_are_traced(lines):
    """None of them where the owner says none."""
    world = World(lines, sampled=0.0)
    world.client.get("/livez")
    assert world.exporter.get_finished_spans() == ()


def test_tracing_without_its_extra(monkeypatch):
    """A setting that cannot be met ends the start, with what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UnsupportedError) as caught:
        open_spans(Tracing(endpoint="http://127.0.0.1:1/v1/traces"))
    assert caught.value.code == "EXTRA_MISSING"


def test_questions_to_sources_are_counted():
    """What came is counted, and by its code what did not."""

    class Source:
        def get(self, url, *, max_bytes, timeout_seconds):
            if url == "bad":
                raise FetchError("FETCH_BUSY", "x")
            return b"x"

    figures = Metrics(registry := CollectorRegistry())
    counted = CountedFetcher(Source(), figures)
    assert counted.get("good", max_bytes=1, timeout_seconds=1) == b"x"
    with pytest.raises(FetchError):
        counted.get("bad", max_bytes=1, timeout_seconds=1)
    for result in ("ok", "FETCH_BUSY"):
        assert registry.get_sample_value("twocvm_verifier_collateral_fetches_total", {"result": result}) == 1


def test_how_the_audit_log_fares_is_told(lines, tmp_path):
    """Durable verdicts are counted, failures are told with their reason, and heads to be kept elsewhere."""
    figures = Metrics(registry := CollectorRegistry())
    with auditing(tmp_path / "audit", events=AuditTold((AuditLines(), figures))) as log:
        ledger = AuditLedger(log)
        world = World(lines, ledger=ledger)
        assert world.client.post(APPRAISE, json=asked()).status_code == 200
        assert registry.get_sample_value("twocvm_verifier_audit_writable") == 1
        log._events.refused("ENOSPC")
        assert registry.get_sample_value("twocvm_verifier_audit_writable") == 0
    assert registry.get_sample_value("twocvm_verifier_audit_records_total") == 1
    assert registry.get_sample_value("twocvm_verifier_audit_failures_total") == 1
    told = world.told()
    assert {"event": "audit-failed", "reason": "ENOSPC", "level": "error"}.items() <= told[2].items()
    heads = [line["head"] for line in told if line["event"] == "audit-checkpoint"]
    assert [head.partition(":")[0] for head in heads] == ["0", "2"]


def test_a_verdict_is_recorded_as_it_was_told(lines, tmp_path):
    """The record has the request's id, the digests of all that was judged, the verdict, and the token's id and key."""
    with auditing(tmp_path / "audit", signer=lambda: OTHER_KEY) as log:
        world = World(lines, ledger=AuditLedger(log), default=naming_policy())
        answer = world.client.post(APPRAISE, json=for_release(), headers={"X-Request-Id": "r-1"}).json()
        refused = world.client.post(APPRAISE, json=asked(nonce="AAAAAAAAAAA")).json()
        assert "token" not in world.client.post(APPRAISE, json=asked(audience=FEDERATION)).json()
    records = [json.loads(line) for line in (tmp_path / "audit" / ACTIVE).read_bytes().splitlines()]
    told = [record for record in records if record["kind"] == "verdict"]

    claims = json.loads(jws.extract_compact(answer["token"].encode()).payload)
    assert told[0]["request_id"] == "r-1"
    assert told[0]["jti"] == claims["jti"]
    assert told[0]["manifest"] == claims["submods"]["workload"]["2cvm.manifest"]
    assert told[0]["report"] == claims["submods"]["cpu0"]["2cvm.report"]
    assert told[0]["policy"] == answer["appraisal"]["policy"]["sha256"]
    assert (told[0]["verdict"], told[0]["purpose"]) == ("affirming", "release")
    assert (told[1]["verdict"], told[1]["code"]) == (refused["appraisal"]["verdict"], refused["appraisal"]["code"])
    assert "jti" in told[1]
    assert not told[2].keys() & {"jti", "kid", "manifest"}
    assert codes(examined(tmp_path / "audit", key=OTHER_KEY)) == []


def test_a_verdict_that_cannot_be_recorded_is_not_told(lines, tmp_path):
    """503 with a code and no token; a session that it was for has failed."""
    with auditing(tmp_path / "audit") as log:
        ledger = AuditLedger(log)
    world = World(lines, ledger=ledger)
    answer = world.client.post(APPRAISE, json=asked())
    assert (answer.status_code, answer.json()["code"]) == (503, "AUDIT_UNAVAILABLE")
    assert "retry-after" in answer.headers
    assert "token" not in answer.text.replace("tokens", "")
    assert world.figure("verdicts_total", verdict="warning") == 0


def test_a_disk_that_does_not_answer_is_given_up(lines, monkeypatch):
    """Who waits for a record is sent away before its request ends, and a record that comes late harms nobody."""

    class Stuck:
        def record(self, entry):
            waiting.set_running_or_notify_cancel()
            return waiting

    waiting: Future[None] = Future()
    monkeypatch.setattr("twocvm_verifier.service.audit.ledger.PATIENCE_SECONDS", 0.05)
    world = World(lines, ledger=AuditLedger(Stuck()))
    answer = world.client.post(APPRAISE, json=asked())
    assert (answer.status_code, answer.json()["code"]) == (503, "AUDIT_UNAVAILABLE")
    waiting.set_result(None)


def watch_of(settings: Settings) -> Watch:
    """Return what watches by these settings."""
    return open_watch(settings, signer=lambda: KEY, clock=StandingClock(), random_bytes=bytes)


def test_nothing_is_opened_that_is_not_set(lines):
    """Without settings there is a line for each request, and one that says that nothing is recorded."""
    watch = watch_of(Settings())
    assert len(watch.watchers) == 1
    assert (watch.probes, watch.closing) == ({}, ())
    source = object()
    assert watch.around(source) is source
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == ["audit-off"]


def test_everything_is_opened_that_is_set(lines, tmp_path):
    """Lines off; figures, spans and records on; all is closed in the end."""
    settings = Settings(
        logs=Logs(requests=False),
        audit=Audit(folder=tmp_path / "audit"),
        metrics=MetricsSettings(listen="127.0.0.1:0"),
        tracing=Tracing(endpoint="http://127.0.0.1:9/v1/traces"),
    )
    watch = watch_of(settings)
    assert [type(watcher) for watcher in watch.watchers] == [Metrics, Spans]
    watch.probes["audit"]()
    assert isinstance(watch.around(object()), CountedFetcher)
    for close in watch.closing:
        close()
    assert codes(examined(tmp_path / "audit")) == []


def test_a_log_that_is_nearly_full_is_not_ready(lines, tmp_path, monkeypatch):
    """Who asks whether the service is ready hears of the disk before a verdict is lost."""
    settings = Settings(audit=Audit(folder=tmp_path / "audit"))
    watch = watch_of(settings)
    monkeypatch.setattr("twocvm_verifier.service.audit.writer.MIN_FREE_BYTES", 1 << 62)
    world = World(lines, probes=watch.probes)
    assert world.client.get("/readyz").json()["parts"] == {"audit": "AUDIT_UNAVAILABLE"}
    watch.closing[0]()


@pytest.mark.parametrize("place", ["file", "file/audit"])
def test_a_folder_that_cannot_be_written_ends_the_start(tmp_path, place):
    """Better no service than one that cannot keep its word."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MalformedError) as caught:
        open_watch(
            Settings(audit=Audit(folder=tmp_path / place)),
            signer=lambda: KEY,
            clock=StandingClock(),
            random_bytes=bytes,
        )
    assert caught.value.code == "MALFORMED_SETTINGS"


def test_figures_without_an_address(monkeypatch):
    """Nothing listens, and no process is forgotten, where nobody asked for figures."""
    monkeypatch.delenv(FOLDER, raising=False)
    with figures_at(""):
        forget_process(1)
    assert own_figures()


def test_an_event_has_its_fields(lines):
    """What we say of ourselves is a name and fields."""
    event("started", workers=2, share=0.5, ready=True)
    (line,) = [json.loads(each) for each in lines.getvalue().splitlines()]
    assert (line["event"], line["workers"], line["share"], line["ready"]) == ("started", 2, 0.5, True)
