"""The verifier service as an attacker finds it on the network: framing, paths, headers, methods, bombs, nonces, doors.

Everything here goes over a socket to a process of its own. What is refused is refused with one of the service's own
answers; nothing that was sent comes back, and the process goes on (`served` sees that it said nothing and ended well).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from tests.support.amd import fake_amd
from tests.support.crls import crl_of
from tests.support.manifests import MEASUREMENT
from tests.support.served import Served, served

from twocvm_verifier import Policy
from twocvm_verifier.policy import document_of
from twocvm_verifier.service.headers import EVERY
from twocvm_verifier.snp.product import Product

MILAN = fake_amd(Product.MILAN)
REQUEST = "application/vnd.2cvm.appraise+json"
NEW_SESSION = "/challenge-response/v1/newSession"
END = b"Host: x\r\nConnection: close\r\n\r\n"
SECRET = "SECRET-that-nobody-repeats"
POLICY = replace(Policy.builtin(), name="names a guest", measurements=(MEASUREMENT,))


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Served]:
    """A service of its own process."""
    with served(tmp_path_factory.mktemp("served"), policy=POLICY) as running:
        yield running


def b64(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def evidence(report_data: bytes = bytes(64)) -> dict[str, str]:
    """Return evidence that answers a nonce, or none."""
    report = MILAN.report(measurement=MEASUREMENT, report_data=report_data)
    return {"report": b64(report), "vek": b64(MILAN.vcek()), "crl": b64(crl_of(MILAN))}


def statuses(raw: bytes) -> list[int]:
    """Return the status of each answer in what came back."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", raw)]


def one(service: Served, raw: bytes) -> tuple[int, dict[str, Any]]:
    """Return status and problem of the one answer to some bytes."""
    answer = service.exchange(raw)
    head, _, body = answer.partition(b"\r\n\r\n")
    [status] = statuses(head)
    assert len(statuses(answer)) == 1
    assert SECRET.encode() not in answer
    assert b"content-type: application/problem+json" in head.lower()
    for name in EVERY:
        assert f"\r\n{name}: ".lower().encode() in head.lower(), name
    return status, json.loads(body)


def line(method: str, target: str, *headers: str, version: str = "HTTP/1.1", body: str = "") -> bytes:
    """Return a request as bytes."""
    told = "".join(f"{each}\r\n" for each in headers)
    return f"{method} {target} {version}\r\n{told}".encode("latin-1") + END + body.encode()


PATHS = [
    "/v1%2fappraise", "/v1/%61ppraise", "/%76%31/appraise", "//v1/appraise", "/v1//appraise", "/v1/appraise/",
    "/./v1/appraise", "/v1/../v1/appraise", "/v1/x/../appraise", "/v1/appraise/..", "/v1/appraise/.",
    "/v1\\appraise", "/v1/appraise%00", "/v1/appraise;x=y", "/V1/APPRAISE", "/v1/appraise%2e%2e",
    "/%2e%2e/%2e%2e/etc/passwd", "/reports/%2e%2e", "/reports/..%2fv1", "/challenge-response/v1/session/%2e%2e",
    "/v1%252fappraise", "/x" * 2000, "*",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_a_path_has_one_spelling(service, path):
    """What is spelt in another way leads nowhere, so that nothing before this service can be talked past."""
    status, problem = one(service, line("GET", path))
    assert (status, problem["code"]) in ((404, "SERVICE_ROUTE"), (400, "MALFORMED_APPRAISAL_REQUEST"))


@pytest.mark.parametrize("target", ["http://127.0.0.1/v1/appraise", "https://evil.example/livez", "evil.example:443"])
def test_no_request_is_for_somebody_else(service, target):
    """A whole URL or an authority in the place of a path is not for this service, whatever its host is."""
    assert one(service, line("CONNECT" if ":4" in target else "GET", target))[0] in (400, 404)


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
FRAMING = {
    "two lengths": ("Content-Length: 4", "Content-Length: 40"),
    "a list of lengths": ("Content-Length: 0, 40",),
    "a length and chunks": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks and more": ("Transfer-Encoding: chunked, identity",),
    "gzip and chunks": ("Transfer-Encoding: gzip, chunked",),
    "chunks that are none": ("Transfer-Encoding: xchunked",),
    "a signed length": ("Content-Length: +5",),
    "a negative length": ("Content-Length: -1",),
    "a hexadecimal length": ("Content-Length: 0x5",),
    "a length with an underscore": ("Content-Length: 1_0",),
    "a length that no machine has": ("Content-Length: " + "9" * 400,),
    "a space before the colon": ("Content-Length : 5",),
    "a name with a newline": ("X-A\n: b",),
    "a value with a zero": ("X-A: b\x00c",),
    "two hosts": ("Host: y",),
    "two types": ("Content-Type: application/json", "Content-Type: text/plain", "Content-Length: 0"),
    "two credentials": ("Authorization: Bearer a", "Authorization: Bearer b", "Content-Length: 0"),
}


@pytest.mark.parametrize("trick", FRAMING)
def test_a_body_ends_in_one_place(service, trick):
    """Whatever could be read in two ways is refused, its connection ends, and what stands behind is not answered."""
    raw = line("POST", "/v1/appraise", *FRAMING[trick], body="0\r\n\r\n" + SMUGGLED)
    status, problem = one(service, raw.replace(b"Connection: close\r\n", b""))
    assert (status, problem["code"]) in ((400, "MALFORMED_APPRAISAL_REQUEST"), (413, "REQUEST_TOO_LARGE"))


def test_chunks_of_http_1_0_are_no_body(service):
    """The oldest version knows no chunks, and nobody agrees on what they mean there."""
    raw = line("POST", "/v1/appraise", "Transfer-Encoding: chunked", version="HTTP/1.0", body="0\r\n\r\n")
    assert one(service, raw)[0] == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n" + END, b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 9, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / \r\n" + END,
        b"G E T / HTTP/1.1\r\n" + END,
        b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % each for each in range(9000)),
    ],
    ids=lambda raw: repr(raw[:24]),
)  # fmt: skip
def test_what_is_no_http(service, raw):
    """Other protocols, missing parts and headers without end get one answer with a code, or none, and an end."""
    answer = service.exchange(raw)
    assert statuses(answer) in ([400], [])
    if answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "MALFORMED_APPRAISAL_REQUEST"


def test_http_1_0_is_answered(service):
    """An old client that names no host is served like everybody."""
    answer = service.exchange(b"GET /livez HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_methods_that_are_not_the_routes(service, method):
    """Each is 405 with the one method that there is, without a word of what came along; TRACE repeats nothing."""
    answer = requests.request(
        method, f"{service.url}/v1/appraise", headers={"X-Secret": SECRET, "Cookie": SECRET}, timeout=10
    )
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example;proto=http"},
        {"X-Forwarded-Proto": "https"}, {"X-Original-URL": "/v1/policies"}, {"X-Rewrite-URL": "/v1/policies"},
        {"X-HTTP-Method-Override": "DELETE"}, {"Origin": "https://evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)  # fmt: skip
def test_headers_move_nothing(service, headers):
    """Issuer, keys and pages stay where they are, no other route is reached, no other origin may read the answer."""
    answer = requests.get(f"{service.url}/.well-known/openid-configuration", headers=headers, timeout=10)
    assert answer.json()["issuer"] == service.url
    assert "evil.example" not in answer.text + str(answer.headers)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert "evil.example" not in requests.get(f"{service.url}/", headers=headers, timeout=10).text


def bomb(text: str) -> bytes:
    """Return a request with something in it."""
    return f'{{"evidence": {text}}}'.encode()


BOMBS = {
    "depth": bomb("[" * 100_000 + "]" * 100_000),
    "depth of objects": bomb('{"a":' * 50_000 + "1" + "}" * 50_000),
    "17 levels": bomb("[" * 17 + "]" * 17),
    "a long number": bomb("9" * 500_000),
    "an exponent": bomb("1e999999999"),
    "a float": bomb("1.5"),
    "no number": bomb("NaN"),
    "a name twice": b'{"evidence": {}, "evidence": {}}',
    "a name twice, spelt in two ways": b'{"evidence": {}, "\\u0065vidence": {}}',
    "half a surrogate": bomb('"\\ud800"'),
    "a zero": bomb('"\x00"'),
    "a long string": bomb('"' + "a" * 1_900_000 + '"'),
    "many names": b"{" + b",".join(b'"%d":1' % each for each in range(100_000)) + b"}",
    "many empty arrays": bomb("[" + ",".join(["[]"] * 400_000) + "]"),
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf" + bomb("{}"),
    "UTF-16": '{"evidence": {}}'.encode("utf-16"),
    "two documents": bomb("{}") * 2,
    "an unknown member": b'{"evidence": {}, "secret": "' + SECRET.encode() + b'"}',
    "a prototype": b'{"__proto__": {}, "evidence": {}}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(service, name):
    """Each is refused as malformed, in a moment, and nothing of it comes back."""
    answer = requests.post(
        f"{service.url}/v1/appraise", data=BOMBS[name], headers={"Content-Type": "application/json"}, timeout=10
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_APPRAISAL_REQUEST")
    assert answer.elapsed.total_seconds() < 5
    assert SECRET not in answer.text


def test_bombs_hold_up_nobody(service):
    """While many are taken apart, whoever asks whether the service lives is told at once."""
    with ThreadPoolExecutor(3) as crowd:
        bombs = [
            crowd.submit(
                requests.post,
                f"{service.url}/v1/appraise",
                data=BOMBS["many empty arrays"],
                headers={"Content-Type": "application/json"},
                timeout=30,
            )
            for _ in range(3)
        ]
        assert requests.get(f"{service.url}/livez", timeout=5).status_code == 200
        assert {each.result().status_code for each in bombs} <= {400, 503}


@pytest.mark.parametrize("size", [2 * 1024 * 1024 + 1, 50 * 1024 * 1024])
def test_a_body_that_is_too_large(service, size):
    """It is refused by what its header says, before it was sent."""
    raw = line("POST", "/v1/appraise", "Content-Type: application/json", f"Content-Length: {size}")
    assert one(service, raw)[1]["code"] == "REQUEST_TOO_LARGE"


def test_a_body_that_is_packed(service):
    """Nothing is unpacked here, so that nothing small becomes large."""
    for coding in ("gzip", "br", "deflate", "gzip, gzip"):
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        answer = requests.post(f"{service.url}/v1/appraise", data=b"x", headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (415, "MEDIA_TYPE_UNSUPPORTED")


def test_a_policy_that_checks_nothing(service):
    """It is refused unless it says so with reasons; and with them what nobody checked is never affirmed."""
    empty: dict[str, Any] = {"name": "accept everything"}
    answer = requests.post(f"{service.url}/v1/appraise", json={"evidence": evidence(), "policy": empty}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (422, "POLICY_EMPTY")
    empty["measurements"] = {"unchecked": "a test"}
    answer = requests.post(f"{service.url}/v1/appraise", json={"evidence": evidence(), "policy": empty}, timeout=10)
    assert answer.json()["appraisal"]["verdict"] == "warning"
    written = document_of(Policy.builtin())
    answer = requests.post(
        f"{service.url}/v1/appraise", json={"evidence": evidence(), "policy": written | {"x": 1}}, timeout=10
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_POLICY")


def test_evidence_for_another_audience(service):
    """A caller names nobody whom the owner did not list, and a cloud is told nothing of evidence at rest."""
    body = {"evidence": evidence(), "audience": "vault.example"}
    answer = requests.post(f"{service.url}/v1/appraise", json=body, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (422, "AUDIENCE_UNKNOWN")
    answer = requests.post(f"{service.url}/v1/appraise", json=body | {"audience": "sts.amazonaws.com"}, timeout=10)
    assert answer.status_code == 200
    assert "token" not in answer.json()


ADMINS = [
    ("GET", "/v1/policies"), ("PUT", "/v1/policies/mine"), ("GET", "/v1/policies/mine"),
    ("GET", "/v1/policies/mine/history"), ("GET", "/v1/reference-values"), ("PUT", "/v1/reference-values/mine"),
    ("GET", "/v1/reference-values/mine/history"),
]  # fmt: skip


@pytest.mark.parametrize(
    "credential", ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "bearer " + "a" * 5000, "Bearer \xe9"]
)
@pytest.mark.parametrize(("method", "path"), ADMINS)
def test_an_admins_route_without_a_credential(service, method, path, credential):
    """Nobody is an admin by asking: 401 before anything of the request is read, whatever is there or not."""
    headers = {"Authorization": credential.encode("latin-1")} if credential else {}
    answer = requests.request(method, service.url + path, data=BOMBS["depth"], headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (401, "ADMIN_REQUIRED")


def opened(service: Served, **query: str) -> tuple[str, bytes]:
    """Return the address and the nonce of a new session."""
    answer = requests.post(service.url + NEW_SESSION, params=query, timeout=10)
    assert answer.status_code == 201, answer.text
    text = answer.json()["nonce"]
    return urljoin(answer.url, answer.headers["location"]), base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def answered(session: str, report_data: bytes) -> requests.Response:
    """Send evidence to a session."""
    return requests.post(
        session,
        json={"evidence": evidence(report_data.ljust(64, b"\x00"))},
        headers={"Content-Type": REQUEST},
        timeout=20,
    )


def verdict_of(answer: requests.Response) -> str:
    """Return what the token of an answer says."""
    token: str = answer.json()["result"]
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["2cvm.verdict"]


def test_a_nonce_that_was_answered_is_spent(service):
    """The same evidence again, other evidence, in a crowd: only the first counts."""
    session, nonce = opened(service)
    assert verdict_of(answered(session, nonce)) == "affirming"
    for report_data in (nonce, bytes(64)):
        again = answered(session, report_data)
        assert (again.status_code, again.json()["code"]) == (409, "SESSION_SPENT")


def test_evidence_for_another_session_is_refused_there(service):
    """Foreign evidence, genuine and fresh for somebody else, is a negative verdict that uses the nonce up."""
    (mine, nonce), (other, _) = opened(service), opened(service)
    assert verdict_of(answered(other, nonce)) == "contraindicated"
    assert verdict_of(answered(mine, nonce)) == "affirming"


def test_what_was_captured_answers_no_new_challenge(service):
    """Evidence of yesterday's session is no answer to today's, whoever sends it."""
    session, nonce = opened(service)
    answered(session, nonce)
    again, _ = opened(service)
    assert verdict_of(answered(again, nonce)) == "contraindicated"


def test_a_session_that_is_over_is_unknown(tmp_path):
    """After its time the right evidence is too late, and so is everything else; nothing brings it back."""
    with served(tmp_path, policy=POLICY) as own:
        session, nonce = opened(own)
        own.later(149)
        assert requests.get(session, timeout=10).status_code == 200
        own.later(151)
        for answer in (
            answered(session, nonce),
            requests.get(session, timeout=10),
            requests.delete(session, timeout=10),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "SESSION_UNKNOWN")


@pytest.mark.parametrize("identifier", ["00000000-0000-4000-8000-000000000000", "f" * 32])
def test_a_session_that_never_was(service, identifier):
    """An id that nobody was given is unknown, for every method."""
    where = f"{service.url}/challenge-response/v1/session/{identifier}"
    for method in ("GET", "DELETE"):
        answer = requests.request(method, where, timeout=10)
        assert (answer.status_code, answer.json()["code"]) in (
            (404, "SESSION_UNKNOWN"),
            (400, "MALFORMED_APPRAISAL_REQUEST"),
        )
    assert answered(where, bytes(64)).status_code in (400, 404)


def test_a_changed_session_id_is_another(service):
    """An id with one character changed opens nothing of the session that it was."""
    session, nonce = opened(service)
    for place in (-1, -20):
        other = (
            session[:place] + ("0" if session[place] != "0" else "1") + (session[place + 1 :] if place != -1 else "")
        )
        assert answered(other, nonce).status_code in (400, 404)
    assert verdict_of(answered(session, nonce)) == "affirming"


@pytest.mark.parametrize(
    "query",
    [
        {"nonceSize": "7"},
        {"nonceSize": "65"},
        {"nonceSize": "-8"},
        {"nonceSize": "1e1"},
        {"nonce": "AA"},
        {"nonce": "+/+/+/+/+/+/"},
        {"nonce": "A" * 500},
        {"nonce": "AAAAAAAAAAA", "nonceSize": "8"},
        {"x": "y"},
    ],
)
def test_nonces_that_are_none(service, query):
    """Too short, too long, in another alphabet, two at once."""
    answer = requests.post(service.url + NEW_SESSION, params=query, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_APPRAISAL_REQUEST")


def test_api_answers_load_nothing(service):
    """No answer of the API is a page, and a browser that opens one may load nothing from it."""
    for path in ("/livez", "/.well-known/jwks.json", "/openapi.json", "/nowhere"):
        headers = requests.get(service.url + path, timeout=10).headers
        assert headers["content-type"] in ("application/json", "application/problem+json")
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
