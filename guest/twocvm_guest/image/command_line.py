"""The kernel's command line: what each image demands of it, and the little that may differ from launch to launch.

With direct boot the command line is measured like the kernel and the initrd, so a host can change nothing in it without
changing the measurement. The image holds what it was built for all the same: its first process refuses any other word,
so that one image has few measurements, and each of them is known.

Spec: Linux, Documentation/admin-guide/kernel-parameters.rst.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

# What firmware that boots a kernel directly adds when there is an initrd (OVMF, GenericQemuLoadImageLib).
_OF_FIRMWARE: Final = "initrd=initrd"
_MAX_PORT: Final = 65535
_PAYLOAD: Final = re.compile(r"([0-9a-f]{64}):([1-9][0-9]{0,9})", re.ASCII)

PAYLOAD_FOLDER: Final = Path("/run/payload")
"""Where a machine has its payload's files, each called by its SHA-256 in hex."""

# What Debian's kernel has built in for devices that no image uses, by the functions that begin it: NVMe disks, consoles
# and file systems of virtio, keyboards, TPMs, serial cards, embedded controllers.
_LEFT_OUT: Final = (
    *("nvme_init", "virtio_console_init", "virtio_fs_init", "i8042_init", "atkbd_init"),
    *("init_tis", "crb_acpi_driver_init", "serial_pci_driver_init", "acpi_ec_sys_init"),
)
_HARDENED: Final = (
    # No core of a 32-bit program, no table that a host adds, no way to another kernel, no word that stays in memory.
    "ia32_emulation=off",
    "vsyscall=none",
    "acpi_no_static_ssdt",
    f"initcall_blacklist={','.join(_LEFT_OUT)}",
    "xen_nopv",
    "nohibernate",
    "init_on_alloc=1",
    "init_on_free=1",
    "slab_nomerge",
    "page_alloc.shuffle=1",
    "randomize_kstack_offset=on",
    # Only what Debian signed is a module; root in the guest has no way into the kernel.
    "lsm=lockdown,yama",
    "lockdown=confidentiality",
    "module.sig_enforce=1",
    "debugfs=off",
    # One protocol, set by hand; nothing that configures itself.
    "ipv6.disable=1",
    "net.ifnames=0",
    # A kernel that is in doubt ends at once, and takes nothing along.
    "oops=panic",
    "panic=-1",
    "panic_print=0",
    # Its last words go to no store that a host offers for them, and nobody hears of hardware's errors.
    "pstore.backend=none",
    "erst_disable",
    "hest_disable",
    "bert_disable",
    "random.trust_cpu=on",
    "random.trust_bootloader=off",
)


class Variant(StrEnum):
    """Which image: the one for data, or the one to try out with."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


FIXED: Final[Mapping[Variant, str]] = MappingProxyType(
    {
        # `console=` without a name is none at all; the one serial line is for event codes, and the kernel keeps off it.
        Variant.PRODUCTION: " ".join((*_HARDENED, "console=", "8250.nr_uarts=1", "quiet", "loglevel=0")),
        Variant.DEVELOPMENT: " ".join((*_HARDENED, "console=ttyS0", "quiet", "loglevel=4")),
    }
)
"""The words that come first, the same at each launch of an image."""


class CommandLineError(ValueError):
    """A command line is not one that the image takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What the machine is called in its network, and where it listens.

    Attributes:
        address: IPv4 address with the length of its network's prefix.
        gateway: Where packets go that are for another network, which must lie in this one.
        port: TCP port that takes connections; no other does.
    """

    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address
    port: int

    def words(self) -> str:
        """Return the end of the command line that says this."""
        return f"twocvm.address={self.address} twocvm.gateway={self.gateway} twocvm.port={self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The disk that a machine brings large files on.

    Attributes:
        root: Of the tree of hashes over all of its blocks (32 bytes).
        blocks: How many there are, of 4 KiB each; the tree follows them.
    """

    root: bytes
    blocks: int

    def word(self) -> str:
        """Return the last word of a command line with this payload."""
        return f"twocvm.payload={self.root.hex()}:{self.blocks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What may differ from launch to launch: the network, and the payload where there is one."""

    network: Network
    payload: Payload | None = None

    def words(self) -> str:
        """Return the end of the command line that says this."""
        return " ".join((self.network.words(), *([self.payload.word()] if self.payload else [])))


def command_line(variant: Variant, network: Network, payload: Payload | None = None) -> str:
    """Return the whole command line for one launch.

    >>> here = Network(address=ipaddress.IPv4Interface("10.0.2.15/24"), gateway=ipaddress.IPv4Address("10.0.2.2"),
    ...                port=8443)
    >>> parse_command_line(command_line(Variant.PRODUCTION, here), Variant.PRODUCTION).network == here
    True
    """
    return f"{FIXED[variant]} {Launch(network=network, payload=payload).words()}"


def parse_command_line(text: str, variant: Variant) -> Launch:
    """Return what a launch says of itself; every other word must be the image's own.

    Args:
        text: As the kernel shows it, with or without the end of the line.
        variant: Which image asks.

    Raises:
        CommandLineError: Anything else stands there, or the network makes no sense.
    """
    line = text.removesuffix("\n").removesuffix(f" {_OF_FIRMWARE}")
    fixed, found, rest = line.partition(" twocvm.address=")
    if not found or fixed != FIXED[variant]:
        raise CommandLineError("command line: is not the one of this image")
    address, *named = rest.split(" ")
    names, values = [word.partition("=")[0] for word in named], [word.partition("=")[2] for word in named]
    if names not in (["twocvm.gateway", "twocvm.port"], ["twocvm.gateway", "twocvm.port", "twocvm.payload"]):
        raise CommandLineError("command line: want an address, a gateway, a port, at most a payload, and nothing more")
    launch = Launch(
        network=make_network(address, values[0], values[1]),
        payload=_parse_payload(values[2]) if len(values) > 2 else None,
    )
    if launch.words() != f"twocvm.address={rest}":
        raise CommandLineError("command line: is not in its canonical spelling")
    return launch


def _parse_payload(text: str) -> Payload:
    match = _PAYLOAD.fullmatch(text)
    if match is None:
        raise CommandLineError("payload: want the root of its tree in hex, a colon and its blocks")
    return Payload(root=bytes.fromhex(match[1]), blocks=int(match[2]))


def make_network(address: str, gateway: str, port: str) -> Network:
    """Return a network from its words.

    Args:
        address: IPv4 address and prefix length, such as `10.0.2.15/24`.
        gateway: IPv4 address.
        port: Decimal.

    Raises:
        CommandLineError: One is not what it should be, or the gateway lies in another network.
    """
    try:
        interface, via = ipaddress.IPv4Interface(address), ipaddress.IPv4Address(gateway)
    except ValueError as error:
        raise CommandLineError(f"network: {error}") from error
    if via not in interface.network or via == interface.ip:
        raise CommandLineError("gateway: lies in another network than the address, or is the address")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT):
        raise CommandLineError("port: want a number from 1 to 65535")
    return Network(address=interface, gateway=via, port=int(port))
