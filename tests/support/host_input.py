"""Everything that a host can give a machine without changing its measurement, and what the machine made of it.

    given = HostInput(folder)
    with HostedMachine(image, folder=folder, words=given.words) as machine:
        ...
    given.written()          # what reached the host by any of it: nothing
    given.frames("net")      # what the machine has sent by its own card

The table is an SSDT whose code writes to a port of the host's: once when it is taken up, and once when its device is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CREDENTIAL: Final = b"io.systemd.credential:twocvm=x"
"""What other systems would take for their own in the strings of SMBIOS."""

# QEMU's own cards begin with it; what it answers with does not.
_CARDS: Final = bytes.fromhex("525400")
_DUMP_HEADER_BYTES: Final = 24
_FRAME_HEADER: Final = struct.Struct("<8xII")
# Addresses, protocol and TCP's flags lie within them.
_KEPT_BYTES: Final = 96
_ARP, _IPV4, _TCP = 0x0806, 0x0800, 6
_SYN, _ACK = 0x02, 0x10
_PORT: Final = 0xE9
_DISK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One Ethernet frame that a card has sent."""

    raw: bytes

    def is_answer(self, port: int) -> bool:
        """Whether it is ARP, or TCP from `port` that opens nothing."""
        (kind,) = struct.unpack_from(">H", self.raw, 12)
        if kind == _ARP:
            return True
        if kind != _IPV4 or self.raw[14] != 0x45 or self.raw[23] != _TCP:
            return False
        source, flags = struct.unpack_from(">H", self.raw, 34)[0], self.raw[47]
        return source == port and flags & (_SYN | _ACK) != _SYN


class HostInput:
    """The words for the emulator, and the files behind them.

    Args:
        folder: Where the files lie; every name in it is this class's own.

    Attributes:
        words: For QEMU.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._silent: Final = tuple(folder / name for name in ("port", "second-line", "card-line", "channel"))
        table, oem, disk, other = (folder / name for name in ("table.aml", "oem", "disk", "other"))
        table.write_bytes(writing_table())
        oem.write_bytes(b"twocvm.port=1")
        disk.write_bytes(bytes(_DISK_BYTES))
        other.write_bytes(bytes(_DISK_BYTES))
        port, second_line, card_line, channel = self._silent
        self.words: Final = (
            *("-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"),
            *("-drive", f"file={other},format=raw,if=none,id=other", "-device", "nvme,drive=other,serial=1"),
            *("-netdev", "user,id=second,ipv6=off", "-device", "virtio-net-pci,netdev=second,romfile="),
            *("-netdev", "user,id=third,ipv6=off", "-device", "e1000e,netdev=third,romfile="),
            *(word for card in ("net", "second", "third") for word in ("-object", self._dump(card))),
            *("-chardev", f"file,id=port,path={port}", "-device", f"isa-debugcon,iobase={_PORT:#x},chardev=port"),
            *("-acpitable", f"sig=SSDT,data={table}", "-acpitable", f"sig=OEM7,data={oem}"),
            *("-serial", f"file:{second_line}"),
            *("-chardev", f"file,id=card-line,path={card_line}", "-device", "pci-serial,chardev=card-line"),
            *("-chardev", f"file,id=channel,path={channel}"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=twocvm"),
            *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"),
            *("-fw_cfg", "name=opt/io.systemd.credentials/twocvm,string=x"),
            *("-fw_cfg", "name=opt/twocvm/command-line,string=LD_PRELOAD=/run/x.so"),
            *("-smbios", f"type=11,value={CREDENTIAL.decode()}"),
            *("-device", "pcie-root-port,id=free,chassis=1"),
        )

    def plug(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the monitor's commands that put one more card into a machine that runs."""
        yield "netdev_add", {"type": "user", "id": "late", "ipv6": False}
        dump = {"id": "dump-late", "netdev": "late", "file": str(self._folder / "late.pcap"), "maxlen": _KEPT_BYTES}
        yield "object-add", {"qom_type": "filter-dump", **dump}
        yield "device_add", {"driver": "virtio-net-pci", "netdev": "late", "bus": "free", "romfile": ""}

    def written(self) -> bytes:
        """Return all that the machine has written to what it was not to use."""
        return b"".join(path.read_bytes() for path in self._silent)

    def frames(self, card: str) -> tuple[Frame, ...]:
        """Return what a card has sent so far, by the name of its network."""
        raw, at = (self._folder / f"{card}.pcap").read_bytes(), _DUMP_HEADER_BYTES
        sent = []
        while at + _FRAME_HEADER.size <= len(raw):
            kept, _ = _FRAME_HEADER.unpack_from(raw, at)
            at += _FRAME_HEADER.size
            if raw[at + 6 : at + 9] == _CARDS:
                sent.append(Frame(raw[at : at + kept]))
            at += kept
        return tuple(sent)

    def _dump(self, card: str) -> str:
        return f"filter-dump,id=dump-{card},netdev={card},file={self._folder / card}.pcap,maxlen={_KEPT_BYTES}"


def writing_table() -> bytes:
    """Return the code of a table that writes `A` to the port when it is loaded, and `B` when its device begins.

    Spec: ACPI 6.5, 20.2.
    """
    region = b"\x5b\x80HOST\x01\x0a" + bytes([_PORT]) + b"\x01"
    field = b"\x5b\x81" + _long(b"HOST\x01" + b"SAID\x08")
    now = b"\x70\x0aA" + b"SAID"
    begins = b"\x14" + _long(b"_INI\x00" + b"\x70\x0aB" + b"\\SAID")
    name = b"\x08_HID\x0dTWO0001\x00"
    device = b"\x5b\x82" + _long(b"TWOC" + name + begins)
    return region + field + now + b"\x10" + _long(b"\\_SB_" + device)


def _long(content: bytes) -> bytes:
    # PkgLength of one byte counts itself.
    length = len(content) + 1
    if length > 0x3F:
        raise ValueError(f"package: got {length} bytes, want one byte to say so")
    return bytes([length]) + content
