"""`twocvm lock`, `verify` and `status`: what a guest is, proved anew each time.

Nothing here decides anything: the library does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import AppraisalError, FetchError, TwoCvmError
from twocvm_verifier.gathering import StoreFolder
from twocvm_verifier.shell import Form, OutputForm, PolicyFile, Quiet, SimulatedRoot, Verbose

from .options import GuestUrl, IdentityFolder, ManifestFile, Side, read_consents, read_side
from .printing import Printer, proof_lines, table
from .revocation import remember_crl

if TYPE_CHECKING:
    from rich.text import Text

    from twocvm_sdk.participant import Session
    from twocvm_sdk.watch import Watching
    from twocvm_verifier.eventlog import VerifiedLog
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.ratls.proof import Proof
    from twocvm_verifier.strictjson import Json


def lock(
    guest: GuestUrl,
    *,
    consents: Annotated[
        Path, typer.Option("--consents", metavar="DIR", help="A folder with every participant's consent in *.json.")
    ],
    identity: IdentityFolder,
    manifest: ManifestFile,
    policy: PolicyFile,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Lock a guest to a manifest that every participant signed, and see it proved on a new connection."""
    from twocvm_sdk.locking import lock as lock_guest

    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    proof = lock_guest(
        guest,
        manifest=side.manifest,
        consents=read_consents(consents),
        policy=side.policy,
        identity=side.identity,
        verifier=side.verifier,
    )
    keep_crl(side, proof)
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    show_proof(printer, "channel", proof)
    printer.result(_instance(guest, proof, side.manifest), table(_instance_rows(guest, proof, side.manifest)))


def verify(
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
    """Verify a running guest and say what would be released to it; nothing is."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    try:
        with connect(side) as session:
            certificate, channel, log = session.certificate, session.proof, session.log()
    except TwoCvmError as error:
        if form is OutputForm.JSON:
            printer.result(_refusal_json(error), "")
        raise
    if form is OutputForm.JSON:
        evidence: dict[str, Json] = {
            "certificate": certificate.appraisal.to_json(),
            "channel": channel.appraisal.to_json(),
            "release": _releasable(side),
            "isolation_lacking": log.lacking,
        }
        printer.result(_instance(guest, channel, side.manifest) | evidence, "")
    else:
        printer.lines(_verification(side, certificate, channel, log, verbose=verbose))


def status(
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
    """Ask a verified guest for its state, and its log for who joined and what arrived."""
    side = read_side(
        guest, identity=identity, manifest=manifest, policy=policy, simulated_root=simulated_root, store=store
    )
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    with connect(side) as session:
        show_proof(printer, "channel", session.proof)
        show_status(printer, session)


def connect(side: Side, *, watching: Watching | None = None) -> Session:
    """Open a session on a guest that proves itself, with every revocation list that this machine has seen.

    Args:
        side: Who connects, to what.
        watching: How a command that waits watches meanwhile; as the library does where nothing is said.
    """
    from twocvm_sdk.participant import Participant
    from twocvm_sdk.watch import Watching

    session = Participant.connect(
        side.url,
        manifest=side.manifest,
        policy=side.policy,
        identity=side.identity,
        verifier=side.verifier,
        watching=watching or Watching(),
    )
    keep_crl(side, session.proof)
    return session


def keep_crl(side: Side, proof: Proof) -> None:
    """Keep the revocation list that counted for the next command, and say so on stderr where that cannot be."""
    try:
        remember_crl(proof.verified, store=side.store)
    except FetchError as error:
        sys.stderr.write(f"the guest's revocation list could not be kept: {error.detail}\n")


def show_proof(printer: Printer, name: str, proof: Proof) -> None:
    """Tell a person how evidence was judged."""
    for line in proof_lines(name, proof.appraisal, verbose=printer.verbose):
        printer.say(line)


def show_isolation(printer: Printer, session: Session) -> None:
    """Tell a person what the guest's workers lack, before anything is signed; nothing where they lack nothing."""
    log = session.log()
    if log.lacking:
        printer.say(f"isolation of components: {_isolation(log)}")


def show_status(printer: Printer, session: Session) -> None:
    """Print where a session is, by the guest's word and its verified log."""
    log, state = session.log(), session.status()
    missing = sorted({entry.name for entry in session.manifest.participants} - log.goes.keys())
    failures = session.failures() if state == "failed" else {}
    result: dict[str, Json] = {
        "state": state,
        "joined": sorted(log.goes),
        "missing": missing,
        "admitted": sorted(log.admitted),
        "events": log.position.events,
        "isolation_lacking": log.lacking,
        "failures": dict(failures),
    }
    rows = {
        "state": state,
        **{f"failure of {node}": f"{code}: {CODES[code].meaning}" for node, code in sorted(failures.items())},
        "joined": ", ".join(sorted(log.goes)) or "nobody",
        "missing": ", ".join(missing) or "nobody",
        "admitted": ", ".join(sorted(log.admitted)) or "nothing",
        "isolation": _isolation(log),
    }
    printer.result(result, table(rows))


def _isolation(log: VerifiedLog) -> str:
    return f"INCOMPLETE, without {', '.join(log.lacking)}" if log.lacking else "complete, by the guest's log"


def _instance(guest: str, proof: Proof, manifest: Manifest) -> dict[str, Json]:
    return {
        "guest": guest,
        "verdict": str(proof.appraisal.verdict),
        "secure": proof.appraisal.secure,
        "report_id": proof.report_id.hex(),
        "guest_spki_sha256": proof.spki_sha256.hex(),
        "manifest": manifest.hash.hex(),
        "events": proof.log.events,
    }


def _instance_rows(guest: str, proof: Proof, manifest: Manifest) -> dict[str, str]:
    return {
        "guest": guest,
        "verdict": f"{proof.appraisal.verdict}, {'secure' if proof.appraisal.secure else 'NOT SECURE'}",
        "instance": proof.report_id.hex(),
        "manifest": f"{manifest.hash.hex()} ({manifest.name})",
        "events": str(proof.log.events),
    }


def _verification(side: Side, certificate: Proof, channel: Proof, log: VerifiedLog, *, verbose: bool) -> Iterator[Text]:
    from rich.text import Text

    from twocvm_verifier.presentation import appraisal_lines, verdict_line

    yield Text("certificate evidence", style="bold")
    yield verdict_line(certificate.appraisal)
    yield Text()
    yield Text("channel evidence, on this very connection", style="bold")
    yield from appraisal_lines(channel.appraisal, every_check=verbose)
    yield Text()
    names = ", ".join(str(item["name"]) for item in _releasable(side)) or "nothing"
    rows = _instance_rows(side.url, channel, side.manifest) | {
        "consents": f"all {len(side.manifest.participants)} verified, and the guest is locked with them",
        "isolation": _isolation(log),
        "would release": f"{names}, as {side.identity.name}; nothing was released",
    }
    yield Text(table(rows))


def _refusal_json(error: TwoCvmError) -> dict[str, Json]:
    from twocvm_verifier.clock import SystemClock
    from twocvm_verifier.codes.table import NOT_AUTHENTIC, REFUSED
    from twocvm_verifier.result import Verdict, error_json

    result = error_json(error, judged_at=SystemClock().now())
    if error.exit_status in (NOT_AUTHENTIC, REFUSED):
        result["verdict"] = str(Verdict.CONTRAINDICATED)
    if isinstance(error.__cause__, AppraisalError):
        result["checks"] = [check.to_json() for check in error.__cause__.findings]
    return result


def _releasable(side: Side) -> list[dict[str, Json]]:
    name, manifest = side.identity.name, side.manifest
    data: list[dict[str, Json]] = [
        {"name": item.name, "kind": "data", "max_bytes": item.max_bytes} for item in manifest.items_of(name)
    ]
    return data + [
        {"name": component.name, "kind": "component", "sha256": component.sha256.hex()}
        for component in manifest.components_of(name)
    ]
