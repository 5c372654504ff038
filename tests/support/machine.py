"""A booted development image whose host does with it what hosts can, and the participants outside of it.

    with HostedMachine(image, folder=tmp_path, date="2021-01-01T00:00:00") as machine:
        machine.serving()                                     # its guest takes connections
        machine.world = machine_world(machine)
        everybody = outsiders(machine, tmp_path / "first")    # each through its own SDK
        machine.reset()                                       # another launch, in the same memory
        machine.serving()

Every launch has a root of its own. The participants here believe all of them, as on hardware all hang from AMD's: what
keeps launches apart must be something else.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
from tests.support.attested_guest import NO_CRL, policy
from tests.support.guest import ANYBODY, Client, identity_of
from tests.support.guest_process import acting_world
from tests.support.images import built_images
from tests.support.manifests import AT, Document, World, builtin
from tests.support.monitor import Monitor
from tests.support.sdk import StandingClock
from tests.support.sides import Side

from twocvm_guest.image.boot import EMULATOR, START_SECONDS, Machine, hardware
from twocvm_guest.image.command_line import Variant
from twocvm_guest.image.folder import ImageFolder, read_image, write_image
from twocvm_sdk import Session
from twocvm_sdk.connection import AttestedConnection, Timeouts
from twocvm_sdk.resuming import Patience
from twocvm_sdk.watch import FailedProof, Watching
from twocvm_verifier.appraisal import Judgement, Question
from twocvm_verifier.errors import ChainError
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

PATIENCE_SECONDS: Final = 120.0
DEADLINE_SECONDS: Final = 900
EVERY_BOOT: Final = os.environ.get("TWOCVM_BOOTS") == "all"
"""Whether a run of the tests may take minutes for boots."""
ON_DEMAND: Final = "takes a boot of its own, and minutes with the others: make boots"


class Launches:
    """A verifier that believes every launch that it was told of."""

    name = "every launch's"

    def __init__(self) -> None:
        self._verifiers: list[SnpVerifier] = []

    def add(self, root: bytes) -> None:
        """Believe the launch with this root from now on."""
        self._verifiers.append(SnpVerifier(roots=simulated_roots(root), crls=NO_CRL))

    def judge(self, question: Question, /, *, at: datetime) -> Judgement:
        """Judge by whichever root the evidence hangs from."""
        *others, last = self._verifiers
        for verifier in others:
            try:
                return verifier.judge(question, at=at)
            except ChainError:
                continue
        return last.judge(question, at=at)


class HostedMachine(Machine):
    """A machine with its host at the monitor, for the length of a `with`.

    Args:
        image: A development image.
        folder: For its console and whatever it leaves.
        words: Further words for the emulator.
        payload: The disk that it brings, if any.
        date: What its clock shows when it is switched on; that of its participants unless given.
        after: A machine that was switched off, in whose place this one is started.

    Attributes:
        launches: Believes every launch of it so far.
        world: Who takes part; for a test to say.
    """

    host: Monitor
    world: World

    def __init__(
        self,
        image: ImageFolder,
        *,
        folder: Path,
        words: tuple[str, ...] = (),
        payload: Path | None = None,
        date: str = f"{AT:%Y-%m-%dT%H:%M:%S}",
        after: HostedMachine | None = None,
    ) -> None:
        self._socket: Final = folder / "qmp"
        monitor = ("-qmp", f"unix:{self._socket},server=on,wait=off")
        given = hardware(image, words=(*monitor, "-rtc", f"base={date}", *words), payload=payload)
        self.launches: Final = Launches() if after is None else after.launches
        if after is not None:
            given = replace(given, port=after.port)
            self.world = after.world
        self._console: Final = folder / "console"
        self._launched_bytes = 0
        self.measurement: Final = image.software
        self.port: Final = given.port
        super().__init__(image, given, log=self._console)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.host = Monitor(self._socket)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    def console(self) -> str:
        """Return what the present launch has written to its serial line so far."""
        return self._console.read_bytes()[self._launched_bytes :].decode("utf-8", errors="replace")

    def serving(self) -> Mapping[str, object]:
        """Wait until the guest takes connections, believe it from then on, and return what it said."""
        facts = self.wait_for("ready", seconds=START_SECONDS)
        self.launches.add(str(facts["root"]).encode("ascii"))
        if self._launched_bytes:
            # Not before: firmware that finds itself reset begins with a reset of its own.
            self.host.do("set-action", reboot="shutdown")
        return facts

    def reset(self) -> None:
        """Press the reset button, without `-no-reboot` until it serves again; its memory is as it was."""
        self.host.do("set-action", reboot="reset")
        self.host.do("stop")
        self._launched_bytes = self._console.stat().st_size
        self.host.do("system_reset")
        self.host.wait_for("RESET")
        self.host.do("cont")

    def reset_for_good(self) -> int | None:
        """Press the reset button as it was launched, and return the emulator's status, or None where it goes on."""
        self.host.do("system_reset")
        return self.wait_ended(PATIENCE_SECONDS)

    def jump(self, seconds: float) -> None:
        """Take the processor away for a while, in which all of the machine's clocks go on."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def expectation(self, *, unlocked_ok: bool = False) -> Expectation:
        """Return what is expected of any of its launches."""
        return Expectation(
            manifest=self.world.manifest, policy=policy(), verifier=self.launches, unlocked_ok=unlocked_ok
        )

    def connect(self, name: str = ANYBODY, *, unlocked_ok: bool = False, timeouts: Timeouts | None = None) -> Client:
        """Return a client of a participant's, or of somebody without a certificate."""
        connection = AttestedConnection.open(
            self.url,
            expectation=self.expectation(unlocked_ok=unlocked_ok),
            identity=identity_of(name) if name else None,
            clock=StandingClock(),
            randomness=secrets.token_bytes,
            timeouts=timeouts,
        )
        return Client(self, connection, name)  # type: ignore[arg-type]

    def state(self) -> str:
        """Return the session's state, as it is served to anybody."""
        with self.connect(unlocked_ok=True) as client:
            return client.state()

    def wait_state(self, *states: str) -> str:
        """Wait until the session is in one of `states`, and return it."""
        with self.connect() as client:
            return client.wait_for(*states, seconds=PATIENCE_SECONDS)


class Outsider(Side):
    """A participant outside the machine, which believes every launch of it and asks nothing in between."""

    def connect(self, **changes: Any) -> Session:
        """Connect as this participant, with `changes` to the arguments."""
        patience = Patience(attempts=3, first_pause_seconds=0.2)
        # A watch would find out for itself at a moment of its own.
        watching = Watching(interval_seconds=3600.0, on_failed_proof=FailedProof.REPORT)
        return super().connect(**{"patience": patience, "watching": watching, **changes})

    @property
    def arguments(self) -> dict[str, Any]:
        """What every connection of this participant is made with."""
        return {
            "manifest": self.world.manifest,
            "policy": policy(),
            "identity": self.identity,
            "verifier": self.guest.launches,
            "clock": self.clock,
        }


def outsiders(machine: HostedMachine, folder: Path, *commands: str) -> dict[str, Outsider]:
    """Return everybody of the machine's world, with ledgers of their own in `folder`.

    Args:
        machine: Whose world.
        folder: New.
        commands: What the component does before it reports.
    """
    machine.world.content["script-step-0"] = "\n".join((*commands, "write /out/evaluation/data 7")).encode()
    folder.mkdir(parents=True)
    return {name: Outsider(machine, name, folder) for name in machine.world.names}  # type: ignore[arg-type]


def machine_world(machine: HostedMachine, *, deadline_seconds: int = DEADLINE_SECONDS) -> World:
    """Return three participants with one component, and outputs that are filtered, each in a worker.

    Args:
        machine: Where they meet.
        deadline_seconds: Of the session, all of which a component may take.
    """
    world = acting_world(
        machine.measurement, commands=[], wall_seconds=deadline_seconds, deadline_seconds=deadline_seconds
    )
    document: Document = world.document
    document["filters"] = [builtin("padded", "padding", sizes=[4096])]
    for output in document["outputs"]:
        output["filters"] = ["padded"]
    return world


def development_image(folder: Path) -> ImageFolder:
    """Return the development image; as `image_to_boot`."""
    return image_to_boot(Variant.DEVELOPMENT, folder)


def image_to_boot(variant: Variant, folder: Path) -> ImageFolder:
    """Return an image; skips where it cannot be had.

    Args:
        variant: Which one.
        folder: As `shared_folder`.
    """
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not here: nothing is booted")
    image = next(each for each in built_images(folder) if each.variant is variant)
    place = folder / variant.value
    with (folder / f"{variant.value}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (place / "image.json").exists():
            write_image(image, place)
    return read_image(place)
