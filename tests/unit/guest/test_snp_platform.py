"""What an SNP guest makes of its devices: reports held against requests, certificates, and which device it is."""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificates
from tests.support.amd import fake_amd
from tests.support.certtables import GUIDS, OTHER, table
from tests.support.guest import LiveGuest
from tests.support.manifests import World
from tests.support.simulated import chip, launch
from tests.support.snp_firmware import Fail, Firmware, FirmwareError, table_of

from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.detect import look, open_snp, own_level
from twocvm_guest.platforms.device import Answer, DeviceError, SnpDevice, failure
from twocvm_guest.platforms.simulated import sign_report
from twocvm_guest.platforms.snp import SnpPlatform, certificates_of
from twocvm_verifier.errors import FetchError, TwoCvmError, UnsupportedError
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.vek import parse_vek

DATA = bytes(range(64))


def reported(attester: Attester) -> bytes:
    """Have a report made, in a turn of the guest's broker."""
    return attester.report(DATA)


class Device:
    """A device that does what a test wants.

    Args:
        firmware: What answers.
        change: What becomes of each report.
    """

    name, vmpl = "a device of a test", 0

    def __init__(self, firmware: Firmware, change: Callable[[bytes], bytes] = lambda report: report) -> None:
        self.firmware, self.change, self.closed = firmware, change, 0
        self.with_certificates: list[bool] = []
        self._users = threading.Semaphore()

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Answer, unless two ask at once."""
        assert self._users.acquire(blocking=False), "two at once"
        try:
            self.with_certificates.append(certificates)
            self.firmware.request()
            report = self.change(self.firmware.report(report_data, self.vmpl))
            return Answer(report=report, table=self.firmware.table if certificates else b"")
        except FirmwareError as error:
            raise failure(OSError(error.fail.error, ""), self.name) from error
        finally:
            self._users.release()

    def close(self) -> None:
        """Count."""
        self.closed += 1


@pytest.fixture
def device() -> Device:
    """A device on a machine where all is well."""
    platform = launch(host_data=bytes(32), measurement=bytes(48))
    return Device(Firmware(platform, table_of(platform, only=GUIDS.keys() - {"vlek"})))


def put(report: bytes, offset: int, value: bytes) -> bytes:
    """Return a report with other bytes at an offset; its signature is not looked at here."""
    return report[:offset] + value + report[offset + len(value) :]


def test_reports_and_certificates(device: Device) -> None:
    """Reports hold what was asked; the host's certificates are asked for once, and stand beside them."""
    platform = SnpPlatform(device)
    host = device.firmware.platform
    for number in range(3):
        data = bytes([number]) * 64
        assert parse_report(platform.report(data)).report_data == data
    assert (platform.vek(), platform.crl()) == (host.vek(), host.crl())
    chains = [load_pem_x509_certificates(chain) for chain in (platform.chain() or b"", host.chain())]
    assert chains[0] == chains[1]
    assert device.with_certificates == [True, False, False, False]
    assert (platform.name, platform.way, platform.quote(DATA)) == ("snp", device.name, None)
    platform.close()
    assert device.closed == 1


@pytest.mark.parametrize("kind", list(VekKind))
@pytest.mark.parametrize("big_endian", [False, True])
def test_certificate_of_the_key_that_signed(kind: VekKind, *, big_endian: bool) -> None:
    """Of a table with both, in either byte order, the one that signed is taken: a VLEK where an operator's key did."""
    amd = fake_amd()
    veks = {VekKind.VCEK: amd.vcek(), VekKind.VLEK: amd.vlek()}
    blobs = {GUIDS["vcek"]: veks[VekKind.VCEK], GUIDS["vlek"]: veks[VekKind.VLEK], OTHER: b"something of the host's"}
    report = parse_report(put(amd.report(), 0x48, struct.pack("<I", (kind is VekKind.VLEK) << 2)))
    found = certificates_of(report, table(blobs, big_endian=big_endian, padding=4096))
    assert (found.vek, found.chain, found.crl) == (veks[kind], None, None)


def test_host_without_the_certificate() -> None:
    """No table, an empty one, and one of another kind leave evidence without a VEK, which is no error."""
    amd = fake_amd()
    report = parse_report(amd.report())
    for host in (b"", bytes(4096), table({}), table({GUIDS["vlek"]: amd.vlek()}), table({OTHER: b"x"})):
        assert certificates_of(report, host).vek is None


def test_certificate_of_another_key() -> None:
    """A table older than the firmware, or another machine's, is as if it had no VEK: who judges finds the right one."""
    amd, by_vlek = fake_amd(), struct.pack("<I", 1 << 2)
    ours, providers = amd.report(), put(amd.report(), 0x48, by_vlek)
    for report, kind, vek in (
        (put(ours, 0x186, b"\x7f"), "vcek", amd.vcek()),
        (put(ours, 0x1A0, b"c" * 64), "vcek", amd.vcek()),
        (ours, "vcek", amd.vlek()),
        (put(providers, 0x186, b"\x7f"), "vlek", amd.vlek()),
        (providers, "vlek", amd.vcek()),
    ):
        found = certificates_of(parse_report(report), table({GUIDS[kind]: vek, GUIDS["crl"]: b"a list"}))
        assert (found.vek, found.crl) == (None, b"a list")


@pytest.mark.parametrize("host", [b"x", bytes(23), b"\xff" * 4096, table({GUIDS["vcek"]: b"no certificate"})])
def test_host_whose_certificates_are_none(device: Device, host: bytes) -> None:
    """A table that is none, or a VEK that is none, is said at the start; the message is the host's operator's."""
    device.firmware.table = host
    with pytest.raises(DeviceError) as refusal:
        SnpPlatform(device)
    assert (refusal.value.code, refusal.value.fatal, refusal.value.exit_status) == ("DEVICE_CERTIFICATES", False, 40)


def test_host_whose_chain_would_not_fit(device: Device) -> None:
    """What no certificate of AMD's is long enough for is left out, so that evidence stays within its bounds."""
    host = device.firmware.platform
    blobs = {"vcek": host.vek(), "intermediate": bytes(6000), "ark": bytes(6000), "crl": bytes(4097)}
    device.firmware.table = table({GUIDS[name]: blob for name, blob in blobs.items()})
    platform = SnpPlatform(device)
    assert (platform.vek(), platform.chain(), platform.crl()) == (host.vek(), None, None)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda report: put(report, 0x50, bytes(63) + b"\x01"), id="another REPORT_DATA"),
        pytest.param(lambda report: put(report, 0x30, b"\x01"), id="another VMPL"),
        pytest.param(lambda report: put(report, 0x30, b"\xff" * 4), id="asked for by the host"),
        pytest.param(lambda report: put(report, 0, b"\x06"), id="another version"),
        pytest.param(lambda report: report[:-1], id="a byte short"),
        pytest.param(lambda report: report + b"\0", id="a byte long"),
        pytest.param(lambda _: b"", id="nothing"),
        pytest.param(lambda report: put(report, 0x49F, b"\x01"), id="bytes that are reserved"),
    ],
)
def test_report_that_was_not_asked_for(device: Device, change: Callable[[bytes], bytes]) -> None:
    """A report that is not what was asked for, at the start or later, is fatal, and nothing is made of it."""
    platform = SnpPlatform(device)
    device.change = change
    for ask in (lambda: platform.report(DATA), lambda: SnpPlatform(device)):
        with pytest.raises(DeviceError) as refusal:
            ask()
        assert (refusal.value.code, refusal.value.fatal, refusal.value.exit_status) == ("DEVICE_ANSWER", True, 10)


def test_firmware_that_is_updated_under_the_guest(device: Device) -> None:
    """When the key that signs changes, the host's certificates are asked for anew, with a report that fits them."""
    platform = SnpPlatform(device)
    before = platform.vek()
    other = chip(1).certificates
    hwid = parse_vek(other.vcek_der).vek.hwid
    device.change = lambda report: sign_report(put(report, 0x1A0, hwid)[:0x2A0], key=other.vcek_key)
    device.firmware.table = table({GUIDS["vcek"]: other.vcek_der})
    report = parse_report(platform.report(DATA))
    assert (report.report_data, report.chip_id) == (DATA, hwid)
    assert platform.vek() == other.vcek_der != before
    platform.report(DATA)
    assert device.with_certificates == [True, False, True, False]


def test_update_to_certificates_that_are_none(device: Device) -> None:
    """A host that brings nonsense after an update fails that one report; the certificates before it stay."""
    platform = SnpPlatform(device)
    device.change = lambda report: put(report, 0x186, b"\x1a")
    device.firmware.table = b"nonsense"
    with pytest.raises(DeviceError) as refusal:
        platform.report(DATA)
    assert (refusal.value.code, refusal.value.fatal) == ("DEVICE_CERTIFICATES", False)
    assert platform.vek() == device.firmware.platform.vek()


def test_one_at_a_time(device: Device) -> None:
    """However many threads ask, the device has one caller, and every answer is its asker's."""
    platform = SnpPlatform(device)
    wanted = [bytes([number]) * 64 for number in range(32)]
    with ThreadPoolExecutor(8) as threads:
        reports = list(threads.map(platform.report, wanted))
    assert [parse_report(report).report_data for report in reports] == wanted


def refusing(code: str) -> Callable[[], SnpDevice]:
    """Return what opens no device."""

    def opened() -> SnpDevice:
        raise DeviceError(code, f"a device: {code}")

    return opened


def test_first_device_that_opens_is_used(device: Device) -> None:
    """Devices are tried in order, and the rest is not touched."""
    platform = open_snp({"one": refusing("NO_PLATFORM"), "two": lambda: device, "three": refusing("DEVICE_DENIED")})
    assert platform.way == device.name
    assert device.closed == 0


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (("NO_PLATFORM", "NO_PLATFORM"), "NO_PLATFORM"),
        (("NO_PLATFORM", "DEVICE_DENIED"), "DEVICE_DENIED"),
        (("DEVICE_UNKNOWN", "NO_PLATFORM"), "DEVICE_UNKNOWN"),
    ],
)
def test_no_device_that_opens(codes: tuple[str, str], code: str) -> None:
    """A device that is here and cannot be used is told of first; all of them are named; and nothing is simulated."""
    with pytest.raises(UnsupportedError) as refusal:
        open_snp({each + str(number): refusing(each) for number, each in enumerate(codes)})
    assert (refusal.value.code, refusal.value.exit_status) == (code, 20)
    assert all(each in refusal.value.detail for each in codes)


def test_device_that_opens_and_fails(device: Device) -> None:
    """A device that makes no report is closed, and no other is taken in its place: that it fails is what matters."""
    device.firmware.troubles.append(Fail(errno.ETIMEDOUT))
    with pytest.raises(DeviceError) as refusal:
        open_snp({"one": lambda: device, "two": refusing("NO_PLATFORM")})
    assert (refusal.value.code, device.closed) == ("DEVICE_LOST", 1)


def test_doctor_looks_without_asking(device: Device) -> None:
    """Looking at a device opens it and makes no report; what cannot be opened comes with what to do."""
    assert look(lambda: device) == (True, "usable, for reports of VMPL 0")
    assert (device.closed, device.firmware.asked) == (1, [])
    works, advice = look(refusing("DEVICE_DENIED"))
    assert not works
    assert "DEVICE_DENIED" in advice
    assert "as root" in advice


@pytest.mark.parametrize(("text", "level"), [(b"2\n", 2), (b"0", 0), (b"4\n", 0), (b"", 0), (b"\xff", 0)])
def test_own_privilege_level(tmp_path: Path, text: bytes, level: int) -> None:
    """The kernel's file tells it; without one, or with nonsense in it, it is 0."""
    assert own_level(tmp_path / "absent") == 0
    (tmp_path / "vmpl").write_bytes(text)
    assert own_level(tmp_path / "vmpl") == level


class Ending(LiveGuest):
    """A guest whose end is kept."""

    error: BaseException | None = None

    def _run(self) -> None:
        try:
            super()._run()
        except FetchError as error:
            self.error = error


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EBADMSG])
def test_guest_ends_with_its_device(number: int) -> None:
    """Once no report can ever come, the guest wipes everything, asks nothing more, and ends with the reason."""
    devices: list[Device] = []

    def opened(platform: Attester) -> Attester:
        devices.append(Device(Firmware(platform)))  # type: ignore[arg-type]
        devices[0].firmware.table = table_of(platform)  # type: ignore[arg-type]
        return SnpPlatform(devices[0])

    with Ending(World(), device=opened) as guest:
        guest.collecting()
        asked = len(devices[0].firmware.asked)
        devices[0].firmware.troubles.append(Fail(number))
        with pytest.raises(TwoCvmError):
            guest.connect("hospital-a")
        assert guest.ended()
    assert isinstance(guest.error, DeviceError)
    assert guest.error.code == "DEVICE_LOST"
    assert guest.workers.wiped.is_set()
    assert len(devices[0].firmware.asked) == asked


def test_guest_outlives_a_passing_failure() -> None:
    """A refusal that passes fails one request for evidence, and the next is served."""
    devices: list[Device] = []

    def opened(platform: Attester) -> Attester:
        devices.append(Device(Firmware(platform)))  # type: ignore[arg-type]
        return SnpPlatform(devices[0])

    with Ending(World(), device=opened) as guest:
        devices[0].firmware.troubles.append(Fail(errno.EINVAL, keeps_key=True))
        with pytest.raises(FetchError) as refusal:
            guest.guest.agent._broker.turn(reported)
        assert refusal.value.code == "DEVICE_REFUSED"
        assert parse_report(guest.guest.agent._broker.turn(reported)).report_data == DATA
        assert guest.guest.agent.broken is None
    assert guest.error is None


def test_broken_broker_asks_nobody() -> None:
    """Whoever asks after the end is told at once, and the device is left alone."""
    platform = launch(host_data=bytes(32), measurement=bytes(48))
    device = Device(Firmware(platform))
    with Ending(World(), device=lambda _: SnpPlatform(device)) as guest:
        device.firmware.troubles.append(Fail(errno.ENOTTY))
        asked = len(device.with_certificates)
        for _ in range(3):
            with pytest.raises(FetchError) as refusal:
                guest.guest.agent._broker.turn(reported)
            assert refusal.value.code == "DEVICE_LOST"
        assert len(device.with_certificates) == asked + 1
        assert guest.ended()
    assert isinstance(guest.error, DeviceError)
