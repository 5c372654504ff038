"""The broker: who shares a report with whom, in which order, and that nobody pays for what happens to another."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import cache, partial

import pytest
from tests.support.attested_guest import AFTER_LOCK, chip
from tests.support.manifests import MEASUREMENT
from tests.support.slow_platform import SlowPlatform

from twocvm_guest.attestation import Question, make_identity
from twocvm_guest.broker import AttestationBroker
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_guest.tls import ServerIdentity
from twocvm_verifier.binding import Context, LogPosition, batch_claims, channel_claims, parse_claims
from twocvm_verifier.errors import FetchError, ReleaseError
from twocvm_verifier.evidence import Evidence, encode_json, parse_json
from twocvm_verifier.framing import batch_leaf, binder, sha256
from twocvm_verifier.ratls.batch import root_of
from twocvm_verifier.ratls.certificate import spki_of
from twocvm_verifier.snp.report import parse_report

_NUMBERS = itertools.count()


@cache
def simulated() -> SimulatedPlatform:
    """Return the platform that all tests here share."""
    return SimulatedPlatform(chip(), host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=0.0)


@cache
def identity(number: int = 0) -> ServerIdentity:
    """Return one of the identities of these tests."""
    return make_identity(simulated(), manifest=bytes([number + 1]) * 32, log=AFTER_LOCK)


@pytest.fixture
def platform() -> SlowPlatform:
    """Return a device that a test holds and counts."""
    return SlowPlatform(simulated())


@pytest.fixture
def broker(platform: SlowPlatform) -> Iterator[AttestationBroker]:
    """Return a broker over that device, whose log stands still."""
    made = AttestationBroker(platform, log_of=lambda _: AFTER_LOCK)
    yield made
    made.stop()


def question() -> Question:
    """Return what nobody has asked before."""
    number = next(_NUMBERS)
    return Question(nonce=sha256(b"nonce %d" % number), exported=sha256(b"exported %d" % number))


def report(broker: AttestationBroker, report_data: bytes) -> bytes:
    """Have a report made in its turn, as certificates and receipts do."""
    return broker.turn(lambda attester: attester.report(report_data))


def ask(broker: AttestationBroker, count: int, of: int = 0) -> list[tuple[Question, Future[Evidence]]]:
    """Ask for evidence for so many connections that show the same identity."""
    questions = [question() for _ in range(count)]
    return [(asked, broker.evidence(identity=identity(of), question=asked)) for asked in questions]


def holds(asked: Question, evidence: Evidence, *, of: int = 0, log: LogPosition = AFTER_LOCK) -> bool:
    """Return whether evidence is for exactly this question, as a relying party rebuilds it."""
    shown = identity(of)
    about = {"spki_sha256": shown.spki_sha256, "manifest": shown.manifest, "log": log}
    bound = binder(spki_der=spki_of(shown.key.public_key()), exported=asked.exported)
    if evidence.path is None:
        claims = channel_claims(**about, nonce=asked.nonce, binder=bound)
    else:
        root = root_of(leaf=batch_leaf(nonce=asked.nonce, binder=bound), path=evidence.path)
        claims = batch_claims(**about, root=root)
    return (claims.encode(), claims.report_data()) == (evidence.claims, parse_report(evidence.report).report_data)


def test_lone_caller_is_answered_at_once_and_alone(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """On an idle device there is nothing to wait for, and the evidence is of context `channel`."""
    for _ in range(3):
        ((asked, answer),) = ask(broker, 1)
        evidence = answer.result(10)
        assert evidence.path is None
        assert parse_claims(evidence.claims).context is Context.CHANNEL
        assert holds(asked, evidence)
    assert len(platform.reports) == 3


@pytest.mark.parametrize("count", [2, 3, 8, 100, 300])
def test_callers_who_wait_share_one_report(broker: AttestationBroker, platform: SlowPlatform, count: int) -> None:
    """However many come while the device works, the next call serves them all, each by its own path."""
    with platform.held():
        first = ask(broker, 1)
        platform.wait_until_called()
        others = ask(broker, count)
    answers = [(asked, answer.result(10)) for asked, answer in first + others]
    assert all(holds(asked, evidence) for asked, evidence in answers)
    assert len(platform.reports) == 2
    assert len({evidence.report for _, evidence in answers[1:]}) == 1
    assert all(parse_json(encode_json(evidence)) == evidence for _, evidence in answers)


def test_threads_at_a_barrier_cost_two_reports(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """100 threads that ask at the same moment are served by at most two calls of the device."""
    together = threading.Barrier(101)

    def take_part() -> bool:
        together.wait(10)
        ((asked, answer),) = ask(broker, 1)
        arrived.release()
        return holds(asked, answer.result(10))

    arrived = threading.Semaphore(0)
    with ThreadPoolExecutor(100) as threads:
        with platform.held():
            parts = [threads.submit(take_part) for _ in range(100)]
            together.wait(10)
            for _ in parts:
                assert arrived.acquire(timeout=10)
        assert all(part.result(10) for part in parts)
    assert len(platform.reports) <= 2


def test_evidence_of_a_batch_is_nobody_elses(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """In a batch each evidence holds for the connection it was made for, and for no other of the same batch."""
    with platform.held():
        ask(broker, 1)
        platform.wait_until_called()
        others = ask(broker, 9)
    answers = [(asked, answer.result(10)) for asked, answer in others]
    for number, (asked, _) in enumerate(answers):
        assert [holds(asked, evidence) for _, evidence in answers] == [number == place for place in range(9)]


def test_identities_never_share(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """One batch has one leaf key: connections of before and after a lock get reports of their own."""
    with platform.held():
        first = ask(broker, 1)
        platform.wait_until_called()
        mixed = [ask(broker, 1, of=number % 2)[0] for number in range(6)]
    assert holds(first[0][0], first[0][1].result(10))
    for number, (asked, answer) in enumerate(mixed):
        assert holds(asked, answer.result(10), of=number % 2)
    assert len(platform.reports) == 3


def test_log_is_read_once_for_each_batch(platform: SlowPlatform) -> None:
    """A log that moves between two calls is in the evidence of the later one, the same for all who share it."""
    events = itertools.count(5)

    def log_of(shown: ServerIdentity) -> LogPosition:
        assert shown is identity(0)
        count = next(events)
        return LogPosition(head=bytes([count]) * 32, events=count)

    broker = AttestationBroker(platform, log_of=log_of)
    with platform.held():
        first = ask(broker, 1)
        platform.wait_until_called()
        others = ask(broker, 7)
    for seen, asked_for in ((5, first), (6, others)):
        log = LogPosition(head=bytes([seen]) * 32, events=seen)
        assert all(holds(asked, answer.result(10), log=log) for asked, answer in asked_for)
    broker.stop()


def test_failure_is_of_exactly_those_whom_the_call_was_for(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """A device that fails in the middle fails one batch, with its code; those before and after are served."""
    with platform.held():
        failed = ask(broker, 1)
        platform.wait_until_called()
        served = ask(broker, 5)
        platform.failing = OSError(5, "a secret of the device")
        failing = platform.failing
    for _, answer in failed:
        with pytest.raises(FetchError) as refusal:
            answer.result(10)
        assert (refusal.value.code, refusal.value.exit_status) == ("PLATFORM_FAILED", 40)
        assert "secret" not in str(refusal.value)
        assert refusal.value.__cause__ is failing
    for _, answer in served:
        with pytest.raises(FetchError):
            answer.result(10)
    platform.failing = None
    ((asked, answer),) = ask(broker, 1)
    assert holds(asked, answer.result(10))


def test_failure_of_a_batch_leaves_the_next_alone(platform: SlowPlatform) -> None:
    """Where the log refuses one identity, callers of another who wait at the same time are served."""

    def log_of(shown: ServerIdentity) -> LogPosition:
        if shown is identity(1):
            raise ReleaseError("CONNECTION_RETIRED", "connection: was made before the lock")
        return AFTER_LOCK

    broker = AttestationBroker(platform, log_of=log_of)
    with platform.held():
        ask(broker, 1)
        platform.wait_until_called()
        mixed = [(number % 2, *ask(broker, 1, of=number % 2)[0]) for number in range(8)]
    for of, asked, answer in mixed:
        if of:
            with pytest.raises(ReleaseError) as refusal:
                answer.result(10)
            assert refusal.value.code == "CONNECTION_RETIRED"
        else:
            assert holds(asked, answer.result(10))
    broker.stop()


def test_who_has_gone_is_left_out(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """A caller who gave up costs the others nothing, and is in nobody's tree; one who stays alone is alone."""
    with platform.held():
        ask(broker, 1)
        platform.wait_until_called()
        others = ask(broker, 4)
        assert all(answer.cancel() for _, answer in others[:3])
    asked, answer = others[3]
    evidence = answer.result(10)
    assert evidence.path is None
    assert holds(asked, evidence)
    assert len(platform.reports) == 2


def test_batch_of_the_gone_makes_no_report(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """Where all have gone, the device is not asked."""
    with platform.held():
        first = ask(broker, 1)
        platform.wait_until_called()
        assert all(answer.cancel() for _, answer in ask(broker, 3))
    first[0][1].result(10)
    report(broker, bytes(64))
    assert len(platform.reports) == 2


def test_answer_on_its_way_cannot_be_cancelled(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """From its turn on a caller belongs to its batch, and gets its answer whether it reads it or not."""
    with platform.held():
        ((asked, answer),) = ask(broker, 1)
        platform.wait_until_called()
        assert not answer.cancel()
    assert holds(asked, answer.result(10))


def test_certificate_or_receipt_waits_for_those_before_it_alone(
    broker: AttestationBroker, platform: SlowPlatform
) -> None:
    """A report for nobody's connection has its turn between those who came before it and those after it."""
    wanted = b"r" * 64
    with platform.held(), ThreadPoolExecutor(1) as threads:
        first = ask(broker, 1)
        platform.wait_until_called()
        before = ask(broker, 2)
        receipt = threads.submit(report, broker, wanted)
        while broker._turns._work_queue.qsize() < 3:
            time.sleep(0.001)
        after = ask(broker, 2, of=1)
        platform._free.set()
        assert parse_report(receipt.result(10)).report_data == wanted
    for of, asked_for in ((0, first), (0, before), (1, after)):
        assert all(holds(asked, answer.result(10), of=of) for asked, answer in asked_for)
    assert platform.reports.index(wanted) == 2
    assert len(platform.reports) == 4


def test_turn_that_a_batch_left_unused_serves_nobody(platform: SlowPlatform) -> None:
    """Who asks after a receipt was asked for waits for it, though a batch has left turns before it unused."""
    wanted = b"r" * 64
    later: list[tuple[Question, Future[Evidence]]] = []

    def log_of(_: ServerIdentity) -> LogPosition:
        if len(platform.reports) == 1:
            # In the turn of the first of three callers: the receipt comes after the other two turns, this one last.
            receipts.append(threads.submit(report, broker, wanted))
            while broker._turns._work_queue.qsize() < 3:
                time.sleep(0.001)
            later.extend(ask(broker, 1))
        return AFTER_LOCK

    broker = AttestationBroker(platform, log_of=log_of)
    receipts: list[Future[bytes]] = []
    with ThreadPoolExecutor(1) as threads:
        with platform.held():
            ask(broker, 1)
            platform.wait_until_called()
            waiting = ask(broker, 3)
        assert all(holds(asked, answer.result(10)) for asked, answer in waiting)
        assert parse_report(receipts[0].result(10)).report_data == wanted
    assert all(holds(asked, answer.result(10)) for asked, answer in later)
    assert platform.reports.index(wanted) == 2
    broker.stop()


def test_steady_stream_of_callers_starves_no_receipt(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """While callers come without end, a receipt is made within the calls that were due when it was asked for."""
    stopping = threading.Event()

    def keep_asking() -> None:
        while not stopping.is_set():
            ask(broker, 1)[0][1].result(10)

    with ThreadPoolExecutor(4) as threads:
        parts = [threads.submit(keep_asking) for _ in range(4)]
        for number in range(10):
            before, wanted = len(platform.reports), number.to_bytes(64, "big")
            report(broker, wanted)
            assert platform.reports.index(wanted) - before <= 6
        stopping.set()
        for part in parts:
            part.result(10)


def test_batch_has_its_most(platform: SlowPlatform) -> None:
    """More callers than may share a report are served by further reports, in the order in which they came."""
    broker = AttestationBroker(platform, log_of=lambda _: AFTER_LOCK, most=3)
    with platform.held():
        ask(broker, 1)
        platform.wait_until_called()
        others = ask(broker, 7)
    answers = [(asked, answer.result(10)) for asked, answer in others]
    assert all(holds(asked, evidence) for asked, evidence in answers)
    assert [len(list(group)) for _, group in itertools.groupby(answers, key=lambda pair: pair[1].report)] == [3, 3, 1]
    broker.stop()


def test_device_that_fails_fails_who_waits_for_a_report(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """Certificates and receipts get the same code, and what is our own mistake stays one."""
    platform.failing = OSError(16, "busy")
    with pytest.raises(FetchError) as refusal:
        report(broker, bytes(64))
    assert refusal.value.code == "PLATFORM_FAILED"
    platform.failing = None
    with pytest.raises(ValueError, match="64"):
        report(broker, bytes(63))


def test_stopped_broker_tells_everybody(broker: AttestationBroker, platform: SlowPlatform) -> None:
    """Who waits when the guest stops is told; who asks afterwards is refused; the call under way ends by itself."""
    with platform.held():
        ((asked, answer),) = ask(broker, 1)
        platform.wait_until_called()
        waiting = ask(broker, 2)
        broker.stop()
        for _, left in waiting:
            with pytest.raises(CancelledError):
                left.result(10)
        with pytest.raises(RuntimeError):
            ask(broker, 1)
    assert holds(asked, answer.result(10))


def test_evidence_of_a_certificate_is_of_one_turn() -> None:
    """Between report, quote and certificates nobody else is served: the key that signs may change with any report."""
    order: list[str] = []

    class Watched(SlowPlatform):
        def report(self, report_data: bytes) -> bytes:
            order.append("report")
            if len(order) == 1:
                # They ask while the first is at work, and are served by a turn of their own.
                later.extend(ask(watched, 1) + ask(watched, 1, of=1))
            return super().report(report_data)

        def quote(self, report_data: bytes) -> bytes | None:
            order.append("quote")
            return super().quote(report_data)

        def vek(self) -> bytes:
            order.append("vek")
            return super().vek()

    later: list[tuple[Question, Future[Evidence]]] = []
    watched = AttestationBroker(Watched(simulated()), log_of=lambda _: AFTER_LOCK)
    watched.turn(partial(make_identity, manifest=bytes(32), log=AFTER_LOCK))
    for of, (asked, answer) in enumerate(later):
        assert holds(asked, answer.result(10), of=of)
    assert order == ["report", "quote", "vek"] * 3
    watched.stop()
