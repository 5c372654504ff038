"""A character device of the kernel's for which a process answers (CUSE): `/dev/NAME`, with ioctls of any form.

The kernel knows nothing of what an ioctl points to. So it hands one over again and again: each time it is told of a
further piece of the caller's memory that is needed, and at last of those that are written to. What answers sees none of
this. It is begun anew until all that it reads is there, and so it reads before it does anything else.

    device = Device("sev-guest")                          # `/dev/sev-guest` is there, and requests wait
    device.serve(lambda command, address, memory: answer(firmware, command, address, memory))

Spec: Linux, fs/fuse/cuse.c, fs/fuse/ioctl.c and include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeAlias

CHANNEL: Final = Path("/dev/cuse")
_BUFFER_BYTES: Final = 1 << 18
_MOST_BYTES: Final = 1 << 17
_HEADER = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_VERSION: Final = (7, 31)
_UNRESTRICTED: Final = 1
_INIT_ANSWER = struct.Struct("<8I40x")
_OPEN_ANSWER = struct.Struct("<QII")
_IOCTL = struct.Struct("<QIIQII")
_IOCTL_ANSWER = struct.Struct("<iIII")
_RETRY: Final = 1 << 2
_REGION = struct.Struct("<QQ")
# linux/fuse.h, enum fuse_opcode.
_OPEN, _RELEASE, _INTERRUPT, _IOCTL_CODE = 14, 18, 36, 39

Region: TypeAlias = tuple[int, int]
"""An address and a size."""


class Memory(Protocol):
    """The memory of whoever makes a request."""

    def read(self, address: int, size: int) -> bytes:
        """Return what is there."""
        ...

    def write(self, address: int, value: bytes) -> None:
        """Put something there."""
        ...


Answer: TypeAlias = Callable[[int, int, Memory], int]
"""Takes an ioctl's number, its argument and the caller's memory; returns an errno, or 0."""


class _MissingError(Exception):
    """A piece of the caller's memory is needed that is not at hand yet."""


@dataclass
class _Call:
    """One ioctl, and so the `Memory` of its caller.

    Attributes:
        reads: What was asked for so far.
        content: What of it is at hand.
        writes: What goes to the caller.
        error: The errno that it ends with, once that is known.
    """

    reads: list[Region] = field(default_factory=list)
    content: dict[Region, bytes] = field(default_factory=dict)
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    error: int | None = None

    def take(self, content: bytes) -> None:
        """Take all that was asked for, which comes as one."""
        for address, size in self.reads:
            self.content[address, size], content = content[:size], content[size:]

    def read(self, address: int, size: int) -> bytes:
        """Return what is there, or break off what answers until it is at hand."""
        if (address, size) not in self.content:
            self.reads.append((address, size))
            raise _MissingError
        return self.content[address, size]

    def write(self, address: int, value: bytes) -> None:
        """Have something put there."""
        self.writes.append((address, value))


class Device:
    """A device, until all processes that have it end. It is opened once: whoever comes later gets EBUSY.

    One caller at a time makes requests of it.

    Args:
        name: Below `/dev`.

    Raises:
        OSError: This kernel has no such devices, or makes none of that name.
    """

    def __init__(self, name: str) -> None:
        self._call = _Call()
        self._opened = 0  # What another one is told.
        self._channel: Final = os.open(CHANNEL, os.O_RDWR | os.O_CLOEXEC)
        _, unique, _ = self._next()
        limits = _INIT_ANSWER.pack(*_VERSION, 0, _UNRESTRICTED, _MOST_BYTES, _MOST_BYTES, 0, 0)
        # The device is made before this returns.
        self._reply(unique, limits + f"DEVNAME={name}\0".encode())

    def serve(self, answer: Answer) -> NoReturn:
        """Answer for as long as this process is there.

        Args:
            answer: Answers an ioctl.
        """
        while True:
            code, unique, body = self._next()
            if code == _IOCTL_CODE:
                self._reply(unique, self._ioctl(answer, body))
            elif code == _OPEN:
                self._reply(unique, b"" if self._opened else _OPEN_ANSWER.pack(1, 0, 0), error=self._opened)
                self._opened = errno.EBUSY
            elif code == _RELEASE:
                self._reply(unique, b"")
            elif code != _INTERRUPT:
                self._reply(unique, b"", error=errno.ENOSYS)

    def _ioctl(self, answer: Answer, body: bytes) -> bytes:
        _, _, command, address, in_bytes, _ = _IOCTL.unpack_from(body)
        if not in_bytes:
            self._call = _Call()
        call = self._call
        if call.error is None:
            call.take(body[_IOCTL.size :])
            try:
                call.error = answer(command, address, call)
            except _MissingError:
                return _again(call.reads, ())
            if call.writes:
                # With what was read, once more: where a round brings nothing of the caller's after one that did, the
                # kernel sends that in place of the description of the call (`in_pages` stays set).
                return _again(call.reads, ((place, len(value)) for place, value in call.writes))
        return _IOCTL_ANSWER.pack(-call.error, 0, 0, 0) + b"".join(value for _, value in call.writes)

    def _next(self) -> tuple[int, int, bytes]:
        message = os.read(self._channel, _BUFFER_BYTES)
        length, code, unique, *_ = _HEADER.unpack_from(message)
        return code, unique, message[_HEADER.size : length]

    def _reply(self, unique: int, body: bytes, *, error: int = 0) -> None:
        os.write(self._channel, _ANSWER.pack(_ANSWER.size + len(body), -error, unique) + body)


def _again(reads: Iterable[Region], writes: Iterable[Region]) -> bytes:
    """Return what has the kernel hand an ioctl over again, with what is read, or with room for what is written."""
    ins, outs = tuple(reads), tuple(writes)
    regions = b"".join(_REGION.pack(*region) for region in (*ins, *outs))
    return _IOCTL_ANSWER.pack(0, _RETRY, len(ins), len(outs)) + regions
