"""`twocvm identity new`, `identity show` and `manifest sign`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twocvm_verifier.shell import STDIO, Form, OutputForm, Quiet, read_manifest

from .options import IdentityFolder, ask_pin, writing
from .printing import Printer

if TYPE_CHECKING:
    from twocvm_sdk.identity import Identity
    from twocvm_sdk.tokens import TokenKey


class ConsentKind(StrEnum):
    """Kinds of consent keys."""

    ED25519 = "ed25519"
    P256 = "p256"
    P384 = "p384"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The identity's folder.")]


def new(
    folder: Folder,
    *,
    name: Annotated[str, typer.Option("--name", help="The participant's name, as manifests will have it.")],
    consent: Annotated[
        ConsentKind, typer.Option("--consent", help="The kind of the consent key.")
    ] = ConsentKind.ED25519,
    consent_token: Annotated[
        str | None,
        typer.Option(
            "--consent-token",
            metavar="URI",
            help="Use a consent key that stays in its token, by PKCS#11 URI (RFC 7512).",
        ),
    ] = None,
    form: Form = OutputForm.TEXT,
    quiet: Quiet = False,
) -> None:
    """Make a participant's TLS and consent keys, and print the entry for a manifest that names them."""
    from twocvm_sdk.identity import Identity

    key = None if consent_token is None else _token_key(consent_token)
    with writing(folder, option="DIR"):
        identity = Identity.new(folder, name, consent=key or consent.value)
    printer = Printer(form=form, quiet=quiet)
    printer.say(f"keys of {name!r} are in {folder}; keep them, and put this entry into the manifest:")
    printer.result(identity.entry(), entry_toml(identity))


def show(folder: Folder, *, form: Form = OutputForm.TEXT) -> None:
    """Print the entry for a manifest that names a participant's keys."""
    from twocvm_sdk.identity import Identity

    identity = Identity.load(folder)
    Printer(form=form).result(identity.entry(), entry_toml(identity))


def sign(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The canonical manifest; - is stdin.")],
    *,
    identity: IdentityFolder,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the consent goes; - is stdout.")] = STDIO,
    quiet: Quiet = False,
) -> None:
    """Sign a consent: this participant agrees to this manifest, and to no other."""
    from twocvm_sdk import storage
    from twocvm_sdk.identity import Identity
    from twocvm_verifier.manifest.statements import sign_consent

    own, signer = read_manifest(manifest, option="MANIFEST"), Identity.load(identity, pin=ask_pin)
    signer.require_entry(own)
    raw = sign_consent(signer.consent_key, manifest_hash=own.hash, participant=signer.name).to_bytes()
    if out == STDIO:
        sys.stdout.buffer.write(raw + b"\n")
    else:
        with writing(out, option="--out"), storage.arriving(out) as file:
            file.write(raw)
    Printer(form=OutputForm.TEXT, quiet=quiet).say(f"{signer.name!r} agrees to manifest {own.name!r}, {own.hash.hex()}")


def entry_toml(identity: Identity) -> str:
    """Return the entry for a manifest's `participants` as an author writes it."""
    return "\n".join(
        (
            "[[participants]]",
            f"name = {json.dumps(identity.name)}",
            f'tls = [{{ spki_sha256 = "{identity.tls_spki_sha256.hex()}" }}]',
            f'consent = {{ spki_sha256 = "{identity.consent_spki_sha256.hex()}" }}',
        )
    )


def _token_key(uri: str) -> TokenKey:
    from twocvm_sdk.pkcs11uri import parse_pkcs11_uri
    from twocvm_sdk.tokens import TokenKey

    return TokenKey.find(parse_pkcs11_uri(uri), pin=ask_pin)
