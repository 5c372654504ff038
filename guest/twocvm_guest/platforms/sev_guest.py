"""`/dev/sev-guest`: reports, the host's certificates and derived keys by ioctl.

Rules, in order:
1. The device is opened once, and its descriptor is handed to nobody.
2. Room for the certificates is asked for first, because a request with too little room is the only failed one that
   leaves the machine its key; they are then asked for with exactly that room.
3. A busy hypervisor is waited for. Any other input or output error means that the key is gone (`device`).
4. An answer is what the firmware says it is: status 0, and as many bytes of report as reports have.

Spec: docs/platforms.md; Linux, include/uapi/linux/sev-guest.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from twocvm_verifier.snp.certtable import MAX_TABLE_BYTES
from twocvm_verifier.snp.report import REPORT_BYTES

from . import sev_guest_abi as abi
from .derived import KeyRequest
from .device import REPORT_DATA_BYTES, Answer, DeviceError, Pause, errno_name, failure, persistently, unopened

DEVICE: Final = Path("/dev/sev-guest")
# Once for the length, once for the certificates, and once more where the host has got others in between.
_MOST_LENGTHS: Final = 3


class SevGuest:
    """The device, opened. Used by one thread at a time; an `SnpDevice`.

    Args:
        descriptor: Of the device; closed by `close`.
        vmpl: The privilege level that reports and keys are asked for.
        pause: Waits between tries.
    """

    name = "/dev/sev-guest"

    def __init__(self, descriptor: int, *, vmpl: int, pause: Pause) -> None:
        self.vmpl: Final = vmpl
        self._descriptor: Final = descriptor
        self._pause: Final = pause

    @classmethod
    def open(cls, path: Path = DEVICE, *, vmpl: int, pause: Pause) -> Self:
        """Open the device.

        Raises:
            DeviceError: NO_PLATFORM or DEVICE_DENIED.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise unopened(error, str(path)) from error
        return cls(descriptor, vmpl=vmpl, pause=pause)

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)

    def ask(self, report_data: bytes, *, certificates: bool) -> Answer:
        """Return a report, and the host's certificates where they are wanted; as `SnpDevice.ask`.

        Raises:
            DeviceError: DEVICE_BUSY, DEVICE_REFUSED, DEVICE_LOST or DEVICE_ANSWER.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report_data: got {len(report_data)} bytes, want {REPORT_DATA_BYTES}")
        if certificates:
            return self._extended(report_data)
        request = abi.REPORT_REQUEST.pack(report_data, self.vmpl)
        reply = self._call(abi.GET_REPORT, request, abi.REPORT_RESPONSE_BYTES)
        return Answer(report=_report(reply.response), table=b"")

    def derived_key(self, wanted: KeyRequest, /) -> bytes:
        """Return a key that this guest alone gets, on this chip alone (32 bytes); as `DerivesKeys.derived_key`.

        Raises:
            DeviceError: As `ask`.
        """
        tcb_version = int.from_bytes(wanted.tcb_version, "little")
        request = abi.KEY_REQUEST.pack(wanted.root, 0, wanted.fields, self.vmpl, wanted.guest_svn, tcb_version)
        reply = self._call(abi.GET_DERIVED_KEY, request, abi.KEY_RESPONSE.size)
        status, key = abi.KEY_RESPONSE.unpack(reply.response)
        _require_done(status)
        if not any(key):
            raise DeviceError("DEVICE_ANSWER", f"{self.name}: got a derived key of zeros")
        return bytes(key)

    def _extended(self, report_data: bytes) -> Answer:
        room = 0
        for _ in range(_MOST_LENGTHS):
            table = ctypes.create_string_buffer(room) if room else None
            address = ctypes.addressof(table) if table is not None else 0
            request = abi.EXT_REPORT_REQUEST.pack(report_data, self.vmpl, address, room)
            reply = self._call(abi.GET_EXT_REPORT, request, abi.REPORT_RESPONSE_BYTES)
            if not reply.short:
                return Answer(report=_report(reply.response), table=b"" if table is None else table.raw)
            room = _room(reply.request)
        raise DeviceError("DEVICE_BUSY", f"{self.name}: the host's certificates change from one request to the next")

    def _call(self, command: int, request: bytes, response_bytes: int) -> _Reply:
        return persistently(lambda: self._call_once(command, request, response_bytes), pause=self._pause)

    def _call_once(self, command: int, request: bytes, response_bytes: int) -> _Reply:
        asked = ctypes.create_string_buffer(request, len(request))
        answered = ctypes.create_string_buffer(response_bytes)
        call = bytearray(abi.CALL.pack(abi.MESSAGE_VERSION, ctypes.addressof(asked), ctypes.addressof(answered), 0, 0))
        try:
            fcntl.ioctl(self._descriptor, command, call)
        except OSError as error:
            _, _, _, firmware, hypervisor = abi.CALL.unpack(call)
            if error.errno == errno.EIO and hypervisor == abi.VMM_INVALID_LENGTH and command == abi.GET_EXT_REPORT:
                return _Reply(request=asked.raw, response=b"", short=True)
            raise _failure(error, self.name, firmware=firmware, hypervisor=hypervisor) from error
        return _Reply(request=asked.raw, response=answered.raw, short=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What a call left: both structures, and whether the room for the certificates was short."""

    request: bytes
    response: bytes
    short: bool


def _failure(error: OSError, name: str, *, firmware: int, hypervisor: int) -> DeviceError:
    if error.errno not in (errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY):
        # Whatever else there is comes before the firmware is asked, or after it has answered.
        return failure(error, name)
    told = f"{errno_name(error)}, {abi.firmware_error(firmware)}, {abi.hypervisor_error(hypervisor)}"
    if error.errno != errno.ETIMEDOUT and (error.errno != errno.EIO or hypervisor == abi.VMM_BUSY):
        return DeviceError("DEVICE_BUSY", f"{name}: got {told}")
    return DeviceError("DEVICE_LOST", f"{name}: got {told}")


def _room(request: bytes) -> int:
    *_, room = abi.EXT_REPORT_REQUEST.unpack(request)
    if not 0 < room <= MAX_TABLE_BYTES or room % abi.PAGE_BYTES:
        detail = f"the host wants {room} bytes for certificates, not whole pages up to {MAX_TABLE_BYTES}"
        raise DeviceError("DEVICE_REFUSED", f"{SevGuest.name}: {detail}")
    return int(room)


def _report(response: bytes) -> bytes:
    status, size_bytes = abi.REPORT_RESPONSE.unpack_from(response)
    _require_done(status)
    if size_bytes != REPORT_BYTES:
        raise DeviceError("DEVICE_ANSWER", f"{SevGuest.name}: got a report of {size_bytes} bytes, want {REPORT_BYTES}")
    return response[abi.REPORT_RESPONSE.size : abi.REPORT_RESPONSE.size + REPORT_BYTES]


def _require_done(status: int) -> None:
    # The message came back well, so the machine keeps its key: the firmware only says no.
    if status:
        raise DeviceError("DEVICE_REFUSED", f"{SevGuest.name}: got {abi.firmware_error(status)}")
