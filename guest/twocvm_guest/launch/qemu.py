"""QEMU's command line for a real launch: QEMU 10 or later, on a host with SEV-SNP.

Everything that the chip measures or compares is in it: firmware, kernel, initial file system, command line and type of
CPU (MEASUREMENT), HOST_DATA, GUEST_POLICY, and the identity block. The rest is the host's affair, and a guest that is
launched with other memory or another network is the same guest.

Spec: docs/launching.md.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from .id_block import DEFAULT_POLICY, require_policy

HOST_DATA_BYTES: Final = 32
# Where the C-bit is on every EPYC with SNP, and how many physical address bits it costs (CPUID 8000001F, EBX).
_C_BIT: Final = 51
_REDUCED_PHYS_BITS: Final = 1
LOOPBACK: Final = IPv4Address("127.0.0.1")
# The kernel, its root and the agent have 281 MiB of it before anything is released: docs/image.md.
LEAST_MEMORY_MIB: Final = 512
# Linux: KVM_MEM_MAX_NR_PAGES, 2^31 pages of 4 KiB, in one slot; QEMU puts all of it but the lowest 2 GiB into one.
MOST_MEMORY_MIB: Final = 1 << 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity block of a launch.

    Attributes:
        block: As `id_block.IdBlock.to_bytes` (96 bytes).
        auth: As `id_block.id_auth` (4096 bytes).
    """

    block: bytes
    auth: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a guest is launched with, as QEMU is told.

    Attributes:
        firmware: OVMF built for SEV, with a place for the kernel's hashes.
        kernel: The kernel.
        initrd: The initial file system.
        append: The kernel's command line, exactly as it was measured.
        cpu: QEMU's type of CPU, as it was measured.
        vcpus: How many.
        memory_mib: Memory in MiB, `LEAST_MEMORY_MIB` to `MOST_MEMORY_MIB`.
        host_address: The address of this host at which that port is.
        host_port: The port of this host that leads to the guest's.
        guest_port: The port on which the guest listens.
        policy: GUEST_POLICY.
        host_data: HOST_DATA: a manifest's hash (32 bytes) for a guest that is born locked, or zeros.
        identity: The identity block, or None.
        payload: The disk that the command line names, or None.

    Raises:
        ValueError: `host_data` has another length, the policy is none that `id_block` takes, or a path has a comma.
    """

    firmware: Path
    kernel: Path
    initrd: Path
    append: str
    cpu: str
    vcpus: int
    memory_mib: int
    host_address: IPv4Address = LOOPBACK
    host_port: int
    guest_port: int
    policy: int = DEFAULT_POLICY
    host_data: bytes = bytes(HOST_DATA_BYTES)
    identity: Identity | None = None
    payload: Path | None = None

    def __post_init__(self) -> None:
        if len(self.host_data) != HOST_DATA_BYTES:
            raise ValueError(f"host_data: got {len(self.host_data)} bytes, want {HOST_DATA_BYTES}")
        require_policy(self.policy)
        for path in (self.firmware, self.kernel, self.initrd, *filter(None, [self.payload])):
            # QEMU takes a comma for the end of a value in some of its options.
            if "," in str(path):
                raise ValueError(f"{str(path)!r}: want a path without a comma")


def command(launch: Launch, *, qemu: str = "qemu-system-x86_64") -> tuple[str, ...]:
    """Return the program and its arguments.

    Args:
        launch: What is launched.
        qemu: The program.
    """
    forward = f"hostfwd=tcp:{launch.host_address}:{launch.host_port}-:{launch.guest_port}"
    return (
        *(qemu, "-enable-kvm", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-cpu", launch.cpu, "-smp", str(launch.vcpus), "-m", f"{launch.memory_mib}M"),
        *("-machine", "q35,confidential-guest-support=snp,memory-backend=ram"),
        *("-object", f"memory-backend-memfd,id=ram,size={launch.memory_mib}M,share=true,prealloc=false"),
        *("-object", ",".join(_snp(launch))),
        *("-bios", str(launch.firmware), "-kernel", str(launch.kernel), "-initrd", str(launch.initrd)),
        *("-append", launch.append),
        # `restrict` keeps the guest from reaching anything by itself; the forwarded port still leads in.
        *("-netdev", f"user,id=net,restrict=on,{forward}"),
        *("-device", "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on,romfile="),
        *(disk(launch.payload, ",disable-legacy=on,iommu_platform=on") if launch.payload else ()),
    )


def disk(payload: Path, more: str = "") -> tuple[str, ...]:
    """Return the words for a machine's first disk, which is read alone.

    Args:
        payload: As `image.payload.write_payload` wrote it.
        more: Further properties of the device.
    """
    drive = f"file={payload},format=raw,if=none,id=payload,readonly=on"
    return ("-drive", drive, "-device", f"virtio-blk-pci,drive=payload{more}")


def _snp(launch: Launch) -> tuple[str, ...]:
    fields = (
        "sev-snp-guest,id=snp",
        f"cbitpos={_C_BIT}",
        f"reduced-phys-bits={_REDUCED_PHYS_BITS}",
        f"policy={launch.policy:#x}",
        "kernel-hashes=on",
        f"host-data={_base64(launch.host_data)}",
    )
    if launch.identity is None:
        return fields
    identity = launch.identity
    return (
        *fields,
        "author-key-enabled=on",
        f"id-block={_base64(identity.block)}",
        f"id-auth={_base64(identity.auth)}",
    )


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")
