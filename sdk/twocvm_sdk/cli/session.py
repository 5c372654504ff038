"""`twocvm join`, `release`, `output` and `withdraw`: taking part in a session.

Each connects anew and proves the guest anew. Nothing here decides anything: the library does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twocvm_verifier.gathering import StoreFolder
from twocvm_verifier.shell import STDIO, Form, OutputForm, PolicyFile, Quiet, SimulatedRoot, Verbose

from .guests import connect, show_isolation, show_proof, show_status
from .options import (
    Again,
    GuestUrl,
    Held,
    IdentityFolder,
    Items,
    ManifestFile,
    SaltFiles,
    Side,
    read_held,
    read_items,
    read_salts,
    read_side,
    writing,
)
from .printing import Printer
from .receipts import receipt_json, receipt_text
from .watching import INTERVAL_SECONDS, OnFailedProof, OnFailure, ProofEvery, read_watching

if TYPE_CHECKING:
    from twocvm_sdk.participant import Session


def _read_seconds(value: float | None) -> float | None:
    # Not a number compares as false with everything, so it is refused here too.
    if value is not None and not 0 <= value < float("inf"):
        raise typer.BadParameter(f"got {value:g}, want 0 seconds or more, not for ever", param_hint="--wait")
    return value


Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        callback=_read_seconds,
        help="How long to wait; the manifest's deadline if unsaid.",
    ),
]


def join(
    guest: GuestUrl,
    items: Items = None,
    *,
    identity: IdentityFolder,
    manifest: ManifestFile,
    policy: PolicyFile,
    salt: SaltFiles = None,
    again: Again = False,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Commit to one's items and sign a go for this guest; nothing is released yet."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    paths = read_items(items, manifest=side.manifest, participant=side.identity.name)
    salts = read_salts(salt, manifest=side.manifest, participant=side.identity.name)
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    with connect(side) as session:
        show_proof(printer, "channel", session.proof)
        show_isolation(printer, session)
        session.join(paths, again=again, salts=salts, notify=lambda notice: printer.say(notice.text))
        show_status(printer, session)


def release(
    guest: GuestUrl,
    items: Items = None,
    *,
    identity: IdentityFolder,
    manifest: ManifestFile,
    policy: PolicyFile,
    salt: SaltFiles = None,
    held: Held = None,
    again: Again = False,
    wait: Wait = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until the session has ended, and go on asking for fresh proofs.")
    ] = False,
    proof_every: ProofEvery = INTERVAL_SECONDS,
    on_failed_proof: OnFailedProof = OnFailure.WITHDRAW,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Join, wait for the others, and release one's items; without any named, those that `join` committed to."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    named = read_items(items, manifest=side.manifest, participant=side.identity.name) if items else None
    salts = read_salts(salt, manifest=side.manifest, participant=side.identity.name)
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    with connect(side, watching=read_watching(proof_every, on_failed_proof)) as session:
        show_proof(printer, "channel", session.proof)
        show_isolation(printer, session)
        paths = named or session.committed()
        if paths is None:
            paths = read_items(None, manifest=side.manifest, participant=side.identity.name)
        with printer.transfers() as progress:
            session.release(
                paths,
                again=again,
                salts=salts,
                held=read_held(held, paths),
                wait_seconds=wait,
                progress=progress,
                notify=lambda notice: printer.say(notice.text),
            )
        if watch:
            session.wait(wait_seconds=wait)
        show_status(printer, session)


def output(
    guest: GuestUrl,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The output; without it, only the receipt.")
    ] = None,
    *,
    identity: IdentityFolder,
    manifest: ManifestFile,
    policy: PolicyFile,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Where it goes; - is stdout.")] = None,
    receipt: Annotated[Path | None, typer.Option("--receipt", metavar="FILE", help="Where the receipt goes.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the output in the guest, to be fetched again.")] = False,
    wait: Wait = None,
    proof_every: ProofEvery = INTERVAL_SECONDS,
    on_failed_proof: OnFailedProof = OnFailure.WITHDRAW,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Wait for the end, verify the receipt, and fetch an output that it promises."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    _require_destination(side, name=name, save=save, receipt=receipt)
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    with connect(side, watching=read_watching(proof_every, on_failed_proof)) as session:
        show_proof(printer, "channel", session.proof)
        kept = session.receipt(wait_seconds=wait)
        if receipt is not None:
            with writing(receipt, option="--receipt"):
                kept.save(receipt)
        if name is not None and save is not None:
            _fetch(session, printer, name=name, save=save)
            if not keep:
                session.ack(name)
    if save != STDIO:
        printer.result(receipt_json(kept.body), receipt_text(kept.body))


def withdraw(
    guest: GuestUrl,
    *,
    identity: IdentityFolder,
    manifest: ManifestFile,
    policy: PolicyFile,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Withdraw from a session before it runs, for good."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    with connect(side) as session:
        session.withdraw()
        show_status(printer, session)


def _require_destination(side: Side, *, name: str | None, save: Path | None, receipt: Path | None) -> None:
    own = {output.name for output in side.manifest.outputs_of(side.identity.name)}
    if name is None and receipt is None:
        raise typer.BadParameter("name an output, or say where the receipt goes", param_hint="NAME")
    if name is not None and name not in own:
        raise typer.BadParameter(f"got {name!r}, want one of {sorted(own)}", param_hint="NAME")
    if (name is None) != (save is None):
        raise typer.BadParameter("an output and its file are named together", param_hint="--save")


def _fetch(session: Session, printer: Printer, *, name: str, save: Path) -> None:
    promised = session.output(name)
    if save == STDIO:
        sys.stdout.buffer.write(promised.read())
        sys.stdout.buffer.flush()
        return
    with writing(save, option="--save"), printer.transfers() as progress:
        promised.save(save, progress=progress)
