"""100 participants who want evidence at once, on a platform that takes 4.4 ms for a report and makes one at a time.

What counts is for how long the platform works: as many times 4.4 ms as it makes reports. One by one that is 440 ms.
Whatever else this machine does can only spread the questions, so the best of a few rounds counts.

- At the broker: 100 threads that ask at the same moment.
- Over RA-TLS: 100 verified connections to the guest's own service, in a process of its own, which stands still until
  all requests for evidence have left, so that they come at once. Every answer is judged in full, for its connection.
"""

from __future__ import annotations

import io
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

from bench.handshake import reports_of, server
from bench.ratio import Ratio
from tests.support.attested_guest import AFTER_LOCK, NO_CRL, Scene, tls_identity
from tests.support.manifests import World
from tests.support.slow_platform import SlowPlatform

from twocvm_guest.attestation import Question
from twocvm_guest.broker import AttestationBroker
from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS
from twocvm_sdk.channel import ATTEST_PATH
from twocvm_sdk.connection import AttestedConnection
from twocvm_sdk.httpwire import read_head, request_head
from twocvm_verifier import strictjson
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.ratls.proof import (
    EXPORTED_BYTES,
    EXPORTER_LABEL,
    NONCE_BYTES,
    Expectation,
    judge_channel,
)
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

PARTICIPANTS = 100
NAMES = World().names
MOST_MILLISECONDS = 10.0
LEAST_RATIO = 40.0
ROUNDS = 5


def run() -> Iterator[Ratio]:
    """Measure, and return the ratios."""
    yield from _ratios("at the broker", min(_at_the_broker() for _ in range(ROUNDS)))
    yield from _ratios("over RA-TLS", min(_over_ratls()))


def _ratios(where: str, reports: int) -> Iterator[Ratio]:
    name, detail = f"100 participants {where}", f"{reports} reports"
    milliseconds = 1000 * reports * HARDWARE_LATENCY_SECONDS
    yield Ratio(name=f"{name}: the platform's ms", value=milliseconds, at_most=MOST_MILLISECONDS, detail=detail)
    yield Ratio(name=f"{name}: one by one / together", value=PARTICIPANTS / reports, at_least=LEAST_RATIO)


def _at_the_broker() -> int:
    scene = Scene(latency_seconds=HARDWARE_LATENCY_SECONDS)
    platform, identity = SlowPlatform(scene.platform), scene.server_identity()
    broker = AttestationBroker(platform, log_of=lambda _: AFTER_LOCK)
    together = threading.Barrier(PARTICIPANTS)

    def ask() -> None:
        question = Question(nonce=secrets.token_bytes(NONCE_BYTES), exported=secrets.token_bytes(EXPORTED_BYTES))
        together.wait()
        broker.evidence(identity=identity, question=question).result()

    with ThreadPoolExecutor(PARTICIPANTS) as threads:
        for asking in [threads.submit(ask) for _ in range(PARTICIPANTS)]:
            asking.result()
    broker.stop()
    return len(platform.reports)


def _over_ratls() -> Iterator[int]:
    with server("guest", latency_seconds=HARDWARE_LATENCY_SECONDS) as guest, ExitStack() as stack:
        verifier = SnpVerifier(roots=simulated_roots(guest["root"].encode()), crls=NO_CRL)
        expected = Scene().expectation(verifier=verifier)
        url = f"https://127.0.0.1:{guest['port']}"
        names = [NAMES[number % len(NAMES)] for number in range(PARTICIPANTS)]
        participants = [stack.enter_context(_Participant(url, name, expected)) for name in names]
        for _ in range(ROUNDS):
            before = reports_of(guest)
            for each in participants:
                each.ask()
            guest["process"].send_signal(signal.SIGSTOP)
            for each in participants:
                each.send()
            guest["process"].send_signal(signal.SIGCONT)
            for each in participants:
                each.judge()
            yield reports_of(guest) - before


class _Participant:
    """A verified connection that asks for another proof, in three steps."""

    def __init__(self, url: str, name: str, expected: Expectation) -> None:
        self._expected = expected
        self._connection = AttestedConnection.open(
            url, expectation=expected, identity=tls_identity(name), clock=SystemClock(), randomness=secrets.token_bytes
        )
        self._tls = self._connection.exchanges.tls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self) -> None:
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        body = strictjson.canonical({"nonce": strictjson.base64url(self._nonce)})
        fields = (("Content-Type", "application/json"),)
        head = request_head("POST", ATTEST_PATH, host="bench", fields=fields, content_length=len(body))
        self._tls.tls.send(head + body)

    def send(self) -> None:
        self._tls.send_held()

    def judge(self) -> None:
        reader = io.BufferedReader(self._tls)
        raw = reader.read(read_head(reader).content_length)
        reader.detach()
        judge_channel(
            raw,
            previous=self._connection.proof,
            nonce=self._nonce,
            exported=self._tls.tls.export_keying_material(EXPORTER_LABEL, EXPORTED_BYTES, self._nonce),
            expectation=self._expected,
            at=SystemClock().now(),
        )


if __name__ == "__main__":
    for figure in run():
        print(figure.line())
