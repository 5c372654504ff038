"""An SNP guest's platform, whatever device of its kernel it goes through; an `Attester`.

What a device gives came through the host's hands, so it is compared with what was asked before anything is built on it:
length, version and form (`parse_report`), REPORT_DATA, and VMPL. Anything else ends the guest: the kernel decrypts what
the firmware made under a key that the host has not got, so a mismatch means that something below is not what it seems.

The host's certificates are asked for with the first report, and again when the key that signs has changed: firmware can
be updated under a running guest. A host that has none leaves evidence without a VEK, and whoever verifies finds it at
AMD. Nothing in a table is trusted here, and the root in it by nobody.

Spec: docs/platforms.md; docs/spec/evidence.md, 1.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier.errors import MalformedError, NotFoundError
from twocvm_verifier.snp.certtable import parse_cert_table
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.report import SIGNED_BY_VCEK, Report, parse_report
from twocvm_verifier.snp.vek import Vek, parse_vek

from .derived import KeyRequest, key_from
from .device import REPORT_DATA_BYTES, DeviceError, SnpDevice

# Evidence in a TLS certificate has 16 KiB. AMD's own are shorter than these, and a verifier has them anyhow.
_MOST_CHAIN_BYTES: Final = 6144
_MOST_CRL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What evidence carries beside the report, for one key of a platform.

    Attributes:
        key: What the key depends on: its kind, the chip, the TCB.
        vek: DER of its certificate, or None where the host has none.
        chain: PEM of ASK or ASVK, then ARK; None where the host has not both.
        crl: DER of a revocation list, or None.
    """

    key: tuple[int, bytes, bytes]
    vek: bytes | None = field(repr=False)
    chain: bytes | None = field(repr=False)
    crl: bytes | None = field(repr=False)


class SnpPlatform:
    """A guest on an SNP machine. From any thread.

    Args:
        device: Already opened; nobody else may use it.

    Raises:
        DeviceError: It makes no report, or the host's certificates are none.
    """

    name = "snp"

    def __init__(self, device: SnpDevice) -> None:
        self._device: Final = device
        self._one_at_a_time: Final = threading.Lock()
        _, self._certificates = self._ask_for_all(bytes(REPORT_DATA_BYTES))

    @property
    def way(self) -> str:
        """Which device of the kernel it goes through, for people."""
        return self._device.name

    def report(self, report_data: bytes) -> bytes:
        """Return a report with `report_data`; as `Attester.report`.

        Raises:
            ValueError: `report_data` is not 64 bytes.
            DeviceError: There is none; where it is `fatal` there never will be.
        """
        with self._one_at_a_time:
            report = self._checked(self._device.ask(report_data, certificates=False).report, report_data)
            if _key_of(report) != self._certificates.key:
                report, self._certificates = self._ask_for_all(report_data)
            return report.raw

    def quote(self, report_data: bytes) -> None:
        """Return nothing, for the report itself holds `report_data`; as `Attester.quote`."""

    def derived_key(self, wanted: KeyRequest, /) -> bytes:
        """Return a key that the chip derives for this guest (32 bytes); as `DerivesKeys.derived_key`.

        Raises:
            UnsupportedError: DERIVED_KEY_UNSUPPORTED: the device is one that derives none, such as configfs-tsm.
            DeviceError: As `report`.
        """
        with self._one_at_a_time:
            return key_from(self._device, wanted, name=self.way)

    def vek(self) -> bytes | None:
        """Return the certificate of the key that signs, where the host has it; as `Attester.vek`."""
        return self._certificates.vek

    def chain(self) -> bytes | None:
        """Return ASK or ASVK, then ARK, where the host has them; as `Attester.chain`."""
        return self._certificates.chain

    def crl(self) -> bytes | None:
        """Return a revocation list, where the host has one; as `Attester.crl`."""
        return self._certificates.crl

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()

    def _ask_for_all(self, report_data: bytes) -> tuple[Report, Certificates]:
        answer = self._device.ask(report_data, certificates=True)
        report = self._checked(answer.report, report_data)
        try:
            return report, certificates_of(report, answer.table)
        except MalformedError as error:
            raise DeviceError("DEVICE_CERTIFICATES", f"{self._device.name}: {error.detail}") from error

    def _checked(self, raw: bytes, report_data: bytes) -> Report:
        try:
            report = parse_report(raw)
        except MalformedError as error:
            raise DeviceError("DEVICE_ANSWER", f"{self._device.name}: {error.detail}") from error
        if report.report_data != report_data:
            raise DeviceError("DEVICE_ANSWER", f"{self._device.name}: got another REPORT_DATA than was asked for")
        if report.vmpl != self._device.vmpl:
            detail = f"got a report of VMPL {report.vmpl:#x}, want {self._device.vmpl}"
            raise DeviceError("DEVICE_ANSWER", f"{self._device.name}: {detail}")
        return report


def certificates_of(report: Report, table: bytes) -> Certificates:
    """Return what a host's table has for the key that signed a report.

    Args:
        report: Compared with its request.
        table: As it came; empty where there is none.

    Raises:
        MalformedError: The table, or the VEK in it.
    """
    if not table:
        return Certificates(key=_key_of(report), vek=None, chain=None, crl=None)
    parsed, vek = parse_cert_table(table), None
    with suppress(NotFoundError):
        found = parsed.vek_of(report)
        vek = found if _fits(parse_vek(found).vek, report) else None
    return Certificates(
        key=_key_of(report),
        vek=vek,
        chain=_short(parsed.chain, most_bytes=_MOST_CHAIN_BYTES),
        crl=_short(parsed.blobs.get("crl"), most_bytes=_MOST_CRL_BYTES),
    )


def _key_of(report: Report) -> tuple[int, bytes, bytes]:
    return report.signing_key, report.chip_id, report.reported_tcb


def _fits(vek: Vek, report: Report) -> bool:
    # Hosts load tables by hand: after an update of firmware they are of the key before. No certificate is better then.
    of_chip = vek.hwid == report.chip_id if report.signing_key == SIGNED_BY_VCEK else vek.kind is VekKind.VLEK
    return of_chip and vek.tcb == report.reported_tcb


def _short(value: bytes | None, *, most_bytes: int) -> bytes | None:
    return value if value is not None and len(value) <= most_bytes else None
