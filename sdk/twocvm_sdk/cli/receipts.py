"""`twocvm receipt verify`: offline, years later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.gathering import Offline, StoreFolder
from twocvm_verifier.shell import (
    At,
    Form,
    OutputForm,
    PolicyFile,
    Quiet,
    SimulatedRoot,
    Verbose,
    read_file,
    read_manifest,
    read_policy,
    time_of,
)

from .options import read_roots
from .printing import Printer, proof_lines, table
from .revocation import found_veks, held_crls, open_store

if TYPE_CHECKING:
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.receipt_body import ReceiptBody
    from twocvm_verifier.strictjson import Json

_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The receipt file; - is stdin.")],
    *,
    manifest: Annotated[
        str, typer.Option("--manifest", metavar="FILE|HASH", help="The manifest that judges, or its hash.")
    ],
    policy: PolicyFile,
    simulated_root: SimulatedRoot = None,
    store: StoreFolder = None,
    offline: Offline = False,
    at: At = "",
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Judge a receipt, years later; nothing is ever fetched, with or without --offline."""
    del offline
    from twocvm_sdk.verifiers import local_verifier
    from twocvm_verifier.receipt_file import verify_receipt_file

    expected: Manifest | bytes = bytes.fromhex(manifest) if _HASH.fullmatch(manifest) else read_manifest(manifest)
    roots = read_roots(simulated_root, manifest=None if isinstance(expected, bytes) else expected)
    verified = verify_receipt_file(
        read_file(file, option="FILE").removesuffix(b"\n"),
        manifest=expected,
        policy=read_policy(policy),
        verifier=local_verifier(
            roots=roots,
            crls=held_crls(open_store(store, roots=roots)),
            veks=found_veks(store, roots=roots, fetching=False),
        ),
        at=time_of(at),
    )
    printer = Printer(form=form, quiet=quiet, verbose=verbose)
    for line in proof_lines("receipt", verified.appraisal, verbose=verbose):
        printer.say(line)
    result = receipt_json(verified.body) | {"appraisal": verified.appraisal.to_json()}
    printer.result(result, receipt_text(verified.body))


def receipt_json(body: ReceiptBody) -> dict[str, Json]:
    """Return what a verified receipt states."""
    return {
        "participant": body.participant,
        "outcome": body.outcome.value,
        "manifest": body.manifest_hash.hex(),
        "report_id": body.report_id.hex(),
        "outputs": [
            {"name": output.name, "bytes": output.sealed.size_bytes, "sha256": output.sealed.sha256.hex()}
            for output in body.outputs
        ],
        "other_outputs": list(body.other_outputs),
        "inputs": [{"name": item.name, "participant": item.participant} for item in body.inputs],
        "events": body.log.events,
    }


def receipt_text(body: ReceiptBody) -> str:
    """Return what a verified receipt states, for people."""
    rows = {
        "receipt of": body.participant,
        "outcome": body.outcome.value,
        "manifest": body.manifest_hash.hex(),
        "instance": body.report_id.hex(),
        "inputs": ", ".join(f"{item.name} ({item.participant})" for item in body.inputs) or "none",
        "others' outputs": ", ".join(body.other_outputs) or "none",
    }
    rows |= {
        f"output {output.name}": f"{output.sealed.size_bytes} bytes, SHA-256 {output.sealed.sha256.hex()}"
        for output in body.outputs
    }
    return table(rows)
