"""Whole guests, started as on an SNP machine, on stand-ins for its devices: sessions, failures, who sees the device."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.device_guest import DeviceGuest, Way
from tests.support.guest_process import PATIENCE_SECONDS, acting_world, gone
from tests.support.manifests import MEASUREMENT
from tests.support.sides import Side, release_all, sides
from tests.support.simulated import launch
from tests.support.snp_firmware import Change, Fail, Firmware, table_of

from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.logevents import Outcome

WAYS = pytest.mark.parametrize("way", list(Way), ids=lambda way: way.value)
ALL_FILTERS = 3
NAMES_OF_DEVICES = ("sev-guest", "tsm", "fuse", "config")


def firmware_of(host_data: bytes) -> Firmware:
    """The firmware of a machine that was launched with this, and whose host has loaded AMD's certificates."""
    platform = launch(host_data=host_data, measurement=MEASUREMENT)
    return Firmware(platform, table_of(platform, only=("vcek", "intermediate", "ark", "crl")))


@pytest.fixture
def firmware() -> Firmware:
    """The firmware of a machine that takes any manifest."""
    return firmware_of(bytes(32))


@WAYS
def test_three_participants_on_a_device(tmp_path: Path, way: Way) -> None:
    """Born locked: lock, proof, release, run, outputs and receipts, with reports that came through the device alone."""
    world = acting_world(MEASUREMENT, commands=["read /in/records-a/data"])
    firmware = firmware_of(world.manifest.hash)
    with DeviceGuest(tmp_path, firmware, way) as guest:
        assert (guest.facts["platform"], guest.measurement) == ("snp", MEASUREMENT)
        assert guest.facts["host_data"] == world.manifest.hash.hex()
        guest.world = world
        everybody: dict[str, Side] = release_all(guest, tmp_path)  # type: ignore[arg-type]
        for name, side in everybody.items():
            with guest.side(guest.world).connect(name) as client:
                assert client.log()[0].members["platform"] == "snp"
            with side.connect() as session:
                receipt = session.receipt(wait_seconds=PATIENCE_SECONDS)
                receipt.verify()
                assert receipt.body.outcome is Outcome.COMPLETED
                for output in guest.world.manifest.outputs_of(name):
                    assert session.output(output.name).read()
        assert guest.terminate() == 0
    # The first shows nothing to anybody, and the rest bind claims: no two are alike.
    assert len(set(firmware.asked)) == len(firmware.asked) - 1
    assert guest.tsm.entries == {}


@WAYS
def test_device_is_out_of_every_workers_sight(tmp_path: Path, firmware: Firmware, way: Way) -> None:
    """The guest has the device open, once; no worker has its path, a mount of it, or a descriptor of it."""
    with DeviceGuest(tmp_path, firmware, way) as guest:
        guest.world = acting_world(MEASUREMENT, commands=["loop"])
        release_all(guest, tmp_path)  # type: ignore[arg-type]
        wait_for(lambda: any(map(shut_in, guest.workers())))
        mine = [link for link in descriptors(guest.process.pid) if any(name in link for name in NAMES_OF_DEVICES)]
        assert mine == (
            ["/memfd:sev-guest (deleted)"]
            if way is Way.SEV_GUEST
            else ["/sys/kernel/config/tsm/report", f"/sys/kernel/config/tsm/report/{next(iter(guest.tsm.entries))}"]
        )
        assert guest.stand_in.opened_by == ([guest.process.pid] if way is Way.SEV_GUEST else [])
        for worker in guest.workers():
            assert not [link for link in descriptors(worker) if any(name in link for name in NAMES_OF_DEVICES)]
        # One that was started ahead has nobody's code yet, and shuts itself in before it gets any.
        shut = [worker for worker in guest.workers() if shut_in(worker)]
        assert shut
        for worker in shut:
            mounts = Path(f"/proc/{worker}/mountinfo").read_text()
            assert not [line for line in mounts.splitlines() if "fuse" in line or "configfs" in line]
            for path in ("dev", "sys", "proc"):
                assert not os.path.lexists(f"/proc/{worker}/root/{path}")
        guest.terminate()
    assert guest.tsm.entries == {}


@WAYS
def test_guest_without_a_key_ends(tmp_path: Path, firmware: Firmware, way: Way) -> None:
    """A failure that costs the machine its key ends the guest with its code, and nothing of the session is left."""
    with DeviceGuest(tmp_path, firmware, way) as guest:
        guest.world = acting_world(MEASUREMENT, commands=["loop"])
        release_all(guest, tmp_path)  # type: ignore[arg-type]
        workers = guest.busy_workers()
        firmware.troubles.append(Fail(errno.EBADMSG if way is Way.CONFIGFS else errno.EIO, firmware=0x16))
        with pytest.raises(TwoCvmError):
            sides(guest, tmp_path)["analytics"].connect()  # type: ignore[arg-type]
        status, said = guest.ended()
    assert status == 40
    assert said.startswith(f"reports come through {way.value}\n")
    assert "DEVICE_LOST" in said
    assert ("INVALID_PARAM" in said) == (way is Way.SEV_GUEST)
    assert "Traceback" not in said
    assert gone(workers)


@pytest.mark.parametrize(
    ("way", "trouble", "status", "code"),
    [
        (
            Way.SEV_GUEST,
            Change(report=lambda report: report[:0x50] + bytes(63) + b"\x01" + report[0x90:]),
            10,
            "DEVICE_ANSWER",
        ),
        (Way.CONFIGFS, Change(report=lambda report: report[:-1]), 10, "DEVICE_ANSWER"),
        (Way.SEV_GUEST, Fail(errno.ETIMEDOUT), 40, "DEVICE_LOST"),
        (Way.CONFIGFS, Change(status=0x16), 40, "DEVICE_REFUSED"),
    ],
    ids=["another report", "a short report", "a lost key", "a refusal"],
)
def test_guest_that_cannot_begin(
    tmp_path: Path, firmware: Firmware, way: Way, trouble: Change | Fail, status: int, code: str
) -> None:
    """A guest whose device gives no report, or another than was asked for, says so and does not begin."""
    firmware.table = b""
    firmware.troubles.append(trouble)
    with DeviceGuest(tmp_path, firmware, way) as guest:
        assert guest.facts == {}
        ended, said = guest.ended()
    assert (ended, code in said, "Traceback" in said) == (status, True, False)


def descriptors(process: int) -> list[str]:
    """Return what the descriptors of a process are of."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # It, or one of them, may be gone by now.
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(entry))
    return found


def shut_in(process: int) -> bool:
    """Return whether a process is under its last filter, which a worker sets before it runs anything of a component.

    Before that there are one for loading code, and the stand-in's own or the one that hides the times of files.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (line,) = [line for line in status.splitlines() if line.startswith("Seccomp_filters:")]
    return int(line.split()[1]) >= ALL_FILTERS


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    last = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > last:
            raise TimeoutError("it never came about")
        time.sleep(0.01)
