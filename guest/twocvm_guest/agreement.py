"""What a guest is locked with: a manifest, and the consent of every participant to exactly that manifest.

Decides whether a body of `PUT /v1/manifest` may lock this guest, whoever sent it: its bytes are canonical, the manifest
is valid, every participant has consented exactly once, and this guest can give what the manifest asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from twocvm_verifier import framing, strictjson
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.parse import parse_manifest
from twocvm_verifier.manifest.roster import Consents, parse_statements, verify_consents
from twocvm_verifier.manifest.statements import Consent
from twocvm_verifier.strictjson import Json

# A manifest has at most 1 MiB; a consent has some 400 bytes, and a participant's entry of the manifest no fewer.
MAX_PROPOSAL_BYTES: Final = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A body of `PUT /v1/manifest`, of which nothing is verified yet.

    Attributes:
        raw: The body (canonical JSON).
        manifest: The manifest's canonical bytes.
        consents: The array as it came.
    """

    raw: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    consents: Json = field(repr=False)

    @property
    def manifest_hash(self) -> bytes:
        """What names the manifest (32 bytes), whatever it holds."""
        return framing.manifest_hash(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A manifest that every participant has signed. Made only by `verify_proposal`.

    Attributes:
        manifest: The manifest.
        consents: One from each participant.
        raw: Both as they came (canonical JSON), which is how they are served.
    """

    manifest: Manifest
    consents: Consents
    raw: bytes = field(repr=False)


def parse_proposal(body: bytes) -> Proposal:
    """Return the manifest and the consents in a body, apart.

    Raises:
        MalformedError: Not the canonical JSON of exactly an object `manifest` and an array `consents`.
    """
    value = strictjson.parse_canonical(body, document="request", max_bytes=MAX_PROPOSAL_BYTES)
    if not isinstance(value, dict) or value.keys() != {"manifest", "consents"}:
        raise MalformedError("request", "", "not an object of `manifest` and `consents`")
    if not isinstance(value["manifest"], dict):
        raise MalformedError("request", "/manifest", "not an object")
    if not isinstance(value["consents"], list):
        raise MalformedError("request", "/consents", "not an array")
    return Proposal(raw=body, manifest=strictjson.canonical(value["manifest"]), consents=value["consents"])


def proposes(body: bytes, manifest: Manifest) -> bool:
    """Return whether a body is for exactly this manifest; its consents are not looked at.

    A canonical body ends with its manifest, so a guest that is locked need not parse what anybody may send it.
    """
    return body.startswith(b'{"consents":[') and body.endswith(b'],"manifest":' + manifest.raw + b"}")


def verify_proposal(proposal: Proposal) -> Agreement:
    """Return the agreement that a proposal is.

    Raises:
        MalformedError: The manifest or a consent breaks its format.
        VerificationError: A participant's consent is missing, doubled, not authentic, or for another manifest.
    """
    manifest = parse_manifest(proposal.manifest)
    consents = verify_consents(parse_statements(Consent, proposal.consents, pointer="/consents"), manifest)
    return Agreement(manifest=manifest, consents=consents, raw=proposal.raw)
