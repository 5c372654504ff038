"""`twocvm verifier serve`: the service as a process, with nothing to configure on loopback.

Without a key it signs with one that ends with the process, and says so. State is in memory, so it is one replica.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, cast

import typer

from twocvm_verifier.gathering import KDS_URL, Kds, Mirrors, Offline, Places, StoreFolder, open_collateral
from twocvm_verifier.shell import BUILTIN, SimulatedRoot, command_group, read_policy, roots_of, unusable

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from twocvm_verifier.snp.roots import Roots

    from .parts import Parts
    from .tokens import KeyRing, Signer

app = command_group()

SHUTDOWN_SECONDS: Final = 10
# Each may have a body of 2 MiB under way. Whoever comes on top of them gets 503.
MAX_CONNECTIONS: Final = 256
# A client is told to come back rather than kept waiting for a turn at KDS.
PATIENCE_SECONDS: Final = 5.0
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)
_MAX_PORT: Final = 65_535

Listen: TypeAlias = Annotated[
    str, typer.Option("--listen", metavar="ADDRESS:PORT", help="Where to listen: loopback; port 0 is any free one.")
]
Issuer: TypeAlias = Annotated[
    str, typer.Option("--issuer", metavar="URL", help="This service's own URL in tokens; else its address.")
]
Key: TypeAlias = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The key that signs tokens: PEM, mode 0600.")
]
NextKey: TypeAlias = Annotated[
    Path | None, typer.Option("--next-key", metavar="FILE", help="The key that will sign, published beside it.")
]
OwnersPolicy: TypeAlias = Annotated[
    str, typer.Option("--policy", metavar="FILE", help="The policy for who brings none: TOML, or `builtin`.")
]
Policies: TypeAlias = Annotated[
    list[str] | None, typer.Option("--also-policy", metavar="FILE", help="A further policy, asked for by its digest.")
]
Federations: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--federation", metavar="AUDIENCE", help="An audience that is told only what is affirmed."),
]


@app.callback()
def _group() -> None:
    """Run the verifier as a service."""


@app.command("serve")
def serve_command(
    listen: Listen = "127.0.0.1:0",
    issuer: Issuer = "",
    key: Key = None,
    next_key: NextKey = None,
    policy: OwnersPolicy = BUILTIN,
    also_policy: Policies = None,
    federation: Federations = None,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    mirror: Mirrors = None,
    kds: Kds = KDS_URL,
    offline: Offline = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Judge evidence for others over HTTP, on this machine.

    Ends with 0 when it is told to stop, after what it was judging.
    """
    host, port = _address(listen)
    _require_extra()
    keys = _keys(key, next_key)
    settings = _Settings(
        keys=keys,
        policy=policy,
        also_policy=tuple(also_policy or ()),
        federations=frozenset(federation or ()),
        places=Places(store=store, mirrors=mirror or (), kds=kds, offline=offline),
        roots=roots_of(simulated_root),
    )
    with _listening(host, port) as listener:
        own = f"http://{_written(host)}:{listener.getsockname()[1]}"
        parts = _parts(settings, issuer=issuer.rstrip("/") or own)
        if key is None:
            sys.stderr.write("the key that signs tokens ends with this process: --key keeps one\n")
        _run(parts, listener, own)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What the command line said, read."""

    keys: KeyRing = field(repr=False)
    policy: str
    also_policy: tuple[str, ...]
    federations: frozenset[str]
    places: Places
    roots: Roots


def _require_extra() -> None:
    from twocvm_verifier.errors import UnsupportedError

    try:
        from . import app as _app  # noqa: F401 - imports all that the service needs
    except ModuleNotFoundError as error:
        raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[service]") from error


def _parts(settings: _Settings, *, issuer: str) -> Parts:
    from twocvm_verifier.clock import SystemClock
    from twocvm_verifier.verifier import SnpVerifier

    from .appraisals import Appraiser
    from .parts import Parts
    from .state.memory import MemorySessions

    clock = SystemClock()
    collateral = open_collateral(
        settings.places,
        roots=settings.roots,
        fetching=not settings.places.offline,
        patience_seconds=PATIENCE_SECONDS,
    )
    appraiser = Appraiser(
        verifier=SnpVerifier(roots=settings.roots),
        collateral=collateral,
        default=read_policy(settings.policy),
        policies=tuple(read_policy(each, option="--also-policy") for each in settings.also_policy),
        clock=clock,
    )
    return Parts(
        appraiser=appraiser,
        keys=settings.keys,
        sessions=MemorySessions(clock=clock),
        issuer=issuer,
        federations=settings.federations,
        clock=clock,
        random_bytes=secrets.token_bytes,
    )


def _keys(key: Path | None, next_key: Path | None) -> KeyRing:
    from .tokens import KeyRing, load_key, new_key

    def load(path: Path, option: str) -> Signer:
        try:
            return load_key(path)
        except OSError as error:
            raise unusable(path, error, option=option) from error

    current = new_key() if key is None else load(key, "--key")
    following = None if next_key is None else load(next_key, "--next-key")
    return KeyRing(current=current, following=following)


def _address(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > _MAX_PORT:
        raise typer.BadParameter("want an address and a port, such as 127.0.0.1:8443", param_hint="--listen")
    try:
        address = ipaddress.ip_address(match[1] or match[2])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from error
    if not address.is_loopback:
        # Tokens and evidence would travel in clear: what terminates TLS stands in front of this.
        raise typer.BadParameter("want a loopback address: this process does not speak TLS", param_hint="--listen")
    return str(address), int(match[3])


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise unusable(host, error, option="--listen") from error


def _run(parts: Parts, listener: socket.socket, own: str) -> None:
    import uvicorn

    from .app import create_app

    # uvicorn would log the path and the query of each request, and a query may hold a nonce.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        cast("ASGI3Application", create_app(parts)),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )
    server = uvicorn.Server(config)

    def end(_signal: int, _frame: object) -> None:
        server.should_exit = True

    # Before uvicorn has handlers of its own this is asked; and afterwards, for it raises the signal that ended it once
    # more when all is done, and to be told to stop is no failure.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    sys.stdout.write(f"listening on {own}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])
