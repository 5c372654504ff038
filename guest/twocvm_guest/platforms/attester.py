"""What the guest needs of its platform: reports, and the certificates with which others judge them."""

from __future__ import annotations

from typing import Protocol


class Attester(Protocol):
    """A platform that signs what the guest asks it to. Safe to call from several threads.

    Attributes:
        name: `snp`, `azure` or `simulated`, as the event log says it.
    """

    name: str

    def report(self, report_data: bytes) -> bytes:
        """Return a fresh ATTESTATION_REPORT (1184 bytes) with `report_data` (64 bytes) in it.

        Raises:
            ValueError: `report_data` is not 64 bytes.
            DeviceError: Its device made none, now or ever again (`fatal`).
            OSError: The platform made none.
        """
        ...

    def quote(self, report_data: bytes) -> bytes | None:
        """Return what a paravisor's vTPM says of `report_data` (64 bytes), where it speaks for the guest.

        On such a platform REPORT_DATA is the paravisor's own, every `report` is the same, and this is what binds
        `report_data`: the member `azure` of evidence (`docs/spec/azure.md`). Elsewhere it is None.

        Raises:
            ValueError: `report_data` is not 64 bytes.
            OSError: The platform made none.
        """
        ...

    def vek(self) -> bytes | None:
        """Return the DER of the certificate of the key that signs the reports, or None where the host has none."""
        ...

    def chain(self) -> bytes | None:
        """Return the PEM of the ASK or ASVK, then the ARK, or None where the host has them not."""
        ...

    def crl(self) -> bytes | None:
        """Return the DER of the ARK's revocation list, or None where the platform has none to hand over."""
        ...
