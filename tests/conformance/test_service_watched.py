"""The service as a process, watched from outside: lines, figures of all workers, spans, a record of each verdict."""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.conformance.test_service_command import b64
from tests.support.processes import wait_until
from tests.support.service_process import ROOT, Served, new_key, serving

from twocvm_guest.main import run

MARK = "m4rk3d"


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Take spans as OTLP over HTTP, and give them as mappings of their attributes."""
    spans: list[dict[str, object]] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            for resource_spans in request.resource_spans:
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        said = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
                        spans.append({"name": span.name, **said})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def free_port() -> Iterator[int]:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield port


def evidence() -> dict[str, object]:
    """Return evidence that is genuine and refused."""
    report = (ROOT / "examples/genuine/report.bin").read_bytes()
    return {"evidence": {"report": b64(report), "vek": b64((ROOT / "examples/genuine/vcek.der").read_bytes())}}


def ask(service: Served) -> requests.Response:
    """Have the evidence judged, over a connection of its own."""
    return requests.post(f"{service.url}/v1/appraise?explain=1", json=evidence(), timeout=30)


def figure(text: str, name: str) -> float:
    """Return the sum of a figure's series."""
    found = re.findall(rf"^twocvm_verifier_{name}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return sum(map(float, found))


def test_two_workers_are_watched_as_one(tmp_path: Path, capsys, monkeypatch) -> None:
    """Lines, figures, spans and one audit log, of all workers, also of one that was killed; and then they verify."""
    # What FastAPI would say by itself, to where the environment says, holds paths.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    seal = tmp_path / "seal"
    seal.write_text(secrets.token_hex(32))
    seal.chmod(0o600)
    audit = tmp_path / "audit"
    with receiver() as (endpoint, spans), receiver() as (elsewhere, leaked), free_port() as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", elsewhere)
        settings = {
            "STATE_STORE": "sealed",
            "STATE_SEAL_KEY": seal,
            "AUDIT_FOLDER": audit,
            "METRICS_LISTEN": f"127.0.0.1:{port}",
            "TRACING_ENDPOINT": endpoint,
        }
        with serving("--workers", "2", "--key", str(new_key(tmp_path / "key.pem")), settings=settings) as service:
            jwks = tmp_path / "jwks.json"
            jwks.write_bytes(requests.get(f"{service.url}/.well-known/jwks.json", timeout=30).content)
            with ThreadPoolExecutor(8) as crowd:
                answers = list(crowd.map(lambda _: ask(service), range(40)))
            assert {answer.status_code for answer in answers} == {200}
            metrics = f"http://127.0.0.1:{port}/metrics"
            told = requests.get(metrics, timeout=30).text
            assert figure(told, "verdicts_total") == 40
            assert figure(told, "audit_records_total") == 40
            assert figure(told, "audit_writable") == 1
            assert 'route="/v1/appraise",status="2xx"' in told
            assert requests.get(f"{service.url}/metrics", timeout=30).status_code == 404
            (first, *_) = service.workers()
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: first not in service.workers() and len(service.workers()) == 2, seconds=30)
            requests.get(f"{service.url}/{MARK}?{MARK}", timeout=30)
            wait_until(lambda: ask(service).status_code == 200, seconds=30)
            assert figure(requests.get(metrics, timeout=30).text, "verdicts_total") == 41
            assert figure(requests.get(metrics, timeout=30).text, "requests_in_flight") == 0
            stderr = service.process.stderr
            assert stderr is not None
            service.process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in stderr]
    events = [line["event"] for line in lines]
    assert events.count("worker-ended") == 1
    wanted = {answer.headers["x-request-id"] for answer in answers}
    assert wanted <= {line.get("request_id") for line in lines}
    assert MARK not in json.dumps(lines)
    assert MARK not in json.dumps(spans)
    assert leaked == []
    assert {"POST /v1/appraise", "GET none"} <= {str(span["name"]) for span in spans}
    # The one that was killed may have had the last head that was told.
    heads = [line["head"] for line in lines if line["event"] == "audit-checkpoint"]
    kept = [argument for head in heads for argument in ("--head", head)]
    assert run(["verifier", "audit", "verify", str(audit), "--jwks", str(jwks), *kept]) == 0
    assert ", 41 verdicts" in capsys.readouterr().out


def test_a_full_disk_is_503_and_no_token(tmp_path: Path) -> None:
    """No verdict leaves that is not recorded; it goes on by itself once there is room."""
    audit, key = tmp_path / "audit", new_key(tmp_path / "key.pem")
    with serving(settings={"AUDIT_FOLDER": audit, "TOKENS_KEY": key}) as service:
        assert ask(service).status_code == 200
        size = (audit / "audit.jsonl").stat().st_size
        _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
        refused = ask(service)
        assert (refused.status_code, refused.json()["code"]) == (503, "AUDIT_UNAVAILABLE")
        assert refused.headers["retry-after"]
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert ask(service).status_code == 200
    assert run(["verifier", "audit", "verify", str(audit)]) == 0


def test_a_killed_service_mends_its_log(tmp_path: Path) -> None:
    """What a process died over is mended by the next, whatever of it was on the disk; no told verdict is missing."""
    audit, told = tmp_path / "audit", []
    settings = {"AUDIT_FOLDER": audit, "TOKENS_KEY": new_key(tmp_path / "key.pem")}
    for _ in range(2):
        try:
            with serving(settings=settings) as service, ThreadPoolExecutor(4) as crowd:
                asked = [crowd.submit(ask, service) for _ in range(12)]
                time.sleep(0.05)
                service.process.kill()
                told += [each.result().headers["x-request-id"] for each in asked if each.exception() is None]
        except AssertionError:
            # It did not end well, for it was killed.
            assert service.process.returncode == -signal.SIGKILL
        with (audit / "audit.jsonl").open("ab") as log:
            log.write(b'{"at":"20')
    with serving(settings=settings):
        pass
    assert run(["verifier", "audit", "verify", str(audit)]) == 0
    recorded = (audit / "audit.jsonl").read_text()
    assert [request for request in told if f'"request_id":"{request}"' not in recorded] == []


def test_what_cannot_be_watched_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is a file or whose record nobody could verify, an address that is taken: each by its setting."""
    (tmp_path / "file").write_text("")
    config = tmp_path / "verifier.toml"
    config.write_text(f'[audit]\nfolder = "{tmp_path / "file"}"\n')
    assert run(["verifier", "serve", "--offline", "--config", str(config)]) == 30
    assert "audit.folder: nobody could verify it once this process has ended" in capsys.readouterr().err
    key = str(new_key(tmp_path / "key.pem"))
    assert run(["verifier", "serve", "--offline", "--config", str(config), "--key", key]) == 30
    assert f"audit.folder: {str(tmp_path / 'file')!r}" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.write_text(f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        assert run(["verifier", "serve", "--offline", "--config", str(config)]) == 30
    assert "metrics.listen" in capsys.readouterr().err
