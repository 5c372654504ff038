"""configfs-tsm: the real client, against the same files in a file system of our own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mounted import mounted
from tests.support.simulated import launch
from tests.support.snp_firmware import Change, Fail, Firmware, table_of
from tests.support.tsm_files import Entry, Tsm

from twocvm_guest.platforms.configfs_tsm import ConfigfsTsm
from twocvm_guest.platforms.device import PAUSES_SECONDS, DeviceError
from twocvm_verifier.snp.report import parse_report

DATA = bytes(range(64))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Tsm]]:
    """The mounted files."""
    folder = tmp_path_factory.mktemp("tsm")
    with mounted(folder, Tsm(Firmware(launch(host_data=bytes(32), measurement=bytes(48))))) as tsm:
        yield folder, tsm


class Bench:
    """A device that nothing has happened to, and what is behind it."""

    def __init__(self, folder: Path, tsm: Tsm) -> None:
        self.folder, self.tsm, self.firmware, self.paused = folder, tsm, tsm.firmware, list[float]()

    def open(self) -> ConfigfsTsm:
        """Open the device."""
        return ConfigfsTsm.open(self.folder, entry_name="mine", pause=self.paused.append)

    def unopened(self) -> DeviceError:
        """Return how opening fails; no entry is left behind."""
        before = set(self.tsm.entries)
        with pytest.raises(DeviceError) as refusal:
            self.open()
        assert set(self.tsm.entries) == before
        return refusal.value

    def refused(self, *, certificates: bool = False) -> DeviceError:
        """Return how a request fails, after which the entry is removed."""
        device = self.open()
        with pytest.raises(DeviceError) as refusal:
            device.ask(DATA, certificates=certificates)
        device.close()
        assert self.tsm.entries == {}
        return refusal.value


@pytest.fixture
def bench(served: tuple[Path, Tsm]) -> Bench:
    """The files as they are on a machine where all is well."""
    folder, tsm = served
    firmware = Firmware(tsm.firmware.platform, table_of(tsm.firmware.platform))
    vars(tsm).update(vars(Tsm(firmware)))
    return Bench(folder, tsm)


def test_report_and_certificates(bench: Bench) -> None:
    """A report has the data and the level of the request, and the host's table comes where it is wanted."""
    bench.tsm.floor = 2
    device = bench.open()
    for certificates in (True, False):
        answer = device.ask(DATA, certificates=certificates)
        report = parse_report(answer.report)
        assert (report.report_data, report.vmpl, device.vmpl) == (DATA, 2, 2)
        assert answer.table == (bench.firmware.table if certificates else b"")
    device.close()
    assert bench.firmware.asked == [DATA, DATA]


def test_entry_of_its_own(bench: Bench) -> None:
    """The guest makes an entry when it opens the device, uses it for every report, and removes it in the end."""
    device = bench.open()
    for _ in range(3):
        device.ask(DATA, certificates=False)
        assert set(bench.tsm.entries) == {"mine"}
    device.close()
    assert bench.tsm.entries == {}


def test_provider_that_adds_nothing(bench: Bench) -> None:
    """Without certificates the file is empty or not there; the report comes all the same."""
    bench.firmware.table = b""
    device = bench.open()
    assert device.ask(DATA, certificates=True).table == b""
    bench.tsm.hidden.add("auxblob")
    assert device.ask(DATA, certificates=True).table == b""
    device.close()


def test_generation_that_wraps(bench: Bench) -> None:
    """The kernel's counter begins anew after its last number, and that disturbs nobody."""
    bench.tsm.first_generation = (1 << 64) - 1
    device = bench.open()
    assert parse_report(device.ask(DATA, certificates=False).report).report_data == DATA
    device.close()


def test_folder_that_is_not_here(bench: Bench, tmp_path: Path) -> None:
    """Without configfs, or without a driver behind it, there is no such platform here."""
    with pytest.raises(DeviceError) as refusal:
        ConfigfsTsm.open(tmp_path / "absent", entry_name="mine", pause=bench.paused.append)
    assert refusal.value.code == "NO_PLATFORM"
    bench.tsm.provider = ""
    assert bench.unopened().code == "NO_PLATFORM"


def test_entry_that_is_somebody_elses(bench: Bench) -> None:
    """An entry that is there already is not the guest's: it is neither used nor removed."""
    bench.tsm.make("mine")
    assert "EEXIST" in bench.unopened().detail
    assert set(bench.tsm.entries) == {"mine"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_folder_that_may_not_be_used(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whoever may not make an entry is told so."""

    def refuse(_: str) -> None:
        raise OSError(number, "a test")

    monkeypatch.setattr(bench.tsm, "make", refuse)
    assert bench.unopened().code == "DEVICE_DENIED"


@pytest.mark.parametrize("provider", ["tdx_guest", "arm_cca_guest", "sev_guest2", "x" * 4000])
def test_provider_of_another_kind(bench: Bench, provider: str) -> None:
    """Another technology's reports are not asked for."""
    bench.tsm.provider = provider
    refusal = bench.unopened()
    assert (refusal.code, refusal.exit_status) == ("DEVICE_UNKNOWN", 20)


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("privlevel_floor", b"4\n", "DEVICE_REFUSED"),
        ("privlevel_floor", b"-1\n", "DEVICE_ANSWER"),
        ("privlevel_floor", b"", "DEVICE_ANSWER"),
        ("privlevel_floor", b"0x1\n", "DEVICE_ANSWER"),
        ("privlevel_floor", "\u0661\n".encode(), "DEVICE_ANSWER"),
        ("privlevel_floor", b"9" * 30, "DEVICE_ANSWER"),
        ("provider", b"x" * 4097, "DEVICE_ANSWER"),
    ],
)
def test_file_that_holds_nonsense(bench: Bench, file: str, content: bytes, code: str) -> None:
    """What is no number, or no level, or endless, is not believed."""
    bench.tsm.contents[file] = content
    assert bench.unopened().code == code


@pytest.mark.parametrize("what", ["write privlevel", "write inblob", "read generation", "read outblob"])
def test_somebody_else_writes(bench: Bench, what: str) -> None:
    """Another's write in between is seen, whenever it comes; what was read is thrown away and made again."""

    def write(entry: Entry) -> None:
        entry.inblob, entry.written = bytes(64), entry.written + 1

    device = bench.open()
    bench.tsm.meddling[what] = [write]
    answer = device.ask(DATA, certificates=True)
    assert parse_report(answer.report).report_data == DATA
    assert bench.paused == [PAUSES_SECONDS[0]]
    bench.tsm.meddling[what] = [write] * 100
    with pytest.raises(DeviceError) as refusal:
        device.ask(DATA, certificates=False)
    device.close()
    assert (refusal.value.code, refusal.value.fatal) == ("DEVICE_DISTURBED", False)


def test_write_that_is_lost_without_a_word(bench: Bench) -> None:
    """The kernel tells nobody that it refused `inblob`; no report over what was there before is taken."""
    device = bench.open()
    device.ask(bytes(64), certificates=False)
    bench.tsm.errors["write inblob"] = [errno.EBUSY] * 100
    with pytest.raises(DeviceError) as refusal:
        device.ask(DATA, certificates=False)
    device.close()
    assert refusal.value.code == "DEVICE_DISTURBED"
    assert bench.firmware.asked == [bytes(64)]


@pytest.mark.parametrize("what", ["write privlevel", "read outblob", "read auxblob", "read generation"])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN])
def test_busy_for_a_moment(bench: Bench, what: str, number: int) -> None:
    """What is busy is tried again, and the report comes."""
    bench.tsm.errors[what] = [number] * 2
    device = bench.open()
    assert parse_report(device.ask(DATA, certificates=True).report).report_data == DATA
    device.close()
    assert bench.paused == list(PAUSES_SECONDS[:2])


@pytest.mark.parametrize("piece_bytes", [1000, 1183, 1184])
def test_reads_that_come_in_pieces(bench: Bench, piece_bytes: int) -> None:
    """What comes in pieces is put together to its end, and is not taken for short."""
    bench.tsm.piece_bytes = piece_bytes
    device = bench.open()
    answer = device.ask(DATA, certificates=True)
    device.close()
    assert parse_report(answer.report).report_data == DATA
    assert answer.table == bench.firmware.table


def test_busy_for_good(bench: Bench) -> None:
    """Waiting is bounded, and then said."""
    bench.tsm.errors["read outblob"] = [errno.EBUSY] * 6
    assert (bench.refused().code, bench.paused) == ("DEVICE_BUSY", list(PAUSES_SECONDS))


def test_read_that_a_signal_breaks_off(bench: Bench) -> None:
    """EINTR costs nothing but another try."""
    bench.tsm.errors["read outblob"] = [errno.EINTR] * 3
    device = bench.open()
    assert parse_report(device.ask(DATA, certificates=False).report).report_data == DATA
    device.close()


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EBADMSG])
def test_failure_that_costs_the_key(bench: Bench, number: int) -> None:
    """A throttled minute and an answer that does not decrypt take the key along: fatal, and so is what follows."""
    bench.firmware.troubles.append(Fail(number))
    refusal = bench.refused()
    assert (refusal.code, refusal.fatal) == ("DEVICE_LOST", True)
    assert errno.errorcode[number] in refusal.detail
    assert (bench.refused().code, bench.paused) == ("DEVICE_LOST", [])


def test_failure_that_may_have_cost_the_key(bench: Bench) -> None:
    """EIO does not say whether the key is gone, so the next request tells: ENOTTY is fatal."""
    bench.firmware.troubles.append(Fail(errno.EIO, firmware=0x16))
    assert bench.refused().code == "DEVICE_REFUSED"
    refusal = bench.refused()
    assert (refusal.code, refusal.fatal) == ("DEVICE_LOST", True)


@pytest.mark.parametrize(
    "trouble", [Change(status=0x16), Fail(errno.ENXIO, keeps_key=True), Fail(errno.EINVAL, keeps_key=True)]
)
def test_firmware_that_says_no(bench: Bench, trouble: Change | Fail) -> None:
    """A refusal is said, and the next request is served."""
    bench.firmware.troubles.append(trouble)
    refusal = bench.refused()
    assert (refusal.code, refusal.fatal) == ("DEVICE_REFUSED", False)
    device = bench.open()
    device.ask(DATA, certificates=False)
    device.close()


@pytest.mark.parametrize("file", ["privlevel", "inblob"])
def test_write_that_is_taken_in_part(bench: Bench, file: str) -> None:
    """A write that is not taken whole is said, and no report over a part of it is read."""
    bench.tsm.short.add(file)
    refusal = bench.refused()
    assert (refusal.code, f"writing {file}" in refusal.detail) == ("DEVICE_REFUSED", True)
    assert bench.firmware.asked == []


def test_level_that_the_kernel_refuses(bench: Bench) -> None:
    """A level that was raised since the device was opened is refused, and said."""
    device = bench.open()
    bench.tsm.floor = 3
    with pytest.raises(DeviceError) as refusal:
        device.ask(DATA, certificates=False)
    device.close()
    assert (refusal.value.code, "privlevel" in refusal.value.detail) == ("DEVICE_REFUSED", True)


@pytest.mark.parametrize("file", ["outblob", "auxblob"])
def test_more_than_there_can_be(bench: Bench, file: str) -> None:
    """Reading ends where a report, or the longest table, would."""
    bench.tsm.contents[file] = bytes(70_000)
    refusal = bench.refused(certificates=True)
    assert (refusal.code, refusal.fatal) == ("DEVICE_ANSWER", True)


def test_file_that_is_gone(bench: Bench) -> None:
    """Only the certificates' file may be missing."""
    bench.tsm.hidden.add("outblob")
    refusal = bench.refused()
    assert (refusal.code, "ENOENT" in refusal.detail) == ("DEVICE_REFUSED", True)


def test_report_data_has_one_length(bench: Bench) -> None:
    """Anything but 64 bytes is a mistake of ours, and writes nothing."""
    device = bench.open()
    with pytest.raises(ValueError, match="64"):
        device.ask(bytes(65), certificates=False)
    assert bench.tsm.entries["mine"].written == 0
    device.close()
