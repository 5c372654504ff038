"""Carries packets between network namespaces of its own: each arrives DELAY_MS after it was sent, and in its turn.

    python -I -S relay.py COUNT DELAY_MS

In each namespace is one device, `wire`, a TUN whose other end is here; namespace I is 10.77.0.(I + 1). So what runs
there meets a link as anywhere: handshakes, acknowledgements and windows of TCP wait for it too. Whatever comes is
taken, without a limit, and nothing is lost here.

Every line on standard input is answered by one. The first answer is {"namespaces": [PATH, ...], "users": PATH}, for
nsenter(1), or {"missing": WHY}; each further one says how many packets there were, and how many milliseconds after
their time they were handed on: {"packets": N, "late_ms": MEDIAN, "most_late_ms": M}. All of it ends with standard
input, or with this process: the namespaces have no names and nothing of the machine's network is touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import socket
import statistics
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

# linux/sched.h
_NEW_USERS: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
# linux/if_tun.h: packets of IP, as they are.
_SET_TUN: Final = 0x400454CA
_TUN_AS_IT_IS: Final = 0x0001 | 0x1000
# linux/sockios.h, linux/if.h
_SET_ADDRESS: Final = 0x8916
_SET_NETMASK: Final = 0x891C
_SET_FLAGS: Final = 0x8914
_UP: Final = 0x1
_DEVICE: Final = b"wire"
_TUN: Final = "/dev/net/tun"
_MOST_BYTES: Final = 65536
# RFC 791, 3.1: the version, and where the destination stands.
_IPV4: Final = 4
_TO: Final = slice(16, 20)
_INPUT: Final = 0


class Held:
    """Packets on their way, in the order in which they came; all times are of the monotonic clock, in nanoseconds.

    Args:
        delay_ns: How long each is held.
    """

    def __init__(self, delay_ns: int) -> None:
        self._delay_ns = delay_ns
        self._packets: deque[tuple[int, int, bytes]] = deque()
        self._late_ns: list[int] = []

    def take(self, packet: bytes, to: int, *, now_ns: int) -> None:
        """Hold a packet that has come just now."""
        self._packets.append((now_ns + self._delay_ns, to, packet))

    def wait_seconds(self, *, now_ns: int) -> float | None:
        """Return how long nothing is due; None while nothing is held."""
        return max(0, self._packets[0][0] - now_ns) / 1e9 if self._packets else None

    def due(self, *, now_ns: int) -> Iterator[tuple[int, bytes]]:
        """Hand on what was held long enough: where to, and the packet."""
        while self._packets and self._packets[0][0] <= now_ns:
            at, to, packet = self._packets.popleft()
            self._late_ns.append(now_ns - at)
            yield to, packet

    def told(self) -> dict[str, float]:
        """Return how many were handed on, and how late."""
        late = [each / 1e6 for each in self._late_ns] or [0.0]
        return {"packets": len(self._late_ns), "late_ms": statistics.median(late), "most_late_ms": max(late)}


def address(number: int) -> str:
    """Return where a namespace is."""
    return f"10.77.0.{number + 1}"


def carry(wires: list[int], held: Held) -> None:
    """Carry packets and answer questions until there will be none any more."""
    to_whom = {socket.inet_aton(address(number)): wire for number, wire in enumerate(wires)}
    while True:
        readable, _, _ = select.select([_INPUT, *wires], [], [], held.wait_seconds(now_ns=time.monotonic_ns()))
        for each in readable:
            if each != _INPUT:
                _take(each, to_whom, held)
            elif os.read(_INPUT, _MOST_BYTES):
                _say(held.told())
            else:
                return
        for to, packet in held.due(now_ns=time.monotonic_ns()):
            os.write(to, packet)


def _take(wire: int, to_whom: dict[bytes, int], held: Held) -> None:
    with suppress(BlockingIOError):
        while packet := os.read(wire, _MOST_BYTES):
            # The kernel looks for routers of IPv6, too, and there are none.
            to = to_whom.get(packet[_TO]) if packet[0] >> 4 == _IPV4 else None
            if to is not None:
                held.take(packet, to, now_ns=time.monotonic_ns())


def _namespace(number: int) -> tuple[str, int]:
    """Make a namespace, and be in it; return its path and the device's other end."""
    _leave()
    wire = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(wire, _SET_TUN, struct.pack("16sH22x", _DEVICE, _TUN_AS_IT_IS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for what, value in ((_SET_ADDRESS, address(number)), (_SET_NETMASK, "255.255.255.0")):
            asked = struct.pack("16sHH4s16x", _DEVICE, socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(any_socket, what, asked)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", _DEVICE, _UP))
    return f"/proc/{os.getpid()}/fd/{os.open('/proc/self/ns/net', os.O_RDONLY | os.O_CLOEXEC)}", wire


def _leave() -> None:
    try:
        _unshare(_NEW_NETWORK)
    except PermissionError:
        # Who is not root may make networks among users of his own, where he stays who he is.
        user, group = os.getuid(), os.getgid()
        _unshare(_NEW_USERS | _NEW_NETWORK)
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)


def _unshare(what: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _say(answer: dict[str, object] | dict[str, float]) -> None:
    print(json.dumps(answer), flush=True)


def main(count: int, delay_ms: float) -> None:
    """Make the namespaces, and carry what is sent between them."""
    users = os.readlink("/proc/self/ns/user")
    os.read(_INPUT, _MOST_BYTES)
    try:
        made = [_namespace(number) for number in range(count)]
    except OSError as error:
        _say({"missing": f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)})
        return
    # A kernel's own link waits for nobody's turn, nor does this where it may.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    own_users = os.readlink("/proc/self/ns/user") != users
    _say({"namespaces": [path for path, _ in made], "users": f"/proc/{os.getpid()}/ns/user" if own_users else ""})
    carry([wire for _, wire in made], Held(round(delay_ms * 1e6)))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
