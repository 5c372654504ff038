"""What an SNP guest asks a device of its kernel, and what becomes of a device that does not answer.

The kernel talks to the firmware under a key that it must never use twice with one sequence number. So after any failed
request but one (the host has more certificates than there was room for) it destroys the key, and every later request
gets ENOTTY until the machine is launched again. What passes is waited for and tried again, a bounded number of times;
what does not is said, and where nothing can come any more `fatal` says so, and the guest ends.

Spec: GHCB 56421 r2.03, 4.1.8; Linux, drivers/virt/coco/sev-guest and Documentation/virt/coco/sev-guest.rst.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, TypeVar

from twocvm_verifier.errors import FetchError

REPORT_DATA_BYTES: Final = 64

# Between the tries. The kernel itself waits for a throttled host, up to a minute, before it gives up for good.
PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
_PASSING: Final = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR})
# ENOTTY: the key is gone. A minute of throttling, or an answer that did not decrypt, took it along.
_LOST: Final = frozenset({errno.ENOTTY, errno.ETIMEDOUT, errno.EBADMSG})
_FATAL_CODES: Final = frozenset({"DEVICE_ANSWER", "DEVICE_LOST"})
_PASSING_CODES: Final = frozenset({"DEVICE_BUSY", "DEVICE_DISTURBED"})

T = TypeVar("T")
Pause: TypeAlias = Callable[[float], None]
"""Waits for so many seconds: `time.sleep`."""


class DeviceError(FetchError):
    """A device made no report."""

    @property
    def fatal(self) -> bool:
        """Whether it never will again, in this launch."""
        return self.code in _FATAL_CODES

    @property
    def passing(self) -> bool:
        """Whether it may in a moment."""
        return self.code in _PASSING_CODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device gave; nobody has looked at it yet.

    Attributes:
        report: The bytes of the report.
        table: The host's certificate table, with whatever padding it has; empty where there is none, or none was
            asked for.
    """

    report: bytes
    table: bytes = field(repr=False)


class SnpDevice(Protocol):
    """A way to the firmware. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """Of the way, for people."""
        ...

    @property
    def vmpl(self) -> int:
        """The privilege level (0 to 3) that its reports are asked for."""
        ...

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Return a report over `report_data` (64 bytes), and the host's certificates where they are wanted.

        Raises:
            DeviceError: There is none; the code says why.
        """
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


def persistently(ask: Callable[[], T], *, pause: Pause) -> T:
    """Return what `ask` returns, after as many tries as there are `PAUSES_SECONDS` and one.

    Raises:
        DeviceError: What does not pass, at once; else that of the last try.
    """
    for seconds in PAUSES_SECONDS:
        try:
            return ask()
        except DeviceError as error:
            if not error.passing:
                raise
            pause(seconds)
    return ask()


def failure(error: OSError, what: str) -> DeviceError:
    """Return what an error of the kernel means, for devices that say nothing further.

    Args:
        error: As it came.
        what: The device, and what was asked of it.
    """
    if error.errno in _LOST:
        code = "DEVICE_LOST"
    elif error.errno in _PASSING:
        code = "DEVICE_BUSY"
    else:
        code = "DEVICE_REFUSED"
    return DeviceError(code, f"{what}: got {errno_name(error)}")


def unopened(error: OSError, what: str) -> DeviceError:
    """Return what it means that a device could not be opened.

    Args:
        error: As it came.
        what: The device.
    """
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return DeviceError("DEVICE_DENIED" if denied else "NO_PLATFORM", f"{what}: got {errno_name(error)}")


def errno_name(error: OSError) -> str:
    """Return the kernel's name of an error, such as `EBUSY`."""
    return errno.errorcode.get(error.errno or 0, f"error {error.errno}")
