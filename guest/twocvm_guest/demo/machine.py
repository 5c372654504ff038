"""The demo's guest as a machine: a development image, booted here, that serves from inside."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from twocvm_guest.image.boot import START_SECONDS, Machine, hardware
from twocvm_guest.image.folder import ImageFolder

from .process import Serving


class GuestMachine:
    """A booted image for the length of a `with`; offers what `process.GuestProcess` does.

    Args:
        image: A development image.
        root: Where the root of its simulated platform is written.
        log: Where its console goes.
        words: Further words for the emulator.

    Attributes:
        machine: For whoever wants to see more of it.
    """

    kind: Final = "a machine of its own"
    ending: Final = "the machine has switched itself off"

    def __init__(self, image: ImageFolder, *, root: Path, log: Path, words: tuple[str, ...] = ()) -> None:
        self._root: Final = root
        self.machine: Final = Machine(image, hardware(image, words=words), log=log)

    @property
    def pid(self) -> int:
        """The emulator's process."""
        return self.machine.pid

    def wait_ready(self) -> Serving:
        """Wait until the guest in the machine takes connections.

        Raises:
            FetchError: It ended instead.
        """
        facts = self.machine.wait_for("ready", seconds=START_SECONDS)
        self._root.write_text(str(facts["root"]), encoding="ascii")
        return Serving(url=self.machine.url, platform=str(facts["platform"]))

    def warnings(self) -> tuple[str, ...]:
        """Return what the guest's console has that is neither an event nor the kernel's."""
        return tuple(line for line in self.machine.console().splitlines() if line and line[0] not in "{[")

    def wait_ended(self, seconds: float) -> int | None:
        """Wait for the machine to switch itself off; as `GuestProcess.wait_ended`."""
        return self.machine.wait_ended(seconds)

    def stop(self) -> None:
        """Pull the plug. May be called more than once, from any thread."""
        self.machine.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
