"""Boots an image on this machine, in QEMU without any help of the processor's: slow, unprotected, and the real thing.

The machine has one network card in a network of its own. One port of this machine's loopback leads to the port that the
guest serves at; nothing else leads in. What the guest may send out is the guest's own affair, and it sends nothing.

Spec: QEMU 7.2, qemu-system-x86_64(1).
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twocvm_guest.child import Child
from twocvm_guest.launch.qemu import disk
from twocvm_verifier.errors import FetchError, UnsupportedError

from .command_line import command_line, make_network
from .folder import ImageFolder
from .init.report import MARK
from .payload import read_payload

EMULATOR: Final = "qemu-system-x86_64"
NETWORK: Final = make_network("10.0.2.15/24", "10.0.2.2", "8443")
"""The network that QEMU makes for a machine: its address, and this machine's in it."""

MEMORY_MIB: Final = 1024
START_SECONDS: Final = 300.0
"""Ten times what it takes alone: the machine may have to share this one."""

_STEP_SECONDS: Final = 0.05
# The emulated processor's protection keys and five-level pages are broken in QEMU 7.2 without KVM.
_PROCESSOR: Final = "max,-pku,-la57"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a host decides about a machine.

    Attributes:
        port: TCP port of this machine's loopback that leads to the guest's.
        words: Further words for QEMU.
        command_line: The kernel's.
    """

    port: int
    command_line: str
    words: tuple[str, ...] = ()


def hardware(image: ImageFolder, *, words: tuple[str, ...] = (), payload: Path | None = None) -> Hardware:
    """Return a machine as the image wants it, at a port that is free.

    Args:
        image: What is booted.
        words: Further words for QEMU.
        payload: The disk that it brings, as `payload.write_payload` wrote it.

    Raises:
        MalformedError: The disk is no payload.
        OSError: It cannot be read.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    if payload is None:
        return Hardware(port=port, command_line=command_line(image.variant, NETWORK), words=words)
    line = command_line(image.variant, NETWORK, read_payload(payload))
    return Hardware(port=port, command_line=line, words=(*disk(payload), *words))


def emulator_words(image: ImageFolder, given: Hardware, console: Path) -> tuple[str, ...]:
    """Return the program and its words.

    Args:
        image: What is booted.
        given: The machine.
        console: The file that the machine's serial line is written to.
    """
    forward = f"hostfwd=tcp:127.0.0.1:{given.port}-:{NETWORK.port}"
    return (
        *(EMULATOR, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _PROCESSOR, "-smp", "2", "-m", f"{MEMORY_MIB}"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", given.command_line),
        *("-netdev", f"user,id=net,ipv6=off,{forward}", "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-serial", f"file:{console}"),
        *given.words,
    )


class Machine(Child):
    """One run of an image, for the length of a `with`.

    Args:
        image: What is booted.
        given: The machine.
        log: Where its serial line is written; what QEMU itself says goes to the same name with `.qemu`.

    Raises:
        UnsupportedError: NO_EMULATOR.
        OSError: `log` cannot be written.
    """

    def __init__(self, image: ImageFolder, given: Hardware, *, log: Path) -> None:
        if shutil.which(EMULATOR) is None:
            raise UnsupportedError("NO_EMULATOR", f"{EMULATOR}: is not here")
        self._log: Final = log
        log.write_bytes(b"")
        self.url: Final = f"https://127.0.0.1:{given.port}"
        with log.with_suffix(".qemu").open("wb") as said:
            super().__init__(emulator_words(image, given, log), output=said, errors=said)

    def console(self) -> str:
        """Return what the machine has written to its serial line so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def events(self) -> dict[str, Mapping[str, object]]:
        """Return what the machine has said so far of itself, by the event's name."""
        return {event: facts for line in self.console().splitlines() for event, facts in parse_event(line)}

    def wait_for(self, event: str, *, seconds: float) -> Mapping[str, object]:
        """Wait for an event and return its facts.

        Raises:
            FetchError: MACHINE_FAILED; the machine ended first, or was silent for `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self._process.poll() is not None
            if facts := self.events().get(event):
                return facts
            if ended or time.monotonic() > deadline:
                lines = self.console().strip().splitlines()
                # The kernel has the last word, and it is always the same.
                last = ([line for line in lines if parse_event(line)] or lines or ["nothing"])[-1]
                how = "ended" if ended else f"said no {event!r} in {seconds:.0f} s"
                raise FetchError("MACHINE_FAILED", f"machine: {how}; it said last {last!r:.300}")
            time.sleep(_STEP_SECONDS)


def parse_event(line: str) -> tuple[tuple[str, Mapping[str, object]], ...]:
    """Return the event of one line of a console with its facts, or nothing where the line is something else.

    >>> parse_event('{"twocvm": "ended", "seconds": 1.5, "status": 0}')
    (('ended', {'seconds': 1.5, 'status': 0}),)
    """
    try:
        value = json.loads(line)
    except ValueError:
        return ()
    if not isinstance(value, dict) or not isinstance(event := value.pop(MARK, None), str):
        return ()
    return ((event, value),)
