"""What the ioctls of `/dev/sev-guest` do, whoever hands them over: the driver's structures before a `Firmware`.

Whose memory it is, and how it is reached, is a `Memory`'s affair. All of a request is read before the firmware is
asked, and written to after that alone: who has to fetch what is read may begin anew.

Spec: Linux, include/uapi/linux/sev-guest.h and drivers/virt/coco/sev-guest/sev-guest.c.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from tests.support.cuse import Memory
from tests.support.snp_firmware import INVALID_LENGTH, Change, Fail, Firmware, FirmwareError

GET_REPORT, GET_DERIVED_KEY, GET_EXT_REPORT = 0xC0205300, 0xC0205301, 0xC0205302
COMMANDS: Final = frozenset({GET_REPORT, GET_DERIVED_KEY, GET_EXT_REPORT})
PAGE_BYTES: Final = 4096
MOST_CERTIFICATE_BYTES: Final = 0x4000
_CALL = struct.Struct("<B7xQQII")
_REPORT = struct.Struct("<64sI28x")
_CERTIFICATES = struct.Struct("<QI4x")
_KEY_REQUEST_BYTES: Final = 32
_ERRORS_AT: Final = 24
_ROOM_AT: Final = 104


def answer(firmware: Firmware, command: int, address: int, memory: Memory) -> int:
    """Answer a request, and return the errno that it ends with; 0 where it is done.

    Args:
        firmware: Asked once.
        command: Its number; others than `COMMANDS` are none of the device's.
        address: Of the request.
        memory: Where that is.
    """
    if command not in COMMANDS:
        return errno.ENOTTY
    version, request, response, _, _ = _CALL.unpack(memory.read(address, _CALL.size))
    if not version:
        return errno.EINVAL
    try:
        if command == GET_DERIVED_KEY:
            _derive(firmware, request, response, memory)
        else:
            _report(firmware, request, response, memory, extended=command == GET_EXT_REPORT)
    except FirmwareError as error:
        memory.write(address + _ERRORS_AT, struct.pack("<II", error.fail.firmware, error.fail.hypervisor))
        return error.fail.error
    memory.write(address + _ERRORS_AT, bytes(8))
    return 0


def _derive(firmware: Firmware, request: int, response: int, memory: Memory) -> None:
    wanted = memory.read(request, _KEY_REQUEST_BYTES)
    change = firmware.request()
    memory.write(response, struct.pack("<I28x32s", change.status, change.report(firmware.derived_key(wanted))))


def _report(firmware: Firmware, request: int, response: int, memory: Memory, *, extended: bool) -> None:
    report_data, vmpl = _REPORT.unpack(memory.read(request, _REPORT.size))
    place, room = _CERTIFICATES.unpack(memory.read(request + _REPORT.size, _CERTIFICATES.size)) if extended else (0, 0)
    change = firmware.request()
    if extended:
        table = _table(firmware, request, room, change, memory)
        if room:
            memory.write(place, table)
    report = b"" if change.status else change.report(firmware.report(report_data, vmpl))
    size = len(report) if change.size is None else change.size
    memory.write(response, struct.pack("<II24x", change.status, size) + report)


def _table(firmware: Firmware, request: int, room: int, change: Change, memory: Memory) -> bytes:
    if room > MOST_CERTIFICATE_BYTES or room % PAGE_BYTES:
        raise FirmwareError(Fail(errno.EINVAL, firmware=0xFF, keeps_key=True))
    wanted = -(-len(firmware.table) // PAGE_BYTES) * PAGE_BYTES if change.room is None else change.room
    if room < wanted or change.room is not None:
        memory.write(request + _ROOM_AT, struct.pack("<I", wanted))
        raise FirmwareError(Fail(errno.EIO, hypervisor=INVALID_LENGTH, keeps_key=True))
    return firmware.table.ljust(room, b"\0")
