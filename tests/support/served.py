"""The verifier service as a process of its own, all of it but for two things: whose AMD it trusts, and its clock.

    with served(policy) as service:
        requests.post(f"{service.url}/v1/appraise", json=...)
        service.later(200)                         # its clock goes on by so much

It trusts the hierarchies of `tests.support.amd` (Milan, Genoa and Turin), and its time begins at their `AT`.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twocvm_verifier import Policy, SnpVerifier
from twocvm_verifier.clock import SystemClock, format_time, parse_time
from twocvm_verifier.collateral import Collateral, Store
from twocvm_verifier.policy import document_of, policy_of_document
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.appraisals import Appraiser
from twocvm_verifier.service.limits import Guard, Rate
from twocvm_verifier.service.parts import Parts
from twocvm_verifier.service.process import serve_on
from twocvm_verifier.service.settings import Limits
from twocvm_verifier.service.state.memory import MemoryAnswers
from twocvm_verifier.service.state.reports import MemoryReports
from twocvm_verifier.service.state.sealed import SESSION_SECONDS, Sessions
from twocvm_verifier.service.tokens import KeyRing, new_key
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import Hierarchy, Roots, verify_roots

ROOT = Path(__file__).parents[2]
REPORT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running service.

    Attributes:
        url: Where it listens, and who it says it is.
        port: Of 127.0.0.1.
        pid: Of its process.
        shift: The file that its clock is ahead by.
    """

    url: str
    port: int
    pid: int
    shift: Path

    def later(self, seconds: float) -> None:
        """Let its clock go on; 0 is back at the beginning."""
        self.shift.write_text(str(seconds))

    def exchange(self, raw: bytes, *, seconds: float = 5.0) -> bytes:
        """Return everything that comes back for some bytes, until the service ends the connection or says no more."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(raw)
            try:
                while chunk := connection.recv(65536):
                    found += chunk
            except (TimeoutError, ConnectionResetError):
                pass
        return found


@contextmanager
def served(folder: Path, *, policy: Policy, limits: dict[str, Any] | None = None) -> Iterator[Served]:
    """Run a service, and end it as an init system does.

    Args:
        folder: An empty one.
        policy: Its owner's.
        limits: As in its settings; without them nobody asks too much.
    """
    from tests.support.amd import AT, fake_amd

    shift = folder / "shift"
    shift.write_text("0")
    hierarchies = [fake_amd(product).hierarchy() for product in (Product.MILAN, Product.GENOA, Product.TURIN)]
    order = {
        "at": format_time(AT),
        "shift": str(shift),
        "store": str(folder / "store"),
        "policy": document_of(policy),
        "limits": {"requests_per_second": 1e6, "burst": 1_000_000} | (limits or {}),
        "roots": [
            {
                "product": str(each.product),
                "ark": base64.b64encode(each.ark).decode(),
                "intermediates": {
                    str(kind): base64.b64encode(der).decode() for kind, der in each.intermediates.items()
                },
            }
            for each in hierarchies
        ],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.served"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line.startswith("port "), process.communicate(timeout=10)
        port = int(line.split()[1])
        yield Served(url=f"http://127.0.0.1:{port}", port=port, pid=process.pid, shift=shift)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=30)
    # Nothing that was sent made it say more than that it is no HTTP; what it says of its own errors would stand here.
    said = [each for each in err.splitlines() if each != "WARNING:uvicorn.error:Invalid HTTP request received."]
    assert said == []
    assert process.returncode == 0


class ShiftedClock(SystemClock):
    """A clock that began at some time, and goes on by as much as a file says."""

    def __init__(self, *, at: datetime, shift: Path) -> None:
        self._ahead = at - datetime.now(at.tzinfo)
        self._shift = shift

    def now(self) -> datetime:
        """Return its time."""
        return super().now() + self._ahead + timedelta(seconds=float(self._shift.read_text() or 0))


def _roots(told: list[dict[str, Any]]) -> Roots:
    return verify_roots(
        tuple(
            Hierarchy(
                product=Product(each["product"]),
                ark=base64.b64decode(each["ark"]),
                intermediates={VekKind(kind): base64.b64decode(der) for kind, der in each["intermediates"].items()},
            )
            for each in told
        ),
        revoked=frozenset(),
    )


def _main() -> None:
    order = json.loads(sys.stdin.readline())
    clock = ShiftedClock(at=parse_time(order["at"]), shift=Path(order["shift"]))
    roots = _roots(order["roots"])
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    limits = Limits(**order["limits"])
    parts = Parts(
        appraiser=Appraiser(
            verifier=SnpVerifier(roots=roots),
            collateral=Collateral(
                store=Store(Path(order["store"]), roots=roots), sources=(), clock=clock, patience_seconds=1
            ),
            default=policy_of_document(order["policy"]),
            policies=(Policy.builtin(),),
            clock=clock,
        ),
        keys=KeyRing(current=new_key(), following=None),
        sessions=Sessions(
            answers=MemoryAnswers(clock=clock, epoch=secrets.token_bytes(32), session_seconds=SESSION_SECONDS),
            random_bytes=secrets.token_bytes,
        ),
        issuer=f"http://127.0.0.1:{port}",
        federations=frozenset({"sts.amazonaws.com"}),
        clock=clock,
        random_bytes=secrets.token_bytes,
        reports=MemoryReports(clock=clock),
        report_seconds=REPORT_SECONDS,
    )
    rate = Rate(per_second=limits.requests_per_second, burst=limits.burst, clock=clock)
    logging.basicConfig(level=logging.WARNING)

    def ready() -> None:
        sys.stdout.write(f"port {port}\n")
        sys.stdout.flush()

    app = Guard(create_app(parts), rate=rate, concurrent=limits.concurrent, per_client=limits.concurrent_per_client)
    serve_on(app, listener, tls=None, limits=limits, proxies=(), ready=ready)


if __name__ == "__main__":
    _main()
