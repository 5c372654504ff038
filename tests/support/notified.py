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
from tests.support.snp_firmware import Firmware
from tests.support.snp_ioctl import COMMANDS, answer

from twocvm_guest.runtime import seccomp, syscalls

DEVICE: Final = b"/dev/sev-guest\0"
MEMORY_FILE: Final = "sev-guest"
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

    def read(self, address: int, size: int) -> bytes:
        # Unbuffered, so that nothing beyond what is asked for is touched.
        with Path(f"/proc/{self.client}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)

    def write(self, address: int, value: bytes) -> None:
        with Path(f"/proc/{self.client}/mem").open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(value)


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
        command = arguments[1] & 0xFFFF_FFFF
        if number == _OPENAT and _opens_device(call):
            self._open(call)
        elif number == _IOCTL and command in COMMANDS:
            self._answer(call, error=answer(self.firmware, command, arguments[2], call))
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

    def _answer(self, call: _Call, *, error: int = 0, flags: int = 0) -> None:
        try:
            fcntl.ioctl(self.listener, seccomp.NOTIFY_ANSWER, _ANSWER.pack(call.id, 0, -error, flags))
        except OSError as gone:
            if gone.errno != errno.ENOENT:
                raise


def _opens_device(call: _Call) -> bool:
    try:
        return call.read(call.arguments[1], len(DEVICE)) == DEVICE
    except OSError:
        return False  # So little is there that it is another path.


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
