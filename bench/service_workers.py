"""Two workers of a verifier service against one, and against what this machine gives to two processes that are busy.

Clients send prepared bytes and look at nothing but the status and the length of an answer, so that they leave the
processors to the service. One worker uses more than one core by itself, for OpenSSL works beside the interpreter; so
what two workers gain in requests is told without a bound, and the cores that they use are what is held to one.
"""

from __future__ import annotations

import multiprocessing
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.ratio import Ratio
from bench.service_cpu import PLENTY, bodies_of, cpu_seconds
from tests.support.service_process import Served, new_key, serving

from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier.service.requests import MEDIA_TYPE

REQUESTS = 600
CONNECTIONS = 24
ROUNDS = 3
BUSY_SECONDS = 1.0
AT_LEAST = 0.8
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)


def run() -> Iterator[Ratio]:
    """Measure, and return the ratios."""
    at = datetime.now(UTC) - timedelta(days=1)
    platform = SimulatedPlatform.create(host_data=bytes(32), measurement=b"m" * 48, at=at, latency_seconds=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root.pem").write_bytes(platform.root_pem)
        (folder / "seal").write_text(secrets.token_hex(32))
        (folder / "seal").chmod(0o600)
        settings = PLENTY | {
            "COLLATERAL_SIMULATED_ROOT": folder / "root.pem",
            "TOKENS_KEY": new_key(folder / "key.pem"),
            "STATE_STORE": "sealed",
            "STATE_SEAL_KEY": folder / "seal",
        }
        with serving(settings=settings) as one, serving("--workers", "2", settings=settings) as two:
            rates, cores, given = [], [], []
            for _ in range(ROUNDS):
                alone, _ = _asked(one, [one.process.pid], platform)
                together, used = _asked(two, two.workers(), platform)
                rates.append(together / alone)
                cores.append(used)
                given.append(_cores_of_two())
    yield Ratio(
        name="cores that two workers use / that two busy processes get",
        value=max(cores) / max(given),
        at_least=AT_LEAST,
        detail=f"{max(cores):.2f} / {max(given):.2f}",
    )
    yield Ratio(name="requests a second of two workers / of one", value=max(rates))


def _asked(service: Served, processes: list[int], platform: SimulatedPlatform) -> tuple[float, float]:
    """Return the requests a second of a service, and how many cores its processes used."""
    requests = [_written(body) for body in bodies_of(platform, REQUESTS)]
    before, began = sum(map(cpu_seconds, processes)), time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as crowd:
        list(crowd.map(lambda place: _ask(service.port, requests[place::CONNECTIONS]), range(CONNECTIONS)))
    seconds = time.monotonic() - began
    return REQUESTS / seconds, (sum(map(cpu_seconds, processes)) - before) / seconds


def _written(body: bytes) -> bytes:
    head = f"POST /v1/appraise HTTP/1.1\r\nHost: x\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _ask(port: int, requests: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        for request in requests:
            line.sendall(request)
            answer = b""
            while not (found := _LENGTH.search(answer)) or len(answer) < answer.index(b"\r\n\r\n") + 4 + int(found[1]):
                answer += line.recv(1 << 16)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(answer[:200])


def _cores_of_two() -> float:
    """Return how many cores two processes get that compute and wait for nothing."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return sum(pool.map(_busy, range(2), chunksize=1))


def _busy(_: int) -> float:
    began, computed = time.monotonic(), time.process_time()
    while time.monotonic() - began < BUSY_SECONDS:
        pass
    return (time.process_time() - computed) / (time.monotonic() - began)


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
