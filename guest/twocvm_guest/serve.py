"""One launch of a guest, from its start to the halt of its machine.

The server runs in a thread of its own; the thread that calls `run` lets time pass and waits for the end: the session is
wiped, or the process is told to stop, or the platform can make no report any more. In each case items, workers and
outputs are gone before connections are.
"""

from __future__ import annotations

import logging
import resource
import signal
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from twocvm_verifier.clock import Clock, SystemClock

from .agent import AttestationAgent, StartWorkers
from .heap import keep_freed_memory
from .platforms.attester import Attester
from .runtime.isolation import IsolationReport
from .runtime.protect import keep_to_itself
from .runtime.supervisor import Runtime
from .service.app import build_app
from .session.machine import State
from .tls import GuestServer, Limits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

TICK_SECONDS: Final = 0.25


class Guest:
    """A guest that is about to serve.

    Args:
        attester: The platform.
        isolation: What workers are kept in on this machine.
        start_workers: Makes the runtime for the manifest.
        clock: The guest's clocks.
        limits: What connections may cost.
        host: Address to listen on.
        port: TCP port; 0 for any that is free.

    Attributes:
        agent: What it serves.
    """

    def __init__(
        self,
        *,
        attester: Attester,
        isolation: IsolationReport,
        start_workers: StartWorkers,
        clock: Clock,
        limits: Limits,
        host: str,
        port: int,
    ) -> None:
        self.agent: Final = AttestationAgent(
            attester=attester, isolation=isolation, start_workers=start_workers, clock=clock, limits=limits
        )
        self._platform: Final = attester.name
        self._host: Final = f"[{host}]" if ":" in host else host
        # Two spellings of the same ASGI.
        app = cast("ASGI3Application", build_app(self.agent, clock=clock))
        self._server: Final = GuestServer(app, self.agent.connections, host=host, port=port)
        self._failure: Exception | None = None

    def facts(self, bound: int) -> Mapping[str, str]:
        """Return what whoever started this guest is told of it, once it listens at the port `bound`."""
        launch = self.agent.launch
        return {
            "listen": f"https://{self._host}:{bound}",
            "platform": self._platform,
            "measurement": launch.measurement.hex(),
            "host_data": launch.host_data.hex(),
        }

    def run(self, *, on_ready: Callable[[int], None], stopping: threading.Event) -> None:
        """Serve until the session is wiped, the platform is broken or `stopping` is set.

        Nothing of participants is left then.

        Args:
            on_ready: Called with the port, in another thread, once connections are taken.
            stopping: Set by whoever wants the end.

        Raises:
            OSError: The address cannot be listened on.
            DeviceError: The platform will never make another report in this launch.
        """
        # Joined below; should that wait be broken off, it must not keep the process, nor its memory, alive.
        server = threading.Thread(target=self._serve, args=(on_ready,), name="server", daemon=True)
        server.start()
        try:
            while server.is_alive() and not stopping.wait(TICK_SECONDS):
                if self.agent.advance() is State.WIPED or self.agent.broken is not None:
                    break
        finally:
            self.agent.halt()
            self._server.stop()
            server.join()
        if (failure := self._failure or self.agent.broken) is not None:
            raise failure

    def _serve(self, on_ready: Callable[[int], None]) -> None:
        try:
            self._server.run(on_ready)
        except Exception as error:  # noqa: BLE001 - raised again by `run`, in its own thread
            self._failure = error


def new_guest(attester: Attester, isolation: IsolationReport, *, host: str, port: int) -> Guest:
    """Return the guest of this process, which from here on keeps to itself what it holds.

    Args:
        attester: As `Guest`.
        isolation: As `Guest`.
        host: As `Guest`.
        port: As `Guest`.
    """
    keep_silent()
    keep_to_itself()
    keep_freed_memory()
    return Guest(
        attester=attester,
        isolation=isolation,
        start_workers=lambda manifest: Runtime(manifest, isolation=isolation),
        clock=SystemClock(),
        limits=Limits(),
        host=host,
        port=port,
    )


def run_to_its_end(guest: Guest, *, on_ready: Callable[[Mapping[str, str]], None]) -> None:
    """Run a guest until its session is wiped, or until SIGTERM or SIGINT, which wipe it. Of the main thread.

    Args:
        guest: New.
        on_ready: Told, in another thread, what it is and where it listens.

    Raises:
        OSError, DeviceError: As `Guest.run`.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    guest.run(on_ready=lambda bound: on_ready(guest.facts(bound)), stopping=stopping)


def keep_silent() -> None:
    """Let this process write no memory to disk and no word of a request to the log, which the host reads."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.getLogger("uvicorn").disabled = True
    logging.getLogger("uvicorn.error").disabled = True
    logging.getLogger("asyncio").disabled = True
