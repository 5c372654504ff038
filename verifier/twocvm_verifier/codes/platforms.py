"""Codes of the devices that a guest has its evidence from."""

from __future__ import annotations

from typing import Final

from .table import CANNOT_JUDGE, NOT_AUTHENTIC, UNSUPPORTED, Code

_PLATFORMS: Final = "docs/platforms.md"


def _device(exit_status: int, meaning: str) -> Code:
    return Code(exit_status=exit_status, http_status=500, meaning=meaning, spec=_PLATFORMS)


CODES: Final[dict[str, Code]] = {
    "DERIVED_KEY_UNSUPPORTED": _device(
        UNSUPPORTED,
        "The guest's platform, or the device that it goes through, derives no keys: `/dev/sev-guest` does; "
        "configfs-tsm, a paravisor's vTPM and the simulated platform do not. No session needs one.",
    ),
    "DEVICE_ANSWER": _device(
        NOT_AUTHENTIC,
        "The attestation device answered with something else than the report that it was asked for. Nothing is built "
        "on that, and the guest ends. Report it to whoever runs the machine, and launch again elsewhere.",
    ),
    "DEVICE_BUSY": _device(
        CANNOT_JUDGE,
        "The host or its firmware lets this machine make no more reports for the moment, and waiting did not help. "
        "Try again later; other guests on the machine may be asking for many.",
    ),
    "DEVICE_CERTIFICATES": _device(
        CANNOT_JUDGE,
        "What the host hands over as its certificates is no certificate table, or its VCEK or VLEK is no certificate. "
        "Whoever runs the host has to load AMD's certificates again, or none: verifiers then find the VCEK at AMD.",
    ),
    "DEVICE_DENIED": _device(
        UNSUPPORTED,
        "The attestation device is here, and this user may not open it. Run the guest as root, as its image does.",
    ),
    "DEVICE_DISTURBED": _device(
        CANNOT_JUDGE,
        "Something else in this machine kept writing to the guest's own entry of the attestation device. Nothing but "
        "the guest may use it: end the other program and launch again.",
    ),
    "DEVICE_LOST": _device(
        CANNOT_JUDGE,
        "The host or its firmware failed a request, and so the kernel has destroyed the key with which this machine "
        "talks to the firmware. No report can be made until the machine is launched anew, and the guest ends.",
    ),
    "DEVICE_REFUSED": _device(
        CANNOT_JUDGE,
        "The attestation device refused the request, for the reason that is named. Most often the host does not serve "
        "such requests, or the guest runs at another privilege level than the device believes.",
    ),
    "DEVICE_UNKNOWN": _device(
        UNSUPPORTED,
        "The attestation device of this machine is not AMD SEV-SNP's. This version makes evidence on SEV-SNP alone.",
    ),
}
