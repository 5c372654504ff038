"""What a session and a receipt show of themselves in a notebook. Nothing is asked of the guest for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twocvm_verifier.markup import card

if TYPE_CHECKING:
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.ratls.proof import ChannelProof
    from twocvm_verifier.receipt_body import ReceiptBody


def session_card(*, guest: str, participant: str, manifest: Manifest, proof: ChannelProof, notice: str) -> str:
    """Return HTML of one participant's side of a session.

    Args:
        guest: Its address.
        participant: Whose side it is.
        manifest: The one in force.
        proof: The guest's latest proof.
        notice: What this participant has to know before its components leave; empty for nothing.
    """
    appraisal = proof.appraisal
    items = [item.name for item in manifest.items_of(participant)]
    components = [component.name for component in manifest.components_of(participant)]
    outputs = [output.name for output in manifest.outputs_of(participant)]
    rows = [
        ("guest", guest),
        ("verdict", f"{appraisal.verdict}, {'secure' if appraisal.secure else 'NOT SECURE'}"),
        ("instance", proof.report_id.hex()),
        ("manifest", f"{manifest.name}, {manifest.hash.hex()}"),
        ("purpose", manifest.purpose),
        ("participants", ", ".join(entry.name for entry in manifest.participants)),
        ("releases", ", ".join(items + components) or "nothing"),
        ("receives", ", ".join(outputs) or "nothing"),
        ("events", f"{proof.log.events} in the log of the latest proof"),
    ]
    if notice:
        rows.append(("notice", notice))
    return card(f"session of {participant}, with a guest that has proven itself", rows) + appraisal.to_html()


def receipt_card(body: ReceiptBody) -> str:
    """Return HTML of a verified receipt."""
    return card(f"receipt of {body.participant}: {body.outcome.value}", _receipt_rows(body))


def _receipt_rows(body: ReceiptBody) -> Iterator[tuple[str, str]]:
    yield "manifest", body.manifest_hash.hex()
    yield "instance", body.report_id.hex()
    yield "inputs", ", ".join(f"{item.name} ({item.participant})" for item in body.inputs) or "none"
    for output in body.outputs:
        yield f"output {output.name}", f"{output.sealed.size_bytes} bytes, SHA-256 {output.sealed.sha256.hex()}"
    yield "others' outputs", ", ".join(body.other_outputs) or "none"
    yield "events", f"{body.log.events} in the whole log"
