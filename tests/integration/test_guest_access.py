"""Who may call what: the connection's key decides, and the routes are exactly those of the specification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from tests.support.guest import ANYBODY, LiveGuest, code_of
from tests.support.manifests import World

from twocvm_guest.service.answers import problem
from twocvm_guest.service.app import routes
from twocvm_guest.service.pace import BURST
from twocvm_guest.tls import Limits
from twocvm_verifier import strictjson

WORLD = World()
STRANGER = "participant-7"
SECRET = "correct-horse-battery-staple"

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "session.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([A-Z]+) (/\S+)` \| ([^|]+?) \|([^|]*)\|", PAGE, re.MULTILINE)
LIMITS = [(method, path, int(most[1])) for method, path, _, body in ROWS if (most := re.search(r", (\d+) $", body))]
PUBLIC = {(method, path) for method, path, who, _ in ROWS if who == "everybody"}
PARTICIPANTS = {(method, path) for method, path, who, _ in ROWS if who != "everybody"}


@pytest.fixture(scope="module")
def unlocked() -> Iterator[LiveGuest]:
    """Return a guest that is not locked."""
    with LiveGuest(WORLD) as running:
        yield running


@pytest.fixture(scope="module")
def completed() -> Iterator[LiveGuest]:
    """Return a guest whose session is completed."""
    with LiveGuest(WORLD, limits=Limits(connections=64)) as running:
        running.released().wait_for("completed")
        yield running


def test_routes_are_those_of_the_specification() -> None:
    """There is no route beside those that the specification lists, so nothing to reset, debug or run by hand."""
    found = [route for route in routes.routes if isinstance(route, APIRoute)]
    assert {(method, route.path) for route in found for method in route.methods} == PUBLIC | PARTICIPANTS
    assert len(found) == len(routes.routes) == len(ROWS)


@pytest.mark.parametrize(("method", "path", "limit"), LIMITS)
def test_limits_are_those_of_the_specification(completed: LiveGuest, method: str, path: str, limit: int) -> None:
    """A body one byte over the limit that the specification states is refused as too large."""
    with completed.connect("analytics") as client:
        answer = client.request(method, path.replace("{name}", "model"), data=bytes(limit + 1))
        assert code_of(answer) == "BODY_TOO_LARGE"


def test_example_of_the_specification_is_what_is_answered() -> None:
    """The refusal that the specification shows is the one that the service makes."""
    shown = problem("ROSTER_INCOMPLETE")
    assert bytes(shown.body).decode() in PAGE
    assert f"content-length: {len(shown.body)}\ncontent-type: {shown.media_type}" in PAGE


@pytest.mark.parametrize(("method", "path"), sorted(PARTICIPANTS))
def test_participants_routes_are_closed_to_everybody_else(completed: LiveGuest, method: str, path: str) -> None:
    """Without a certificate the answer is 401, and with one that is not in the manifest 403, whatever is asked."""
    for name, code, status in ((ANYBODY, "CLIENT_CERTIFICATE_REQUIRED", 401), (STRANGER, "NOT_A_PARTICIPANT", 403)):
        with completed.connect(name) as client:
            answer = client.request(method, path.replace("{name}", "model"))
            assert (code_of(answer), answer.status_code) == (code, status)


@pytest.mark.parametrize(("method", "path"), sorted(PARTICIPANTS))
def test_nothing_is_served_before_the_lock(unlocked: LiveGuest, method: str, path: str) -> None:
    """Before the lock the participants' routes answer that there is no manifest, to whomever."""
    for name in (ANYBODY, "hospital-a"):
        with unlocked.connect(name, unlocked_ok=True) as client:
            assert code_of(client.request(method, path.replace("{name}", "model"))) == "NOT_LOCKED"


def test_everybody_may_verify_and_see_the_state(unlocked: LiveGuest, completed: LiveGuest) -> None:
    """Evidence and the state are for everybody, and the state is one word."""
    with unlocked.connect(unlocked_ok=True) as client:
        assert client.get("/v1/session").content == b'{"state":"unlocked"}'
    for name in (ANYBODY, STRANGER):
        with completed.connect(name) as client:
            assert client.get("/v1/session").content == b'{"state":"completed"}'


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?participant=analytics", {}),
        ("?name=analytics&owner=analytics", {}),
        ("", {"X-Participant": "analytics", "X-Forwarded-For": "127.0.0.1", "Authorization": "Bearer analytics"}),
        ("", {"X-Client-Cert": "analytics", "X-SSL-Client-Verify": "SUCCESS", "Cookie": "participant=analytics"}),
    ],
)
def test_identity_is_the_tls_key_and_nothing_else(completed: LiveGuest, query: str, headers: dict[str, str]) -> None:
    """A query or header that names another participant opens nothing, and closes nothing either."""
    with completed.connect("hospital-a") as client:
        answer = client.request("GET", f"/v1/outputs/model{query}", headers=headers)
        assert code_of(answer) == "NOT_YOURS"
        assert client.request("GET", f"/v1/outputs/evaluation{query}", headers=headers).content == b"evalu"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/reset"),
        ("POST", "/v1/reset"),
        ("DELETE", "/v1/manifest"),
        ("DELETE", "/v1/session"),
        ("POST", "/v1/session"),
        ("POST", "/v1/run"),
        ("POST", "/v1/unlock"),
        ("OPTIONS", "/v1/session"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/v1/session/"),
        ("GET", "//v1/session"),
    ],
)
def test_no_other_route_exists(completed: LiveGuest, method: str, path: str) -> None:
    """Nothing resets, starts or describes a session, and no answer sends the caller elsewhere."""
    with completed.connect("hospital-a") as client:
        answer = client.request(method, path, data=b"" if method != "GET" else None)
        assert (answer.status_code, answer.history) == (404, [])
        assert code_of(answer) == "NO_SUCH_ROUTE"
        assert "Location" not in answer.headers
    assert completed.state == "completed"


@pytest.mark.parametrize(
    "name",
    ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "..%2Fmanifest", "%2Fetc%2Fpasswd", "model%00", "model%0A", "MODEL", "é"],
)
def test_names_are_names_and_never_paths(completed: LiveGuest, name: str) -> None:
    """A name that is none of the manifest's is unknown, however it is written, and no file is touched by it."""
    with completed.connect("analytics") as client:
        for method, path in (("GET", f"/v1/outputs/{name}"), ("PUT", f"/v1/artifacts/{name}")):
            headers = client.headers_of("step-0")
            answer = client.request(method, path, data=b"x" if method == "PUT" else None, headers=headers)
            assert code_of(answer) in {"UNKNOWN_NAME", "NO_SUCH_ROUTE"}


def test_problems_repeat_nothing_of_the_request(completed: LiveGuest) -> None:
    """What was sent comes back in no refusal: not from the path, the query, a header or the body."""
    with completed.connect("hospital-a") as client:
        secret = strictjson.canonical({"secret": SECRET})
        for method, path in (
            ("POST", "/v1/join"),
            ("POST", "/v1/withdraw"),
            ("PUT", "/v1/manifest"),
            ("POST", "/.well-known/2cvm/attest"),
            ("PUT", f"/v1/artifacts/{SECRET}"),
            ("GET", f"/v1/outputs/{SECRET}"),
            ("GET", f"/{SECRET}?{SECRET}"),
        ):
            answer = client.request(method, path, data=secret, headers={"Content-Digest": SECRET, "X-Note": SECRET})
            assert answer.status_code >= 400
            assert SECRET.encode() not in answer.content
            assert SECRET not in str(answer.headers)


def test_answers_tell_neither_time_nor_software(completed: LiveGuest) -> None:
    """An answer has its length and type, and no header with the guest's clock or software."""
    with completed.connect("hospital-a") as client:
        answer = client.get("/v1/log")
        assert set(answer.headers) == {"content-length", "content-type"}
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.content == strictjson.canonical(answer.json())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"nonce":1}',
        b'{"nonce":""}',
        b'{"nonce":"' + b"A" * 42 + b'"}',
        b'{"nonce":"' + b"A" * 44 + b'"}',
        b'{"nonce":"' + b"A" * 42 + b'B"}',
        b'{"nonce":"' + b"A" * 42 + b'="}',
        b'{"nonce": "' + b"A" * 43 + b'"}',
        b'{"more":1,"nonce":"' + b"A" * 43 + b'"}',
        b'["' + b"A" * 43 + b'"]',
    ],
)
def test_evidence_takes_exactly_a_nonce(unlocked: LiveGuest, body: bytes) -> None:
    """Evidence is made for a nonce of 32 bytes in its one spelling, and for nothing else."""
    with unlocked.connect(unlocked_ok=True) as client:
        assert code_of(client.request("POST", "/.well-known/2cvm/attest", data=body)) == "MALFORMED_REQUEST"


def test_evidence_is_rate_limited_per_connection(unlocked: LiveGuest) -> None:
    """Who asks for evidence again and again is refused for a while, and nobody else is."""
    body = strictjson.canonical({"nonce": strictjson.base64url(bytes(32))})
    with unlocked.connect(unlocked_ok=True) as greedy:
        answers = [greedy.request("POST", "/.well-known/2cvm/attest", data=body) for _ in range(BURST + 2)]
        assert [answer.status_code for answer in answers[: BURST - 1]] == [200] * (BURST - 1)
        assert code_of(answers[-1]) == "TOO_MANY_REQUESTS"
        with unlocked.connect(unlocked_ok=True) as other:
            other.connection.reprove()
        assert greedy.state() == "unlocked"


def test_evidence_of_a_connection_follows_the_log(completed: LiveGuest) -> None:
    """A proof that is asked for later counts every event until then, on the same connection and key."""
    with completed.connect("hospital-a") as client:
        first = client.connection.certificate
        proof = client.connection.reprove()
        assert proof.spki_sha256 == first.spki_sha256
        assert first.log.events == 2
        assert proof.log.events == len(client.log())
