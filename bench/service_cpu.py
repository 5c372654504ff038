"""What asking a service costs its owner, against the same judgement by a program that imports the verifier.

The service is `twocvm verifier serve` as people start it: one worker, its settings' defaults but for a share that is
large enough, each request a line of its log. The processor time of its process for a request with evidence, less that
for `/livez` over the same connections, is compared with that of the same in this process: from the bytes of the body to
the bytes of the answer, its token included. So the ratio is what HTTP, its limits, the log and waiting in line add to a
judgement. Beside it, without a bound, stands the cost over that of a program that wants neither an answer nor a token.

Each report is verified once: no two requests have the same, and the chip is one that was seen before.
"""

from __future__ import annotations

import http.client
import json
import secrets
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.ratio import Ratio
from tests.support.service_process import Served, new_key, serving

from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_verifier import Policy, SnpVerifier, appraise, simulated_roots, strictjson
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.collateral import Collateral, Store
from twocvm_verifier.service.appraisals import Appraiser
from twocvm_verifier.service.ear import DEFAULT_AUDIENCE, ear_claims
from twocvm_verifier.service.requests import MEDIA_TYPE, parse_request
from twocvm_verifier.service.tokens import KeyRing, load_key

REQUESTS = 250
ROUNDS = 15
CONNECTIONS = 8
AT_MOST = 1.15
PLENTY = {"LIMITS_REQUESTS_PER_SECOND": 1e6, "LIMITS_BURST": 1_000_000}
MICROSECONDS = 1e6


def run() -> Iterator[Ratio]:
    """Measure, and return the ratios."""
    at = datetime.now(UTC) - timedelta(days=1)
    platform = SimulatedPlatform.create(host_data=bytes(32), measurement=b"m" * 48, at=at, latency_seconds=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root.pem").write_bytes(platform.root_pem)
        key = new_key(folder / "key.pem")
        in_process = InProcess(platform.root_pem, key)
        settings = PLENTY | {"COLLATERAL_SIMULATED_ROOT": folder / "root.pem", "TOKENS_KEY": key}
        with serving(settings=settings) as service:
            taken = Taken()
            for _ in range(ROUNDS):
                bodies = bodies_of(platform, REQUESTS)
                taken.asked.append(spent(service, "/v1/appraise", bodies))
                taken.nothing.append(spent(service, "/livez", [b""] * REQUESTS))
                taken.answered.append(_own_seconds(in_process.answer, bodies))
                taken.verified.append(_own_seconds(in_process.verify, bodies_of(platform, REQUESTS)))
    yield from taken.ratios()


@dataclass(frozen=True, slots=True)
class Taken:
    """Processor seconds of each round: the service's for evidence and for nothing; ours with an answer and without."""

    asked: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)

    def ratios(self) -> Iterator[Ratio]:
        """Return what the fastest rounds say, for whatever else the machine does can only add to them."""
        asked, nothing, answered, verified = (
            min(each) / REQUESTS * MICROSECONDS for each in (self.asked, self.nothing, self.answered, self.verified)
        )
        yield Ratio(
            name="a request with evidence, less a no-op / the same in process",
            value=(asked - nothing) / answered,
            at_most=AT_MOST,
            detail=f"({asked:.0f} - {nothing:.0f}) / {answered:.0f} us",
        )
        yield Ratio(
            name="the same / verification and appraisal alone",
            value=(asked - nothing) / verified,
            detail=f"which take {verified:.0f} us",
        )


class InProcess:
    """The verifier in this process.

    Args:
        root: PEM of the simulated root that it trusts.
        key: The file of the key that it signs with.
    """

    def __init__(self, root: bytes, key: Path) -> None:
        roots, self._clock = simulated_roots(root), SystemClock()
        self._keys = KeyRing(current=load_key(key), following=None)
        self._verifier, self._policy = SnpVerifier(roots=roots), Policy.builtin()
        nowhere = Store(Path("/nonexistent"), roots=roots)
        self._appraiser = Appraiser(
            verifier=self._verifier,
            collateral=Collateral(store=nowhere, sources=(), clock=self._clock, patience_seconds=1),
            default=self._policy,
            policies=(),
            clock=self._clock,
        )

    def answer(self, body: bytes) -> bytes:
        """Return the whole answer to a request."""
        asked = parse_request(body, media_type=MEDIA_TYPE)
        outcome = self._appraiser.appraise(asked)
        claims = ear_claims(
            outcome,
            issuer="https://verifier.example",
            audience=DEFAULT_AUDIENCE,
            nonce=asked.nonce,
            token_id=secrets.token_bytes(16),
            now=self._clock.now(),
        )
        return strictjson.canonical({"appraisal": outcome.appraisal.to_json(), "token": self._keys.token(claims)})

    def verify(self, body: bytes) -> None:
        """Verify and appraise a report, and ask for nothing more."""
        asked, at = parse_request(body, media_type=MEDIA_TYPE).evidence, self._clock.now()
        verified = self._verifier.verify(asked.report, vek=asked.vek, at=at, chain=asked.chain)
        appraise(verified, policy=self._policy, at=at)


def bodies_of(platform: SimulatedPlatform, count: int) -> list[bytes]:
    """Return requests, each with a report of its own."""
    parts = {"vek": platform.vek(), "chain": platform.chain()}

    def body() -> bytes:
        given = {"report": platform.report(secrets.token_bytes(64)), **parts}
        written = {name: urlsafe_b64encode(raw).rstrip(b"=").decode() for name, raw in given.items()}
        return json.dumps({"evidence": written}).encode()

    return [body() for _ in range(count)]


def ask(port: int, path: str, bodies: Sequence[bytes]) -> None:
    """Send bodies to a path, or ask it where they are empty, over a few connections at a time."""

    def ask_in_turn(bodies: Sequence[bytes]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as line:
            for body in bodies:
                line.request("POST" if body else "GET", path, body=body, headers={"Content-Type": MEDIA_TYPE})
                answer = line.getresponse()
                told = answer.read()
                if answer.status != http.HTTPStatus.OK:
                    raise RuntimeError(f"{path}: {answer.status} {told!r}")

    with ThreadPoolExecutor(CONNECTIONS) as crowd:
        list(crowd.map(ask_in_turn, [bodies[place::CONNECTIONS] for place in range(CONNECTIONS)]))


def spent(service: Served, path: str, bodies: Sequence[bytes]) -> float:
    """Return how long a service computes to answer, in seconds."""
    before = cpu_seconds(service.process.pid)
    ask(service.port, path, bodies)
    return cpu_seconds(service.process.pid) - before


def cpu_seconds(pid: int) -> float:
    """Return how long all threads of a process have computed."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def _own_seconds(work: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    start = time.thread_time()
    for body in bodies:
        work(body)
    return time.thread_time() - start


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
