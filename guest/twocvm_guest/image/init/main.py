"""The first process: root, folders, the host's words, modules, payload, packets, network, settings, agent, end.

Packets are filtered before the card is on, and modules are locked before the agent runs. Any failure ends the machine
at once: there is no half-made guest, no second try and no shell.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from twocvm_guest.image.command_line import Variant, parse_command_line

from . import agent, firewall, kernel, mounts, network, payload, probe, report, unmeasured

SETTINGS: Final = Path("/etc/twocvm.json")
_COMMAND_LINE: Final = Path("/proc/cmdline")


def main() -> NoReturn:
    """Make the machine, run the agent, end the machine."""
    try:
        _run()
    finally:
        # Reached in every case. A first process that ends otherwise would have the kernel end the machine as well.
        with suppress(OSError):
            kernel.power_off()
        os._exit(1)


def _run() -> None:
    mounts.close_root()
    for each in mounts.MOUNTS:
        mounts.mount(each)
    variant = Variant(json.loads(SETTINGS.read_text())["variant"])
    say = open_output(variant)
    tell_failure(lambda: make_and_serve(variant, say), say)


def open_output(variant: Variant) -> report.Say:
    """Connect this process to the console where the image has one, else to nothing; return who is told what happens."""
    name = "/dev/console" if variant is Variant.DEVELOPMENT else os.devnull
    descriptor = os.open(name, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(descriptor, number)
    return report.to_console if variant is Variant.DEVELOPMENT else report.to_host


def tell_failure(work: Callable[[], None], say: report.Say) -> None:
    """Do it, and say how it failed where it did."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is ends the machine
        say("refused", error=error)


def make_and_serve(variant: Variant, say: report.Say) -> None:
    """Take the machine from its mounts to the end of its agent.

    Raises:
        Exception: Anything was not as it must be.
    """
    unmeasured.require_plain_start(sys.argv[1:], os.environ)
    launch = parse_command_line(_COMMAND_LINE.read_text(), variant)
    port = launch.network.port
    kernel.load_modules()
    if launch.payload is not None:
        payload.attach(launch.payload)
    mounts.mount(mounts.CONFIGFS)
    firewall.close_to_all_but(port)
    network.connect(launch.network)
    kernel.settle()
    used = payload.USED if launch.payload is not None else frozenset()
    ignored = [f"{each.kind}: {each.name}" for each in unmeasured.find_ignored(used=used)]
    say("made", ignored=ignored)
    status = agent.run(variant, port, say)
    if variant is Variant.DEVELOPMENT:
        say("probed", **probe.run(launch.network))
    say("ended", status=status)
