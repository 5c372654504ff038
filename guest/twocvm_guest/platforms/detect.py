"""Which platform this machine has. The simulated one is never found: whoever wants it has to say so.

In order: configfs-tsm, which every provider shares and which checks more; then `/dev/sev-guest`, which older kernels
have; and where the machine has neither, the vTPM of Azure's paravisor. A device that is here and cannot be used is told
of rather than one that is not here.

Spec: docs/platforms.md.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from twocvm_verifier.errors import TwoCvmError, UnsupportedError

from . import configfs_tsm, sev_guest
from .azure import AzurePlatform, open_azure
from .configfs_tsm import ConfigfsTsm
from .derived import DerivesKeys
from .device import DeviceError, SnpDevice
from .sev_guest import SevGuest
from .snp import SnpPlatform

Open: TypeAlias = Callable[[], SnpDevice]
OpenAzure: TypeAlias = Callable[[], AzurePlatform]

# Linux 6.12 on: the privilege level that this kernel runs at. Without it there is nothing below the guest.
LEVEL_FILE: Final = Path("/sys/devices/system/cpu/sev/vmpl")
_ENTRY_BYTES: Final = 8


def open_configfs() -> ConfigfsTsm:
    """Return configfs-tsm, with an entry of this guest's own.

    Raises:
        DeviceError: As `ConfigfsTsm.open`.
    """
    return ConfigfsTsm.open(entry_name=f"twocvm-{secrets.token_hex(_ENTRY_BYTES)}", pause=time.sleep)


def open_sev_guest() -> SevGuest:
    """Return `/dev/sev-guest`, opened.

    Raises:
        DeviceError: As `SevGuest.open`.
    """
    return SevGuest.open(vmpl=own_level(LEVEL_FILE), pause=time.sleep)


SNP_DEVICES: Final[Mapping[str, Open]] = MappingProxyType(
    {str(configfs_tsm.FOLDER): open_configfs, str(sev_guest.DEVICE): open_sev_guest}
)
"""The ways to an SNP machine's firmware, in the order in which they are tried, by their paths."""


def open_snp(devices: Mapping[str, Open] = SNP_DEVICES) -> SnpPlatform:
    """Return the SNP platform of this machine.

    Raises:
        UnsupportedError: NO_PLATFORM: it has none; DEVICE_DENIED or DEVICE_UNKNOWN: none that this guest can use.
        DeviceError: Its device is opened, and makes no report that a guest can use.
    """
    problems: list[DeviceError] = []
    for opened in devices.values():
        try:
            device = opened()
        except DeviceError as problem:
            problems.append(problem)
            continue
        try:
            return SnpPlatform(device)
        except BaseException:
            device.close()
            raise
    telling = next((problem for problem in problems if problem.code != "NO_PLATFORM"), problems[0])
    raise UnsupportedError(telling.code, "; ".join(problem.detail for problem in problems)) from telling


def open_any(
    devices: Mapping[str, Open] = SNP_DEVICES, *, azure: OpenAzure = open_azure
) -> SnpPlatform | AzurePlatform:
    """Return the platform of this machine, whichever it is.

    Args:
        devices: As `open_snp`.
        azure: What opens the vTPM of Azure's paravisor.

    Raises:
        UnsupportedError, DeviceError: As `open_snp`.
    """
    try:
        return open_snp(devices)
    except UnsupportedError as problem:
        if problem.code != "NO_PLATFORM":
            raise
        try:
            return azure()
        except DeviceError as other:
            raise UnsupportedError(problem.code, f"{problem.detail}; {other.detail}") from other


def look_at_azure(azure: OpenAzure = open_azure) -> tuple[bool, str]:
    """Return whether this is a VM under Azure's paravisor, and what to say of it; nothing is quoted.

    Args:
        azure: As `open_any`.
    """
    try:
        with closing(azure()) as found:
            return True, f"usable, for quotes of {found.way}; the provider's paravisor is trusted with the guest"
    except DeviceError as problem:
        return False, f"{problem.code}: {problem.detail}. {problem.row.meaning}"


def look(opened: Open) -> tuple[bool, str]:
    """Return whether a device can be opened, and what to say of it; no report is made.

    Args:
        opened: What opens it.
    """
    try:
        with closing(opened()) as device:
            keys = " and derived keys" if isinstance(device, DerivesKeys) else ""
            return True, f"usable, for reports of VMPL {device.vmpl}{keys}"
    except TwoCvmError as problem:
        return False, f"{problem.code}: {problem.detail}. {problem.row.meaning}"


def own_level(path: Path) -> int:
    """Return the privilege level (0 to 3) that a file of the kernel's tells; 0 where it tells none."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text in {"0", "1", "2", "3"} else 0
