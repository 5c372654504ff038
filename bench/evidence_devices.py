"""What a guest adds to the time of its device: an evidence call costs under a millisecond beyond it.

The real client, against stand-ins for both devices that take 4.4 ms for a report, as a chip does. The device's time is
what passes in the stand-in from the request's arrival to its answer, signature included; it is subtracted. What is left
is the client's, together with the stand-in's own passing on of system calls, which a kernel does not need.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.ratio import Ratio
from tests.support.attested_guest import AFTER_LOCK, Scene
from tests.support.mounted import mounted
from tests.support.notified import device_for_thread
from tests.support.snp_firmware import Firmware, table_of
from tests.support.tsm_files import Tsm

from twocvm_guest.attestation import Question, connection_evidence
from twocvm_guest.platforms.configfs_tsm import ConfigfsTsm
from twocvm_guest.platforms.sev_guest import SevGuest
from twocvm_guest.platforms.simulated import HARDWARE_LATENCY_SECONDS
from twocvm_guest.platforms.snp import SnpPlatform

CALLS = 100
MOST_MILLISECONDS = 1.0


class TimedFirmware(Firmware):
    """A firmware that knows how long it took."""

    seconds = 0.0

    def report(self, report_data: bytes, vmpl: int) -> bytes:
        """Return a report, in a chip's time."""
        start = time.perf_counter()
        try:
            return super().report(report_data, vmpl)
        finally:
            self.seconds += time.perf_counter() - start


def run() -> Iterator[Ratio]:
    """Measure, and return the figures."""
    scene = Scene(latency_seconds=HARDWARE_LATENCY_SECONDS)
    with device_for_thread(_firmware(scene)) as on_thread:
        device = on_thread(lambda: SevGuest.open(vmpl=0, pause=time.sleep))
        firmware = on_thread.stand_in.firmware  # type: ignore[attr-defined]
        yield _figure("/dev/sev-guest", on_thread(lambda: _beyond(SnpPlatform(device), scene, firmware)))
        device.close()
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("configfs-tsm: left out, for mounting needs root and /dev/fuse", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder, mounted(Path(folder), Tsm(_firmware(scene))) as tsm:
        entry = ConfigfsTsm.open(Path(folder), entry_name="bench", pause=time.sleep)
        yield _figure("configfs-tsm", _beyond(SnpPlatform(entry), scene, tsm.firmware))
        entry.close()


def _firmware(scene: Scene) -> TimedFirmware:
    return TimedFirmware(scene.platform, table_of(scene.platform))


def _beyond(platform: SnpPlatform, scene: Scene, firmware: Firmware) -> list[float]:
    """Return the milliseconds of each call for evidence that were not the device's."""
    if not isinstance(firmware, TimedFirmware):
        raise TypeError("the firmware keeps no time")
    identity, beyond = scene.server_identity(), []
    for number in range(CALLS):
        question = Question(nonce=number.to_bytes(32, "big"), exported=bytes(32))
        before, start = firmware.seconds, time.perf_counter()
        connection_evidence(platform, identity=identity, log=AFTER_LOCK, questions=[question])
        beyond.append(1000 * (time.perf_counter() - start - (firmware.seconds - before)))
    return beyond


def _figure(name: str, milliseconds: list[float]) -> Ratio:
    return Ratio(
        name=f"an evidence call beyond {name}: ms, median",
        value=statistics.median(milliseconds),
        at_most=MOST_MILLISECONDS,
        detail=f"fastest {min(milliseconds):.3f}, of {CALLS} calls",
    )
