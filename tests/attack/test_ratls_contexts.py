"""Evidence of one kind offered as another, and what changes between one proof of a connection and the next.

There are four contexts of claims; none of them is taken for another. A certificate's are tried in
`test_ratls_certificate`, a receipt's in `test_receipts`; here are the two that prove a channel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from tests.support.attested_guest import AFTER_LOCK, Scene
from tests.support.hostile_guest import Forgery, HostileGuest, Talk
from tests.support.manifests import MEASUREMENT, World

from twocvm_verifier import framing
from twocvm_verifier.binding import Claims, batch_claims, cert_claims, channel_claims, receipt_claims
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.evidence import encode_json

OTHER_RELEASE = b"\x22" * 48


@pytest.fixture
def forgery() -> Forgery:
    """A certificate that is accepted, whose key the attacker has."""
    return Forgery(scene=Scene())


def _claims(forgery: Forgery, context: str, *, nonce: bytes, binder: bytes) -> Claims:
    """Return claims that would be right for this connection, if this were their context."""
    known = {"spki_sha256": forgery.spki_sha256, "manifest": forgery.manifest, "log": AFTER_LOCK}
    leaf = framing.batch_leaf(nonce=nonce, binder=binder)
    made: dict[str, Callable[[], Claims]] = {
        "certificate": lambda: cert_claims(**known),
        "channel": lambda: channel_claims(**known, nonce=nonce, binder=binder),
        "batch": lambda: batch_claims(**known, root=leaf),
        "receipt": lambda: receipt_claims(**known, statement=leaf),
    }
    return made[context]()


def _offered(forgery: Forgery, context: str, *, path: bytes | None) -> str:
    """Return the code with which evidence of `context` is refused as a channel's, or "" where it is taken."""

    def offer(talk: Talk) -> None:
        nonce = talk.question()
        exported = talk.tls.export_keying_material(b"Attestation", 32, nonce)
        binder = framing.binder(spki_der=forgery.spki_der, exported=exported)
        evidence = forgery.evidence_for(_claims(forgery, context, nonce=nonce, binder=binder))
        talk.answer(encode_json(dataclasses.replace(evidence, path=path)))

    with HostileGuest(forgery.context(), offer) as hostile:
        try:
            forgery.scene.connect(hostile.url).close()
        except TwoCvmError as refusal:
            assert hostile.heard.count(b" HTTP/1.1\r\n") == 1
            return refusal.code
    return ""


@pytest.mark.parametrize("context", ["certificate", "batch", "receipt"])
def test_other_evidence_is_no_channels(forgery: Forgery, context: str) -> None:
    """Where no path is given the claims are a channel's, over this nonce and this binder, or refused."""
    assert _offered(forgery, "channel", path=None) == ""
    assert _offered(forgery, context, path=None) == "CLAIMS_MISMATCH"


@pytest.mark.parametrize("context", ["certificate", "channel", "receipt"])
def test_other_evidence_is_no_batchs(forgery: Forgery, context: str) -> None:
    """Where a path is given the claims are a batch's, over the root it leads to, or refused."""
    assert _offered(forgery, "batch", path=b"") == ""
    assert _offered(forgery, context, path=b"") == "CLAIMS_MISMATCH"


# Between one proof and the next.


@pytest.fixture
def two_releases() -> Forgery:
    """A guest under a manifest that accepts two releases of the guest's software."""

    def accept_both(document: dict[str, object]) -> None:
        document["platform"]["measurements"] = sorted([MEASUREMENT.hex(), OTHER_RELEASE.hex()])  # type: ignore[index]

    return Forgery(scene=Scene(world=World(edit=accept_both)))


def test_measurement_that_changes_between_certificate_and_channel_is_refused(two_releases: Forgery) -> None:
    """Also where the policy accepts either: one launch has one measurement."""
    forgery = two_releases
    with (
        HostileGuest(forgery.context(), lambda talk: talk.prove(forgery, measurement=OTHER_RELEASE)) as hostile,
        pytest.raises(TwoCvmError) as refusal,
    ):
        forgery.scene.connect(hostile.url)
    assert refusal.value.code == "INSTANCE_CHANGED"


@pytest.mark.parametrize(("field", "value"), [("measurement", OTHER_RELEASE), ("report_id", b"\x77" * 32)])
def test_guest_that_changes_between_two_proofs_is_refused(two_releases: Forgery, field: str, value: bytes) -> None:
    """What held for the first proof of a connection holds for every later one, or the connection ends."""
    forgery = two_releases

    def prove_and_change(talk: Talk) -> None:
        talk.prove(forgery)
        talk.prove(forgery, **{field: value})

    with HostileGuest(forgery.context(), prove_and_change) as hostile:
        connection = forgery.scene.connect(hostile.url)
        with pytest.raises(TwoCvmError) as refusal:
            connection.reprove()
        assert connection.closed
    assert refusal.value.code == "INSTANCE_CHANGED"
