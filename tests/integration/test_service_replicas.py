"""Replicas of the verifier service that share nothing but a store, as processes, over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from tests.support.redis_server import redis_server
from tests.support.service_process import Served, new_key, serving, started

from twocvm_guest.platforms.simulated import SimulatedPlatform

REQUEST = {"Content-Type": "application/vnd.2cvm.appraise+json"}
NEW = "/challenge-response/v1/newSession"


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def platform():
    """A simulated platform that answers any nonce."""
    at = datetime.now(UTC) - timedelta(days=1)
    return SimulatedPlatform.create(host_data=bytes(32), measurement=b"m" * 48, at=at, latency_seconds=0)


@pytest.fixture(scope="module")
def common(platform, tmp_path_factory):
    """What all replicas are given: the platform's root, a key for tokens, a key that seals."""
    folder = tmp_path_factory.mktemp("replicas")
    root, seal = folder / "root.pem", folder / "seal"
    root.write_bytes(platform.root_pem)
    seal.write_text(secrets.token_hex(32))
    seal.chmod(0o600)
    settings = {"COLLATERAL_SIMULATED_ROOT": root, "TOKENS_KEY": new_key(folder / "key.pem")}
    return {**settings, "LIMITS_BURST": 10_000}, seal


def answer_of(platform: SimulatedPlatform, opened: requests.Response) -> str:
    """Return the evidence that answers a session."""
    text = opened.json()["nonce"]
    nonce = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    report, vek = platform.report(nonce.ljust(64, b"\x00")), platform.vek()
    return json.dumps({"evidence": {"report": b64(report), "vek": b64(vek), "chain": b64(platform.chain())}})


def opened_at(url: str) -> tuple[requests.Response, str]:
    """Open a session; return the answer and the session's path."""
    opened = requests.post(f"{url}{NEW}", timeout=10)
    assert opened.status_code == 201, opened.text
    return opened, urlsplit(urljoin(opened.url, opened.headers["location"])).path


def stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()


def ticks(pid: int) -> int:
    """Return how long a process has computed."""
    return sum(int(each) for each in stat(pid)[11:13])


def is_running(pid: int) -> bool:
    """Return whether there is a process still, which nobody waits for only to learn how it ended."""
    try:
        return stat(pid)[0] != "Z"
    except FileNotFoundError:
        return False


def test_replicas_that_share_a_redis(platform, common, tmp_path):
    """Any answers any request; one verdict a nonce, whoever races; and they recover from its loss by themselves."""
    with redis_server(tmp_path, "--save", "") as redis, ExitStack() as stack:
        settings = common[0] | {"STATE_STORE": "redis", "STATE_REDIS": redis.url}
        one, two = (stack.enter_context(serving(settings=settings)).url for _ in range(2))
        opened, path = opened_at(one)
        answered = requests.post(two + path, data=answer_of(platform, opened), headers=REQUEST, timeout=10)
        assert (answered.status_code, answered.json()["status"]) == (200, "complete"), answered.text
        assert requests.get(one + path, timeout=10).json()["result"] == answered.json()["result"]
        assert requests.delete(one + path, timeout=10).status_code == 204
        assert requests.get(two + path, timeout=10).status_code == 404
        for _ in range(3):
            opened, path = opened_at(two)
            body = answer_of(platform, opened)

            def submit(place: int, path=path, body=body) -> int:
                return requests.post((one, two)[place % 2] + path, data=body, headers=REQUEST, timeout=30).status_code

            with ThreadPoolExecutor(12) as crowd:
                assert Counter(crowd.map(submit, range(24))) == {200: 1, 409: 23}
        opened, path = opened_at(one)
        redis.stop()
        for url in (one, two):
            for refused in (requests.post(url + NEW, timeout=10), requests.post(
                url + path, data=answer_of(platform, opened), headers=REQUEST, timeout=10
            )):  # fmt: skip
                assert (refused.status_code, refused.json()["code"]) == (503, "STATE_UNREACHABLE")
                assert int(refused.headers["retry-after"]) >= 1
            ready = requests.get(f"{url}/readyz", timeout=10)
            assert (ready.status_code, ready.json()["parts"]["state"]) == (503, "STATE_UNREACHABLE")
            assert requests.get(f"{url}/livez", timeout=10).status_code == 200
        redis.start()
        time.sleep(1.5)
        assert requests.get(f"{one}/readyz", timeout=10).status_code == 200
        # It forgot what was answered before, so that nobody's nonce from before is good.
        again = requests.post(two + path, data=answer_of(platform, opened), headers=REQUEST, timeout=10)
        assert (again.status_code, again.json()["code"]) == (404, "SESSION_UNKNOWN")
        opened, path = opened_at(one)
        assert requests.post(two + path, data=answer_of(platform, opened), headers=REQUEST, timeout=10).ok


def test_replicas_that_share_a_key_alone(platform, common):
    """Any answers any request, and each says that only time limits a challenge."""
    settings = common[0] | {"STATE_STORE": "sealed", "STATE_SEAL_KEY": common[1]}
    with serving(settings=settings) as one, serving(settings=settings) as two:
        opened, path = opened_at(one.url)
        assert opened.json()["2cvm.once"] is False
        body = answer_of(platform, opened)
        for url in (two.url, one.url, two.url):
            answered = requests.post(url + path, data=body, headers=REQUEST, timeout=10)
            assert (answered.status_code, answered.json()["status"]) == (200, "complete")
        assert requests.get(one.url + path, timeout=10).json()["status"] == "waiting"
        assert requests.delete(two.url + path, timeout=10).status_code == 204
        forged = path[:-1] + ("A" if path[-1] != "A" else "B")
        assert requests.get(one.url + forged, timeout=10).status_code == 404


def test_workers_of_one_service(platform, common):
    """All answer at one address, one that dies is replaced, and the end of the service is the end of all."""
    settings = common[0] | {"STATE_STORE": "sealed", "STATE_SEAL_KEY": common[1]}
    with serving("--workers", "2", settings=settings) as service:
        workers = service.workers()
        assert len(workers) == 2
        before = [ticks(pid) for pid in workers]
        with ThreadPoolExecutor(8) as crowd:
            assert set(crowd.map(lambda _: opened_at(service.url)[0].status_code, range(300))) == {201}
        # The kernel shares connections out: each has worked.
        assert all(ticks(pid) > began for pid, began in zip(workers, before, strict=True))
        os.kill(workers[0], signal.SIGKILL)
        until = time.monotonic() + 20
        while len(now := service.workers()) < 2 or now == workers:
            assert time.monotonic() < until
            time.sleep(0.05)
        with ThreadPoolExecutor(8) as crowd:
            assert set(
                crowd.map(lambda _: requests.get(f"{service.url}/livez", timeout=20).status_code, range(16))
            ) == {200}


def test_a_worker_that_does_not_end_is_killed(common):
    """The service ends when it is told to, whatever became of one of its processes."""
    settings = common[0] | {"STATE_STORE": "sealed", "STATE_SEAL_KEY": common[1], "LIMITS_SHUTDOWN_SECONDS": 0.1}
    with serving("--workers", "2", settings=settings) as service:
        stuck = service.workers()[0]
        os.kill(stuck, signal.SIGSTOP)
    assert not is_running(stuck)


def test_workers_end_with_who_watches_them(common):
    """Nobody is left to answer when the process that started them was killed."""
    settings = common[0] | {"STATE_STORE": "sealed", "STATE_SEAL_KEY": common[1]}
    process = started("--workers", "2", settings=settings)
    line = process.stdout.readline()
    assert line.startswith("listening on ")
    workers = Served(url="", process=process).workers()
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 20
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({"STATE_SEAL_KEY": "/dev/null"}, 41, "SECRET_EXPOSED"),
        ({"POLICIES_DEFAULT": "/nonexistent"}, 2, "policies.default"),
        ({"LISTEN_ADDRESS": "192.0.2.1:1", "LISTEN_TLS_BEFORE": "true", "LISTEN_ISSUER": "https://x"}, 2, "--listen"),
    ],
)
def test_workers_that_cannot_begin_end_the_service(common, settings, status, said):
    """With what each would have said and ended with alone."""
    sealed = common[0] | {"STATE_STORE": "sealed", "STATE_SEAL_KEY": common[1]}
    process = started("--workers", "2", settings=sealed | settings)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, ""), err
    assert said in err
    assert "Traceback" not in err
