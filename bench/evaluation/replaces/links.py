"""Three network namespaces on one bridge, where every packet leaves its sender's link 10 ms late.

They are of this run alone, with names of its own, and nothing of the machine's network is touched; it takes root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from bench.evaluation.model import MissingError

DELAY_MS: Final = 10
PARTIES: Final = 3


@contextmanager
def namespaces() -> Iterator[tuple[str, ...]]:
    """Give the names of three, for the length of a `with`; in each, party I is 10.77.0.(I + 1).

    Raises:
        MissingError: They cannot be made here.
    """
    if os.geteuid():
        raise MissingError("links of 10 ms take root, to make network namespaces")
    if shutil.which("ip") is None or shutil.which("tc") is None:
        raise MissingError("links of 10 ms take ip and tc, of iproute2")
    token = secrets.token_hex(3)
    hub, *parties = names = [f"twocvm-{token}-{each}" for each in ("hub", *range(PARTIES))]
    with ExitStack() as stack:
        for name in names:
            _do("ip", "netns", "add", name)
            stack.callback(_do, "ip", "netns", "del", name)
        _in(hub, "ip", "link", "add", "bridge", "type", "bridge")
        _in(hub, "ip", "link", "set", "bridge", "up")
        for number, name in enumerate(parties):
            _link(hub, name, number)
        yield tuple(parties)


def address(party: int) -> str:
    """Return where a party is."""
    return f"10.77.0.{party + 1}"


def _link(hub: str, name: str, number: int) -> None:
    _in(hub, "ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "wire", "netns", name)
    _in(hub, "ip", "link", "set", f"to{number}", "master", "bridge", "up")
    _in(name, "ip", "address", "add", f"{address(number)}/24", "dev", "wire")
    _in(name, "ip", "link", "set", "lo", "up")
    _in(name, "ip", "link", "set", "wire", "up")
    _in(name, "tc", "qdisc", "add", "dev", "wire", "root", "netem", "delay", f"{DELAY_MS}ms")


def _in(namespace: str, *command: str) -> None:
    _do("ip", "netns", "exec", namespace, *command)


def _do(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise MissingError(f"links of 10 ms cannot be made here: {' '.join(command)}: {ended.stderr.strip()}")
