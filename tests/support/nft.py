"""What a packet filter does with a packet, by its own netlink messages: a small reader of what the kernel would read.

It knows the expressions that `image/init/firewall.py` writes and fails on any other, so that nothing is overlooked.

Spec: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_CHAIN, _RULE = 10 << 8 | 3, 10 << 8 | 6
_ACCEPT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet as far as its transport header."""

    protocol: int
    header: bytes


def tcp(*, source: int, destination: int, flags: int) -> Packet:
    """A segment of TCP."""
    return Packet(protocol=TCP, header=struct.pack(">HHIIBBHHH", source, destination, 1, 1, 5 << 4, flags, 0, 0, 0))


def other(protocol: int, *, source: int, destination: int) -> Packet:
    """A packet of another protocol, which looks like TCP's answer where TCP has its ports and flags."""
    return Packet(protocol=protocol, header=tcp(source=source, destination=destination, flags=ACK).header)


def is_accepted(ruleset: bytes, hook: int, packet: Packet) -> bool:
    """Whether a packet passes the chain of this hook: some rule accepts it, or the chain does by itself."""
    messages = list(_messages(ruleset))
    chains = [body for kind, body in messages if kind == _CHAIN and _number(_read(body[4])[1]) == hook]
    assert len(chains) == 1
    rules = [body for kind, body in messages if kind == _RULE and body[2] == chains[0][3]]
    return any(_matches(rule, packet) for rule in rules) or _number(chains[0][5]) == _ACCEPT


def _matches(rule: dict[int, bytes], packet: Packet) -> bool:
    registers: dict[int, bytes] = {}
    for _, element in _attributes(rule[4]):
        expression = _read(element)
        data = _read(expression[2])
        match expression[1]:
            case b"meta\0":
                assert _number(data[2]) == 16  # the transport protocol
                registers[_number(data[1])] = bytes((packet.protocol,))
            case b"payload\0":
                assert _number(data[2]) == 2  # the transport header
                start = _number(data[3])
                registers[_number(data[1])] = packet.header[start : start + _number(data[4])]
            case b"bitwise\0":
                pairs = zip(registers[_number(data[1])], _read(data[4])[1], _read(data[5])[1], strict=True)
                registers[_number(data[2])] = bytes(value & mask ^ flip for value, mask, flip in pairs)
            case b"cmp\0":
                equal = registers[_number(data[1])] == _read(data[3])[1]
                if equal is bool(_number(data[2])):
                    return False
            case b"immediate\0":
                assert _number(data[1]) == 0  # the verdict
                return _number(_read(_read(data[2])[2])[1]) == _ACCEPT
            case unknown:
                raise AssertionError(unknown)
    return False


def _messages(raw: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    while raw:
        length, kind = struct.unpack_from("=IH", raw)
        # After the header four bytes more: family, version, and a number.
        yield kind, _read(raw[20:length])
        raw = raw[length:]


def _read(raw: bytes) -> dict[int, bytes]:
    return dict(_attributes(raw))


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while raw:
        length, kind = struct.unpack_from("=HH", raw)
        yield kind & 0x7FFF, raw[4:length]
        raw = raw[length + -length % 4 :]


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")
