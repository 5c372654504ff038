"""What a host can give a machine without changing its measurement, and what becomes of it.

The environment of the first process and its arguments come from the command line's unknown words, so there are none;
any is refused. Devices, tables and configuration items cannot be refused, since they are there before the first
process is: no driver takes them up, nothing reads them, and they are reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from .network import CARD

SYS: Final = Path("/sys")
# What the kernel itself gives its first process (init/main.c).
_ENVIRONMENT: Final = {"HOME": "/", "TERM": "linux"}
# The drivers whose devices the image uses, by bus, where it does not say of a device itself that it does not.
_USED: Final = MappingProxyType(
    {"pci": frozenset({"pcieport", "virtio-pci"}), "virtio": frozenset({"virtio_blk", "virtio_net"})}
)
# The tables that a machine needs to start; all others bring nothing that the image uses.
_TABLES: Final = frozenset({"APIC", "BGRT", "DSDT", "FACP", "FACS", "HPET", "MCFG", "SRAT", "SLIT", "WAET", "XSDT"})


_OEM_STRINGS: Final = 11
# The head of every structure: type, length, handle.
_STRUCTURE_BYTES: Final = 4


class InputError(ValueError):
    """The host has put something into the first process that the image does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """One thing from the host that is not measured and that nothing uses: its kind, and what can be said of it."""

    kind: str
    name: str


def require_plain_start(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse words that the kernel would hand on from the command line.

    Args:
        arguments: What this process was started with, beside its own name.
        environment: Its environment.

    Raises:
        InputError: Something is there that the kernel does not put there by itself.
    """
    if arguments:
        raise InputError(f"arguments: got {len(arguments)}, want none")
    if foreign := sorted(name for name, value in environment.items() if _ENVIRONMENT.get(name) != value):
        raise InputError(f"environment: got {len(foreign)} that are not the kernel's own, want none")


def find_ignored(sys: Path = SYS, *, used: frozenset[str] = frozenset()) -> tuple[Ignored, ...]:
    """Return everything that the host has added and that the image takes no notice of, in a fixed order.

    Args:
        sys: Where the kernel shows it.
        used: Names of disks that the image does take notice of.
    """
    return (*_devices(sys), *_disks(sys, used), *_cards(sys), *_tables(sys), *_strings(sys), *_configuration(sys))


def _devices(sys: Path) -> Iterator[Ignored]:
    for bus, used in _USED.items():
        for device in _listed(sys / "bus" / bus / "devices"):
            driver = device / "driver"
            if driver.exists() and driver.resolve().name in used:
                continue
            how = "that nothing uses" if driver.exists() else "without a driver"
            parts = (_line(device / "vendor"), _line(device / "device"))
            yield Ignored(kind=f"{bus} device {how}", name=":".join(part[2:] for part in parts))


def _disks(sys: Path, used: frozenset[str]) -> Iterator[Ignored]:
    for disk in _listed(sys / "block"):
        if disk.name not in used:
            yield Ignored(kind="disk", name=disk.name)


def _cards(sys: Path) -> Iterator[Ignored]:
    for card in _listed(sys / "class" / "net"):
        if card.name not in {CARD, "lo"}:
            yield Ignored(kind="network card, switched off", name=card.name)


def _tables(sys: Path) -> Iterator[Ignored]:
    for table in _listed(sys / "firmware" / "acpi" / "tables"):
        if table.is_file() and table.name not in _TABLES:
            digest = hashlib.sha256(table.read_bytes()).hexdigest()[:16]
            yield Ignored(kind="ACPI table", name=f"{table.name} {digest}")


def _strings(sys: Path) -> Iterator[Ignored]:
    table = sys / "firmware" / "dmi" / "tables" / "DMI"
    if table.is_file() and (strings := oem_strings(table.read_bytes())):
        digest = hashlib.sha256(b"\0".join(strings)).hexdigest()[:16]
        yield Ignored(kind="SMBIOS strings, not used", name=f"{len(strings)} {digest}")


def oem_strings(table: bytes) -> tuple[bytes, ...]:
    """Return what a host can say in a table of SMBIOS, for programs that look there; of one cut short, what is whole.

    Spec: SMBIOS 3.7 (DSP0134), 6.1.3, 7.12.
    """
    found: list[bytes] = []
    at = 0
    while at + _STRUCTURE_BYTES <= len(table):
        kind, length = table[at], table[at + 1]
        end = table.find(b"\0\0", at + length)
        if length < _STRUCTURE_BYTES or end < 0:
            break
        if kind == _OEM_STRINGS:
            found += table[at + length : end].split(b"\0")
        at = end + 2
    return tuple(found)


def _configuration(sys: Path) -> Iterator[Ignored]:
    for device in _listed(sys / "bus" / "acpi" / "devices"):
        if device.name.startswith("QEMU0002"):
            yield Ignored(kind="firmware configuration, never read", name="fw_cfg")


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _line(file: Path) -> str:
    return file.read_text().strip()
