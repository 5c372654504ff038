"""What can be seen from inside of what the image promises: a development image tries it before it ends.

It runs with what the agent may do, and no more.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from twocvm_guest.image.command_line import Network

from . import kernel
from .agent import wait

_CONNECT_SECONDS: Final = 1.5
_MOST_BYTES: Final = 1 << 16
_SKIPPED: Final = ("/proc", "/sys", "/dev", "/run", "/tmp")  # noqa: S108 - mounts, looked at by themselves


def run(network: Network) -> dict[str, object]:
    """Return what a process like the agent finds, by name."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.give_up_capabilities()
            os.write(theirs, json.dumps(look(network)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        found: dict[str, object] = json.loads(pipe.read(_MOST_BYTES) or b"{}")
    wait(pid)
    return found


def look(network: Network) -> dict[str, object]:
    """Try everything from this process."""
    gateway = str(network.gateway)
    return {
        "programs": [path for path, mode in _files(Path("/")) if mode & 0o111 and ".so" not in path],
        "raised": [path for path, mode in _files(Path("/")) if mode & (stat.S_ISUID | stat.S_ISGID)],
        "write to root": attempt(lambda: Path("/new").write_bytes(b"")),
        "write to a library": attempt(lambda: os.close(os.open("/usr/bin/python3.11", os.O_WRONLY))),
        "load a module": attempt(lambda: kernel.load_module(next(kernel.MODULES.glob("*.ko")))),
        "memory of the machine": attempt(lambda: os.close(os.open("/dev/mem", os.O_RDONLY))),
        "connect out": attempt(lambda: _connect(gateway, network.port)),
        "connect out from the port": attempt(lambda: _connect(gateway, network.port, own=network.port)),
        "send a datagram": attempt(lambda: _send(gateway)),
        "raw packets": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
        "open a port on IPv6": attempt(lambda: socket.socket(socket.AF_INET6).close()),
        "power off": attempt(kernel.power_off),
        "set the clock": attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
        "swaps": Path("/proc/swaps").read_text().splitlines()[1:],
        "mounts": _mounts(Path("/proc/mounts").read_text()),
        "settings that differ": sorted(_differing(kernel.SYSCTLS, kernel.SETTINGS)),
        "environment": sorted(os.environ),
    }


def attempt(action: Callable[[], object]) -> str:
    """Do it, and say how it ended: `done`, or the name of the refusal."""
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else type(error).__name__
    return "done"


def _files(root: Path) -> Iterator[tuple[str, int]]:
    skipped = tuple(f"{root}{name}".replace("//", "/") for name in _SKIPPED)
    for folder, _, names in os.walk(root):
        if not folder.startswith(skipped):
            for name in names:
                path = os.path.join(folder, name)
                yield path, os.lstat(path).st_mode & ~(0o111 if os.path.islink(path) else 0)


def _connect(host: str, port: int, *, own: int = 0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
        stream.settimeout(_CONNECT_SECONDS)
        if own:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind(("0.0.0.0", own))  # noqa: S104 - the guest's one card
        stream.connect((host, port))


def _send(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"\0", (host, 53))


def _mounts(text: str) -> list[str]:
    rows = (line.split() for line in text.splitlines())
    return [f"{kind} {target} {options}" for _, target, kind, options, *_ in rows]


def _differing(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        if (folder / name).read_text().strip() != value:
            yield name
