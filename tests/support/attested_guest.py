"""An honest guest on this machine: a simulated platform, and the real server around a small application.

    scene = Scene()                           # a world, a platform and the expectation of who connects
    with scene.serve() as guest:              # the real server, in a thread
        with scene.connect(guest.url) as connection:
            connection.http.get(connection.base_url + "/whoami").json()

The application serves `attest`, `GET /whoami`, `PUT /count` (answers how many bytes came) and `GET /bytes/N`; further
routes are given as functions. Every scene shares one chip, which takes half a second to make.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.manifests import AT, MEASUREMENT, NOT_AFTER, NOT_BEFORE, World
from tests.support.sdk import StandingClock

from twocvm_guest.attestation import Question, connection_evidence, make_identity
from twocvm_guest.platforms.simulated import SimulatedChip, SimulatedPlatform
from twocvm_guest.tls import Connections, GuestServer, Limits, PeerConnection, ServerIdentity
from twocvm_sdk.connection import AttestedConnection, Timeouts, TlsIdentity
from twocvm_verifier import strictjson
from twocvm_verifier.binding import NOT_LOCKED, LogPosition
from twocvm_verifier.evidence import JSON_MEDIA_TYPE, encode_json
from twocvm_verifier.framing import sha256
from twocvm_verifier.policy import Policy
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.unchecked import Unchecked
from twocvm_verifier.verifier import SnpVerifier

BEFORE_LOCK: Final = LogPosition(head=sha256(b"one event"), events=1)
AFTER_LOCK: Final = LogPosition(head=sha256(b"two events"), events=2)
NO_CRL: Final = Unchecked("these tests have no revocation list")

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Send], Awaitable[None]]
Route = Callable[[PeerConnection, bytes], Awaitable[tuple[int, str, bytes]]]


@cache
def chip() -> SimulatedChip:
    """Return the chip that all scenes share."""
    return SimulatedChip.create(at=NOT_BEFORE)


def policy(**changes: Any) -> Policy:
    """Return a policy that accepts the simulated platform, with `changes`."""
    builtin = Policy.builtin()
    values = {name: getattr(builtin, name) for name in Policy.__dataclass_fields__}
    return Policy(**{**values, "name": "test", "max_crl_age_seconds": NO_CRL, **changes})


@cache
def tls_identity(name: str = "hospital-a", *, ca: bool = False) -> TlsIdentity:
    """Return the TLS identity of a participant of every `World`."""
    key = World().party(name).tls_key
    return TlsIdentity(key=key, certificate=certificate_of(key, ca=ca, name=name))


def certificate_of(
    key: Any, *, ca: bool | None, name: str = "participant", signer: Any = None, issuer: str | None = None
) -> x509.Certificate:
    """Return a certificate, self-signed unless somebody else is named, with basic constraints unless `ca` is None."""
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer or name),
        subject_name=_name(name),
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=NOT_BEFORE,
        not_valid_after=NOT_AFTER,
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(signer or key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


@dataclass(kw_only=True)
class Scene:
    """Who takes part: the manifest's world, the guest's platform, and what is expected of it.

    Attributes:
        world: Participants and manifest.
        locked: Whether the guest has the manifest in force.
        host_data: What it was launched with.
        limits: What its clients may cost.
        latency_seconds: How long its platform takes for a report.
    """

    world: World = field(default_factory=World)
    locked: bool = True
    host_data: bytes = bytes(32)
    limits: Limits = field(default_factory=Limits)
    latency_seconds: float = 0.0
    platform: SimulatedPlatform = field(init=False)
    log: LogPosition = field(init=False)

    def __post_init__(self) -> None:
        self.platform = SimulatedPlatform(
            chip(), host_data=self.host_data, measurement=MEASUREMENT, latency_seconds=self.latency_seconds
        )
        self.log = AFTER_LOCK if self.locked else BEFORE_LOCK

    def expectation(self, **changes: Any) -> Expectation:
        """Return what is expected of the guest, with `changes`."""
        values = {
            "manifest": self.world.manifest,
            "policy": policy(),
            "verifier": SnpVerifier(roots=simulated_roots(self.platform.root_pem), crls=NO_CRL),
            "unlocked_ok": False,
        }
        return Expectation(**{**values, **changes})

    def server_identity(self, *, locked: bool | None = None) -> ServerIdentity:
        """Return a new identity of the guest."""
        locked = self.locked if locked is None else locked
        manifest = self.world.manifest.hash if locked else NOT_LOCKED
        return make_identity(self.platform, manifest=manifest, log=AFTER_LOCK if locked else BEFORE_LOCK)

    def connect(self, url: str, **changes: Any) -> AttestedConnection:
        """Open an attested connection as hospital-a, with `changes` to the arguments."""
        arguments: dict[str, Any] = {
            "expectation": self.expectation(),
            "identity": tls_identity(),
            "clock": StandingClock(AT),
            "randomness": secrets.token_bytes,
            "timeouts": Timeouts(proof_seconds=5, handshake_seconds=5, io_seconds=5),
        }
        return AttestedConnection.open(url, **{**arguments, **changes})

    @contextmanager
    def serve(self, app: App | None = None) -> Iterator[RunningGuest]:
        """Run the guest's server in a thread for the length of a `with`.

        Args:
            app: What serves HTTP requests, as ASGI has it, instead of the module's own application.
        """
        connections = Connections(self.server_identity(), limits=self.limits)
        guest = RunningGuest(scene=self, connections=connections, app=app)
        with guest.running():
            yield guest


@dataclass(kw_only=True)
class RunningGuest:
    """A server in a thread.

    Attributes:
        scene: What it runs in.
        connections: Its registry.
        app: What serves HTTP requests instead of this.
        routes: Further routes: path to function of (connection, body).
        requests: What was asked of it, but for evidence: method and path.
        url: Where it is.
    """

    scene: Scene
    connections: Connections
    app: App | None = None
    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for the length of a `with`."""
        ready = threading.Event()
        server = GuestServer(self, self.connections, host="127.0.0.1", port=0)  # type: ignore[arg-type]

        def on_ready(port: int) -> None:
            self.url = f"https://127.0.0.1:{port}"
            ready.set()

        thread = threading.Thread(target=server.run, args=(on_ready,), daemon=True)
        thread.start()
        try:
            if not ready.wait(10):
                raise TimeoutError("the guest did not start")
            yield
        finally:
            server.stop()
            thread.join(20)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        if self.app is not None:
            await self.app(scope, receive, send)
            return
        peer: PeerConnection = scope["extensions"]["twocvm"]
        path: str = scope["path"]
        if path != "/.well-known/2cvm/attest":
            self.requests.append(f"{scope['method']} {path}")
        if path == "/count":
            await _answer(send, 200, "application/json", json.dumps(await _count(receive)).encode())
            return
        if path.startswith("/bytes/"):
            await _stream(send, int(path.rpartition("/")[2]))
            return
        await _answer(send, *await self._small(peer, path, await _body(receive)))

    async def _small(self, peer: PeerConnection, path: str, body: bytes) -> tuple[int, str, bytes]:
        if path in self.routes:
            return await self.routes[path](peer, body)
        if path == "/.well-known/2cvm/attest":
            return 200, JSON_MEDIA_TYPE, self.evidence(peer, body)
        if path == "/whoami":
            participant = peer.participant_spki_sha256
            return 200, "application/json", json.dumps(participant and participant.hex()).encode()
        return 404, "text/plain", b"nothing here"

    def evidence(self, peer: PeerConnection, question: bytes) -> bytes:
        """Return the answer to a request for evidence."""
        nonce = strictjson.parse_base64url(json.loads(question)["nonce"])
        question = Question(nonce=nonce, exported=peer.export(nonce))
        evidence = connection_evidence(
            self.scene.platform, identity=peer.identity, log=self.scene.log, questions=[question]
        )
        return encode_json(evidence[0])


async def _answer(send: Send, status: int, media_type: str, body: bytes) -> None:
    fields = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, size_bytes: int) -> None:
    fields = [(b"content-length", str(size_bytes).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    chunk = bytes(1 << 16)
    for start in range(0, size_bytes, len(chunk)):
        await send({"type": "http.response.body", "body": chunk[: size_bytes - start], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _body(receive: Any) -> bytes:
    parts = [chunk async for chunk in _chunks(receive)]
    return b"".join(parts)


async def _count(receive: Any) -> int:
    return sum([len(chunk) async for chunk in _chunks(receive)])


async def _chunks(receive: Any) -> Any:
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        yield event.get("body", b"")
        if not event.get("more_body"):
            return


async def _lifespan(receive: Any, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return
