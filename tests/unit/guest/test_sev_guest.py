"""`/dev/sev-guest`: the real client, against a stand-in for the device that answers its system calls."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.notified import device_for_thread
from tests.support.simulated import launch
from tests.support.snp_firmware import BUSY, Change, Fail, Firmware, table_of

from twocvm_guest.platforms import sev_guest_abi as abi
from twocvm_guest.platforms.derived import KeyField, KeyRequest, RootKey
from twocvm_guest.platforms.detect import SNP_DEVICES, look, open_snp
from twocvm_guest.platforms.device import PAUSES_SECONDS, DeviceError
from twocvm_guest.platforms.sev_guest import SevGuest
from twocvm_guest.platforms.simulated import TCB
from twocvm_verifier.snp.report import parse_report

DATA = bytes(range(64))
KEY = KeyRequest(root=RootKey.VCEK, fields=KeyField.MEASUREMENT | KeyField.TCB_VERSION, guest_svn=3, tcb_version=TCB)


class Bench:
    """A device with its stand-in; calls are made on the thread that has it."""

    def __init__(self, run: Callable, firmware: Firmware) -> None:
        self.run, self.firmware, self.paused = run, firmware, list[float]()
        self.device: SevGuest = run(lambda: SevGuest.open(vmpl=1, pause=self.paused.append))

    def ask(self, *, certificates: bool = False):
        """Ask for a report."""
        return self.run(lambda: self.device.ask(DATA, certificates=certificates))

    def key(self) -> bytes:
        """Ask for a key."""
        return self.run(lambda: self.device.derived_key(KEY))

    def refused(self, *troubles: Fail | Change | None, certificates: bool = False) -> DeviceError:
        """Let these troubles come, and return how the next request fails."""
        self.firmware.troubles.extend(troubles)
        with pytest.raises(DeviceError) as refusal:
            self.ask(certificates=certificates)
        return refusal.value


@pytest.fixture(scope="module")
def thread() -> Iterator[Callable]:
    """The thread that has the device."""
    platform = launch(host_data=bytes(32), measurement=bytes(48))
    with device_for_thread(Firmware(platform)) as run:
        yield run


@pytest.fixture
def bench(thread: Callable) -> Iterator[Bench]:
    """A device that nothing has happened to."""
    firmware = thread.stand_in.firmware = Firmware(thread.stand_in.firmware.platform)
    firmware.table = table_of(firmware.platform)
    made = Bench(thread, firmware)
    yield made
    made.device.close()


def test_structures_are_the_kernels() -> None:
    """Every structure is as long as the C compiler makes it, and the commands carry the length of theirs."""
    sizes = [abi.CALL, abi.REPORT_REQUEST, abi.EXT_REPORT_REQUEST, abi.KEY_REQUEST, abi.KEY_RESPONSE]
    assert [each.size for each in sizes] == [32, 96, 112, 32, 64]
    for number, command in enumerate((abi.GET_REPORT, abi.GET_DERIVED_KEY, abi.GET_EXT_REPORT)):
        assert command == 3 << 30 | abi.CALL.size << 16 | ord("S") << 8 | number


def test_errors_have_amds_names() -> None:
    """Errors of the firmware and of the hypervisor are named; what nobody knows has its number."""
    assert abi.firmware_error(0x16) == "firmware INVALID_PARAM (0x16)"
    assert [abi.firmware_error(number).split()[1] for number in (0, 0x18, 0x1D, 0x27)] == [
        "SUCCESS",
        "SECURE_DATA_INVALID",
        "AEAD_OFLOW",
        "INVALID_KEY",
    ]
    assert abi.firmware_error(0x1E) == "firmware unknown error (0x1e)"
    assert abi.hypervisor_error(2) == "hypervisor busy (0x2)"
    assert abi.hypervisor_error(77) == "hypervisor unknown error (0x4d)"


def test_report_is_what_was_asked_for(bench: Bench) -> None:
    """A report has the data and the privilege level of the request; no certificates come unasked."""
    answer = bench.ask()
    report = parse_report(answer.report)
    assert (report.report_data, report.vmpl, answer.table) == (DATA, 1, b"")


def test_certificates_come_in_two_steps(bench: Bench) -> None:
    """The room is asked for first; whole pages come, with the host's table at their beginning."""
    bench.firmware.table += bytes(4096)
    answer = bench.ask(certificates=True)
    assert parse_report(answer.report).report_data == DATA
    assert answer.table.rstrip(b"\0") == bench.firmware.table.rstrip(b"\0")
    assert len(answer.table) == 3 * 4096
    assert bench.firmware.asked == [DATA]


def test_host_without_certificates(bench: Bench) -> None:
    """Where the host has none, the first request already brings the report, and no table."""
    bench.firmware.table = b""
    answer = bench.ask(certificates=True)
    assert (parse_report(answer.report).report_data, answer.table) == (DATA, b"")


def test_derived_key_hangs_on_the_request(bench: Bench) -> None:
    """A key of 32 bytes comes back, the same for the same request, and the request is laid out as the kernel has it."""
    assert bench.key() == bench.key() != bytes(32)
    wanted = struct.pack("<IIQIIQ", 0, 0, 0b101000, 1, 3, int.from_bytes(TCB, "little"))
    assert bench.key() == bench.firmware.derived_key(wanted)


def test_opened_once_and_not_passed_on(bench: Bench) -> None:
    """However much is asked, the device is opened once, and its descriptor is closed in every child."""
    opened = len(bench.run.stand_in.opened_by)
    bench.ask()
    bench.key()
    assert len(bench.run.stand_in.opened_by) == opened
    assert not os.get_inheritable(bench.device._descriptor)


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOENT, "NO_PLATFORM"), (errno.ENODEV, "NO_PLATFORM"), (errno.EACCES, "DEVICE_DENIED")],
)
def test_device_that_cannot_be_opened(bench: Bench, number: int, code: str) -> None:
    """A device that is not here, and one that may not be opened, are told apart."""
    bench.run.stand_in.opening = number
    try:
        with pytest.raises(DeviceError) as refusal:
            bench.run(lambda: SevGuest.open(vmpl=0, pause=bench.paused.append))
    finally:
        bench.run.stand_in.opening = 0
    assert (refusal.value.code, refusal.value.fatal) == (code, False)
    assert errno.errorcode[number] in refusal.value.detail


def test_device_that_is_no_device(tmp_path: Path) -> None:
    """A path without a device is no platform; a file in its place is one that has lost its key, and not taken."""
    with pytest.raises(DeviceError) as refusal:
        SevGuest.open(tmp_path / "absent", vmpl=0, pause=list[float]().append)
    assert refusal.value.code == "NO_PLATFORM"
    (tmp_path / "file").write_bytes(b"")
    device = SevGuest.open(tmp_path / "file", vmpl=0, pause=list[float]().append)
    with pytest.raises(DeviceError) as refusal:
        device.ask(DATA, certificates=False)
    device.close()
    assert refusal.value.code == "DEVICE_LOST"


@pytest.mark.parametrize(
    "trouble", [Fail(errno.EIO, hypervisor=BUSY, keeps_key=True), Fail(errno.EBUSY, keeps_key=True)]
)
def test_busy_host_is_waited_for(bench: Bench, trouble: Fail) -> None:
    """A host that throttles is asked again after a while, and the report comes."""
    bench.firmware.troubles.extend([trouble] * 3)
    assert parse_report(bench.ask().report).report_data == DATA
    assert bench.paused == list(PAUSES_SECONDS[:3])


def test_host_that_stays_busy(bench: Bench) -> None:
    """Waiting is bounded, and then said; the guest may ask later."""
    refusal = bench.refused(*[Fail(errno.EAGAIN, hypervisor=BUSY, keeps_key=True)] * 6)
    assert (refusal.code, refusal.fatal, bench.paused) == ("DEVICE_BUSY", False, list(PAUSES_SECONDS))
    assert "hypervisor busy" in refusal.detail
    assert parse_report(bench.ask().report).report_data == DATA


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Fail(errno.EIO, firmware=0x16), "EIO, firmware INVALID_PARAM (0x16), hypervisor no error"),
        (Fail(errno.EIO, firmware=0xFFFFFFFF, hypervisor=0xFFFFFFFF), "firmware not asked"),
        (Fail(errno.ETIMEDOUT, hypervisor=BUSY), "ETIMEDOUT"),
        (Fail(errno.EBADMSG), "EBADMSG"),
    ],
)
@pytest.mark.parametrize("certificates", [False, True])
def test_failed_request_costs_the_key(bench: Bench, trouble: Fail, said: str, *, certificates: bool) -> None:
    """After a failure that takes the key along nothing is tried again: it is fatal, and names what failed."""
    refusal = bench.refused(trouble, certificates=certificates)
    assert (refusal.code, refusal.fatal, bench.paused) == ("DEVICE_LOST", True, [])
    assert said in refusal.detail
    after = bench.refused()
    assert (after.code, after.fatal) == ("DEVICE_LOST", True)
    assert "ENOTTY" in after.detail


def test_key_that_is_lost_while_waiting(bench: Bench) -> None:
    """A host that is busy and then fails has taken the key: what was waited for never comes."""
    refusal = bench.refused(Fail(errno.EIO, hypervisor=BUSY))
    assert (refusal.code, bench.paused) == ("DEVICE_LOST", [PAUSES_SECONDS[0]])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EFAULT, errno.ENOMEM])
def test_request_that_the_kernel_refuses(bench: Bench, number: int) -> None:
    """What the kernel refuses before it asks the firmware is said, and costs nothing."""
    refusal = bench.refused(Fail(number, keeps_key=True))
    assert (refusal.code, refusal.fatal) == ("DEVICE_REFUSED", False)
    bench.ask()


@pytest.mark.parametrize("certificates", [False, True])
def test_firmware_that_says_no(bench: Bench, *, certificates: bool) -> None:
    """A message that says no is an answer: it is named, and the machine keeps its key."""
    bench.firmware.table = b""
    refusal = bench.refused(Change(status=0x27), certificates=certificates)
    assert (refusal.code, refusal.fatal) == ("DEVICE_REFUSED", False)
    assert "INVALID_KEY" in refusal.detail
    bench.ask()


@pytest.mark.parametrize("size", [0, 1183, 1185, 4001, 0xFFFFFFFF])
def test_report_of_another_length(bench: Bench, size: int) -> None:
    """A report that says to be shorter or longer than reports are is none, and nothing is read behind the answer."""
    refusal = bench.refused(Change(size=size))
    assert (refusal.code, refusal.fatal) == ("DEVICE_ANSWER", True)


@pytest.mark.parametrize("room", [0, 1, 4095, 65536 + 4096, 0xFFFFFFFF])
def test_host_that_wants_absurd_room(bench: Bench, room: int) -> None:
    """Room for certificates is whole pages within bounds; a host that wants other room gets none."""
    refusal = bench.refused(Change(room=room), certificates=True)
    assert (refusal.code, refusal.fatal) == ("DEVICE_REFUSED", False)
    # Found out here, before so much memory is given, and not by the kernel's refusal of the next request.
    assert f"wants {room} bytes" in refusal.detail


def test_host_whose_certificates_keep_growing(bench: Bench) -> None:
    """A host that wants more room each time is given up on, and the next request is served."""
    refusal = bench.refused(*[Change(room=4096)] * 3, certificates=True)
    assert (refusal.code, refusal.passing) == ("DEVICE_BUSY", True)
    assert bench.ask(certificates=True).table


def test_derived_key_that_is_none(bench: Bench) -> None:
    """A firmware that gives no key, or zeros for one, is found out; so is one that has lost the machine's key."""
    for trouble, code in (
        (Change(status=0x16), "DEVICE_REFUSED"),
        (Change(report=lambda key: bytes(len(key))), "DEVICE_ANSWER"),
        (Fail(errno.EIO, hypervisor=1), "DEVICE_LOST"),
    ):
        bench.firmware.troubles.append(trouble)
        with pytest.raises(DeviceError) as refusal:
            bench.key()
        assert refusal.value.code == code


def test_machine_with_this_device_alone(bench: Bench) -> None:
    """What opens a machine's platform finds the device by itself, and the doctor sees it and makes no report."""
    usable, told = bench.run(lambda: look(SNP_DEVICES["/dev/sev-guest"]))
    assert (usable, bench.firmware.asked) == (True, []), told
    assert told == "usable, for reports of VMPL 0 and derived keys"
    platform = bench.run(open_snp)
    assert (platform.way, platform.vek()) == ("/dev/sev-guest", bench.firmware.platform.vek())
    platform.close()


def test_report_data_has_one_length(bench: Bench) -> None:
    """Anything but 64 bytes is a mistake of ours, and asks nobody."""
    with pytest.raises(ValueError, match="64"):
        bench.run(lambda: bench.device.ask(bytes(63), certificates=False))
    assert bench.firmware.asked == []
