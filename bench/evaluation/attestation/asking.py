"""Who asks: for a report each at the device, through the guest's broker, for a receipt, or over a connection.

The device is the simulated platform's, which answers one request at a time in 4.4 ms, as the paper measured of the
real one. On an SEV-SNP guest `/dev/sev-guest` is asked as well, by threads with a descriptor each, as in the paper.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final

from bench.evaluation.model import MissingError, Opened
from bench.handshake import reports_of, server
from tests.support.attested_guest import AFTER_LOCK, NO_CRL, Scene, tls_identity
from tests.support.manifests import World
from tests.support.slow_platform import SlowPlatform

from twocvm_guest.attestation import Question
from twocvm_guest.broker import AttestationBroker
from twocvm_guest.platforms.detect import open_sev_guest
from twocvm_guest.platforms.device import REPORT_DATA_BYTES, DeviceError
from twocvm_guest.platforms.sev_guest import SevGuest
from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS
from twocvm_sdk.connection import AttestedConnection
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.ratls.proof import EXPORTED_BYTES, NONCE_BYTES, Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

from .crowd import Ask, Crowd

Report = Callable[[bytes], bytes]
_REPORT_DATA_AT: Final = 0x50


def one_call_each(threads: int) -> Opened:
    """Each thread calls the device itself; the device has them wait for each other."""
    return _at_devices([_scene().platform.report] * threads)


def through_the_broker(threads: int) -> Opened:
    """Each thread asks for evidence of a connection; who waits shares a report."""
    scene = _scene()
    device, identity = SlowPlatform(scene.platform), scene.server_identity()
    broker = AttestationBroker(device, log_of=lambda _: AFTER_LOCK)

    def ask() -> None:
        question = Question(nonce=secrets.token_bytes(NONCE_BYTES), exported=secrets.token_bytes(EXPORTED_BYTES))
        broker.evidence(identity=identity, question=question).result()

    return _crowd([ask] * threads, lambda: len(device.reports), broker.stop)


def a_receipt_each(threads: int) -> Opened:
    """Each thread asks the broker for what a receipt needs: a report of its own."""
    device = SlowPlatform(_scene().platform)
    broker = AttestationBroker(device, log_of=lambda _: AFTER_LOCK)

    def report(data: bytes) -> bytes:
        return broker.turn(lambda attester: attester.report(data))

    return _crowd([lambda: _report(report)] * threads, lambda: len(device.reports), broker.stop)


def at_the_real_device(threads: int) -> Opened:
    """Each thread has its own descriptor of `/dev/sev-guest`.

    Raises:
        MissingError: There is none here.
    """
    stack = ExitStack()
    try:
        devices = [stack.enter_context(closing(open_sev_guest())) for _ in range(threads)]
    except DeviceError as error:
        stack.close()
        raise MissingError(error.detail) from error
    return _at_devices([_reporting(each) for each in devices], stack.close)


def over_connections(threads: int) -> Opened:
    """Each thread connects to a guest in another process, has it attest, and verifies that in full."""
    stack = ExitStack()
    guest = stack.enter_context(server("guest", latency_seconds=HARDWARE_LATENCY_SECONDS))
    verifier = SnpVerifier(roots=simulated_roots(guest["root"].encode()), crls=NO_CRL)
    expected = Scene().expectation(verifier=verifier)
    names = World().names
    asks = [_connecting(guest["port"], names[number % len(names)], expected) for number in range(threads)]
    return _crowd(asks, lambda: reports_of(guest), stack.close)


def _connecting(port: int, name: str, expected: Expectation) -> Ask:
    def connect() -> None:
        url, identity = f"https://127.0.0.1:{port}", tls_identity(name)
        with AttestedConnection.open(
            url, expectation=expected, identity=identity, clock=SystemClock(), randomness=secrets.token_bytes
        ):
            pass

    return connect


def _reporting(device: SevGuest) -> Report:
    return lambda report_data: device.ask(report_data, certificates=False).report


def _at_devices(devices: Sequence[Report], end: Callable[[], object] = lambda: None) -> Opened:
    asked: list[int] = []

    def asking(report: Report) -> Ask:
        def ask() -> None:
            asked.append(1)
            _report(report)

        return ask

    return _crowd([asking(each) for each in devices], lambda: len(asked), end)


def _scene() -> Scene:
    return Scene(latency_seconds=HARDWARE_LATENCY_SECONDS)


def _report(make: Report) -> None:
    wanted = secrets.token_bytes(REPORT_DATA_BYTES)
    report = make(wanted)
    if report[_REPORT_DATA_AT : _REPORT_DATA_AT + REPORT_DATA_BYTES] != wanted:
        raise ValueError("a report is somebody else's")


def _crowd(asks: list[Ask], calls: Callable[[], int], end: Callable[[], object] = lambda: None) -> Opened:
    return Opened(candidate=Crowd(asks, calls=calls, end=end))
