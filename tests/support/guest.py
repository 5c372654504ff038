"""A whole guest on this machine: the real agent, service and server, on the simulated platform.

    with LiveGuest(World()) as guest:               # or workers=ScriptedWorkers(...), host_data=..., clock=...
        guest.lock()                                # as anybody could
        with guest.connect("hospital-a") as client:
            client.join()
            client.upload("records-a")
            client.get("/v1/session").json()

A client is an attested connection with the words of a participant; `client.request` sends whatever a test wants.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

import requests
from tests.support.attested_guest import NO_CRL, certificate_of, chip, policy
from tests.support.manifests import AT, MEASUREMENT, World, party

from twocvm_guest.filters.chain import Chain
from twocvm_guest.locked import Workers
from twocvm_guest.platforms.attester import Attester
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_guest.runtime.isolation import FeatureReport, IsolationReport
from twocvm_guest.runtime.items import Item, ItemWriter
from twocvm_guest.runtime.live import Live
from twocvm_guest.runtime.run import RunResult
from twocvm_guest.serve import Guest
from twocvm_guest.tls import Limits
from twocvm_sdk.connection import AttestedConnection, Timeouts, TlsIdentity
from twocvm_verifier import framing, strictjson
from twocvm_verifier.eventlog import parse_log
from twocvm_verifier.logevents import Event
from twocvm_verifier.manifest import Component, Manifest
from twocvm_verifier.manifest.graph import Flow
from twocvm_verifier.manifest.statements import Statement
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.strictjson import Json
from twocvm_verifier.verifier import SnpVerifier

ISOLATION: Final = IsolationReport(features=(FeatureReport(name="seccomp", available=False, reason="a test"),))
ANYBODY: Final = ""
PATIENCE_SECONDS: Final = 30.0


class SteeredClock:
    """A clock that a test moves."""

    def __init__(self, at: datetime = AT) -> None:
        self.at = at
        self.ahead_seconds = 0.0

    def now(self) -> datetime:
        """Return the date that was put in."""
        return self.at

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic clock, as far ahead as a test says."""
        return time.monotonic() + self.ahead_seconds


class ScriptedWorkers:
    """A runtime that runs nothing: it writes the outputs that a test wants, when the test lets it.

    Args:
        outputs: What each output holds; by default 5 bytes of its name.
        admit: Called with each component; may raise.
        failures: Makes the run fail.
    """

    def __init__(
        self,
        *,
        outputs: Mapping[str, bytes] | None = None,
        admit: Callable[[Component, Item], None] | None = None,
        failures: Mapping[str, str] | None = None,
        crash: bool = False,
    ) -> None:
        self._outputs = outputs
        self._admit = admit
        self._failures = failures or {}
        self._crash = crash
        self.may_end = threading.Event()
        self.may_end.set()
        self.running = threading.Event()
        self.runs = 0
        self.wiped = threading.Event()
        self.seen: dict[str, bytes] = {}
        self.manifest: Manifest | None = None

    def start(self, manifest: Manifest) -> Workers:
        """Be the runtime of a manifest."""
        self.manifest = manifest
        return self

    def admit(self, component: Component, item: Item) -> None:
        """Admit a component, or do what the test wants instead."""
        if self._admit is not None:
            self._admit(component, item)

    def run(self, inputs: Mapping[str, Item]) -> RunResult:
        """Write the outputs once the test lets it."""
        self.runs += 1
        self.seen = {name: item.open().read() for name, item in inputs.items()}
        self.running.set()
        while not self.may_end.wait(0.01):
            if self.wiped.is_set():
                return RunResult(completed=False, outputs={}, failures={})
        if self._crash:
            raise OSError("a secret of the run")
        if self._failures:
            return RunResult(completed=False, outputs={}, failures=self._failures)
        return RunResult(completed=True, outputs=self._written(), failures={})

    def filter(self, outputs: Mapping[str, Item]) -> RunResult:
        """Filter as every guest does; a component that filters would be missed."""
        if self.manifest is None:
            raise RuntimeError("never started")
        flow = Flow(self.manifest)
        chain = Chain(self.manifest, flow, {}, live=Live(), isolation=ISOLATION, witness=lambda _: ())
        return chain.all(outputs)

    def wipe(self) -> None:
        """Stop."""
        self.wiped.set()

    def _written(self) -> dict[str, Item]:
        if self.manifest is None:
            raise RuntimeError("never started")
        written = {}
        for output in self.manifest.outputs:
            content = (self._outputs or {}).get(output.name, output.name[:5].encode())
            writer = ItemWriter(output.name, max_bytes=len(content))
            writer.write(content)
            written[output.name] = writer.seal()
        return written


class LiveGuest:
    """A guest in threads of this process, for the length of a `with`."""

    def __init__(
        self,
        world: World,
        *,
        workers: ScriptedWorkers | None = None,
        start_workers: Callable[[Manifest], Workers] | None = None,
        host_data: bytes = bytes(32),
        clock: SteeredClock | None = None,
        limits: Limits | None = None,
        latency_seconds: float = 0.0,
        device: Callable[[Attester], Attester] = lambda platform: platform,
    ) -> None:
        self.world = world
        self.workers = workers or ScriptedWorkers()
        self.clock = clock or SteeredClock()
        self.platform = SimulatedPlatform(
            chip(), host_data=host_data, measurement=MEASUREMENT, latency_seconds=latency_seconds
        )
        self.guest = Guest(
            attester=device(self.platform),
            isolation=ISOLATION,
            start_workers=start_workers or self.workers.start,
            clock=self.clock,
            limits=limits or Limits(linger_seconds=0.2),
            host="127.0.0.1",
            port=0,
        )
        self.stopping = threading.Event()
        self.url = ""
        self._verifier = SnpVerifier(roots=simulated_roots(self.platform.root_pem), crls=NO_CRL)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(PATIENCE_SECONDS):
            raise TimeoutError("the guest did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def state(self) -> str:
        """Where the session is, asked of the agent itself."""
        return self.guest.agent.state.value

    def stop(self) -> None:
        """Tell the guest to stop, and wait for it."""
        self.stopping.set()
        self._thread.join(PATIENCE_SECONDS)

    def ended(self) -> bool:
        """Wait for the guest to end by itself, and return whether it did."""
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def expectation(self, *, unlocked_ok: bool = False) -> Expectation:
        """Return what is expected of this guest."""
        return Expectation(
            manifest=self.world.manifest, policy=policy(), verifier=self._verifier, unlocked_ok=unlocked_ok
        )

    def connect(self, name: str = ANYBODY, *, unlocked_ok: bool = False, attest: bool = True) -> Client:
        """Return a client of a participant's, or of somebody without a certificate."""
        connection = AttestedConnection.open(
            self.url,
            expectation=self.expectation(unlocked_ok=unlocked_ok),
            identity=identity_of(name) if name else None,
            clock=self.clock,
            randomness=secrets.token_bytes,
            timeouts=Timeouts(proof_seconds=10, handshake_seconds=10, io_seconds=20),
        )
        return Client(self, connection, name)

    def lock(self) -> None:
        """Lock the guest to the world's manifest."""
        with self.connect(unlocked_ok=True) as client:
            client.accepted(client.put_manifest())

    def locked(self) -> Self:
        """Lock the guest, and return it."""
        self.lock()
        return self

    def collecting(self) -> Self:
        """Lock the guest and have everybody join, and return it."""
        self.lock()
        for name in self.world.names:
            with self.connect(name) as client:
                client.join()
        return self

    def released(self) -> Self:
        """Bring the guest to where everything is admitted, and return it."""
        self.collecting()
        for name in self.world.names:
            with self.connect(name) as client:
                client.upload_all()
        return self

    def wait_for(self, *states: str) -> str:
        """Wait until the session is in one of `states`, and return it."""
        last = time.monotonic() + PATIENCE_SECONDS
        while self.state not in states:
            if time.monotonic() > last:
                raise TimeoutError(f"the session is {self.state}, want {states}")
            time.sleep(0.005)
        return self.state

    def _run(self) -> None:
        def on_ready(port: int) -> None:
            self.url = f"https://127.0.0.1:{port}"
            self._ready.set()

        self.guest.run(on_ready=on_ready, stopping=self.stopping)


class Client:
    """One participant's connection to a guest, for the length of a `with`."""

    def __init__(self, guest: LiveGuest, connection: AttestedConnection, name: str) -> None:
        self.guest, self.world, self.connection, self.name = guest, guest.world, connection, name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send one request as it is."""
        return self.connection.http.request(method, self.connection.base_url + path, **arguments)

    def get(self, path: str) -> requests.Response:
        """Send a GET."""
        return self.request("GET", path)

    def send(self, method: str, path: str, body: Json) -> requests.Response:
        """Send canonical JSON."""
        return self.request(method, path, data=strictjson.canonical(body))

    @staticmethod
    def accepted(response: requests.Response) -> None:
        """Demand that a request was taken, with nothing said."""
        if (response.status_code, response.content) != (200, b"{}"):
            raise AssertionError(f"{response.status_code}: {response.content!r}")

    def state(self) -> str:
        """Return the session's state as it is served."""
        state: str = self.get("/v1/session").json()["state"]
        return state

    def wait_for(self, *states: str, seconds: float) -> str:
        """Wait until the session is in one of `states`, and return it."""
        last = time.monotonic() + seconds
        while (state := self.state()) not in states:
            if time.monotonic() > last:
                raise TimeoutError(f"the session is {state}, want {states}")
            time.sleep(0.02)
        return state

    def log(self) -> tuple[Event, ...]:
        """Return the event log as it is served."""
        return parse_log(self.get("/v1/log").content)

    def put_manifest(
        self, *, raw: bytes | None = None, consents: Iterable[Statement] | None = None
    ) -> requests.Response:
        """Ask for the lock, by default with everything as it must be."""
        manifest = strictjson.parse(raw or self.world.raw, document="manifest", max_bytes=1 << 21)
        given = self.world.consents() if consents is None else consents
        return self.send("PUT", "/v1/manifest", {"manifest": manifest, "consents": [one.to_json() for one in given]})

    def go(self, **changes: Any) -> Statement:
        """Return this participant's go for this guest, with `changes`."""
        proof = self.connection.certificate
        arguments = {"report_id": proof.report_id, "guest_spki_sha256": proof.spki_sha256, **changes}
        return self.world.go(self.name, **arguments)

    def join(self, go: Statement | None = None) -> None:
        """Join, and demand that it is taken."""
        self.accepted(self.send("POST", "/v1/join", (go or self.go()).to_json()))

    def withdraw(self, **changes: Any) -> requests.Response:
        """Withdraw from this guest's session."""
        arguments = {"report_id": self.connection.certificate.report_id, **changes}
        return self.send("POST", "/v1/withdraw", self.world.withdraw(self.name, **arguments).to_json())

    def put(self, name: str, content: Any, *, headers: Mapping[str, str | None] | None = None) -> requests.Response:
        """Upload `content` as the item `name`, under the headers that the item itself asks for, with changes."""
        fields = {**self.headers_of(name), **(headers or {})}
        kept = {key: value for key, value in fields.items() if value is not None}
        return self.request("PUT", f"/v1/artifacts/{name}", data=content, headers=kept)

    def headers_of(self, name: str) -> dict[str, str | None]:
        """Return the headers with which the item `name` is uploaded as it must be."""
        if name not in self.world.content:
            return {"Content-Digest": digest_field(file_of(self.world, name))}
        salt = strictjson.base64url(self.world.salt[name])
        return {"Content-Digest": digest_field(self.world.content[name]), "Item-Salt": salt}

    def upload(self, name: str) -> requests.Response:
        """Upload the item `name` as it must be."""
        content = self.world.content[name] if name in self.world.content else file_of(self.world, name)
        return self.put(name, content)

    def upload_all(self) -> None:
        """Upload everything that is this participant's to release, and demand that it is taken."""
        for item in (*self.world.manifest.items_of(self.name), *self.world.manifest.components_of(self.name)):
            self.accepted(self.upload(item.name))


@cache
def identity_of(name: str) -> TlsIdentity:
    """Return the TLS identity of the participant of that name, in whatever world."""
    key = party(name).tls_key
    return TlsIdentity(key=key, certificate=certificate_of(key, ca=False, name=name))


def file_of(world: World, component: str) -> bytes:
    """Return the file of a component of the world."""
    return world._files.get(component, component.encode())


def digest_field(content: bytes) -> str:
    """Return the Content-Digest of `content`."""
    return f"sha-256=:{base64.b64encode(framing.sha256(content)).decode('ascii')}:"


def code_of(response: requests.Response) -> str:
    """Return the code of a refusal, whose form is held to the specification on the way."""
    if response.headers["Content-Type"] != "application/problem+json":
        raise AssertionError(f"{response.status_code}: {response.headers['Content-Type']}")
    problem = response.json()
    if response.content != strictjson.canonical(problem) or problem["status"] != response.status_code:
        raise AssertionError(f"not a canonical problem: {response.content!r}")
    code: str = problem["code"]
    return code
