"""Derived keys go through the guest's one broker: in turn with reports, and with the same end where the device fails.

The client, the platform and the broker are the guest's own; their system calls are answered by a stand-in.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.attested_guest import AFTER_LOCK
from tests.support.notified import device_for_thread
from tests.support.simulated import launch
from tests.support.snp_firmware import Change, Fail, Firmware

from twocvm_guest.broker import AttestationBroker
from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.derived import KeyField, KeyRequest, RootKey
from twocvm_guest.platforms.device import Answer, DeviceError
from twocvm_guest.platforms.sev_guest import SevGuest
from twocvm_guest.platforms.simulated import TCB, SimulatedPlatform
from twocvm_guest.platforms.snp import SnpPlatform
from twocvm_verifier.errors import FetchError, UnsupportedError
from twocvm_verifier.snp.report import parse_report

DATA = bytes(range(64))
KEY = KeyRequest(root=RootKey.VCEK, fields=KeyField.MEASUREMENT, guest_svn=0, tcb_version=TCB)


class HeldFirmware(Firmware):
    """A firmware that a test keeps at work, and that knows what it was asked for."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        super().__init__(platform)
        self.order: list[str] = []
        self.at_work, self.free = threading.Event(), threading.Event()
        self.free.set()

    def report(self, report_data: bytes, vmpl: int) -> bytes:
        """Return a report, once the test lets go."""
        self.order.append("report")
        self.at_work.set()
        assert self.free.wait(10)
        return super().report(report_data, vmpl)

    def derived_key(self, request: bytes) -> bytes:
        """Return a key."""
        self.order.append("key")
        return super().derived_key(request)


def reported(attester: Attester) -> bytes:
    """Have a report made, in a turn of the guest's broker."""
    return attester.report(DATA)


class Guest:
    """A guest's broker over the device; its one thread is the one that the stand-in answers."""

    def __init__(self, run: Callable, firmware: HeldFirmware) -> None:
        self.firmware = firmware
        self.broker: AttestationBroker = run(self._broker)
        self.firmware.order.clear()
        self.firmware.at_work.clear()

    def _broker(self) -> AttestationBroker:
        self.device = SevGuest.open(vmpl=0, pause=time.sleep)
        broker = AttestationBroker(SnpPlatform(self.device), log_of=lambda _: AFTER_LOCK)
        # Its thread is made with the first turn, by a thread for which the device is there.
        broker.turn(reported)
        return broker

    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return self.broker._turns._work_queue.qsize()


@pytest.fixture(scope="module")
def thread() -> Iterator[Callable]:
    """The thread that has the device."""
    with device_for_thread(HeldFirmware(launch(host_data=bytes(32), measurement=bytes(48)))) as run:
        yield run


@pytest.fixture
def guest(thread: Callable) -> Iterator[Guest]:
    """A guest that nothing has happened to."""
    firmware = thread.stand_in.firmware = HeldFirmware(thread.stand_in.firmware.platform)
    made = Guest(thread, firmware)
    yield made
    made.broker.stop()
    made.device.close()


def test_key_waits_behind_a_report_that_is_being_made(guest: Guest) -> None:
    """While the device is at work with a report nobody asks it for a key; then the key comes, and the next report."""
    guest.firmware.free.clear()
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(guest.broker.turn, reported)
        assert guest.firmware.at_work.wait(10)
        key = threads.submit(guest.broker.derived_key, KEY)
        _until(lambda: guest.waiting() == 1)
        second = threads.submit(guest.broker.turn, reported)
        _until(lambda: guest.waiting() == 2)
        assert (guest.firmware.order, key.done()) == (["report"], False)
        guest.firmware.free.set()
        assert parse_report(first.result(10)).report_data == parse_report(second.result(10)).report_data == DATA
        assert len(key.result(10)) == 32
    assert guest.firmware.order == ["report", "key", "report"]
    assert guest.broker.derived_key(KEY) == key.result()


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Fail(errno.EIO, firmware=0x16), "DEVICE_LOST"),
        (Fail(errno.ENOTTY), "DEVICE_LOST"),
        (Change(report=lambda key: bytes(len(key))), "DEVICE_ANSWER"),
    ],
)
def test_failure_closes_the_broker(guest: Guest, trouble: Fail | Change, code: str) -> None:
    """A key that fails costs the machine its reports too: the broker is broken, and asks the device nothing more."""
    guest.firmware.troubles.append(trouble)
    with pytest.raises(DeviceError) as refusal:
        guest.broker.derived_key(KEY)
    assert (refusal.value.code, refusal.value.fatal) == (code, True)
    assert guest.broker.broken is not None
    assert guest.broker.broken.code == code
    guest.firmware.order.clear()
    for ask in (lambda: guest.broker.turn(reported), lambda: guest.broker.derived_key(KEY)):
        with pytest.raises(FetchError) as refusal:
            ask()
        assert refusal.value.code == code
    assert guest.firmware.order == []


def test_refusal_costs_nothing(guest: Guest) -> None:
    """A firmware that says no has answered: one request fails, and the next report is made."""
    guest.firmware.troubles.append(Change(status=0x16))
    with pytest.raises(DeviceError) as refusal:
        guest.broker.derived_key(KEY)
    assert (refusal.value.code, guest.broker.broken) == ("DEVICE_REFUSED", None)
    assert parse_report(guest.broker.turn(reported)).report_data == DATA


class WithoutKeys:
    """A device as configfs-tsm is one: reports, and nothing else."""

    name, vmpl = "a device of a test", 0

    def __init__(self) -> None:
        self.firmware = Firmware(launch(host_data=bytes(32), measurement=bytes(48)))

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Answer."""
        return Answer(report=self.firmware.report(report_data, self.vmpl), table=b"")

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("platform", "named"),
    [
        (lambda: launch(host_data=bytes(32), measurement=bytes(48)), "platform simulated"),
        (lambda: SnpPlatform(WithoutKeys()), "a device of a test"),
    ],
)
def test_platform_that_derives_none(platform: Callable[[], Attester], named: str) -> None:
    """Where the platform, or the device that it goes through, derives no keys it is said, and reports go on."""
    broker = AttestationBroker(platform(), log_of=lambda _: AFTER_LOCK)
    with pytest.raises(UnsupportedError) as refusal:
        broker.derived_key(KEY)
    assert (refusal.value.code, refusal.value.exit_status) == ("DERIVED_KEY_UNSUPPORTED", 20)
    assert named in refusal.value.detail
    assert broker.broken is None
    assert parse_report(broker.turn(reported)).report_data == DATA
    broker.stop()


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.005)
    raise TimeoutError("it did not come to that")
