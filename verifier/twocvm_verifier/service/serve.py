"""`twocvm verifier serve`: the service as a process, or several, with nothing to configure on loopback.

Without a key it signs with one that ends with the process, and says so.
"""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from twocvm_verifier.shell import SimulatedRoot, command_group, unusable

from .options import Config, configured, require_extra

if TYPE_CHECKING:
    from .addresses import Address
    from .settings import Settings

app = command_group()

Listen: TypeAlias = Annotated[
    str | None, typer.Option("--listen", metavar="ADDRESS:PORT", help="Where to listen; port 0 is any free one.")
]
Issuer: TypeAlias = Annotated[
    str | None, typer.Option("--issuer", metavar="URL", help="This service's own URL in tokens; else its address.")
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="How many processes judge; 1 where it is left out.")
]
Key: TypeAlias = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The key that signs tokens: PEM, mode 0600.")
]
NextKey: TypeAlias = Annotated[
    Path | None, typer.Option("--next-key", metavar="FILE", help="The key that will sign, published beside it.")
]
OwnersPolicy: TypeAlias = Annotated[
    str | None, typer.Option("--policy", metavar="FILE", help="The policy for who brings none: TOML, or `builtin`.")
]
Policies: TypeAlias = Annotated[
    list[str] | None, typer.Option("--also-policy", metavar="FILE", help="A further policy, asked for by its digest.")
]
Federations: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--federation", metavar="AUDIENCE", help="An audience that is told only what is affirmed."),
]
Store: TypeAlias = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Where collateral is kept on this machine.")
]
Mirrors: TypeAlias = Annotated[
    list[str] | None, typer.Option("--mirror", metavar="URL", help="A service that answers as AMD's KDS does.")
]
Kds: TypeAlias = Annotated[str | None, typer.Option("--kds", metavar="URL", help="AMD's KDS.")]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]


@app.callback()
def _group() -> None:
    """Run the verifier as a service."""


@app.command("serve")
def serve_command(
    config: Config = None,
    listen: Listen = None,
    issuer: Issuer = None,
    workers: Workers = None,
    key: Key = None,
    next_key: NextKey = None,
    policy: OwnersPolicy = None,
    also_policy: Policies = None,
    federation: Federations = None,
    simulated_root: SimulatedRoot = None,
    store: Store = None,
    mirror: Mirrors = None,
    kds: Kds = None,
    offline: Offline = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Judge evidence for others over HTTP. What is not set here stands in the settings: `twocvm verifier config show`.

    Ends with 0 when it is told to stop, after what it was judging.
    """
    options: dict[str, object] = {
        "--listen": listen,
        "--issuer": issuer,
        "--workers": workers,
        "--key": key,
        "--next-key": next_key,
        "--policy": policy,
        "--also-policy": also_policy,
        "--federation": federation,
        "--simulated-root": simulated_root,
        "--store": store,
        "--mirror": mirror,
        "--kds": kds,
        "--offline": offline,
    }
    require_extra()
    from .rules import require_sound

    settings = configured(config, options).settings
    require_sound(settings)
    raise typer.Exit(_serve(settings))


def _serve(settings: Settings) -> int:
    from .addresses import parse_address
    from .logs import STANDARD_ERROR, event, lines_on
    from .metrics import figures_at

    address = parse_address(settings.listen.address)
    listeners = _listening(address, workers=settings.listen.workers)
    try:
        scheme = "http" if settings.listen.certificate is None else "https"
        own = address.url(scheme, port=listeners[0].getsockname()[1])
        # From here on a program reads what is written.
        with lines_on(STANDARD_ERROR), figures_at(settings.metrics.listen):
            if settings.tokens.key is None and not settings.tokens.keeper:
                event(
                    "key-of-this-process", hint="the key that signs tokens ends with this process: tokens.key keeps one"
                )
            if settings.state.store == "sealed":
                event(
                    "challenges-limited-in-time",
                    hint='a challenge is limited in time, not to one answer: state.store = "sealed" keeps nothing',
                )
            issuer, announcement = settings.listen.issuer or own, f"listening on {own}\n"
            return _answer(settings, listeners, issuer=issuer, announcement=announcement)
    finally:
        for listener in listeners:
            listener.close()


def _answer(settings: Settings, listeners: list[socket.socket], *, issuer: str, announcement: str) -> int:
    if len(listeners) > 1:
        from .workers import watch

        return watch(settings, listeners, issuer=issuer, announcement=announcement)
    from .workers import work_at

    def announce() -> None:
        sys.stdout.write(announcement)
        sys.stdout.flush()

    work_at(listeners[0], settings, issuer=issuer, ready=announce)
    return 0


def _listening(address: Address, *, workers: int) -> list[socket.socket]:
    """Return one listener a worker, all at one port."""
    listeners: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with ExitStack() as opened:
        try:
            for _ in range(workers):
                port = listeners[0].getsockname()[1] if listeners else address.port
                listener = socket.create_server((address.host, port), family=family, reuse_port=workers > 1)
                # What is accepted inherits it: else the end of each answer waits for the other side's acknowledgement.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                listeners.append(opened.enter_context(listener))
        except OSError as error:
            raise unusable(address.host, error, option="--listen") from error
        # From here on they are the caller's.
        opened.pop_all()
    return listeners
