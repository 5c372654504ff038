"""Attacks on a guest's HTTP clients, the same on all three: ways to lead a request elsewhere, or to cut one short."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter
from tests.support import processes
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.clients import KINDS, Answer, Bound, client, endpoint
from tests.support.guest import SteeredClock
from tests.support.hostile_guest import Forgery, HostileGuest, Talk, framed
from tests.support.sdk import identity_of

from twocvm_guest.tls import PeerConnection
from twocvm_sdk.connection import Timeouts
from twocvm_sdk.httpxbound import AttestedAsyncClient, AttestedClient
from twocvm_verifier.errors import BindingError, FetchError, HandshakeError, MalformedError, ReleaseError, TwoCvmError

PROXY = "http://127.0.0.1:9"
ENVIRONMENT = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningGuest]:
    """An honest guest that runs, for all tests here."""
    with Scene().serve() as running:
        yield running


@pytest.fixture
def guest(shared: RunningGuest) -> RunningGuest:
    """The shared guest, as if nothing had been asked of it."""
    # What the test before broke off may still be on its way in.
    processes.wait_until(lambda: len(shared.connections) == 0)
    shared.requests.clear()
    shared.routes.clear()
    return shared


@pytest.fixture
def bound(kind: str, guest: RunningGuest) -> Iterator[Bound]:
    """A client of it."""
    with client(kind, endpoint(guest.scene, guest.url)) as opened:
        yield opened


class Pieces:
    """A body of many pieces with a length, which remembers how many were asked for."""

    def __init__(self, count: int, piece: bytes, *, announced: int | None = None, pause_seconds: float = 0.0) -> None:
        self.taken = 0
        self._count, self._piece, self._pause_seconds = count, piece, pause_seconds
        self._announced = count * len(piece) if announced is None else announced

    def __len__(self) -> int:
        return self._announced

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._count):
            self.taken += 1
            time.sleep(self._pause_seconds)
            yield self._piece


def _hostile(answer: Callable[[Talk], None]) -> tuple[Forgery, HostileGuest]:
    """Return a guest that proves itself and then answers the first request as it likes."""
    forgery = Forgery(scene=Scene())

    def script(talk: Talk) -> None:
        talk.prove(forgery)
        if talk.hear():
            answer(talk)

    return forgery, HostileGuest(forgery.context(), script)


def _ask(kind: str, answer: Callable[[Talk], None], **options: object) -> Answer:
    forgery, hostile = _hostile(answer)
    with hostile, client(kind, endpoint(forgery.scene, hostile.url)) as bound:
        return bound.request("GET", "/v1/session", **options)


# Where requests go.


def test_requests_and_answers_of_every_size(bound: Bound) -> None:
    """The clients do what they are for: small and large, streamed both ways, one after the other."""
    assert bound.request("GET", "/whoami?q=%20") == Answer(status=200, content=b"null")
    assert bound.request("PUT", "/count", body=b"x" * 1000).content == b"1000"
    assert bound.request("PUT", "/count", body=b"").content == b"0"
    assert bound.request("PUT", "/count", body=Pieces(40, bytes(1 << 16))).content == str(40 << 16).encode()
    assert sum(map(len, bound.pieces("/bytes/3000000"))) == 3_000_000
    assert bound.request("GET", "/nothing").status == 404


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
        "ftp://127.0.0.1:{port}/",
        "wss://127.0.0.1:{port}/",
    ],
)
def test_request_for_anywhere_else_is_refused(guest: RunningGuest, bound: Bound, url: str) -> None:
    """A client reaches its guest, by the address it was opened for, and nobody else."""
    with pytest.raises(ValueError, match="want"):
        bound.request("GET", url.format(port=guest.address[1]))
    assert guest.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"verify": False},
        {"verify": "/etc/ssl/certs"},
        {"cert": "own.pem"},
        {"proxies": {"https": PROXY}},
        {"proxy": PROXY},
        {"mounts": {"https://": HTTPAdapter()}},
        {"trust_env": True},
        {"transport": HTTPAdapter()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_would_go_past_the_verification_is_an_error(
    guest: RunningGuest, bound: Bound, options: dict[str, object]
) -> None:
    """What libraries offer to weaken or to go round the verification is refused, not ignored, wherever it is said."""
    with pytest.raises((ValueError, TypeError)):
        bound.request("GET", "/whoami", **options)
    for kind in (AttestedClient, AttestedAsyncClient):
        with pytest.raises(TypeError):
            kind(None, **options)  # type: ignore[arg-type]
    assert guest.requests == []


def test_environment_is_not_read(
    kind: str, guest: RunningGuest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies, certificate bundles and passwords of the environment change nothing."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, PROXY)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/nonexistent")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def credentials(peer: PeerConnection, body: bytes) -> tuple[int, str, bytes]:
        return 200, "text/plain", b"asked"

    guest.routes["/asked"] = credentials
    with client(kind, endpoint(guest.scene, guest.url)) as bound:
        assert bound.request("GET", "/asked").content == b"asked"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirection_is_refused(kind: str, status: str) -> None:
    """A guest never sends a participant elsewhere, and a participant never goes, even if told to follow."""
    follow = {"allow_redirects" if kind == "requests" else "follow_redirects": True}
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.05)
        location = f"Location: http://127.0.0.1:{elsewhere.getsockname()[1]}/steal"
        with pytest.raises(MalformedError) as refusal:
            _ask(kind, lambda talk: talk.answer(b"", location, status=status), **follow)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
    assert refusal.value.code == "MALFORMED_HTTP"


# Who is asked.


def test_nothing_is_said_to_an_unproven_guest(kind: str, tmp_path: Path) -> None:
    """A guest with another measurement hears no byte of a request, and does not see who asks."""
    forgery = Forgery(scene=Scene(), fields={"measurement": b"\x66" * 48})
    me = identity_of(forgery.scene.world.party("hospital-a"), tmp_path)
    with HostileGuest(forgery.context()) as hostile:
        place = endpoint(forgery.scene, hostile.url, identity=me)
        with pytest.raises(HandshakeError), client(kind, place):
            pass
    assert (hostile.shown, hostile.heard) == ([], b"")


def test_nothing_is_said_without_channel_evidence(kind: str) -> None:
    """A relay with a stolen key hears the question for evidence, and nothing else."""
    forgery = Forgery(scene=Scene())
    with HostileGuest(forgery.context(), lambda talk: talk.prove(forgery, binder=b"\1" * 32)) as hostile:
        with pytest.raises(HandshakeError) as refusal, client(kind, endpoint(forgery.scene, hostile.url)) as bound:
            bound.request("PUT", "/v1/artifacts/x", body=b"a secret")
        assert refusal.value.code == "CLAIMS_MISMATCH"
    assert b"secret" not in hostile.heard


def test_identity_is_shown_only_where_one_was_given(kind: str, guest: RunningGuest, tmp_path: Path) -> None:
    """Without an identity nobody is named; with one, the guest knows who asks."""
    world = guest.scene.world
    me = identity_of(world.party("hospital-a"), tmp_path)
    with client(kind, endpoint(guest.scene, guest.url)) as bound:
        assert bound.request("GET", "/whoami").content == b"null"
    with client(kind, endpoint(guest.scene, guest.url, identity=me)) as bound:
        assert bound.request("GET", "/whoami").content == f'"{me.tls_spki_sha256.hex()}"'.encode()


def test_somebody_elses_identity_is_refused(kind: str, guest: RunningGuest, tmp_path: Path) -> None:
    """Keys that the manifest does not have are never shown to anybody."""
    me = identity_of(guest.scene.world.party("hospital-a"), tmp_path)
    other = Scene()
    stranger = type(me)(
        name="stranger",
        tls_key=me.tls_key,
        certificate=me.certificate,
        consent_key=me.consent_key,
        folder=me.folder,
    )
    with pytest.raises(ReleaseError) as refusal, client(kind, endpoint(other, guest.url, identity=stranger)):
        pass
    assert refusal.value.code == "NOT_A_PARTICIPANT"


def test_another_launch_behind_the_same_address_is_refused(kind: str) -> None:
    """All clients of one endpoint speak to one launch, whoever else proves itself there."""
    scene = Scene()
    first, second = Forgery(scene=scene), Forgery(scene=scene, fields={"report_id": b"\x13" * 32})
    with (
        HostileGuest(first.context(), lambda talk: talk.prove(first)) as one,
        HostileGuest(second.context(), lambda talk: talk.prove(second)) as other,
    ):
        place = endpoint(scene, one.url)
        with client(kind, place):
            pass
        place.url = other.url  # type: ignore[misc] - the host carries the connection elsewhere
        with pytest.raises(BindingError) as refusal, client(kind, place):
            pass
    assert refusal.value.code == "GUEST_REPLACED"


# How long a proof lasts.


def test_old_proof_is_made_anew_before_a_request(kind: str, guest: RunningGuest) -> None:
    """Keep-alive beyond the age limit: a connection that was idle proves itself again, and only then carries a byte."""
    clock = SteeredClock()
    with client(kind, endpoint(guest.scene, guest.url, clock=clock)) as bound:
        first = bound.connection.proof
        bound.request("GET", "/whoami")
        assert bound.connection.proof is first
        clock.ahead_seconds += 61
        bound.request("GET", "/whoami")
        assert bound.connection.proof.nonce != first.nonce
        assert bound.connection.proof_age_seconds < 60


def test_guest_that_cannot_prove_itself_anew_gets_no_request(kind: str) -> None:
    """After the age limit a guest that has changed hears the question, and the request is not sent."""
    forgery, clock = Forgery(scene=Scene()), SteeredClock()

    def prove_once(talk: Talk) -> None:
        talk.prove(forgery)
        talk.prove(forgery, report_id=b"\x13" * 32)

    with HostileGuest(forgery.context(), prove_once) as hostile:
        with client(kind, endpoint(forgery.scene, hostile.url, clock=clock)) as bound:
            clock.ahead_seconds += 61
            with pytest.raises(TwoCvmError) as refusal:
                bound.request("PUT", "/v1/artifacts/x", body=b"a secret")
            assert bound.connection.closed
        assert refusal.value.code == "INSTANCE_CHANGED"
    assert b"secret" not in hostile.heard


def test_connection_that_ended_is_never_made_anew(kind: str, guest: RunningGuest, bound: Bound) -> None:
    """A client has one connection in its life; nothing is sent on another that nobody has verified."""
    guest.connections.swap(guest.scene.server_identity(), keep=None)
    for _ in range(2):
        with pytest.raises(FetchError) as ending:
            bound.request("GET", "/whoami")
        assert ending.value.code == "CONNECTION_LOST"
    assert guest.requests == []


# What comes back.


@pytest.mark.parametrize("end", [lambda talk: talk.tls.shutdown(), lambda talk: talk.tls.sock_shutdown(2)])
def test_answer_cut_short_is_lost(kind: str, end: Callable[[Talk], None]) -> None:
    """Fewer bytes than announced are an error, however the connection ended; nobody takes them for the whole."""

    def cut(talk: Talk) -> None:
        talk.say(framed(b"half of it", length="20"))
        end(talk)

    with pytest.raises(FetchError) as ending:
        _ask(kind, cut)
    assert (ending.value.code, ending.value.exit_status) == ("CONNECTION_LOST", 40)


def test_answer_that_never_ends_is_left_in_time(kind: str) -> None:
    """A guest that stops in the middle of an answer holds nobody up."""
    with pytest.raises(FetchError) as ending:
        _ask(kind, lambda talk: talk.say(framed(b"half of it", length="20")), timeout=0.3)
    assert ending.value.code == "CONNECTION_TIMEOUT"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\ncontent-encoding: gzip\r\n\r\n" + b"\x1f\x8b" * 10,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nall that comes",
    ],
)
def test_answer_that_is_framed_in_another_way_is_refused(kind: str, answer: bytes) -> None:
    """There is one way to read an answer, so nobody can read it in two."""
    with pytest.raises(MalformedError) as refusal:
        _ask(kind, lambda talk: talk.say(answer))
    assert refusal.value.code == "MALFORMED_HTTP"


def test_bytes_between_answers_are_refused(kind: str) -> None:
    """What came without having been asked for is never taken for the next answer."""

    def smuggle(talk: Talk) -> None:
        talk.answer(b"first")
        talk.answer(b"smuggled")
        time.sleep(0.2)

    forgery, hostile = _hostile(smuggle)
    with hostile, client(kind, endpoint(forgery.scene, hostile.url)) as bound:
        assert bound.request("GET", "/a").content == b"first"
        time.sleep(0.1)
        with pytest.raises(MalformedError) as refusal:
            bound.request("GET", "/b")
        assert bound.connection.closed
    assert refusal.value.code == "MALFORMED_HTTP"
    assert b"/b" not in hostile.heard


def test_half_read_answer_ends_the_connection(bound: Bound) -> None:
    """What is left of an answer is never taken for the next one: leaving it ends the connection."""
    answer = bound.pieces("/bytes/10000000")
    next(answer)
    answer.close()  # type: ignore[attr-defined] - a generator's
    assert bound.connection.closed
    with pytest.raises(FetchError) as ending:
        bound.request("GET", "/whoami")
    assert ending.value.code == "CONNECTION_LOST"


def test_early_answer_ends_an_upload(kind: str) -> None:
    """A refusal that comes in the middle of an upload is read, and the rest is not sent."""
    body = Pieces(1000, bytes(1 << 16), pause_seconds=0.001)
    forgery, hostile = _hostile(lambda talk: talk.answer(b"no", status="413 Content Too Large"))
    with hostile, client(kind, endpoint(forgery.scene, hostile.url)) as bound:
        assert bound.request("PUT", "/v1/artifacts/x", body=body) == Answer(status=413, content=b"no")
        assert body.taken < 1000
        with pytest.raises(FetchError):
            bound.request("GET", "/whoami")


# What leaves.


@pytest.mark.parametrize("wrong", [-1, 1])
def test_body_of_another_length_is_our_own_fault(bound: Bound, wrong: int) -> None:
    """A body that is not as long as was announced ends the connection, for the guest cannot tell where it ends."""
    with pytest.raises(ValueError, match="announced"):
        bound.request("PUT", "/count", body=Pieces(10, b"x" * 100, announced=1000 + wrong))
    assert bound.connection.closed


def test_body_without_a_length_is_refused(guest: RunningGuest, bound: Bound) -> None:
    """Guests take no chunked uploads, and answers without a body are not understood."""
    with pytest.raises(ValueError, match="length"):
        bound.request("PUT", "/count", body=iter([b"a", b"b"]))
    for method in ("HEAD", "GE T"):
        with pytest.raises(ValueError, match="method"):
            bound.request(method, "/count")
    assert guest.requests == []


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: b", "a\nb", "a\0b"])
def test_field_that_would_break_a_line_is_refused(guest: RunningGuest, bound: Bound, value: str) -> None:
    """No value of ours can begin another line."""
    with pytest.raises(ValueError):  # noqa: PT011 - `requests` has its own words for some of them
        bound.request("GET", "/whoami", headers={"X-Value": value})
    assert guest.requests == []


@pytest.mark.parametrize("timeout", [0, -1, True, float("inf")])
def test_timeout_that_is_no_time_is_refused(guest: RunningGuest, bound: Bound, timeout: object) -> None:
    """Nobody waits for ever by mistake."""
    with pytest.raises(ValueError, match="timeout"):
        bound.request("GET", "/whoami", timeout=timeout)
    assert guest.requests == []


def test_upload_to_a_guest_that_stops_reading_ends_in_time(kind: str) -> None:
    """A guest that takes nothing more does not hold an upload for ever."""
    forgery, hostile = _hostile(lambda talk: time.sleep(1))
    place = endpoint(forgery.scene, hostile.url, timeouts=Timeouts(io_seconds=0.3))
    with hostile, client(kind, place) as bound, pytest.raises(FetchError) as ending:
        bound.request("PUT", "/count", body=bytes(64 << 20))
    assert ending.value.code == "CONNECTION_TIMEOUT"
