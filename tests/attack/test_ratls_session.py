"""Attacks on the session that a verified connection gives: ways to lead a request elsewhere, or to cut one short."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from requests.adapters import HTTPAdapter
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.hostile_guest import Forgery, HostileGuest, Talk, framed
from tests.support.sdk import StandingClock

from twocvm_guest.tls import PeerConnection
from twocvm_sdk.connection import AttestedConnection, Timeouts
from twocvm_verifier.errors import FetchError, MalformedError, TwoCvmError

PROXY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningGuest]:
    """An honest guest that runs, for all tests here."""
    with Scene().serve() as running:
        yield running


@pytest.fixture
def guest(shared: RunningGuest) -> RunningGuest:
    """The shared guest, as if nothing had been asked of it."""
    shared.requests.clear()
    shared.routes.clear()
    return shared


@pytest.fixture
def connection(guest: RunningGuest) -> Iterator[AttestedConnection]:
    """A verified connection to it."""
    with guest.scene.connect(guest.url) as attested:
        yield attested


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://127.0.0.1:1/",
        "https://127.0.0.1/",
        "https://127.0.0.2:{port}/",
        "https://user@127.0.0.1:{port}/",
        "https://127.0.0.1:{port}@example.org/",
    ],
)
def test_request_for_anywhere_else_is_refused(guest: RunningGuest, connection: AttestedConnection, url: str) -> None:
    """An attested session reaches its guest, by the address it was opened for, and nobody else."""
    with pytest.raises(ValueError, match="want"):
        connection.http.get(url.format(port=guest.address[1]))
    assert guest.requests == []


@pytest.mark.parametrize(
    "options",
    [{"verify": False}, {"verify": "/etc/ssl/certs"}, {"cert": "own.pem"}, {"proxies": {"https": PROXY}}],
)
def test_request_past_the_verification_is_refused(
    guest: RunningGuest, connection: AttestedConnection, options: dict[str, object]
) -> None:
    """What `requests` offers to weaken or to go round the verification is an error, not ignored."""
    with pytest.raises(ValueError, match="verif"):
        connection.http.get(connection.base_url + "/whoami", **options)
    assert guest.requests == []


def test_weakened_session_is_refused(guest: RunningGuest, connection: AttestedConnection) -> None:
    """The same said of the session as a whole is refused too, and so is another adapter."""
    connection.http.verify = False
    with pytest.raises(ValueError, match="verif"):
        connection.http.get(connection.base_url + "/whoami")
    connection.http.verify = True
    connection.http.proxies = {"https": PROXY}
    with pytest.raises(ValueError, match="verif"):
        connection.http.get(connection.base_url + "/whoami")
    with pytest.raises(ValueError, match="adapter"):
        connection.http.mount("https://", HTTPAdapter())
    assert guest.requests == []


def test_environment_is_not_read(guest: RunningGuest, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike) -> None:
    """Proxies, certificate bundles and passwords of the environment change nothing."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    with guest.scene.connect(guest.url) as connection:
        answer = connection.http.get(connection.base_url + "/whoami")
        assert answer.status_code == 200
        assert "Authorization" not in answer.request.headers


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "ftp://127.0.0.1:1", "127.0.0.1:1", "https://", "https://127.0.0.1:1/path", "https://a@b:1",
     "https://127.0.0.1:1/?q", "https://127.0.0.1:1/#f", "https://127.0.0.1:99999", "https://\u0430.example"],
)  # fmt: skip
def test_address_that_is_no_guests_is_wrong_use(url: str) -> None:
    """Plain HTTP, and whatever else is not https://HOST:PORT, is refused before anything is sent."""
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's own words for some of them
        Scene().connect(url)


def _talk_then(answer: Callable[[Talk], None]) -> tuple[Forgery, HostileGuest]:
    forgery = Forgery(scene=Scene())

    def script(talk: Talk) -> None:
        talk.prove(forgery)
        if talk.hear():
            answer(talk)

    return forgery, HostileGuest(forgery.context(), script)


def _get_from(answer: Callable[[Talk], None], **options: object) -> requests.Response:
    forgery, hostile = _talk_then(answer)
    with hostile, forgery.scene.connect(hostile.url) as connection:
        return connection.http.get(connection.base_url + "/v1/session", **options)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirection_is_refused(status: str) -> None:
    """A guest never sends a participant elsewhere, and a participant never goes."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.05)
        location = f"Location: http://127.0.0.1:{elsewhere.getsockname()[1]}/steal"
        with pytest.raises(MalformedError) as refusal:
            _get_from(lambda talk: talk.answer(b"", location, status=status))
        with pytest.raises(TimeoutError):
            elsewhere.accept()
    assert refusal.value.code == "MALFORMED_HTTP"


@pytest.mark.parametrize("end", [lambda talk: talk.tls.shutdown(), lambda talk: talk.tls.sock_shutdown(2)])
def test_answer_cut_short_is_lost(end: Callable[[Talk], None]) -> None:
    """Fewer bytes than announced are an error, however the connection ended; nobody takes them for the whole."""

    def cut(talk: Talk) -> None:
        talk.say(framed(b"half of it", length="20"))
        end(talk)

    with pytest.raises(FetchError) as ending:
        _get_from(cut)
    assert (ending.value.code, ending.value.exit_status) == ("CONNECTION_LOST", 40)


def test_answer_cut_short_while_streaming_is_lost() -> None:
    """The same holds for who reads piece by piece."""

    def cut(talk: Talk) -> None:
        talk.say(framed(b"half of it", length="20"))
        talk.tls.shutdown()

    forgery, hostile = _talk_then(cut)
    with hostile, forgery.scene.connect(hostile.url) as connection:
        answer = connection.http.get(connection.base_url + "/v1/session", stream=True)
        with pytest.raises(FetchError):
            list(answer.iter_content(4))


def test_answer_that_never_ends_is_left_in_time() -> None:
    """A guest that stops in the middle of an answer holds nobody up."""
    with pytest.raises(FetchError) as ending:
        _get_from(lambda talk: talk.say(framed(b"half of it", length="20")), timeout=0.3)
    assert ending.value.code == "CONNECTION_TIMEOUT"


def test_bytes_between_answers_are_refused() -> None:
    """What came without having been asked for is never taken for the next answer."""

    def smuggle(talk: Talk) -> None:
        talk.answer(b"first")
        talk.answer(b"smuggled")
        time.sleep(0.2)

    forgery, hostile = _talk_then(smuggle)
    with hostile, forgery.scene.connect(hostile.url) as connection:
        assert connection.http.get(connection.base_url + "/a").content == b"first"
        time.sleep(0.1)
        with pytest.raises(MalformedError) as refusal:
            connection.http.get(connection.base_url + "/b")
        assert connection.closed
    assert refusal.value.code == "MALFORMED_HTTP"
    assert b"/b" not in hostile.heard


def test_proof_is_not_asked_for_over_unread_bytes() -> None:
    """A new proof is asked for only where the next bytes can only be its answer."""
    forgery, hostile = _talk_then(lambda talk: talk.answer(b"0123456789"))
    with hostile, forgery.scene.connect(hostile.url) as connection:
        with connection.http.get(connection.base_url + "/a", stream=True) as answer:
            assert answer.raw.read(3) == b"012"
            with pytest.raises(RuntimeError, match="read to its end"):
                connection.reprove()
        assert connection.closed


def test_half_read_answer_ends_the_connection(guest: RunningGuest, connection: AttestedConnection) -> None:
    """What is left of an answer is never taken for the next one: leaving it ends the connection."""
    with connection.http.get(connection.base_url + "/bytes/100000", stream=True) as answer:
        answer.raw.read(10)
    assert connection.closed
    with pytest.raises(FetchError) as ending:
        connection.http.get(connection.base_url + "/whoami")
    assert ending.value.code == "CONNECTION_LOST"


def test_connection_that_ended_is_never_made_anew(guest: RunningGuest, connection: AttestedConnection) -> None:
    """A session has one connection in its life; nothing is sent on another that nobody has verified."""
    guest.connections.swap(guest.scene.server_identity(), keep=None)
    for _ in range(2):
        with pytest.raises(FetchError) as ending:
            connection.http.get(connection.base_url + "/whoami")
        assert ending.value.code == "CONNECTION_LOST"
    assert guest.requests == []


def test_last_answer_is_the_last(guest: RunningGuest, connection: AttestedConnection) -> None:
    """After an answer that ends the connection no request is sent into the void."""

    async def last(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        peer.close_after_response()
        return 200, "text/plain", b"bye"

    guest.routes["/last"] = last
    assert connection.http.get(connection.base_url + "/last").content == b"bye"
    with pytest.raises(FetchError):
        connection.http.get(connection.base_url + "/whoami")
    assert guest.requests == ["GET /last"]


def test_early_answer_ends_an_upload() -> None:
    """A refusal that comes in the middle of an upload is read, and the rest is not sent."""
    sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            sent.append(number)
            time.sleep(0.001)
            yield bytes(1 << 16)

    class Body:
        """A body of 1000 pieces."""

        __len__ = lambda _: 1000 << 16  # noqa: E731
        __iter__ = lambda _: pieces()  # noqa: E731

    forgery, hostile = _talk_then(lambda talk: talk.answer(b"no", status="413 Content Too Large"))
    with hostile, forgery.scene.connect(hostile.url) as connection:
        answer = connection.http.put(connection.base_url + "/v1/artifacts/x", data=Body())
        assert (answer.status_code, answer.content) == (413, b"no")
        assert len(sent) < 1000
        with pytest.raises(FetchError):
            connection.http.get(connection.base_url + "/whoami")


class Slowly:
    """A body of many pieces, each a while after the one before."""

    def __len__(self) -> int:
        return 100 << 18

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(1 << 18)
            time.sleep(0.1)


def test_answer_before_a_reset_is_still_read() -> None:
    """A guest that refuses an upload and is gone at once has said why."""
    reset = struct.pack("ii", 1, 0)

    def refuse_and_go(talk: Talk) -> None:
        talk.answer(b"no", status="413 Content Too Large")
        talk.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        talk.tls.close()

    forgery, hostile = _talk_then(refuse_and_go)
    with hostile, forgery.scene.connect(hostile.url) as connection:
        answer = connection.http.put(connection.base_url + "/v1/artifacts/x", data=Slowly())
        assert (answer.status_code, answer.content) == (413, b"no")


def test_upload_to_a_guest_that_hangs_up_is_lost() -> None:
    """A guest that is gone in the middle of an upload is lost, and nothing tries again."""
    forgery, hostile = _talk_then(lambda talk: talk.tls.close())
    with hostile, forgery.scene.connect(hostile.url) as connection, pytest.raises(FetchError) as ending:
        connection.http.put(connection.base_url + "/v1/artifacts/x", data=Slowly())
    assert ending.value.code == "CONNECTION_LOST"
    assert len(hostile.talks) == 1


@pytest.mark.parametrize("wrong", [-1, 1])
def test_body_of_another_length_is_our_own_fault(wrong: int) -> None:
    """A body that is not as long as was announced ends the connection, for the guest cannot tell where it ends."""
    with Scene().serve() as guest, guest.scene.connect(guest.url) as connection:
        request = requests.Request("PUT", connection.base_url + "/count", data=io.BytesIO(b"x" * 1000))
        prepared = connection.http.prepare_request(request)
        prepared.headers["Content-Length"] = str(1000 + wrong)
        with pytest.raises(ValueError, match="announced"):
            connection.http.send(prepared)
        assert connection.closed


def test_body_without_a_length_is_refused(guest: RunningGuest, connection: AttestedConnection) -> None:
    """Guests take no chunked uploads."""
    with pytest.raises(ValueError, match="length"):
        connection.http.put(connection.base_url + "/count", data=iter([b"a", b"b"]))
    for method in ("HEAD", "GE T"):
        with pytest.raises(ValueError, match="method"):
            connection.http.request(method, connection.base_url + "/count")
    assert guest.requests == []


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: b", "a\nb", "a\0b", "\u0430"])
def test_field_that_would_break_a_line_is_refused(
    guest: RunningGuest, connection: AttestedConnection, value: str
) -> None:
    """No value of ours can begin another line."""
    request = requests.Request("GET", connection.base_url + "/whoami")
    prepared = connection.http.prepare_request(request)
    prepared.headers["X-Value"] = value
    with pytest.raises(ValueError, match="X-Value"):
        connection.http.send(prepared)
    assert guest.requests == []


@pytest.mark.parametrize("timeout", [0, -1, True, "soon", (1, None)])
def test_timeout_that_is_no_time_is_refused(connection: AttestedConnection, timeout: object) -> None:
    """Nobody waits for ever by mistake."""
    with pytest.raises(ValueError, match="timeout"):
        connection.http.get(connection.base_url + "/whoami", timeout=timeout)


def test_slow_proof_is_counted_as_old_as_its_nonce(guest: RunningGuest) -> None:
    """The age of a proof begins before its nonce leaves, by a clock that never goes back."""

    class Clock(StandingClock):
        """A clock that a test moves."""

        seconds = 0.0

        def monotonic_seconds(self) -> float:
            """Return the seconds that were set."""
            return self.seconds

    clock = Clock()

    def randomness(size: int) -> bytes:
        clock.seconds += 3.0
        return os.urandom(size)

    with guest.scene.connect(guest.url, clock=clock, randomness=randomness) as connection:
        assert connection.proof_age_seconds == 3.0
        clock.seconds += 60.0
        assert connection.proof_age_seconds == 63.0
        connection.reprove()
        assert connection.proof_age_seconds == 3.0


def test_failed_new_proof_ends_the_connection() -> None:
    """A guest that cannot prove itself again gets no further request."""
    forgery = Forgery(scene=Scene())

    def prove_once(talk: Talk) -> None:
        talk.prove(forgery)
        talk.prove(forgery, report_id=b"\x13" * 32)

    with HostileGuest(forgery.context(), prove_once) as hostile:
        connection = forgery.scene.connect(hostile.url)
        first = connection.proof
        with pytest.raises(TwoCvmError) as refusal:
            connection.reprove()
        assert (connection.closed, connection.proof) == (True, first)
    assert refusal.value.code == "INSTANCE_CHANGED"


def test_upload_to_a_guest_that_stops_reading_ends_in_time() -> None:
    """A guest that takes nothing more does not hold an upload for ever."""
    forgery, hostile = _talk_then(lambda talk: time.sleep(1))
    hasty = Timeouts(io_seconds=0.3)
    with (
        hostile,
        forgery.scene.connect(hostile.url, timeouts=hasty) as connection,
        pytest.raises(FetchError) as ending,
    ):
        connection.http.put(connection.base_url + "/count", data=bytes(64 << 20))
    assert ending.value.code == "CONNECTION_TIMEOUT"
