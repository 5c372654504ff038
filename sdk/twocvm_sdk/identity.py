"""A participant's keys: one to prove itself on connections, one to sign consents, goes and withdrawals.

Decides what a usable identity is: a folder of mode 0700 with two key files of mode 0600 (the consent key may be in a
token instead, see `keyfiles`), the certificate of the TLS key, and `identity.json`, which is public and has exactly the
form of an entry of a manifest's `participants`. Only the keys' hashes count anywhere; the name says which entry of a
manifest is meant. Whether a manifest knows these keys is decided by `Identity.require_entry`.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as place:
...     identity = Identity.new(Path(place) / "me", "hospital-a")
...     Identity.load(Path(place) / "me").entry() == identity.entry()
True
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from twocvm_verifier import framing, strictjson
from twocvm_verifier.errors import MalformedError, ReleaseError
from twocvm_verifier.manifest.consentkeys import spki_der
from twocvm_verifier.manifest.model import RESERVED_NAMES, Manifest, ParticipantEntry
from twocvm_verifier.manifest.place import is_name

from . import storage
from .connection import TlsIdentity
from .keyfiles import (
    MAX_FILE_BYTES,
    ConsentAlgorithm,
    ConsentKey,
    load_pem_key,
    make_consent_key,
    pem_of,
    read_consent_key,
    read_key_file,
    write_consent_key,
)
from .tokens import PinPrompt, TokenKey

TLS_KEY: Final = "tls.key"
CERTIFICATE: Final = "tls.crt"
PUBLIC: Final = "identity.json"
LEDGER: Final = "ledger"

_SUBJECT: Final = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "twocvm participant")])
# Nobody judges the dates: a manifest names the key and ends by its own dates (RFC 5280, 4.1.2.5: no expiry).
_NOT_BEFORE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One participant's name and keys.

    Attributes:
        name: The participant's name in manifests.
        tls_key: P-256; proves the participant on its connections.
        certificate: Self-signed over `tls_key`, CA:FALSE; nothing in it but the key counts.
        consent_key: Ed25519, P-256 or P-384, here or in a token; signs consents, goes and withdrawals and nothing else.
        folder: Where the files lie; the ledger of goes is in it.
    """

    name: str
    tls_key: EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)
    consent_key: ConsentKey = field(repr=False)
    folder: Path

    @staticmethod
    def new(folder: Path, name: str, *, consent: ConsentAlgorithm | TokenKey = "ed25519") -> Identity:
        """Make new keys and write them to a folder that does not exist yet, all or nothing.

        Args:
            folder: Where; an empty folder of that name is replaced.
            name: As manifests will have it: `[a-z][a-z0-9-]{0,62}`.
            consent: The kind of the consent key to make; or one that is in a token and stays there.

        Raises:
            MalformedError: `name` is not a name.
            ReleaseError: IDENTITY_EXISTS where something is there already.
            OSError: It cannot be written there.
        """
        _require_name(name)
        tls_key = generate_private_key(SECP256R1())
        identity = Identity(
            name=name,
            tls_key=tls_key,
            certificate=_self_signed(tls_key),
            consent_key=make_consent_key(consent) if isinstance(consent, str) else consent,
            folder=folder,
        )
        _write(identity)
        return identity

    @staticmethod
    def load(folder: Path, *, pin: PinPrompt | None = None) -> Identity:
        """Return the identity that lies in `folder`. A token is not needed for that, only to sign.

        Args:
            folder: Where it lies.
            pin: Asks a person for a token's PIN where no file holds it; None where nobody can be asked.

        Raises:
            ReleaseError: IDENTITY_UNREADABLE; IDENTITY_EXPOSED where others may read the keys or enter the folder.
            MalformedError: A file is not what its name says, or the files do not belong together.
        """
        with storage.private_folder(folder) as opened:
            raw = {name: read_key_file(opened, name, secret=name == TLS_KEY) for name in (TLS_KEY, CERTIFICATE, PUBLIC)}
            consent_key = read_consent_key(opened, pin=pin)
        tls_key = load_pem_key(raw[TLS_KEY], TLS_KEY)
        if not isinstance(tls_key, EllipticCurvePrivateKey) or not isinstance(tls_key.curve, SECP256R1):
            raise MalformedError("identity", TLS_KEY, "got another kind of key, want P-256")
        public = strictjson.parse(raw[PUBLIC], document="identity", max_bytes=MAX_FILE_BYTES)
        name = public.get("name") if isinstance(public, dict) else None
        if not isinstance(name, str):
            raise MalformedError("identity", "/name", "want a string")
        _require_name(name)
        identity = Identity(
            name=name,
            tls_key=tls_key,
            certificate=_load_certificate(raw[CERTIFICATE], tls_key),
            consent_key=consent_key,
            folder=folder,
        )
        if public != identity.entry():
            raise MalformedError("identity", PUBLIC, "does not belong to the keys beside it")
        return identity

    @property
    def tls(self) -> TlsIdentity:
        """What a connection needs: the TLS key with its certificate."""
        return TlsIdentity(key=self.tls_key, certificate=self.certificate)

    @property
    def tls_spki_sha256(self) -> bytes:
        """SHA-256 of the TLS key's SPKI DER (32 bytes), as a manifest names it."""
        return framing.sha256(spki_der(self.tls_key))

    @property
    def consent_spki_sha256(self) -> bytes:
        """SHA-256 of the consent key's SPKI DER (32 bytes), as a manifest names it."""
        return framing.sha256(spki_der(self.consent_key))

    @property
    def ledger_folder(self) -> Path:
        """Where the goes that this identity gave are written down."""
        return self.folder / LEDGER

    def entry(self) -> dict[str, strictjson.Json]:
        """Return the entry of a manifest's `participants` that names these keys."""
        return {
            "name": self.name,
            "tls": [{"spki_sha256": self.tls_spki_sha256.hex()}],
            "consent": {"spki_sha256": self.consent_spki_sha256.hex()},
        }

    def require_entry(self, manifest: Manifest) -> ParticipantEntry:
        """Return the manifest's entry for this participant, which must name both of these keys.

        Raises:
            ReleaseError: NOT_A_PARTICIPANT.
        """
        who = f"participant {self.name!r}"
        try:
            entry = manifest.participant(self.name)
        except KeyError as error:
            raise ReleaseError("NOT_A_PARTICIPANT", f"{who}: is not in the manifest") from error
        if self.tls_spki_sha256 not in entry.tls:
            raise ReleaseError("NOT_A_PARTICIPANT", f"{who}: the manifest has other TLS keys")
        if self.consent_spki_sha256 != entry.consent:
            raise ReleaseError("NOT_A_PARTICIPANT", f"{who}: the manifest has another consent key")
        return entry


def _require_name(name: str) -> None:
    if not is_name(name) or name in RESERVED_NAMES:
        raise MalformedError("identity", "/name", f"got {name!r:.80}, want a name as manifests have it")


def _write(identity: Identity) -> None:
    # Everything is written beside its place first: nobody ever finds half an identity.
    parent = identity.folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=storage.TEMPORARY, dir=parent))
    try:
        with storage.private_folder(place) as opened:
            storage.write_new(opened, TLS_KEY, pem_of(identity.tls_key), mode=storage.PRIVATE_FILE)
            write_consent_key(opened, identity.consent_key)
            certificate = identity.certificate.public_bytes(Encoding.PEM)
            storage.write_new(opened, CERTIFICATE, certificate, mode=storage.PUBLIC_FILE)
            public = json.dumps(identity.entry(), indent=2) + "\n"
            storage.write_new(opened, PUBLIC, public.encode("ascii"), mode=storage.PUBLIC_FILE)
        storage.sync_folder(place)
        place.rename(identity.folder.absolute())
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise ReleaseError("IDENTITY_EXISTS", f"folder {str(identity.folder)!r}: {error.strerror}") from error
    storage.sync_folder(parent)


def _load_certificate(pem: bytes, key: EllipticCurvePrivateKey) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        same = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("identity", CERTIFICATE, "is not a PEM certificate") from error
    if not same:
        raise MalformedError("identity", CERTIFICATE, "is for another key")
    return certificate


def _self_signed(key: EllipticCurvePrivateKey) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=_SUBJECT,
        subject_name=_SUBJECT,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=_NOT_BEFORE,
        not_valid_after=_NOT_AFTER,
    )
    return builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )
