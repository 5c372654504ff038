"""Two replicas of the verifier service behind haproxy, sharing a Redis, asked for more than they can give.

In the middle a replica is killed and started again, and the Redis is stopped and started; and one source wants more
connections than haproxy gives it. All is real and on loopback: haproxy with `deploy/haproxy.cfg` as it is, the service
as a process with its settings, an audit log for each replica.

    outcome = saturate(folder, minutes=10)
    assert not outcome.wrong
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.support.processes import proportional_kilobytes, wait_until
from tests.support.redis_server import RedisServer, redis_server
from tests.support.saturation_load import MEASUREMENT, NEW, Chip, Plan, Tally, run
from tests.support.service_process import COMMAND, ROOT, new_key

from twocvm_guest.platforms.simulated import SimulatedChip, SimulatedPlatform

HAPROXY_CONFIGURATION: Final = ROOT / "deploy" / "haproxy.cfg"
# Parts of the whole time: when what is broken, and for how long.
KILLED_AT, REDIS_STOPPED_AT = 0.25, 0.5
AWAY_SECONDS: Final = 2.0
AFTERWARDS_SECONDS: Final = 3.0
_RECOVERY_SECONDS: Final = 5.0
_SAMPLE_SECONDS: Final = 0.5
_START_SECONDS: Final = 60.0
# As `deploy/haproxy.cfg` has it: of one source so many connections are served, and more are told so.
CONNECTIONS_OF_ONE: Final = 64
_TOO_MANY: Final = 16
_GREEDY: Final = "127.0.2.1"


class Replica:
    """One replica at one port, whichever process that is.

    Args:
        name: Its own, among the replicas.
        folder: Where its log and its audit log are.
        settings: What it has in common with the other.
    """

    def __init__(self, name: str, folder: Path, settings: Mapping[str, object]) -> None:
        self.name, self.port = name, _free_port()
        self.audit, self.log = folder / f"{name}-audit", folder / f"{name}.log"
        own = {"LISTEN_ADDRESS": f"127.0.0.1:{self.port}", "AUDIT_FOLDER": self.audit}
        self._environment = os.environ | {
            f"TWOCVM_VERIFIER_{key}": str(value) for key, value in {**settings, **own}.items()
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                COMMAND, stdout=subprocess.DEVNULL, stderr=log, cwd=ROOT, env=self._environment
            )
        wait_until(self._answers, seconds=_START_SECONDS)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-2000:]
        try:
            return self.get("/livez")["status"] == "ok"
        except OSError:
            return False

    def is_ready(self) -> bool:
        """Whether it says that every part of it is of use."""
        try:
            return self.get("/readyz")["status"] == "ok"
        except OSError:
            return False

    def get(self, path: str) -> dict[str, object]:
        """Return what it answers at a path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return dict(json.loads(answer.read()))

    def kill(self) -> None:
        """End it as a loss of power does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """End it as an init system does, and return its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(30)
        self.process = None
        return status


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        tally: What the clients counted.
        wrong: What must not be, in words; empty where all is well.
        growth: How much memory each process had at the end, to what it had when it was warm, by name.
        seconds: For how long clients asked.
    """

    tally: Tally
    wrong: tuple[str, ...]
    growth: Mapping[str, float]
    seconds: float

    @property
    def p50(self) -> float:
        """The median time of an answer, in seconds."""
        return statistics.median(self.tally.seconds)

    @property
    def p99(self) -> float:
        """The time below which 99 of 100 answers came, in seconds."""
        return statistics.quantiles(self.tally.seconds, n=100)[98]


def saturate(folder: Path, *, seconds: float, processes: int, threads: int, report: Callable[[str], None]) -> Outcome:
    """Run all, break parts of it, and return what came of it.

    Args:
        folder: For everything that is written.
        seconds: For how long clients ask at least.
        processes: Of clients.
        threads: Of each.
        report: Told what happens.
    """
    at = datetime.now(UTC) - timedelta(days=1)
    chip, foreign = SimulatedChip.create(at=at), SimulatedChip.create(at=at)
    with _running(folder, chip) as (front, replicas, redis, haproxy):
        sampler = _Sampler({"haproxy": lambda: haproxy, "first": lambda: replicas[0].process})
        (key,) = replicas[0].get("/.well-known/jwks.json")["keys"]  # type: ignore[misc]
        began = time.monotonic()
        plans = [
            Plan(
                client=f"127.0.1.{number + 1}",
                front=front,
                replicas=(replicas[0].port, replicas[1].port),
                chip=Chip.of(chip),
                foreign=Chip.of(foreign),
                key=key,
                threads=threads,
                stop=folder / "stop",
                seed=number,
            )
            for number in range(processes)
        ]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool, sampler.sampling():
            running = [pool.submit(run, plan) for plan in plans]
            try:
                greedy = _crowd(front)
                report(f"one source opened {greedy.total()} connections")
                back_at = _break(replicas[1], redis, began=began, seconds=seconds, report=report)
                _sleep_until(max(began + seconds, back_at + AFTERWARDS_SECONDS))
            finally:
                (folder / "stop").touch()
            ended, tally = time.monotonic(), Tally()
            for each in running:
                tally.add(each.result())
        tally.answers += greedy
        wrong = [*tally.wrong, *_wrong_answers(tally, back_at=back_at), *_not_ready(replicas)]
        wrong += [f"{replica.name} ended with {status}" for replica in replicas if (status := replica.stop())]
    wrong += [line for replica in replicas for line in _wrong_files(replica)]
    return Outcome(tally=tally, wrong=tuple(wrong), growth=sampler.growth(), seconds=ended - began)


def _crowd(front: int) -> Counter[tuple[str, int, str]]:
    """Ask over many connections of one source that are open at the same time, and return what each was told."""
    told: Counter[tuple[str, int, str]] = Counter()
    with ExitStack() as opened:
        lines = [
            http.client.HTTPConnection("127.0.0.1", front, timeout=_START_SECONDS, source_address=(_GREEDY, 0))
            for _ in range(CONNECTIONS_OF_ONE + _TOO_MANY)
        ]
        for line in lines:
            opened.callback(line.close)
            line.connect()
        for line in lines:
            line.request("POST", NEW)
            answer = line.getresponse()
            told["greedy", answer.status, str(json.loads(answer.read()).get("code", ""))] += 1
    return told


def _break(
    replica: Replica, redis: RedisServer, *, began: float, seconds: float, report: Callable[[str], None]
) -> float:
    """Kill a replica and start it again, then the Redis; return when all was back."""
    _sleep_until(began + KILLED_AT * seconds)
    replica.kill()
    report("a replica was killed")
    time.sleep(AWAY_SECONDS)
    replica.start()
    report("it answers again")
    _sleep_until(began + REDIS_STOPPED_AT * seconds)
    redis.stop()
    report("the Redis was stopped")
    time.sleep(AWAY_SECONDS)
    redis.start()
    report("it answers again")
    return time.monotonic()


def _wrong_answers(tally: Tally, *, back_at: float) -> Iterator[str]:
    """Say which answers no client should get."""
    for (what, status, code), count in sorted(tally.answers.items()):
        if not _is_expected(what, status, code):
            yield f"{count} times {status} {code} to {what}"
    late = sum(opened_at > back_at for opened_at in tally.unknown)
    if late:
        yield f"{late} sessions were unknown that nothing forgot"
    # What a replica had begun to read when it was killed is asked of no other, and answered all the same.
    broken = Counter(what for what, _ in tally.broken if what != "race")
    if broken:
        yield f"connections to the front broke: {dict(broken)}"
    limited = tally.answers["greedy", 429, "RATE_LIMITED"]
    if limited != _TOO_MANY:
        yield f"of one source's connections {limited} were too many, want {_TOO_MANY}"


def _is_expected(what: str, status: int, code: str) -> bool:
    if status in (429, 503):
        return True
    if what in ("open", "greedy"):
        return status == 201
    # What the Redis forgot with its end is unknown, which is what keeps its nonces from being good twice.
    if code == "SESSION_UNKNOWN":
        return status == 404
    if code == "SESSION_SPENT":
        return status == 409 and what in ("again", "race", "replay")
    return status == 200 and what != "replay"


def _not_ready(replicas: tuple[Replica, Replica]) -> Iterator[str]:
    for replica in replicas:
        try:
            wait_until(replica.is_ready, seconds=_RECOVERY_SECONDS)
        except TimeoutError:
            yield f"{replica.name} is not ready again"


def _wrong_files(replica: Replica) -> Iterator[str]:
    """Say what a replica should not have written."""
    text = replica.log.read_text(encoding="utf-8")
    yield from (f"{replica.name} wrote {word}" for word in ("Traceback", "internal-error") if word in text)
    command = [*COMMAND[:-2], "audit", "verify", str(replica.audit)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if ended.returncode:
        yield f"{replica.name}'s audit log does not hold: {ended.stdout[-500:]}{ended.stderr[-500:]}"


@contextmanager
def _running(
    folder: Path, chip: SimulatedChip
) -> Iterator[tuple[int, tuple[Replica, Replica], RedisServer, subprocess.Popen[bytes]]]:
    """Run everything, and yield the front's port, the replicas, the Redis and haproxy."""
    root = folder / "root.pem"
    platform = SimulatedPlatform(chip, host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=0)
    root.write_bytes(platform.root_pem)
    with redis_server(folder, "--save", "") as redis, ExitStack() as stack:
        settings = {
            "COLLATERAL_SIMULATED_ROOT": root,
            "LISTEN_ISSUER": "https://verifier.example",
            "LISTEN_PROXIES": "127.0.0.1",
            "STATE_STORE": "redis",
            "STATE_REDIS": redis.url,
            "TOKENS_KEY": new_key(folder / "key.pem"),
        }
        replicas = Replica("first", folder, settings), Replica("second", folder, settings)
        for replica in replicas:
            stack.callback(replica.kill)
            replica.start()
        front, log = _free_port(), stack.enter_context((folder / "haproxy.log").open("wb"))
        ports = {"FRONT": front, "FIRST": replicas[0].port, "SECOND": replicas[1].port}
        haproxy = subprocess.Popen(
            [str(shutil.which("haproxy")), "-db", "-f", HAPROXY_CONFIGURATION],
            env=os.environ | {f"VERIFIER_{name}": f"127.0.0.1:{port}" for name, port in ports.items()},
            stdout=log,
            stderr=log,
        )
        stack.callback(haproxy.wait)
        stack.callback(haproxy.kill)
        wait_until(lambda: _listens(front), seconds=_START_SECONDS)
        yield front, replicas, redis, haproxy


@dataclass
class _Sampler:
    """Notes how much memory processes have, as long as they are the same ones."""

    processes: Mapping[str, Callable[[], subprocess.Popen[bytes] | None]]
    _noted: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Note it now and then."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(_SAMPLE_SECONDS):
                for name, process in self.processes.items():
                    if (running := process()) is not None:
                        self._noted[name].append(proportional_kilobytes(running.pid))

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def growth(self) -> dict[str, float]:
        """Return, by name, the last tenth of what was noted to a tenth after the first fifth."""
        grown = {}
        for name, noted in self._noted.items():
            tenth = max(len(noted) // 10, 1)
            grown[name] = statistics.median(noted[-tenth:]) / statistics.median(noted[2 * tenth : 3 * tenth])
        return grown


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
