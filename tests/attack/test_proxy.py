"""Attacks on the proxy: by web pages, by other users of the machine, by crooked requests, by the guest behind it."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.clients import endpoint
from tests.support.guest import SteeredClock
from tests.support.hostile_guest import Forgery, HostileGuest, Talk
from tests.support.sdk import identity_of

from twocvm_guest.tls import PeerConnection
from twocvm_sdk import Endpoint
from twocvm_sdk.connection import AttestedConnection
from twocvm_sdk.proxy import Gate, Proxy, open_listener
from twocvm_sdk.proxy.gate import read_secret
from twocvm_sdk.proxy.server import MAX_CONNECTIONS
from twocvm_verifier.errors import MalformedError, ReleaseError, TwoCvmError

SECRET = b"0123456789abcdefghijklmnop"


@dataclass
class Running:
    """A proxy that runs in a thread, and what it told.

    Attributes:
        url: Where tools find it.
        connected: The connections to the guest that it made.
        refusals: The codes of what it refused.
    """

    url: str
    connected: list[AttestedConnection] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def authority(self) -> str:
        """What Host says."""
        return self.url.removeprefix("http://")

    def talk(self, raw: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        host, _, port = self.authority.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as tool:
            tool.sendall(raw)
            answer = b""
            while data := tool.recv(1 << 16):
                answer += data
            return answer

    def ask(self, line: str, *fields: str, host: str | None = None, body: bytes = b"") -> tuple[int, str]:
        """Send one request of these lines, and return the status and the code of its refusal, if it was one."""
        lines = [line, f"Host: {self.authority if host is None else host}", "Connection: close", *fields]
        answer = self.talk("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        head, _, content = answer.partition(b"\r\n\r\n")
        code = json.loads(content)["code"] if b"problem+json" in head else content.decode("latin-1")
        return int(head.split()[1]), code


class _Observer:
    def __init__(self) -> None:
        self.running = Running(url="")

    def connected(self, connection: AttestedConnection) -> None:
        self.running.connected.append(connection)

    def refused(self, error: TwoCvmError) -> None:
        self.running.refusals.append(error.code)


@contextmanager
def proxied(place: Endpoint, *, listen: str = "127.0.0.1:0", secret: bytes = b"") -> Iterator[Running]:
    """Run a proxy for the length of a `with`."""
    stopping, observer = threading.Event(), _Observer()
    with open_listener(listen) as listener:
        gate = Gate(hosts=listener.hosts, secret=secret)
        proxy = Proxy(place, listener=listener, gate=gate, observer=observer)
        thread = threading.Thread(target=proxy.serve, args=(stopping,), daemon=True)
        thread.start()
        observer.running.url = listener.url
        try:
            yield observer.running
        finally:
            stopping.set()
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningGuest]:
    """An honest guest."""
    with Scene().serve() as running:
        yield running


@pytest.fixture
def guest(shared: RunningGuest) -> RunningGuest:
    """The shared guest, as if nothing had been asked of it."""
    shared.requests.clear()
    shared.routes.clear()
    return shared


@pytest.fixture(scope="module")
def shared_proxy(shared: RunningGuest) -> Iterator[Running]:
    """A proxy for it, without a secret."""
    with proxied(endpoint(shared.scene, shared.url)) as running:
        yield running


@pytest.fixture
def proxy(guest: RunningGuest, shared_proxy: Running) -> Running:
    """The shared proxy, as if it had done nothing yet."""
    shared_proxy.connected.clear()
    shared_proxy.refusals.clear()
    return shared_proxy


def test_tools_talk_to_a_guest_that_is_proven(guest: RunningGuest, proxy: Running) -> None:
    """Small and large requests go through, streamed both ways, kept alive on both sides."""
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(proxy.url + "/whoami?q=%20").json() is None
        assert session.put(proxy.url + "/count", data=bytes(3_000_000)).json() == 3_000_000
        assert len(session.get(proxy.url + "/bytes/3000000").content) == 3_000_000
        assert session.get(proxy.url + "/nothing").status_code == 404
    assert len(proxy.connected) == 1
    assert guest.requests == ["GET /whoami", "PUT /count", "GET /bytes/3000000", "GET /nothing"]


def test_a_tool_that_waits_to_be_told_to_go_on(proxy: Running) -> None:
    """A tool that asks before it sends its body (Expect: 100-continue) is told to."""
    host, _, port = proxy.authority.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as tool:
        tool.sendall(f"PUT /count HTTP/1.1\r\nHost: {proxy.authority}\r\n".encode())
        tool.sendall(b"Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert tool.recv(1024).startswith(b"HTTP/1.1 100 ")
        tool.sendall(b"12345")
        answer = b""
        while data := tool.recv(1024):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"5")


# Where it listens.


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "10.0.0.1:0", "localhost:0", ":0", "127.0.0.1", "127.0.0.1:99999",
     "guest.example:80", "[::ffff:0.0.0.0]:0", "", "*:80", "127.0.0.1:80/x"],
)  # fmt: skip
def test_it_listens_on_this_machine_alone(address: str) -> None:
    """An address that others can reach, or a name that may come to mean one, is wrong use."""
    with pytest.raises(ValueError):  # noqa: PT011 - `ipaddress` has its own words for some of them
        open_listener(address)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("127.0.0.1:99999", "want a port from 0 to 65535"),
        ("unix:", "want .* unix:PATH"),
        ("unix:" + "x" * 200, "want a shorter PATH"),
    ],
)
def test_a_refused_address_is_told_what_is_wrong_with_it(address: str, wanted: str) -> None:
    """A port out of range is loopback all the same, no path is no file that is in use, and a path can be too long."""
    with pytest.raises(ValueError, match=wanted):
        open_listener(address)


def test_a_socket_file_is_this_users_alone(guest: RunningGuest, tmp_path: Path) -> None:
    """The socket file has mode 0600 from its first moment whatever the umask, and is gone at the end."""
    path, mask = tmp_path / "socket", os.umask(0)
    try:
        with proxied(endpoint(guest.scene, guest.url), listen=f"unix:{path}") as running:
            assert running.url == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with pytest.raises(OSError, match="in use"):
                open_listener(f"unix:{path}")
            with socket.socket(socket.AF_UNIX) as tool:
                tool.connect(str(path))
                tool.sendall(b"GET /whoami HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
                answer = b""
                while data := tool.recv(1024):
                    answer += data
            assert answer.endswith(b"null")
    finally:
        os.umask(mask)
    assert not path.exists()


def test_ipv6_loopback(guest: RunningGuest) -> None:
    """`[::1]:PORT` works where the machine has it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with proxied(endpoint(guest.scene, guest.url), listen="[::1]:0") as running:
        assert running.ask("GET /whoami HTTP/1.1") == (200, "null")


# Web pages.


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "", "127.0.0.1:{port}.evil"])
def test_a_name_that_was_made_to_lead_here(guest: RunningGuest, proxy: Running, host: str) -> None:
    """DNS rebinding: a page that reaches the proxy by a name of its own is refused, whatever it asks."""
    named = host.format(port=proxy.url.rpartition(":")[2])
    assert proxy.ask("GET /whoami HTTP/1.1", host=named) == (421, "PROXY_HOST")
    assert guest.requests == []


def test_two_hosts_and_none(guest: RunningGuest, proxy: Running) -> None:
    """No Host, or one that could be read as either of two, is refused."""
    assert proxy.ask("GET /whoami HTTP/1.1", "Host: evil.example")[0] in (400, 421)
    assert proxy.talk(b"GET /whoami HTTP/1.0\r\n\r\n").split()[1] in (b"400", b"421")
    assert proxy.ask("GET /whoami HTTP/1.1", host=f"LOCALHOST:{proxy.url.rpartition(':')[2]}") == (200, "null")
    assert guest.requests == ["GET /whoami"]


@pytest.mark.parametrize(
    "field",
    ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
     "Sec-Fetch-Site: same-origin"],
)  # fmt: skip
def test_web_pages_get_nothing(guest: RunningGuest, proxy: Running, field: str) -> None:
    """Cross-site requests, forms and scripts of pages are refused before the guest hears of them."""
    asked = proxy.ask("POST /whoami HTTP/1.1", field, "Content-Type: text/plain", "Content-Length: 2", body=b"{}")
    assert asked == (403, "PROXY_WEB_PAGE")
    assert guest.requests == []


# Other users of the machine.


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Authorization: Bearer wrong",),
        ("Authorization: Bearer",),
        (f"Authorization: Basic {SECRET.decode()}",),
        (f"Authorization: Bearer {SECRET.decode()}x",),
        (f"Authorization: Bearer {SECRET.decode()[:-1]}",),
        ("Authorization: Bearer wrong", f"Authorization: Bearer {SECRET.decode()}"),
    ],
)
def test_who_does_not_know_the_secret_gets_nothing(guest: RunningGuest, fields: tuple[str, ...]) -> None:
    """Any user of the machine can reach a port; only who can read the secret is listened to."""
    with proxied(endpoint(guest.scene, guest.url), secret=SECRET) as proxy:
        assert proxy.ask("GET /whoami HTTP/1.1", *fields) == (401, "PROXY_SECRET")
        assert proxy.connected == []
    assert guest.requests == []


def test_the_secret_ends_at_the_proxy(guest: RunningGuest) -> None:
    """Who shows the secret is served; the guest never sees it."""
    seen: list[bytes] = []

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        seen.append(b"\n".join(name + b": " + value for name, value in scope.get("headers", ())))
        guest.app, saved = None, guest.app
        await guest(scope, receive, send)
        guest.app = saved

    guest.app = spy
    try:
        with proxied(endpoint(guest.scene, guest.url), secret=SECRET) as proxy:
            fields = (f"Authorization: Bearer {SECRET.decode()}", "Keep-Alive: 1", "TE: trailers", "X-Kept: yes")
            assert proxy.ask("GET /whoami HTTP/1.1", *fields) == (200, "null")
    finally:
        guest.app = None
    heard = b"\n".join(seen)
    assert b"x-kept: yes" in heard
    for name in (SECRET, b"authorization", b"keep-alive", b"te: trailers", b"forwarded", b"via"):
        assert name not in heard


def test_the_file_of_a_secret(tmp_path: Path) -> None:
    """A secret is made once, for this user alone; one that others can read, or that is none, is refused."""
    path = tmp_path / "secret"
    made = read_secret(path)
    assert read_secret(path) == made
    assert len(made) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(ReleaseError) as exposed:
        read_secret(path)
    assert exposed.value.code == "IDENTITY_EXPOSED"
    path.chmod(0o600)
    for text in ("", "short", "has spaces in it, so it is none at all"):
        path.write_text(text)
        with pytest.raises(MalformedError) as refused:
            read_secret(path)
        assert refused.value.code == "MALFORMED_PROXY_SECRET"


def test_nobody_is_named_who_was_not_given(guest: RunningGuest, tmp_path: Path) -> None:
    """The proxy shows the identity that it was started with, and none of its own."""
    me = identity_of(guest.scene.world.party("hospital-a"), tmp_path)
    with proxied(endpoint(guest.scene, guest.url)) as proxy:
        assert proxy.ask("GET /whoami HTTP/1.1") == (200, "null")
    with proxied(endpoint(guest.scene, guest.url, identity=me), secret=SECRET) as proxy:
        asked = proxy.ask("GET /whoami HTTP/1.1", f"Authorization: bearer {SECRET.decode()}")
        assert asked == (200, f'"{me.tls_spki_sha256.hex()}"')


# Crooked requests.


@pytest.mark.parametrize(
    ("line", "fields", "body"),
    [
        ("CONNECT 127.0.0.1:22 HTTP/1.1", (), b""),
        ("CONNECT /whoami HTTP/1.1", (), b""),
        ("GET http://127.0.0.1:22/ HTTP/1.1", (), b""),
        ("GET https://evil.example/ HTTP/1.1", (), b""),
        ("OPTIONS * HTTP/1.1", (), b""),
        ("GET whoami HTTP/1.1", (), b""),
        ("GET /whoami#x HTTP/1.1", (), b""),
        ("GET /who ami HTTP/1.1", (), b""),
        ("get /whoami HTTP/1.1", (), b""),
        ("GET /whoami HTTP/1.0", (), b""),
        ("GET /whoami HTTP/2.0", (), b""),
        ("GET /whoami", (), b""),
        ("PUT /count HTTP/1.1", ("Transfer-Encoding: chunked",), b"5\r\n12345\r\n0\r\n\r\n"),
        ("PUT /count HTTP/1.1", ("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\nGET /x\r\n\r\n"),
        ("PUT /count HTTP/1.1", ("Content-Length: 5", "Content-Length: 6"), b"123456"),
        ("PUT /count HTTP/1.1", ("Content-Length: +5",), b"12345"),
        ("PUT /count HTTP/1.1", ("Content-Length: 5, 6",), b"123456"),
        ("PUT /count HTTP/1.1", ("Content-Length : 5",), b"12345"),
        ("GET /whoami HTTP/1.1", ("X-Zero: a\0b",), b""),
        ("GET /whoami HTTP/1.1", ("X-High: \xe9",), b""),
        ("GET /whoami HTTP/1.1", ("Connection: X-Kept",), b""),
        ("GET /whoami HTTP/1.1", ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"), b""),
        ("GET /whoami HTTP/1.1", ("Upgrade: websocket",), b""),
        ("GET /whoami HTTP/1.1", ("X-Long: " + "a" * 20000,), b""),
        ("PRI * HTTP/2.0", (), b"SM\r\n\r\n"),
    ],
)  # fmt: skip
def test_crooked_requests_are_refused(
    guest: RunningGuest, proxy: Running, line: str, fields: tuple[str, ...], body: bytes
) -> None:
    """Other forms of target, other framings, and whatever two readers could divide in two ways, reach no guest."""
    assert proxy.ask(line, *fields, body=body) == (400, "MALFORMED_PROXY_REQUEST")
    assert guest.requests == []
    assert proxy.refusals == ["MALFORMED_PROXY_REQUEST"]


def test_a_head_request_gets_no_body(guest: RunningGuest, proxy: Running) -> None:
    """HEAD, whose answers have a length and no body, is refused with a head alone."""
    answer = proxy.talk(f"HEAD /whoami HTTP/1.1\r\nHost: {proxy.authority}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")
    assert guest.requests == []


def test_what_follows_a_body_is_another_request(guest: RunningGuest, proxy: Running) -> None:
    """Bytes after a body are judged as a request of their own: a hidden one passes the gate or is refused."""
    hidden = b"GET /whoami HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    head = f"PUT /count HTTP/1.1\r\nHost: {proxy.authority}\r\nContent-Length: 5\r\n\r\n".encode()
    answer = proxy.talk(head + b"12345" + hidden)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"PROXY_HOST" in answer
    assert guest.requests == ["PUT /count"]


def test_a_tool_that_goes_away_leaves_no_half_upload(guest: RunningGuest, proxy: Running) -> None:
    """A body that stops short ends the guest's connection too; it is not filled up, and not sent again."""
    host, _, port = proxy.authority.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as tool:
        tool.sendall(f"PUT /count HTTP/1.1\r\nHost: {proxy.authority}\r\nContent-Length: 50\r\n\r\n12345".encode())
        _wait(lambda: bool(proxy.connected))
    _wait(lambda: proxy.connected[0].closed)
    assert len(proxy.connected) == 1


def test_too_many_connections_are_turned_away(guest: RunningGuest, proxy: Running) -> None:
    """A flood of idle connections costs the guest nothing, and the next tool is told that the proxy is busy."""
    host, _, port = proxy.authority.rpartition(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(MAX_CONNECTIONS)]
    try:
        with socket.create_connection((host, int(port)), timeout=10) as late:
            answer = b""
            while data := late.recv(1024):
                answer += data
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert proxy.refusals == ["PROXY_BUSY"]
    finally:
        for each in idle:
            each.close()
    assert proxy.connected == []
    _wait(lambda: proxy.ask("GET /whoami HTTP/1.1") == (200, "null"))


# What lies behind it.


def _wait(condition: Callable[[], bool]) -> None:
    last = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.02)


def test_nothing_is_passed_on_to_a_guest_that_is_not_proven() -> None:
    """A guest with another measurement hears no byte; the tool is told which rule was broken."""
    forgery = Forgery(scene=Scene(), fields={"measurement": b"\x66" * 48})
    with HostileGuest(forgery.context()) as hostile, proxied(endpoint(forgery.scene, hostile.url)) as proxy:
        status, code = proxy.ask("PUT /v1/artifacts/x HTTP/1.1", "Content-Length: 8", body=b"a secret")
    assert (status, code) == (502, "MEASUREMENT_MISMATCH")
    assert proxy.refusals == [code]
    assert hostile.heard == b""


def test_an_old_proof_is_made_anew_before_a_request_is_passed_on(guest: RunningGuest) -> None:
    """A connection that was kept alive for longer than a minute proves itself again first."""
    clock = SteeredClock()
    with proxied(endpoint(guest.scene, guest.url, clock=clock)) as proxy, requests.Session() as session:
        session.trust_env = False
        session.get(proxy.url + "/whoami")
        first = proxy.connected[0].proof
        clock.ahead_seconds += 61
        session.get(proxy.url + "/whoami")
        assert len(proxy.connected) == 1
        assert proxy.connected[0].proof.nonce != first.nonce


def test_another_launch_is_not_passed_anything() -> None:
    """When the guest is exchanged behind the proxy, tools are told, and nothing reaches the new one."""
    scene = Scene()
    first, second = Forgery(scene=scene), Forgery(scene=scene, fields={"report_id": b"\x13" * 32})

    def serve(talk: Talk) -> None:
        talk.prove(first)
        while talk.hear():
            talk.answer(b"{}")

    with HostileGuest(first.context(), serve) as one:
        place = endpoint(scene, one.url)
        with HostileGuest(second.context(), lambda talk: talk.prove(second)) as other, proxied(place) as proxy:
            assert proxy.ask("GET /v1/session HTTP/1.1") == (200, "{}")
            place.url = other.url  # type: ignore[misc] - the host carries the connection elsewhere
            assert proxy.ask("GET /v1/session HTTP/1.1") == (502, "GUEST_REPLACED")
        assert b"/v1/session" not in other.heard


def test_an_idle_connection_that_the_guest_ended_is_replaced(guest: RunningGuest, proxy: Running) -> None:
    """What the guest ended between two requests is opened and proven anew; no request is sent twice for it."""
    with requests.Session() as session:
        session.trust_env = False
        session.get(proxy.url + "/whoami")
        guest.connections.swap(guest.scene.server_identity(), keep=None)
        _wait(lambda: len(guest.connections) == 0)
        assert session.get(proxy.url + "/whoami").status_code == 200
    assert len(proxy.connected) == 2
    assert guest.requests == ["GET /whoami", "GET /whoami"]


def test_a_guest_that_is_lost_in_a_request_is_not_asked_again() -> None:
    """A request whose fate is unknown is the tool's to repeat, never the proxy's."""
    forgery = Forgery(scene=Scene())

    def hang_up(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        talk.tls.sock_shutdown(2)

    with HostileGuest(forgery.context(), hang_up) as hostile, proxied(endpoint(forgery.scene, hostile.url)) as proxy:
        asked = proxy.ask("PUT /v1/artifacts/x HTTP/1.1", "Content-Length: 8", body=b"a secret")
    assert asked == (502, "CONNECTION_LOST")
    assert hostile.heard.count(b"a secret") == 1


def test_an_answer_that_is_cut_short_is_cut_short_for_the_tool() -> None:
    """A tool never takes a part of an answer for the whole."""
    forgery = Forgery(scene=Scene())

    def cut(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        talk.answer(b"half of it", length="20")
        talk.tls.shutdown()

    with (
        HostileGuest(forgery.context(), cut) as hostile,
        proxied(endpoint(forgery.scene, hostile.url)) as proxy,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        requests.get(proxy.url + "/v1/session", timeout=10)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", b"SSH-2.0-x\r\n\r\n"]
)
def test_an_answer_that_is_none_is_not_passed_back(answer: bytes) -> None:
    """Redirections, and what is no answer of a guest, are a failure of the guest and not of the tool."""
    forgery = Forgery(scene=Scene())

    def crooked(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        talk.say(answer)

    with HostileGuest(forgery.context(), crooked) as hostile, proxied(endpoint(forgery.scene, hostile.url)) as proxy:
        assert proxy.ask("GET /v1/session HTTP/1.1") == (502, "MALFORMED_HTTP")


def test_answers_carry_nothing_about_the_connection_behind(guest: RunningGuest, proxy: Running) -> None:
    """Fields about one connection end with it."""

    async def last(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        peer.close_after_response()
        return 200, "text/plain", b"bye"

    guest.routes["/last"] = last
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(proxy.url + "/last")
        assert "Connection" not in answer.headers
        assert session.get(proxy.url + "/whoami").status_code == 200
    assert len(proxy.connected) == 2


def test_an_early_refusal_reaches_a_tool_that_still_sends() -> None:
    """A guest that refuses an upload in the middle is heard by the tool, and the rest is not passed on."""
    forgery = Forgery(scene=Scene())

    def refuse(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        talk.answer(b"no", status="413 Content Too Large")
        time.sleep(0.5)

    with HostileGuest(forgery.context(), refuse) as hostile, proxied(endpoint(forgery.scene, hostile.url)) as proxy:
        host, _, port = proxy.authority.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as tool:
            tool.sendall(f"PUT /x HTTP/1.1\r\nHost: {proxy.authority}\r\nContent-Length: 90000000\r\n\r\n".encode())
            tool.sendall(bytes(1 << 20))
            time.sleep(0.3)
            tool.sendall(bytes(1 << 20))
            assert tool.recv(1024).startswith(b"HTTP/1.1 413 ")


def test_stopping_breaks_off_what_is_under_way() -> None:
    """The end does not wait for a guest that is silent."""
    forgery, over = Forgery(scene=Scene()), threading.Event()

    def silent(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        over.wait(5)

    with HostileGuest(forgery.context(), silent) as hostile:
        with proxied(endpoint(forgery.scene, hostile.url)) as proxy:
            asking = threading.Thread(
                target=lambda: proxy.talk(b"GET /x HTTP/1.1\r\nHost: " + proxy.authority.encode() + b"\r\n\r\n")
            )
            asking.start()
            _wait(lambda: bool(proxy.connected))
            began = time.monotonic()
        assert time.monotonic() - began < 2
        over.set()
        asking.join(5)
