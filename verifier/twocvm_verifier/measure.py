"""The MEASUREMENT that a guest will have, from the files it is launched with; and why another one was found.

The digest of the firmware, its metadata and the kernel's hashes is computed by `sev-snp-measure`; the fold over the
vCPUs is `snp.launch`, so that one computation gives the measurement of every number of them. Nothing here decides what
is accepted: a measurement is a reference value only for whoever computed it from files that they trust.

Spec: docs/spec/measure.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sevsnpmeasure.guest import snp_calc_launch_digest
from sevsnpmeasure.ovmf import OVMF
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA

from .errors import MalformedError
from .snp.launch import LaunchPrefix

_PAGE_BYTES: Final = 4096
# QEMU's flash is at most 8 MiB unless it is told otherwise, and 64 MiB at the very most.
MAX_OVMF_BYTES: Final = 64 << 20
# How each hypervisor sets up the first registers.
VMMS: Final = MappingProxyType({"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce})
# QEMU's names of CPU types, and what CPUID says of each; QEMU writes it into a register.
CPU_TYPES: Final = MappingProxyType(dict(CPU_SIGS))
# AMD64 APM 2 (24593), table B-4, SEV_FEATURES: bit 0 is SNP itself, and always set.
SNP_ACTIVE: Final = 0x1
_OPTIONAL_FEATURES: Final = MappingProxyType(
    {
        0x8: "restricted injection",
        0x10: "alternate injection",
        0x20: "debug swap",
        0x40: "no host IBS",
        0x80: "BTB isolation",
        0x200: "secure TSC",
        0x4000: "VMSA register protection",
        0x8000: "SMT protection",
    }
)
# What the library raises on files that are no firmware with the tables that a launch needs.
_UNREADABLE: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFiles:
    """What a guest is launched with.

    Attributes:
        ovmf: The firmware, with AMD's SEV metadata.
        kernel: The kernel, where it is measured with the firmware; None where the firmware loads it from a disk.
        initrd: The initial file system, likewise.
        append: The kernel's command line.
        vmm: Which hypervisor, a name in `VMMS`.
    """

    ovmf: Path
    kernel: Path | None
    initrd: Path | None
    append: str
    vmm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One launch whose measurement is the one that was looked for.

    Attributes:
        vmm: Which hypervisor.
        cpu: The CPU type, or `any` where the hypervisor does not write it down.
        guest_features: SEV_FEATURES.
        vcpus: How many vCPUs.
        launch: The launch, for any other number of them.
    """

    vmm: str
    cpu: str
    guest_features: int
    vcpus: int
    launch: LaunchPrefix

    @property
    def features(self) -> str:
        """SEV_FEATURES in words."""
        words = [word for bit, word in _OPTIONAL_FEATURES.items() if self.guest_features & bit]
        return ", ".join(["SNP", *words])


def launch_of(files: LaunchFiles, *, cpu_signature: int, guest_features: int) -> LaunchPrefix:
    """Return the launch of these files, for any number of vCPUs.

    Args:
        files: What the guest is launched with.
        cpu_signature: CPUID function 1, EAX, of the vCPUs; hypervisors other than QEMU do not write it down.
        guest_features: SEV_FEATURES (64 bits).

    Raises:
        MalformedError: The firmware has not the tables that a launch needs.
        OSError: A file cannot be read.
    """
    return _with_vcpus(files, _digest(files), cpu_signature=cpu_signature, guest_features=guest_features)


def search(files: LaunchFiles, measurement: bytes, *, most_vcpus: int) -> Iterator[Match]:
    """Return every launch of these files that has this measurement, whatever its vCPUs, their type and features.

    Hypervisors, CPU types, features and counts are all tried; the firmware, kernel, initial file system and command
    line are those of `files`, so that no match means that one of these is another.

    Args:
        files: What the guest should have been launched with; `vmm` is not looked at.
        measurement: The one that was found (48 bytes).
        most_vcpus: Up to how many vCPUs are tried, 1 to `MAX_VCPUS`.

    Raises:
        MalformedError: As `launch_of`.
        OSError: As `launch_of`.
    """
    for vmm in VMMS:
        tried = LaunchFiles(ovmf=files.ovmf, kernel=files.kernel, initrd=files.initrd, append=files.append, vmm=vmm)
        digest = _digest(tried)
        for cpu, signature in _cpus(vmm):
            for features in _feature_sets():
                launch = _with_vcpus(tried, digest, cpu_signature=signature, guest_features=features)
                vcpus = launch.vcpus_of(measurement, most=most_vcpus)
                if vcpus is not None:
                    yield Match(vmm=vmm, cpu=cpu, guest_features=features, vcpus=vcpus, launch=launch)


@dataclass(frozen=True, slots=True)
class _Digest:
    """The launch digest before the vCPUs, and where all but the first of them begin."""

    value: bytes
    reset_eip: int


def _digest(files: LaunchFiles) -> _Digest:
    size = files.ovmf.stat().st_size
    if not 0 < size <= MAX_OVMF_BYTES or size % _PAGE_BYTES:
        raise MalformedError("ovmf", "", f"got {size} bytes, want pages of {_PAGE_BYTES}, at most {MAX_OVMF_BYTES}")
    kernel, initrd = ("" if path is None else str(path) for path in (files.kernel, files.initrd))
    try:
        # With no vCPU at all it is the digest before the first of them.
        value = snp_calc_launch_digest(
            0, 0, str(files.ovmf), kernel, initrd, files.append, SNP_ACTIVE, "", VMMS[files.vmm]
        )
        reset_eip = OVMF(str(files.ovmf)).sev_es_reset_eip()
    except _UNREADABLE as error:
        raise MalformedError("ovmf", "", f"not a firmware that SNP can measure: {str(error)!r}") from error
    if not reset_eip:
        raise MalformedError("ovmf", "reset_block", "got no address, want where the second vCPU begins")
    return _Digest(value, reset_eip)


def _with_vcpus(files: LaunchFiles, digest: _Digest, *, cpu_signature: int, guest_features: int) -> LaunchPrefix:
    area = VMSA(SevMode.SEV_SNP, digest.reset_eip, cpu_signature, guest_features, VMMS[files.vmm])
    first, other = (hashlib.sha384(page).digest() for page in area.pages(2))
    return LaunchPrefix(digest=digest.value, first_vcpu=first, other_vcpu=other)


def _cpus(vmm: str) -> Iterator[tuple[str, int]]:
    """Return a name and a signature for every signature that makes a difference, the newest CPU first."""
    if vmm != "qemu":
        yield "any", 0
        return
    names: dict[int, str] = {}
    for name, signature in CPU_TYPES.items():
        names.setdefault(signature, name)
    for signature, name in sorted(names.items(), reverse=True):
        yield name, signature


def _feature_sets() -> Iterator[int]:
    """Return SNP with every set of optional features, those with fewest first."""
    for count in range(len(_OPTIONAL_FEATURES) + 1):
        for features in combinations(_OPTIONAL_FEATURES, count):
            yield SNP_ACTIVE | sum(features)
