"""`/dev/sev-guest` for a thread or a process that has no such device: its system calls are answered here.

Nothing in the client is changed or replaced. A seccomp filter hands every `openat` and `ioctl` of it to a listener. An
open of the device becomes a descriptor of an empty memory file, the device's requests are answered in the client's own
memory from a `Firmware`, and every other call goes on as if nothing were there. No privilege is needed, but for a
client whose memory its kernel keeps to itself.

    with device_for_thread(firmware) as run:
        run(lambda: SevGuest.open(vmpl=0, pause=time.sleep).ask(bytes(64), certificates=True))

Spec: seccomp_unotify(2); Linux, include/uapi/linux/sev-guest.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import pytest
from tests.support.snp_firmware import INVALID_LENGTH, Change, Fail, Firmware, FirmwareError

from twocvm_guest.runtime import seccomp, syscalls

DEVICE: Final = b"/dev/sev-guest\0"
MEMORY_FILE: Final = "sev-guest"
GET_REPORT, GET_DERIVED_KEY, GET_EXT_REPORT = 0xC0205300, 0xC0205301, 0xC0205302
PAGE_BYTES: Final = 4096
MOST_CERTIFICATE_BYTES: Final = 0x4000
_CALL = struct.Struct("<B7xQQII")
_REPORT = struct.Struct("<64sI28x")
_CERTIFICATES = struct.Struct("<QI4x")
_ERRORS_AT: Final = 24
_ROOM_AT: Final = 104

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ADD_DESCRIPTOR: Final = 0x4018_2103  # _IOW('!', 3, struct seccomp_notif_addfd)
_DESCRIPTOR = struct.Struct("=QIIII")
_ANSWER_WITH_IT, _CONTINUE = 1 << 1, 1
_OPENAT, _IOCTL = seccomp.NUMBERS["openat"], seccomp.NUMBERS["ioctl"]
WATCHED: Final = ("openat", "ioctl")

T = TypeVar("T")


class _Call(NamedTuple):
    id: int
    client: int
    number: int
    arguments: tuple[int, ...]


@dataclass
class StandIn:
    """The device, for everybody under a filter's listener.

    Attributes:
        listener: Descriptor of the listener.
        firmware: What answers.
        opening: The errno that an open of the device ends with; 0 where it is there.
        opened_by: Thread or process of each open that got a descriptor.
        only: The one process that the device is there for; 0 for all.
    """

    listener: int
    firmware: Firmware
    opening: int = 0
    opened_by: list[int] = field(default_factory=list)
    only: int = 0

    def serve(self, stopped: threading.Event) -> None:
        """Answer until told to stop."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while not stopped.is_set():
            for _, event in poll.poll(20):
                if event & select.POLLHUP:
                    return
                self._serve_one()

    def _serve_one(self) -> None:
        raw = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.listener, seccomp.NOTIFY_RECEIVE, raw)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # The client was interrupted.
            raise
        identity, client, _, number, _, _, *arguments = _NOTIFICATION.unpack(raw)
        call = _Call(identity, client, number, tuple(arguments))
        if number == _OPENAT and self._read(call, arguments[1], len(DEVICE), short_ok=True) == DEVICE:
            self._open(call)
        elif number == _IOCTL and arguments[1] & 0xFFFF_FFFF in (GET_REPORT, GET_DERIVED_KEY, GET_EXT_REPORT):
            self._answer(call, error=self._request(call))
        else:
            self._answer(call, flags=_CONTINUE)

    def _open(self, call: _Call) -> None:
        if self.only and call.client != self.only:
            self._answer(call, flags=_CONTINUE)
        elif self.opening:
            self._answer(call, error=self.opening)
        else:
            self.opened_by.append(call.client)
            memory = os.memfd_create(MEMORY_FILE)
            request = _DESCRIPTOR.pack(call.id, _ANSWER_WITH_IT, memory, 0, os.O_CLOEXEC)
            fcntl.ioctl(self.listener, _ADD_DESCRIPTOR, request)
            os.close(memory)

    def _request(self, call: _Call) -> int:
        command, address = call.arguments[1] & 0xFFFF_FFFF, call.arguments[2]
        version, request, response, _, _ = _CALL.unpack(self._read(call, address, _CALL.size))
        if not version:
            return errno.EINVAL
        try:
            if command == GET_DERIVED_KEY:
                change = self.firmware.request()
                key = self.firmware.derived_key(self._read(call, request, 32))
                self._write(call, response, struct.pack("<I28x32s", change.status, change.report(key)))
            else:
                self._report(call, request, response, extended=command == GET_EXT_REPORT)
        except FirmwareError as error:
            self._write(call, address + _ERRORS_AT, struct.pack("<II", error.fail.firmware, error.fail.hypervisor))
            return error.fail.error
        self._write(call, address + _ERRORS_AT, bytes(8))
        return 0

    def _report(self, call: _Call, request: int, response: int, *, extended: bool) -> None:
        report_data, vmpl = _REPORT.unpack(self._read(call, request, _REPORT.size))
        change = self.firmware.request()
        if extended:
            self._certificates(call, request, change)
        report = b"" if change.status else change.report(self.firmware.report(report_data, vmpl))
        size = len(report) if change.size is None else change.size
        self._write(call, response, struct.pack("<II24x", change.status, size) + report)

    def _certificates(self, call: _Call, request: int, change: Change) -> None:
        address, room = _CERTIFICATES.unpack(self._read(call, request + _REPORT.size, _CERTIFICATES.size))
        if room > MOST_CERTIFICATE_BYTES or room % PAGE_BYTES:
            raise FirmwareError(Fail(errno.EINVAL, firmware=0xFF, keeps_key=True))
        wanted = -(-len(self.firmware.table) // PAGE_BYTES) * PAGE_BYTES if change.room is None else change.room
        if room < wanted or change.room is not None:
            self._write(call, request + _ROOM_AT, struct.pack("<I", wanted))
            raise FirmwareError(Fail(errno.EIO, hypervisor=INVALID_LENGTH, keeps_key=True))
        if room:
            self._write(call, address, self.firmware.table.ljust(room, b"\0"))

    def _read(self, call: _Call, address: int, size: int, *, short_ok: bool = False) -> bytes:
        # Unbuffered, so that nothing beyond what is asked for is touched.
        with Path(f"/proc/{call.client}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            try:
                return memory.read(size)
            except OSError:
                if short_ok:
                    return b""
                raise

    def _write(self, call: _Call, address: int, value: bytes) -> None:
        with Path(f"/proc/{call.client}/mem").open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(value)

    def _answer(self, call: _Call, *, error: int = 0, flags: int = 0) -> None:
        try:
            fcntl.ioctl(self.listener, seccomp.NOTIFY_ANSWER, _ANSWER.pack(call.id, 0, -error, flags))
        except OSError as gone:
            if gone.errno != errno.ENOENT:
                raise


@contextmanager
def device_for_thread(firmware: Firmware) -> Iterator[Callable[[Callable[[], T]], T]]:
    """Run what is given on a thread for which the device is there, for the length of a `with`.

    The stand-in itself is the attribute `stand_in` of what the `with` gives.
    """
    tasks: list[tuple[Callable[[], T], Future[T]] | None] = []
    called, filtered, stopped = threading.Semaphore(0), Future[int](), threading.Event()

    def client() -> None:
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            filtered.set_result(seccomp.load(seccomp.notify(WATCHED), seccomp.FLAG_NEW_LISTENER))
        except OSError as error:
            filtered.set_exception(error)
            return
        while called.acquire() and (task := tasks.pop(0)) is not None:
            work, done = task
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again by `run`
                done.set_exception(error)

    under_filter = threading.Thread(target=client, daemon=True)
    # Started before the filter is set, so it is not under it.
    ready = threading.Event()
    stand_in = StandIn(listener=-1, firmware=firmware)
    server = threading.Thread(target=lambda: (ready.wait(), stand_in.serve(stopped)), daemon=True)
    server.start()
    under_filter.start()
    try:
        stand_in.listener = filtered.result(10)
    except OSError as error:
        pytest.skip(f"no seccomp listener here: {error}")
    ready.set()

    def run(work: Callable[[], T]) -> T:
        done: Future[T] = Future()
        tasks.append((work, done))
        called.release()
        return done.result(30)

    run.stand_in = stand_in  # type: ignore[attr-defined]
    try:
        yield run
    finally:
        tasks.append(None)
        called.release()
        under_filter.join(10)
        stopped.set()
        server.join(10)
        os.close(stand_in.listener)
