"""Strangers who are slow, many or greedy, at a verifier service that runs as it does for its owner."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.support.service_process import ROOT, Served, self_signed, serving

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.service.settings import Listen
from twocvm_verifier.service.tls import tls_of

NEW = "/challenge-response/v1/newSession"
SHORT = {"LIMITS_HEADER_SECONDS": 0.5, "LIMITS_REQUEST_SECONDS": 1.0, "LIMITS_CONNECTIONS_PER_CLIENT": 4}


@pytest.fixture(scope="module")
def hurried():
    """A service that waits for nobody, and lets a client have four connections."""
    with serving(settings=SHORT) as service:
        yield service


def connected(service: Served) -> socket.socket:
    """Return a connection to a service."""
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


def closed_after(connection: socket.socket) -> tuple[float, bytes]:
    """Return how long it took until the other end closed a connection, and what it sent before."""
    begun, received = time.monotonic(), b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return time.monotonic() - begun, received


@pytest.mark.parametrize("begun", [b"", b"POST /v1/appraise HT", b"POST /v1/appraise HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_come_end_the_connection(hurried, begun):
    """Nobody holds a connection without asking something."""
    with connected(hurried) as connection:
        connection.sendall(begun)
        assert closed_after(connection)[0] < 5


def test_a_byte_now_and_then_is_as_slow_as_nothing(hurried):
    """The time for headers does not begin anew with each byte."""
    with connected(hurried) as connection:
        begun = time.monotonic()
        with suppress(OSError):
            for byte in b"GET /livez HTTP/1.1\r\nX: " + b"x" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - begun < 5


def test_a_body_that_does_not_come_ends_the_connection(hurried):
    """Neither a promised body that is not sent, nor one that drips behind an answer that is out already."""
    for path in ("/v1/appraise", NEW):
        with connected(hurried) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"{")
            assert closed_after(connection)[0] < 5


def test_a_body_behind_its_answer_holds_no_connection():
    """Who was answered without being read is gone a moment later, long before the next request would have to begin."""
    with serving() as service, connected(service) as connection:
        connection.sendall(f"POST {NEW} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
        took, said = closed_after(connection)
    assert (took < 5, said[:12]) == (True, b"HTTP/1.1 201")


def test_a_request_may_take_longer_than_its_headers(hurried):
    """The time for a request begins anew with it: a body that is slow, and there in time, is answered."""
    with connected(hurried) as connection:
        head = "POST /v1/appraise HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        connection.sendall(head.encode())
        time.sleep(0.7)
        connection.sendall(b"}")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_a_client_has_a_share_of_connections(hurried):
    """The fifth is told to come back, and there is room again when one ends."""
    held = [connected(hurried) for _ in range(4)]
    try:
        time.sleep(0.1)
        with connected(hurried) as fifth:
            answer = closed_after(fifth)[1]
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "SERVICE_BUSY"
    finally:
        for connection in held:
            connection.close()
    until = time.monotonic() + 10
    while requests.get(f"{hurried.url}/livez", timeout=10).status_code != 200:
        assert time.monotonic() < until


def test_connections_have_a_bound_for_all_together():
    """However many clients there are; what stands before the service has no share of its own."""
    settings = {"LIMITS_CONNECTIONS": 3, "LIMITS_CONNECTIONS_PER_CLIENT": 1, "LISTEN_PROXIES": "127.0.0.1"}
    with serving(settings=settings) as service:
        held = [connected(service) for _ in range(3)]
        time.sleep(0.1)
        with connected(service) as fourth:
            assert closed_after(fourth)[1].startswith(b"HTTP/1.1 503 ")
        for connection in held:
            connection.close()


def test_each_client_behind_a_proxy_has_its_own_share():
    """429 with Retry-After for who asks too much; the next client is answered; a stranger cannot name itself."""
    settings = {"LISTEN_PROXIES": "127.0.0.1", "LIMITS_REQUESTS_PER_SECOND": 0.01, "LIMITS_BURST": 2}
    with serving(settings=settings) as service, requests.Session() as session:

        def ask(client: str) -> requests.Response:
            return session.post(service.url + NEW, headers={"X-Forwarded-For": client}, timeout=10)

        assert [ask("192.0.2.1").status_code for _ in range(3)] == [201, 201, 429]
        refused = ask("203.0.113.5, 192.0.2.1")
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        assert 1 <= int(refused.headers["retry-after"]) <= 100
        assert ask("192.0.2.2").status_code == 201
        assert session.get(f"{service.url}/readyz", timeout=10).status_code == 200


def test_slow_bodies_of_one_client_leave_room_for_others():
    """Behind a proxy connections are nobody's share; what is under way is."""
    settings = {"LISTEN_PROXIES": "127.0.0.1", "LIMITS_CONCURRENT": 3, "LIMITS_CONCURRENT_PER_CLIENT": 2}
    with serving(settings=settings) as service:
        head = "POST /v1/appraise HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n"
        held = [connected(service) for _ in range(2)]
        for connection in held:
            connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode())
        time.sleep(0.2)
        told = [
            requests.post(service.url + NEW, headers={"X-Forwarded-For": client}, timeout=10).status_code
            for client in ("192.0.2.1", "192.0.2.2")
        ]
        for connection in held:
            connection.close()
    assert told == [429, 201]


def test_without_a_named_proxy_nobody_names_itself():
    """X-Forwarded-For from anybody is not read."""
    settings = {"LIMITS_REQUESTS_PER_SECOND": 0.01, "LIMITS_BURST": 1}
    with serving(settings=settings) as service:
        told = [
            requests.post(service.url + NEW, headers={"X-Forwarded-For": f"192.0.2.{each}"}, timeout=10).status_code
            for each in range(3)
        ]
    assert told == [201, 429, 429]


def test_what_is_under_way_is_finished():
    """Told to stop in the middle of a request, the service takes its rest, answers it, and ends."""
    vek = (ROOT / "examples/genuine/vcek.der").read_bytes()
    report = (ROOT / "examples/genuine/report.bin").read_bytes()
    parts = {name: base64.urlsafe_b64encode(each).rstrip(b"=").decode() for name, each in
             (("report", report), ("vek", vek))}  # fmt: skip
    body = json.dumps({"evidence": parts}).encode()
    with serving() as service, connected(service) as connection:
        head = f"POST /v1/appraise HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\nExpect: 100-continue\r\n\r\n")
        # It is under way: its body is waited for.
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body[:1000])
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[1000:])
        answer = closed_after(connection)[1]
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"DEBUG_ALLOWED" in answer


def test_tls_and_nothing_older(tmp_path):
    """TLS 1.3, a client's certificate only from its authority, and no handshake that never ends."""
    (chain, key), (admins, admin_key), (others, other_key) = (
        self_signed(tmp_path, name) for name in ("service", "admins", "others")
    )
    settings = {"LISTEN_CERTIFICATE": chain, "LISTEN_KEY": key, "LISTEN_CLIENT_CA": admins} | SHORT
    with serving(settings=settings) as service:
        url = service.url.replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        assert requests.get(f"{url}/livez", verify=str(chain), timeout=10).status_code == 200
        shown = (str(admins), str(admin_key))
        assert requests.get(f"{url}/livez", verify=str(chain), cert=shown, timeout=10).status_code == 200
        foreign = ssl.create_default_context(cafile=str(chain))
        foreign.load_cert_chain(others, other_key)
        with (
            connected(service) as connection,
            foreign.wrap_socket(connection, server_hostname="localhost") as line,
            pytest.raises(ssl.SSLError, match="alert unknown ca"),
        ):
            line.recv(1)
        old = ssl.create_default_context(cafile=str(chain))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with connected(service) as connection, pytest.raises(ssl.SSLError):
            old.wrap_socket(connection, server_hostname="localhost")
        with connected(service) as connection:
            assert closed_after(connection)[0] < 5
        with connected(service) as connection:
            # Away in the middle of the handshake.
            connection.sendall(b"\x16\x03\x01")
        assert requests.get(f"{url}/livez", verify=str(chain), timeout=10).status_code == 200


def test_who_says_nothing_instead_of_tls_takes_a_place(tmp_path):
    """A handshake that was begun counts: one more than a client's share is ended at once, and there is room again."""
    chain, key = self_signed(tmp_path, "service")
    settings = {"LISTEN_CERTIFICATE": chain, "LISTEN_KEY": key, "LIMITS_CONNECTIONS_PER_CLIENT": 4}
    with serving(settings=settings) as service:
        held = [connected(service) for _ in range(4)]
        time.sleep(0.2)
        with connected(service) as fifth:
            took, said = closed_after(fifth)
        assert (took < 5, said) == (True, b"")
        for connection in held:
            connection.close()
        time.sleep(0.2)
        url = service.url.replace("127.0.0.1", "localhost")
        with requests.Session() as session:
            assert [session.get(f"{url}/livez", verify=str(chain), timeout=10).status_code for _ in range(3)] == [
                200
            ] * 3


def test_an_idle_client_holds_up_no_end(tmp_path):
    """Over TLS an end wants an answer from the other side; a service that is told to stop waits for none."""
    chain, key = self_signed(tmp_path, "service")
    with requests.Session() as session:
        with serving(settings={"LISTEN_CERTIFICATE": chain, "LISTEN_KEY": key}) as service:
            url = service.url.replace("127.0.0.1", "localhost")
            assert session.get(f"{url}/livez", verify=str(chain), timeout=10).status_code == 200
            told = time.monotonic()
        assert time.monotonic() - told < 8


def with_password(chain: Path, key: Path, other: Path) -> None:
    """Put a password on the key."""
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


@pytest.mark.parametrize(
    ("break_it", "code", "said"),
    [
        (lambda chain, key, other: key.chmod(0o644), "SECRET_EXPOSED", "others can read it"),
        (lambda chain, key, other: chain.write_text("nothing"), "MALFORMED_SETTINGS", "listen.certificate"),
        (lambda chain, key, other: chain.write_bytes(other.read_bytes()), "MALFORMED_SETTINGS", "key values mismatch"),
        (lambda chain, key, other: key.unlink(), "MALFORMED_SETTINGS", "listen.key"),
        (lambda chain, key, other: chain.unlink(), "MALFORMED_SETTINGS", "listen.certificate"),
        (lambda chain, key, other: other.unlink(), "MALFORMED_SETTINGS", "listen.client_ca"),
        (lambda chain, key, other: other.write_text("nothing"), "MALFORMED_SETTINGS", "listen.client_ca"),
        (with_password, "MALFORMED_SETTINGS", "listen.certificate"),
    ],
)
def test_tls_that_cannot_be_spoken_starts_nothing(tmp_path, break_it, code, said):
    """A key that others can read, files of something else or of nothing; and nobody is asked anything."""
    (chain, key), (other, _) = self_signed(tmp_path, "service"), self_signed(tmp_path, "other")
    listen = Listen.model_construct(certificate=chain, key=key, client_ca=other)
    assert isinstance(tls_of(listen), ssl.SSLContext)
    assert isinstance(tls_of(listen.model_copy(update={"client_ca": None})), ssl.SSLContext)
    break_it(chain, key, other)
    with pytest.raises(TwoCvmError, match=said) as refused:
        tls_of(listen)
    assert refused.value.code == code
