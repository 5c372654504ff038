"""What it costs to be sure: an attested connection against a plain handshake between the same two ends.

Both sides are the product's own: the same client (TCP, `TlsSocket`, a context of its own, a client certificate) and the
same server (`GuestServer` on a P-256 key), each server a process of its own. A connection is measured from its first
packet to its end in order, when both ends have done all that they had to do. The plain one is not judged, shows a
certificate without evidence, and ends after the handshake.

- With certificate evidence: the same, but judged in full by the product's own callback.
- With channel evidence too: `AttestedConnection.open` as everybody calls it. The guest's software signs one report with
  P-384 for each connection, and the client verifies it.

Every connection is to the same guest, whose chain and certificate the client has seen before. Whatever else the machine
does can only add to a time, so the fastest tenth of each counts.
"""

from __future__ import annotations

import json
import secrets
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from bench.ratio import Ratio, seconds
from tests.support.attested_guest import NO_CRL, Scene, tls_identity

from twocvm_sdk.connection import AttestedConnection, Timeouts
from twocvm_sdk.handshake import Handshake
from twocvm_sdk.tlssocket import TlsSocket
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

CERTIFICATE_AT_LEAST = 0.50
CHANNEL_AT_LEAST = 0.35
CONNECTIONS = 400


class PlainHandshake(Handshake):
    """The product's handshake, without a judgement."""

    def _judge(self, leaf: bytes, *, error: int, depth: int) -> None:
        del error, depth
        self._leaf = leaf


def run() -> Iterator[Ratio]:
    """Measure, and return the ratios."""
    with server("guest") as guest, server("plain") as plain:
        verifier = SnpVerifier(roots=simulated_roots(guest["root"].encode()), crls=NO_CRL)
        expected = Scene().expectation(verifier=verifier)
        url = f"https://127.0.0.1:{guest['port']}"

        def bare() -> None:
            _end(_shake(plain["port"], PlainHandshake, expected))

        def certificate() -> None:
            _end(_shake(guest["port"], Handshake, expected))

        def channel() -> None:
            connection = AttestedConnection.open(
                url,
                expectation=expected,
                identity=tls_identity(),
                clock=SystemClock(),
                randomness=secrets.token_bytes,
            )
            _end(connection.exchanges.tls)

        name = "handshake with certificate evidence / plain"
        yield from _compare(name, certificate, bare, CERTIFICATE_AT_LEAST)
        yield from _compare("handshake with channel evidence too / plain", channel, bare, CHANNEL_AT_LEAST)


def _compare(name: str, ours: Callable[[], None], plain: Callable[[], None], at_least: float) -> Iterator[Ratio]:
    times: dict[Callable[[], None], list[float]] = {ours: [], plain: []}
    for number in range(CONNECTIONS):
        for work in (ours, plain) if number % 2 else (plain, ours):
            times[work].append(seconds(work))
    mine, theirs = _fastest_tenth(times[ours]), _fastest_tenth(times[plain])
    detail = f"{1000 * mine:.2f} ms, plain {1000 * theirs:.2f} ms"
    yield Ratio(name=name, value=theirs / mine, at_least=at_least, detail=detail)


def _fastest_tenth(times: list[float]) -> float:
    return statistics.median(sorted(times)[: len(times) // 10])


def _shake(port: int, kind: type[Handshake], expected: Expectation) -> TlsSocket:
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handshake = kind(expectation=expected, identity=tls_identity(), at=datetime.now(UTC))
    tls = TlsSocket(handshake.connection, raw, clock=SystemClock(), wait_seconds=Timeouts().io_seconds)
    if kind is Handshake:
        handshake.run(tls, seconds=Timeouts().handshake_seconds)
    else:
        tls.handshake()
    return tls


def _end(tls: TlsSocket) -> None:
    tls.tls.shutdown()
    tls.send_held()
    if tls.readinto(bytearray(1)) != 0:
        raise RuntimeError("the server said something that nobody asked for")
    tls.close()


@contextmanager
def server(kind: str, *, latency_seconds: float = 0.0) -> Iterator[dict]:
    """Run `bench._guest_server` for the length of a `with`; its first line, and the process as `process`."""
    command = [sys.executable, "-m", "bench._guest_server", kind, str(latency_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield json.loads(process.stdout.readline()) | {"process": process}
        finally:
            process.kill()


def reports_of(server: dict) -> int:
    """Return how many reports a server's platform has made until now."""
    process = server["process"]
    process.stdin.write(b"\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())["reports"]


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
