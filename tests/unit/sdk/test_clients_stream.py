"""A verified stream for protocols other than HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.clients import client, endpoint
from tests.support.hostile_guest import Forgery, HostileGuest, Talk

from twocvm_sdk import RatlsConnection
from twocvm_verifier.errors import FetchError, HandshakeError


@pytest.fixture(scope="module")
def guest() -> Iterator[RunningGuest]:
    """An honest guest."""
    with Scene().serve() as running:
        yield running


def _talking(script: Callable[[Talk], None], **forged: object) -> tuple[HostileGuest, Callable[[], RatlsConnection]]:
    """Return a guest that proves itself and then speaks a protocol of its own, and what connects to it."""
    forgery = Forgery(scene=Scene(), **forged)  # type: ignore[arg-type]

    def prove_and_talk(talk: Talk) -> None:
        talk.prove(forgery)
        script(talk)

    hostile = HostileGuest(forgery.context(), prove_and_talk)
    return hostile, lambda: endpoint(forgery.scene, hostile.url).connect()


def _echo(talk: Talk) -> None:
    while data := talk.hear():
        talk.say(data)
        if data.endswith(b"bye\n"):
            talk.tls.shutdown()
            return


def test_bytes_go_both_ways_until_the_guest_ends() -> None:
    """What is sent arrives, lines and pieces can be read, and an announced end reads as empty."""
    hostile, connect = _talking(_echo)
    with hostile, connect() as stream:
        stream.sendall(b"one\ntwo\n")
        assert stream.reader.readline() == b"one\n"
        assert stream.recv(100) == b"two\n"
        stream.sendall(bytearray(b"x" * 200_000 + b"bye\n"))
        assert len(stream.reader.read()) == 200_004
        assert stream.recv(1) == b""
        assert stream.proof.report_id == stream.certificate.report_id
        assert stream.proof_age_seconds < 60
    assert stream.closed


def test_real_guest_answers_on_it(guest: RunningGuest) -> None:
    """On the real server, where the protocol is HTTP, a hand-written request is answered."""
    with endpoint(guest.scene, guest.url).connect() as stream:
        stream.sendall(b"GET /whoami HTTP/1.1\r\nHost: guest\r\nContent-Length: 0\r\n\r\n")
        assert stream.reader.readline() == b"HTTP/1.1 200 OK\r\n"


def test_end_without_a_word_is_lost() -> None:
    """A stream that is cut is never taken for one that has ended."""
    hostile, connect = _talking(lambda talk: (talk.hear(), talk.say(b"half"), talk.tls.sock_shutdown(2))[0])
    with hostile, connect() as stream:
        stream.sendall(b"go on")
        assert stream.reader.read(4) == b"half"
        with pytest.raises(FetchError) as ending:
            stream.recv(1)
        assert (ending.value.code, stream.closed) == ("CONNECTION_LOST", True)


def test_waiting_is_bounded() -> None:
    """A guest that is silent holds nobody up, and a wait without end cannot be asked for."""
    hostile, connect = _talking(lambda talk: None)
    with hostile, connect() as stream:
        for seconds in (0, -1, float("inf"), None):
            with pytest.raises(ValueError, match="timeout"):
                stream.settimeout(seconds)  # type: ignore[arg-type]
        stream.settimeout(0.1)
        with pytest.raises(FetchError) as ending:
            stream.recv(1)
        assert (ending.value.code, stream.closed) == ("CONNECTION_TIMEOUT", True)
    for act in (lambda: stream.sendall(b"more"), lambda: stream.recv(1)):
        with pytest.raises(FetchError) as ending:
            act()
        assert ending.value.code == "CONNECTION_LOST"


def test_both_ends_export_the_same_and_attestation_is_left_alone() -> None:
    """Keying material is the connection's own; the label of attestation is not for callers."""
    theirs: list[bytes] = []
    done = threading.Event()

    def export(talk: Talk) -> None:
        theirs.append(talk.tls.export_keying_material(b"EXPERIMENTAL-mine", 32, b"context"))
        done.set()

    hostile, connect = _talking(export)
    with hostile, connect() as stream:
        assert done.wait(5)
        assert stream.export(b"EXPERIMENTAL-mine", size_bytes=32, context=b"context") == theirs[0]
        assert stream.export(b"EXPERIMENTAL-mine", size_bytes=32) != theirs[0]
        with pytest.raises(ValueError, match="attestation"):
            stream.export(b"Attestation", size_bytes=32, context=bytes(32))


def test_unproven_guest_gives_no_stream() -> None:
    """There is no stream before both proofs, so nothing can be said over it."""
    hostile, connect = _talking(_echo, fields={"measurement": b"\x66" * 48})
    with hostile, pytest.raises(HandshakeError):
        connect()
    assert hostile.heard == b""


def test_one_request_at_a_time() -> None:
    """Two threads that share one client by mistake do not mix their requests: the second is told."""
    hearing, may_answer = threading.Event(), threading.Event()
    forgery = Forgery(scene=Scene())

    def slow(talk: Talk) -> None:
        talk.prove(forgery)
        talk.hear()
        hearing.set()
        may_answer.wait(5)
        talk.answer(b"first")

    with HostileGuest(forgery.context(), slow) as hostile:
        with client("httpx", endpoint(forgery.scene, hostile.url)) as bound:
            answers: list[bytes] = []
            first = threading.Thread(target=lambda: answers.append(bound.request("GET", "/first").content))
            first.start()
            assert hearing.wait(5)
            with pytest.raises(RuntimeError, match="one request at a time"):
                bound.request("GET", "/second")
            may_answer.set()
            first.join(5)
        assert answers == [b"first"]
    assert b"second" not in hostile.heard


@pytest.mark.parametrize("lengths", [("1", "1"), ("1", "2"), ("+1",), ("1 ",), ("1, 1",), ("\u0661",), ("",)])
def test_length_that_two_readers_could_read_in_two_ways_is_refused(
    guest: RunningGuest, lengths: tuple[str, ...]
) -> None:
    """A request has one length, in digits, or is not sent."""
    guest.requests.clear()
    line = endpoint(guest.scene, guest.url).line()
    fields = [("Content-Length", length) for length in lengths]
    with line.connection, pytest.raises(ValueError, match="at most one number"):
        line.send("PUT", guest.url + "/count", fields=fields, body=[b"x"], wait_seconds=None)
    assert guest.requests == []
