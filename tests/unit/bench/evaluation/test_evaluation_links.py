"""What parties compute over takes as long as it says, and changes nothing on its way; or there is no figure."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from bench.evaluation.judge import UNDER_LOAD
from bench.evaluation.model import FailedError, MissingError
from bench.evaluation.replaces import links
from bench.evaluation.replaces.links import DELAY_MS, Links, address, required
from bench.evaluation.replaces.relay import Held

CONTENT = bytes(range(256)) * 1024
# Without these a process that is root may make no networks, like anybody else; who is not root cannot even drop them.
NOBODY = ("setpriv", "--bounding-set=-sys_admin,-net_admin") if os.geteuid() == 0 else ()
NO_TUN = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$0" "$@"')


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Links]:
    """Links on a machine that may be busy; the parameter is what their relay is started by."""
    monkeypatch.setattr(links, "MOST_ADDED_SHARE", 1000.0)
    monkeypatch.setattr(links, "RELAY", (*getattr(request, "param", ()), *links.RELAY))
    try:
        there = Links()
    except MissingError as reason:
        pytest.skip(str(reason))
    yield there
    if there._relay._process.poll() is None:
        there.close()


def test_packets_are_held_and_keep_their_turn() -> None:
    """None is handed on before its time, all are in their order and with their bytes, and how late is told."""
    held = Held(10_000_000)
    assert held.wait_seconds(now_ns=5) is None
    held.take(b"first", 7, now_ns=0)
    held.take(b"second", 8, now_ns=1_000_000)
    assert held.wait_seconds(now_ns=4_000_000) == 0.006
    assert not list(held.due(now_ns=9_999_999))
    assert list(held.due(now_ns=10_000_000)) == [(7, b"first")]
    held.take(b"third", 7, now_ns=10_000_000)
    assert held.wait_seconds(now_ns=90_000_000) == 0
    assert list(held.due(now_ns=21_000_000)) == [(8, b"second"), (7, b"third")]
    assert held.told() == {"packets": 3, "late_ms": 1.0, "most_late_ms": 10.0}
    assert Held(1).told() == {"packets": 0, "late_ms": 0.0, "most_late_ms": 0.0}


@pytest.mark.parametrize("made", [(), NOBODY], indirect=True, ids=["root", "nobody"])
def test_bytes_arrive_late_and_whole(made: Links) -> None:
    """A stream of TCP arrives as it was sent, every way of it takes 10 ms, and all ends with the links."""
    received = _inside(made, 2, _RECEIVES, address(2))
    sent = _inside(made, 0, _SENDS, address(2))
    assert received.stdout is not None
    assert received.stdout.readline() == "ready\n"
    sent.communicate(CONTENT.hex(), timeout=30)
    digest, seconds = received.communicate(timeout=30)[0].split()
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    # The handshake's last way, and at least one round trip more until the window has let all of it through.
    assert float(seconds) * 1000 >= 2 * DELAY_MS
    assert made.conditions()["least_round_trip_ms"] >= 2 * DELAY_MS
    made.close()
    assert made.conditions()["packets"] > len(CONTENT) / 1500
    assert made._relay._process.returncode == 0


def test_nobody_has_links_among_users_of_his_own() -> None:
    """Who may make no network makes a namespace of users first, and who enters enters that, too."""
    ended = subprocess.run([*NOBODY, *links.RELAY], input="make them\n", capture_output=True, text=True, check=True)
    answer = json.loads(ended.stdout)
    assert "missing" in answer or answer["users"]


def test_relay_ends_with_its_input() -> None:
    """Whoever started it may be killed, and nothing is left."""
    with subprocess.Popen(links.RELAY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write("make them\n")
        relay.stdin.flush()
        assert json.loads(relay.stdout.readline())
        relay.stdin.close()
        assert relay.wait(timeout=10) == 0


def test_machine_without_means_has_no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing device or program is the reason that the column is empty."""
    if subprocess.run([*NO_TUN, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here, not even by users of one's own")
    monkeypatch.setattr(links, "RELAY", (*NO_TUN, *links.RELAY))
    with pytest.raises(MissingError, match=r"cannot be made here: No such file or directory: /dev/net/tun"):
        Links()
    monkeypatch.setattr(links, "RELAY", ("sh", "-c", "read asked; echo go away >&2; exit 3"))
    with pytest.raises(MissingError, match=r"cannot be used here: .* 3: go away"):
        Links()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match="nsenter"):
        Links()


@pytest.mark.parametrize(("milliseconds", "why"), [(0.1, "not 20"), (19.9, "not 20"), (21.1, UNDER_LOAD)])
def test_other_round_trips_are_refused(milliseconds: float, why: str) -> None:
    """Links that are slower than they are said to be have no figure, and may be tried again; faster ones are wrong."""
    assert required([20.0, 20.3, 90.0]) == {
        "round_trip_ms": 20.3,
        "least_round_trip_ms": 20.0,
        "most_round_trip_ms": 90.0,
    }
    with pytest.raises((MissingError, FailedError), match=why) as refused:
        required([20.0, milliseconds, milliseconds])
    assert (UNDER_LOAD in str(refused.value)) == (milliseconds > 20)


def test_links_that_were_late_are_refused(made: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on its way for too long while it was computed over says nothing."""
    made.close()
    # Beside other tests packets may be later than a figure allows.
    monkeypatch.setattr(links, "MOST_LATE_MS", 1000.0)
    made.require_in_time()
    monkeypatch.setattr(links, "MOST_LATE_MS", -1.0)
    with pytest.raises(MissingError, match=UNDER_LOAD):
        made.require_in_time()


def _inside(made: Links, party: int, program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [*made.inside(party), sys.executable, "-I", "-S", "-c", program, *arguments]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


_RECEIVES = """
import hashlib, socket, sys, time
with socket.create_server((sys.argv[1], 5000)) as server:
    print("ready", flush=True)
    accepted, _ = server.accept()
    began, digest = time.monotonic(), hashlib.sha256()
    while content := accepted.recv(65536):
        digest.update(content)
print(digest.hexdigest(), time.monotonic() - began)
"""
_SENDS = """
import socket, sys
content = bytes.fromhex(sys.stdin.read())
with socket.create_connection((sys.argv[1], 5000), 10) as connection:
    connection.sendall(content)
"""
