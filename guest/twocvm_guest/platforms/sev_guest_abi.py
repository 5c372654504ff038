"""The bytes that `/dev/sev-guest` takes and gives, and the names of what may go wrong.

Spec: Linux, include/uapi/linux/sev-guest.h and psp-sev.h; SNP ABI 56860 r1.58, 7.2 (keys) and 7.3 (reports).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# _IOWR('S', n, struct snp_guest_request_ioctl), whose size is 32.
GET_REPORT: Final = 0xC020_5300
GET_DERIVED_KEY: Final = 0xC020_5301
GET_EXT_REPORT: Final = 0xC020_5302

# struct snp_guest_request_ioctl: msg_version, req_data, resp_data, exitinfo2 (firmware's error, then the hypervisor's).
CALL: Final = struct.Struct("=B7xQQII")
MESSAGE_VERSION: Final = 1

# struct snp_report_req: user_data, vmpl, 28 reserved. struct snp_ext_report_req: certs_address and certs_len behind it.
REPORT_REQUEST: Final = struct.Struct("=64sI28x")
EXT_REPORT_REQUEST: Final = struct.Struct("=64sI28xQI4x")
# struct snp_derived_key_req: root_key_select, reserved, guest_field_select, vmpl, guest_svn, tcb_version.
KEY_REQUEST: Final = struct.Struct("=IIQIIQ")

# struct snp_report_resp, of which MSG_REPORT_RSP is status, size of the report, 24 reserved, the report.
REPORT_RESPONSE_BYTES: Final = 4000
REPORT_RESPONSE: Final = struct.Struct("=II24x")
# struct snp_derived_key_resp: MSG_KEY_RSP is status, 28 reserved, the key.
KEY_RESPONSE: Final = struct.Struct("=I28x32s")

# The certificates' room is whole pages.
PAGE_BYTES: Final = 4096

VMM_INVALID_LENGTH: Final = 1
VMM_BUSY: Final = 2
_VMM_ERRORS: Final[Mapping[int, str]] = MappingProxyType(
    {0: "no error", VMM_INVALID_LENGTH: "certificates need more room", VMM_BUSY: "busy", 0xFFFF_FFFF: "failed"}
)

_FIRMWARE_NAMES: Final = """
    SUCCESS, INVALID_PLATFORM_STATE, INVALID_GUEST_STATE, INVALID_CONFIG, INVALID_LEN, ALREADY_OWNED,
    INVALID_CERTIFICATE, POLICY_FAILURE, INACTIVE, INVALID_ADDRESS, BAD_SIGNATURE, BAD_MEASUREMENT, ASID_OWNED,
    INVALID_ASID, WBINVD_REQUIRED, DFFLUSH_REQUIRED, INVALID_GUEST, INVALID_COMMAND, ACTIVE, HWSEV_RET_PLATFORM,
    HWSEV_RET_UNSAFE, UNSUPPORTED, INVALID_PARAM, RESOURCE_LIMIT, SECURE_DATA_INVALID, INVALID_PAGE_SIZE,
    INVALID_PAGE_STATE, INVALID_MDATA_ENTRY, INVALID_PAGE_OWNER, AEAD_OFLOW
"""
# SNP ABI 56860 r1.58, table 5. 0x1E is none.
_FIRMWARE_ERRORS: Final[Mapping[int, str]] = MappingProxyType(
    {
        **dict(enumerate(name.strip() for name in _FIRMWARE_NAMES.split(","))),
        0x1F: "EXIT_RING_BUFFER",
        0x20: "RMP_INIT_REQUIRED",
        0x21: "BAD_SVN",
        0x22: "BAD_VERSION",
        0x23: "SHUTDOWN_REQUIRED",
        0x24: "UPDATE_FAILED",
        0x25: "RESTORE_REQUIRED",
        0x26: "RMP_INITIALIZATION_FAILED",
        0x27: "INVALID_KEY",
        # What the driver writes before it asks.
        0xFF: "not asked",
        0xFFFF_FFFF: "not asked",
    }
)


def firmware_error(number: int) -> str:
    """Return AMD's name of a firmware's error, and its number."""
    return f"firmware {_FIRMWARE_ERRORS.get(number, 'unknown error')} ({number:#x})"


def hypervisor_error(number: int) -> str:
    """Return what a hypervisor's error means, and its number."""
    return f"hypervisor {_VMM_ERRORS.get(number, 'unknown error')} ({number:#x})"
