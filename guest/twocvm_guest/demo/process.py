"""The demo's guest: a process of its own, started as anybody would start one, and ended with the demo."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from twocvm_guest.child import Child
from twocvm_verifier.errors import FetchError

_PROGRAM: Final = (sys.executable, "-c", "from twocvm_guest.main import main; main()")
# It makes two RSA keys first, which takes a second, or a few on a bad day.
_START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a guest says of itself when it is ready; who believes it has not verified it.

    Attributes:
        url: Where it listens.
        platform: Its kind of platform.
    """

    url: str
    platform: str


class GuestProcess(Child):
    """`twocvm guest serve` in a process of its own, for the length of a `with`.

    Args:
        manifest: Canonical manifest that the guest is launched for (HOST_DATA).
        root: Where the guest writes the root of its simulated platform.
        log: Where what it says goes.
    """

    kind: Final = "a process of its own"
    ending: Final = "the guest's process has ended"

    def __init__(self, *, manifest: Path, root: Path, log: Path) -> None:
        options = ("--platform", "simulated", "--listen", "127.0.0.1:0", "-o", "json")
        files = ("--manifest", str(manifest), "--simulated-root-out", str(root))
        self._log: Final = log
        with log.open("wb") as said:
            super().__init__((*_PROGRAM, "guest", "serve", *options, *files), output=subprocess.PIPE, errors=said)

    def wait_ready(self) -> Serving:
        """Wait until the guest takes connections.

        Raises:
            FetchError: It ended instead.
        """
        pipe = self._process.stdout
        ready = pipe and select.select([pipe], [], [], _START_SECONDS)[0]
        line = pipe.readline() if pipe and ready else b""
        if not line:
            said = self.warnings() or ("nothing",)
            raise FetchError("GUEST_FAILED", f"guest: did not start, and said {said[-1]!r:.300}")
        facts = json.loads(line)
        return Serving(url=facts["listen"], platform=facts["platform"])

    def warnings(self) -> tuple[str, ...]:
        """Return what the guest has said so far that is not a result."""
        return tuple(self._log.read_text(encoding="utf-8", errors="replace").splitlines())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._process.stdout:
            self._process.stdout.close()
