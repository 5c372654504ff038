"""`twocvm token federate`: what to paste, so that a cloud or a Vault takes a verifier's tokens for one manifest."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from .shell import command_group, read_manifest

app = command_group()
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

Issuer: TypeAlias = Annotated[
    str, typer.Option("--issuer", metavar="URL", help="The verifier's own URL, as its tokens have it.")
]
Manifest: TypeAlias = Annotated[
    str, typer.Option("--manifest", metavar="FILE|HASH", help="The manifest whose guests are let in, or its hash.")
]
Name: TypeAlias = Annotated[str, typer.Option("--name", help="What the role, pool and provider are called.")]
Aws: TypeAlias = Annotated[str, typer.Option("--aws", metavar="ACCOUNT", help="For AWS: the account's number.")]
Gcp: TypeAlias = Annotated[
    str, typer.Option("--gcp", metavar="PROJECT", help="For Google Cloud: the project's number.")
]
Vault: TypeAlias = Annotated[bool, typer.Option("--vault", help="For HashiCorp Vault.")]


@app.callback()
def _group() -> None:
    """Let others take a verifier's tokens."""


@app.command("federate")
def federate_command(
    issuer: Issuer,
    manifest: Manifest,
    name: Name = "twocvm",
    aws: Aws = "",
    gcp: Gcp = "",
    vault: Vault = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Print lines for a shell that let in who has an affirming token for a manifest, and nobody else.

    Nothing is run and nobody is asked.
    """
    from . import federation

    if sum(map(bool, (aws, gcp, vault))) != 1:
        raise typer.BadParameter("want one of --aws, --gcp and --vault", param_hint="--aws")
    sha256 = bytes.fromhex(manifest) if _HASH.fullmatch(manifest) else read_manifest(Path(manifest)).hash
    try:
        trusted = federation.Federation(issuer=issuer.removesuffix("/"), manifest=sha256, name=name)
        if aws:
            text = federation.aws(trusted, account=aws)
        else:
            text = federation.gcp(trusted, project_number=gcp) if gcp else federation.vault(trusted)
    except federation.NotFederableError as error:
        raise typer.BadParameter(str(error)) from error
    sys.stdout.write(text)
