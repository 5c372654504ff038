"""What is behind both stand-ins for a guest's devices: a simulated chip, its host's certificates, and their bad days.

firmware = Firmware(platform, table=table_of(platform))
firmware.troubles.append(Fail(errno.EIO, firmware=0x16))       # the next request fails, and so the key is gone
firmware.troubles.append(Change(lambda report: report[:-1]))   # the next report is one byte short
"""

from __future__ import annotations

import errno
import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.certtables import GUIDS, table

from twocvm_guest.platforms.simulated import SimulatedPlatform, sign_report
from twocvm_verifier.snp.report import SIGNED_BYTES

INVALID_LENGTH, BUSY = 1, 2
_VMPL = slice(0x30, 0x34)
_REPORT_DATA = slice(0x50, 0x90)


@dataclass(frozen=True, slots=True)
class Fail:
    """A request that fails, with what the kernel says of it.

    Attributes:
        error: The errno.
        firmware: The firmware's error.
        hypervisor: The hypervisor's error.
        keeps_key: Whether the kernel keeps the key, as it does where the firmware was never asked.
    """

    error: int
    firmware: int = 0
    hypervisor: int = 0
    keeps_key: bool = False


def unchanged(report: bytes) -> bytes:
    """Return a report as it is."""
    return report


def one_byte_short(report: bytes) -> bytes:
    """Return a report without its last byte."""
    return report[:-1]


def another_request(report: bytes) -> bytes:
    """Return a report with another REPORT_DATA."""
    return report[: _REPORT_DATA.stop - 1] + bytes([report[_REPORT_DATA.stop - 1] ^ 1]) + report[_REPORT_DATA.stop :]


@dataclass(frozen=True, slots=True)
class Change:
    """A request that is answered with something else.

    Attributes:
        report: What becomes of the report.
        status: What the firmware says; no report comes with another than 0.
        size: How long it says that the report is.
        room: How many bytes it wants for certificates, whatever they have.
    """

    report: Callable[[bytes], bytes] = unchanged
    status: int = 0
    size: int | None = None
    room: int | None = None


@dataclass
class Firmware:
    """A firmware and its host, as the kernel's driver sees them. Used by one thread at a time.

    Attributes:
        platform: Signs.
        table: The host's certificates; empty where it has none.
        troubles: What becomes of the next requests, in their order; None is nothing.
        asked: The REPORT_DATA of every request that got as far as here.
        key_gone: Whether the machine has lost its key.
    """

    platform: SimulatedPlatform
    table: bytes = b""
    troubles: deque[Fail | Change | None] = field(default_factory=deque)
    asked: list[bytes] = field(default_factory=list)
    key_gone: bool = False

    def request(self) -> Change:
        """Begin a request; return what becomes of its answer.

        Raises:
            FirmwareError: It fails.
        """
        if self.key_gone:
            raise FirmwareError(Fail(errno.ENOTTY, firmware=0xFF))
        trouble = self.troubles.popleft() if self.troubles else None
        if isinstance(trouble, Fail):
            self.key_gone = not trouble.keeps_key
            raise FirmwareError(trouble)
        return trouble or Change()

    def report(self, report_data: bytes, vmpl: int) -> bytes:
        """Return a report of that privilege level."""
        self.asked.append(report_data)
        body = bytearray(self.platform.report(report_data)[:SIGNED_BYTES])
        body[_VMPL] = struct.pack("<I", vmpl)
        return sign_report(bytes(body), key=self.platform._chip.certificates.vcek_key)

    def derived_key(self, request: bytes) -> bytes:
        """Return a key that hangs on the request and the chip (32 bytes)."""
        return hashlib.sha256(self.platform._chip.chip_id + request).digest()


class FirmwareError(Exception):
    """A request failed."""

    def __init__(self, fail: Fail) -> None:
        super().__init__(fail)
        self.fail = fail


def table_of(platform: SimulatedPlatform, *, only: Iterable[str] = ("vcek", "intermediate", "ark")) -> bytes:
    """Return the certificate table of a host that has loaded a simulated chip's certificates."""
    ask, ark = x509.load_pem_x509_certificates(platform.chain())
    blobs = {
        "vcek": platform.vek(),
        "intermediate": ask.public_bytes(Encoding.DER),
        "ark": ark.public_bytes(Encoding.DER),
        "crl": platform.crl(),
    }
    return table({GUIDS[name]: blobs[name] for name in only})
