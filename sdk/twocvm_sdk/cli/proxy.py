"""`twocvm proxy`: let any tool on this machine talk to a verified guest."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twocvm_verifier.gathering import StoreFolder
from twocvm_verifier.shell import (
    Form,
    OutputForm,
    PolicyFile,
    Quiet,
    SimulatedRoot,
    Verbose,
    read_manifest,
    read_policy,
)

from .guests import show_proof
from .options import GuestUrl, ManifestFile, ask_pin, guest_address, read_roots, writing
from .printing import Printer
from .revocation import found_veks, held_crls, open_store, remember_crl

if TYPE_CHECKING:
    from twocvm_sdk.connection import AttestedConnection
    from twocvm_sdk.endpoint import Endpoint
    from twocvm_sdk.proxy import Listener
    from twocvm_verifier.appraisal import Verifier
    from twocvm_verifier.errors import TwoCvmError
    from twocvm_verifier.manifest import Manifest


def proxy(
    guest: GuestUrl,
    *,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS", help="127.0.0.1:PORT, [::1]:PORT or unix:PATH; port 0 is any.")
    ],
    manifest: ManifestFile,
    policy: PolicyFile,
    identity: Annotated[
        Path | None, typer.Option("--identity", metavar="DIR", help="Whose requests they are; without it nobody's.")
    ] = None,
    secret: Annotated[
        Path | None,
        typer.Option(
            "--secret", metavar="FILE", help="What tools must show as a bearer token; made if it is not there."
        ),
    ] = None,
    store: StoreFolder = None,
    simulated_root: SimulatedRoot = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take plain HTTP from tools on this machine and pass it on to a guest that proves itself on every connection."""
    from twocvm_sdk.proxy import Gate, Proxy
    from twocvm_sdk.verifiers import local_verifier

    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    own = read_manifest(manifest)
    roots = read_roots(simulated_root, manifest=own)
    lists = open_store(store, roots=roots)
    verifier = local_verifier(roots=roots, crls=held_crls(lists), veks=found_veks(store, roots=roots, fetching=True))
    endpoint = _endpoint(guest, manifest=own, policy=policy, identity=identity, verifier=verifier)
    with _listener(listen) as listener:
        gate = Gate(hosts=listener.hosts, secret=_secret(secret, listener=listener, lends=identity is not None))
        with endpoint.open() as first:
            show_proof(printer, "channel", first.proof)
            remember_crl(first.proof.verified, store=lists)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        printer.result({"listening": listener.url}, listener.url)
        sys.stdout.flush()
        Proxy(endpoint, listener=listener, gate=gate, observer=_Teller(printer)).serve(stopping)


class _Teller:
    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def connected(self, connection: AttestedConnection) -> None:
        """Say that a new connection has been proven."""
        proof = connection.proof
        self._printer.say(f"connected to instance {proof.report_id.hex()[:16]}, {proof.appraisal.verdict}")

    def refused(self, error: TwoCvmError) -> None:
        """Say why a request was refused."""
        self._printer.say(f"{error.code}: {error.detail}")


def _endpoint(guest: str, *, manifest: Manifest, policy: str, identity: Path | None, verifier: Verifier) -> Endpoint:
    from twocvm_sdk.endpoint import Endpoint
    from twocvm_sdk.identity import Identity

    guest_address(guest)
    return Endpoint(
        guest,
        manifest=manifest,
        policy=read_policy(policy),
        identity=None if identity is None else Identity.load(identity, pin=ask_pin),
        verifier=verifier,
    )


def _secret(file: Path | None, *, listener: Listener, lends: bool) -> bytes:
    """Return what tools must show; empty for nothing, which will not do where an identity is lent on a port."""
    from twocvm_sdk.proxy.gate import read_secret

    if file is not None:
        with writing(file, option="--secret"):
            return read_secret(file)
    if lends and listener.path is None:
        raise typer.BadParameter(
            "everybody on this machine could act as you; name a secret's file, or listen on unix:PATH",
            param_hint="--listen",
        )
    return b""


def _listener(text: str) -> Listener:
    from twocvm_sdk.proxy import open_listener

    try:
        return open_listener(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from error
    except OSError as error:
        raise typer.BadParameter(f"{text!r:.200}: {error.strerror}", param_hint="--listen") from error
