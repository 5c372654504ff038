"""What the participant's commands share beside the shell: one's own side of a session, consents, items and salts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from twocvm_verifier.shell import read_file, read_manifest, read_policy, roots_of, unusable

from .revocation import found_veks, held_crls, open_store

if TYPE_CHECKING:
    from twocvm_sdk.identity import Identity
    from twocvm_verifier.appraisal import Verifier
    from twocvm_verifier.collateral import Store
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.manifest.statements import Statement
    from twocvm_verifier.policy import Policy
    from twocvm_verifier.snp.roots import Roots

_SALT_BYTES: Final = 32

GuestUrl: TypeAlias = Annotated[str, typer.Argument(metavar="GUEST", help="https://HOST:PORT")]
Items: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=FILE", help="All of this participant's items.")
]
IdentityFolder: TypeAlias = Annotated[
    Path, typer.Option("--identity", metavar="DIR", help="This participant's keys (`twocvm identity new`).")
]
ManifestFile: TypeAlias = Annotated[
    str, typer.Option("--manifest", metavar="FILE", help="This participant's own copy, canonical; - is stdin.")
]
Again: TypeAlias = Annotated[
    bool,
    typer.Option("--again", help="Give another go for this manifest: an earlier instance may have run with your data."),
]
SaltFiles: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--salt", metavar="NAME=FILE", help="The salt (base64url) of an item that the manifest commits to."),
]
Held: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--held", metavar="NAME", help="An item that the guest's machine brought: it is named, not sent."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What every command on a guest is given: who asks, what they hold, what they believe."""

    url: str
    identity: Identity
    manifest: Manifest
    policy: Policy
    verifier: Verifier
    store: Store


def read_side(
    url: str, *, identity: Path, manifest: str, policy: str, simulated_root: Path | None, store: Path | None = None
) -> Side:
    """Read everything that a command on a guest needs, before anything is sent.

    Raises:
        typer.BadParameter: `url` is no guest's, a file cannot be read, or simulated roots with a manifest that does
            not allow them.
        TwoCvmError: A file is not what it should be.
    """
    from twocvm_sdk.identity import Identity
    from twocvm_sdk.verifiers import local_verifier

    guest_address(url)
    own = read_manifest(manifest)
    roots = read_roots(simulated_root, manifest=own)
    lists = open_store(store, roots=roots)
    return Side(
        url=url,
        identity=Identity.load(identity, pin=ask_pin),
        manifest=own,
        policy=read_policy(policy),
        verifier=local_verifier(roots=roots, crls=held_crls(lists), veks=found_veks(store, roots=roots, fetching=True)),
        store=lists,
    )


def guest_address(url: str) -> None:
    """Demand that a URL is a guest's.

    Raises:
        typer.BadParameter: It is not.
    """
    from twocvm_sdk.address import parse_address

    try:
        parse_address(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="GUEST") from error


def read_roots(name: Path | None, *, manifest: Manifest | None) -> Roots | None:
    """Return the trust anchors of a simulated platform, or None where AMD's are meant.

    Args:
        name: The file; None where AMD's are meant.
        manifest: What must allow a simulated platform; None where only its hash is known, and appraisal will ask.
    """
    if name is None:
        return None
    if manifest is not None and not manifest.platform.simulated:
        raise typer.BadParameter("the manifest does not allow a simulated platform", param_hint="--simulated-root")
    return roots_of(name)


def ask_pin(token: str) -> str:
    """Ask the person at the terminal for a token's PIN.

    Raises:
        ReleaseError: TOKEN_PIN: there is nobody.
    """
    from twocvm_verifier.errors import ReleaseError

    if not sys.stdin.isatty():
        raise ReleaseError("TOKEN_PIN", f"token {token!r:.80}: got no PIN, and nobody at a terminal to ask for it")
    pin: str = typer.prompt(f"PIN of token {token!r:.80}", hide_input=True, err=True)
    return pin


@contextmanager
def writing(path: Path, *, option: str) -> Iterator[None]:
    """Make it a usage error when a file that was named cannot be written, for the length of a `with`."""
    try:
        yield
    except OSError as error:
        raise unusable(path, error, option=option) from error


def read_consents(folder: Path) -> tuple[Statement, ...]:
    """Return the consents in a folder, one in each file that ends in `.json`."""
    from twocvm_verifier.manifest.statements import Consent, parse_statement_file

    names = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not names:
        raise typer.BadParameter(f"{str(folder)!r}: no folder with consents in it", param_hint="--consents")
    return tuple(
        parse_statement_file(Consent, read_file(name, option="--consents").removesuffix(b"\n")) for name in names
    )


def read_items(words: list[str] | None, *, manifest: Manifest, participant: str) -> dict[str, Path]:
    """Return the files of `NAME=FILE` words, which must be exactly this participant's items."""
    from twocvm_sdk.items import require_names

    items = {name: Path(file) for name, file in _pairs(words, option="NAME=FILE").items()}
    try:
        require_names(frozenset(items), manifest=manifest, participant=participant)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME=FILE") from error
    return items


def read_salts(words: list[str] | None, *, manifest: Manifest, participant: str) -> dict[str, bytes]:
    """Return the salts in the files of `NAME=FILE` words, for data items of this participant."""
    from twocvm_verifier.strictjson import parse_base64url

    owned, salts = {item.name for item in manifest.items_of(participant)}, {}
    for name, file in _pairs(words, option="--salt").items():
        if name not in owned:
            raise typer.BadParameter(f"got {name!r}, want one of {sorted(owned)}", param_hint="--salt")
        text = read_file(file, option="--salt").strip()
        try:
            salts[name] = parse_base64url(text.decode("ascii"))
        except ValueError as error:
            raise typer.BadParameter(f"{file!r}: not base64url", param_hint="--salt") from error
        if len(salts[name]) != _SALT_BYTES:
            raise typer.BadParameter(f"{file!r}: want {_SALT_BYTES} bytes", param_hint="--salt")
    return salts


def read_held(words: list[str] | None, items: Mapping[str, Path]) -> frozenset[str]:
    """Return the names of items that the guest's machine brought, which must be among those that are released."""
    held = frozenset(words or ())
    if foreign := sorted(held - items.keys()):
        raise typer.BadParameter(f"got {foreign[0]!r}, want one of {sorted(items)}", param_hint="--held")
    return held


def _pairs(words: list[str] | None, *, option: str) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for word in words or ():
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise typer.BadParameter(f"got {word!r}, want NAME=FILE", param_hint=option)
        if name in pairs:
            raise typer.BadParameter(f"{name!r} stands twice", param_hint=option)
        pairs[name] = file
    return pairs
