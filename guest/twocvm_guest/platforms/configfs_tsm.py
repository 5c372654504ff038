"""`configfs-tsm`: reports and the host's certificates through `/sys/kernel/config/tsm/report`, from Linux 6.7 on.

Whoever makes a directory there gets an entry: what is wanted is written into its files, and reading `outblob` makes the
report. Rules, in order:
1. The guest has an entry of its own, made when the device is opened and removed when it is closed.
2. Nothing is asked of a provider but `sev_guest`: another one's reports are of another kind.
3. `generation` counts every write, of whomever. It has grown by the guest's own two after them, and not at all after
   the reading; otherwise somebody else has written, what was read is thrown away, and everything is done again.
   (A write of `inblob` takes effect when the file is closed, where no error can be told, so this is also how a write
   that was refused is found out.)
4. Reads are bounded. The privilege level is written in ASCII.

Spec: docs/platforms.md; Linux, Documentation/ABI/testing/configfs-tsm-report.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from twocvm_verifier.snp.certtable import MAX_TABLE_BYTES
from twocvm_verifier.snp.report import REPORT_BYTES

from .device import REPORT_DATA_BYTES, Answer, DeviceError, Pause, failure, persistently, unopened

FOLDER: Final = Path("/sys/kernel/config/tsm/report")
PROVIDER: Final = "sev_guest"
_MOST_TEXT_BYTES: Final = 4096
# The kernel's counter is an unsigned long and may wrap.
_COUNTER: Final = 1 << 64
_OWN_WRITES: Final = 2
_MOST_LEVEL: Final = 3


class ConfigfsTsm:
    """An entry of the guest's own, opened. Used by one thread at a time; an `SnpDevice`.

    Args:
        entry: Descriptor of the entry.
        pause: Waits between tries.
    """

    name = "configfs-tsm"

    def __init__(self, entry: int, *, pause: Pause) -> None:
        self._entry: Final = entry
        self._pause: Final = pause
        self._held = ExitStack()
        self.vmpl: Final = self._settle()

    @classmethod
    def open(cls, path: Path = FOLDER, *, entry_name: str, pause: Pause) -> Self:
        """Make an entry.

        Args:
            path: The directory of entries.
            entry_name: What to call it; nobody else may use it.
            pause: Waits between tries.

        Raises:
            DeviceError: NO_PLATFORM, DEVICE_DENIED, DEVICE_UNKNOWN; or as `ask`.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with ExitStack() as undoing:
            try:
                folder = os.open(path, flags)
                undoing.callback(os.close, folder)
                os.mkdir(entry_name, dir_fd=folder)
                undoing.callback(_remove, entry_name, folder)
                entry = os.open(entry_name, flags, dir_fd=folder)
                undoing.callback(os.close, entry)
            except OSError as error:
                raise unopened(error, str(path)) from error
            device = cls(entry, pause=pause)
            device._held = undoing.pop_all()
            return device

    def close(self) -> None:
        """Remove the entry."""
        self._held.close()

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Return a report, and the host's certificates where they are wanted; as `SnpDevice.ask`.

        Raises:
            DeviceError: DEVICE_BUSY, DEVICE_DISTURBED, DEVICE_REFUSED, DEVICE_LOST or DEVICE_ANSWER.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report_data: got {len(report_data)} bytes, want {REPORT_DATA_BYTES}")
        return persistently(lambda: self._ask_once(report_data, certificates=certificates), pause=self._pause)

    def _settle(self) -> int:
        """Return the privilege level to ask for, which is the lowest that the provider takes: the guest's own."""
        provider = self._text("provider")
        if provider != PROVIDER:
            raise DeviceError("DEVICE_UNKNOWN", f"{self.name}: got provider {provider!r:.80}, want {PROVIDER}")
        level = self._number("privlevel_floor")
        if level > _MOST_LEVEL:
            raise DeviceError("DEVICE_REFUSED", f"{self.name}: got a lowest privilege level {level}, want 0 to 3")
        return level

    def _ask_once(self, report_data: bytes, *, certificates: bool) -> Answer:
        before = self._number("generation")
        self._write("privlevel", b"%d" % self.vmpl)
        self._write("inblob", report_data)
        ours = (before + _OWN_WRITES) % _COUNTER
        self._require_generation(ours)
        report = self._read("outblob", most_bytes=REPORT_BYTES)
        table = self._read("auxblob", most_bytes=MAX_TABLE_BYTES) if certificates else b""
        self._require_generation(ours)
        return Answer(report=report, table=table)

    def _require_generation(self, wanted: int) -> None:
        if (found := self._number("generation")) != wanted:
            raise DeviceError("DEVICE_DISTURBED", f"{self.name}: got generation {found}, want {wanted}")

    def _number(self, name: str) -> int:
        text = self._text(name)
        if not (text.isascii() and text.isdigit() and int(text) < _COUNTER):
            raise DeviceError("DEVICE_ANSWER", f"{self.name}: {name}: got {text!r:.80}, want a number")
        return int(text)

    def _text(self, name: str) -> str:
        return self._read(name, most_bytes=_MOST_TEXT_BYTES).decode("ascii", "replace").removesuffix("\n")

    def _read(self, name: str, *, most_bytes: int) -> bytes:
        what = f"{self.name}: reading {name}"
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._entry)
        except OSError as error:
            if name == "auxblob" and error.errno == errno.ENOENT:
                return b""  # A provider without anything to add need not have the file.
            raise failure(error, what) from error
        try:
            return _all_of(descriptor, most_bytes=most_bytes, what=what)
        except OSError as error:
            raise failure(error, what) from error
        finally:
            os.close(descriptor)

    def _write(self, name: str, value: bytes) -> None:
        what = f"{self.name}: writing {name}"
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._entry)
            try:
                written = os.write(descriptor, value)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise failure(error, what) from error
        if written != len(value):
            raise DeviceError("DEVICE_REFUSED", f"{what}: got {written} bytes taken, want {len(value)}")


def _all_of(descriptor: int, *, most_bytes: int, what: str) -> bytes:
    """Read a file to its end, in as many pieces as it comes.

    Raises:
        DeviceError: DEVICE_ANSWER: it has more than `most_bytes`.
        OSError: As `os.read`.
    """
    read = bytearray()
    while piece := os.read(descriptor, most_bytes + 1 - len(read)):
        read += piece
        if len(read) > most_bytes:
            raise DeviceError("DEVICE_ANSWER", f"{what}: got more than {most_bytes} bytes")
    return bytes(read)


def _remove(name: str, folder: int) -> None:
    # What cannot be removed any more is the kernel's, and costs nobody anything.
    with suppress(OSError):
        os.rmdir(name, dir_fd=folder)
