"""An Azure confidential VM's platform: the paravisor's report, and quotes of the vTPM that it runs; an `Attester`.

The report is made once, at the start of the VM, by the paravisor, and is read from the vTPM. What a guest wants signed
goes into a quote: its extra data is the hash of the 64 bytes that would be REPORT_DATA elsewhere. The paravisor and its
vTPM are in the trusted base, and verifiers say so; what comes from them is still looked at here, so that a guest whose
evidence nobody could accept does not start.

Azure hands a VM its VCEK over a local HTTP service, which this guest does not use: it sends nothing out, and whoever
verifies finds the VCEK at AMD.

Spec: docs/spec/azure.md.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from twocvm_verifier import framing
from twocvm_verifier.azure.hcl import parse_hcl
from twocvm_verifier.azure.member import AzureMember
from twocvm_verifier.azure.quote import PCR_COUNT, parse_quote
from twocvm_verifier.azure.runtime import MODULUS_BYTES, parse_runtime
from twocvm_verifier.azure.verify import PARAVISOR_VMPL
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.report import parse_report

from .device import REPORT_DATA_BYTES, DeviceError
from .tpm import Tpm

HCL_REPORT_INDEX: Final = 0x01400001
ATTESTATION_KEY: Final = 0x81000003
_ZERO_HALF: Final = bytes(32)
# PCRs are extended by the guest's own kernel as it starts; afterwards, hardly ever.
_TRIES: Final = 3


class AzurePlatform:
    """A guest on an Azure confidential VM. From any thread.

    Args:
        tpm: Already opened; nobody else may use it.

    Raises:
        DeviceError: It is no vTPM of Azure's, or its report is none.
    """

    name = "azure"

    def __init__(self, tpm: Tpm) -> None:
        self._tpm: Final = tpm
        self._one_at_a_time: Final = threading.Lock()
        try:
            hcl = parse_hcl(tpm.nv_read(HCL_REPORT_INDEX))
            self._report: Final = parse_report(hcl.report)
            self._runtime: Final = parse_runtime(hcl.runtime)
        except MalformedError as error:
            raise DeviceError("DEVICE_ANSWER", f"{tpm.name}: {error.detail}") from error
        if self._report.report_data != framing.sha256(hcl.runtime) + _ZERO_HALF:
            raise DeviceError("DEVICE_ANSWER", f"{tpm.name}: the report is not of the runtime data beside it")
        if self._report.vmpl != PARAVISOR_VMPL:
            raise DeviceError("DEVICE_ANSWER", f"{tpm.name}: got a report of VMPL {self._report.vmpl:#x}, want 0")

    @property
    def way(self) -> str:
        """Which device of the kernel it goes through, for people."""
        return self._tpm.name

    def report(self, report_data: bytes) -> bytes:
        """Return the paravisor's report, which is the same for all; as `Attester.report`."""
        _require_64(report_data)
        return self._report.raw

    def quote(self, report_data: bytes) -> bytes:
        """Return the vTPM's quote for `report_data`, with what it is judged with; as `Attester.quote`.

        Raises:
            ValueError: `report_data` is not 64 bytes.
            DeviceError: There is none; where it is `fatal` there never will be.
        """
        _require_64(report_data)
        extra_data = framing.quote_extra_data(report_data)
        with self._one_at_a_time:
            for _ in range(_TRIES):
                member = self._quoted(extra_data)
                if framing.sha256(b"".join(member.pcrs)) == member.quote.pcr_digest:
                    return member.encode()
        raise DeviceError("DEVICE_DISTURBED", f"{self._tpm.name}: PCRs change between being read and being quoted")

    def vek(self) -> None:
        """Return nothing: whoever verifies finds the VCEK at AMD; as `Attester.vek`."""

    def chain(self) -> None:
        """Return nothing, likewise; as `Attester.chain`."""

    def crl(self) -> None:
        """Return nothing, likewise; as `Attester.crl`."""

    def close(self) -> None:
        """Let go of the device."""
        self._tpm.close()

    def _quoted(self, extra_data: bytes) -> AzureMember:
        signed = self._tpm.quote(ATTESTATION_KEY, extra_data=extra_data, pcrs=PCR_COUNT)
        try:
            quote = parse_quote(signed.quote)
        except MalformedError as error:
            raise DeviceError("DEVICE_ANSWER", f"{self._tpm.name}: {error.detail}") from error
        if quote.extra_data != extra_data or len(signed.signature) != MODULUS_BYTES:
            raise DeviceError("DEVICE_ANSWER", f"{self._tpm.name}: got another quote than was asked for")
        pcrs = self._tpm.pcrs(PCR_COUNT)
        return AzureMember(runtime=self._runtime, quote=quote, signature=signed.signature, pcrs=pcrs)


def open_azure() -> AzurePlatform:
    """Return the platform of this VM, if Azure runs it.

    Raises:
        DeviceError: NO_PLATFORM or DEVICE_DENIED where it has no TPM; else the TPM is none of Azure's.
    """
    tpm = Tpm.open(pause=time.sleep)
    try:
        return AzurePlatform(tpm)
    except BaseException:
        tpm.close()
        raise


def _require_64(report_data: bytes) -> None:
    if len(report_data) != REPORT_DATA_BYTES:
        raise ValueError(f"report_data: got {len(report_data)} bytes, want {REPORT_DATA_BYTES}")
