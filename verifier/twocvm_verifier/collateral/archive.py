"""Collateral in one file, to be carried to a site that reaches nothing.

The file is canonical JSON with four members: `schema`, and arrays of DER in base64url: `vceks`, `vcek_crls` (served for
the issuers of VCEKs) and `vlek_crls`. What a piece is it says itself; whoever reads the file verifies every piece under
its own roots, so the file may travel any way. It is refused whole where one piece is not genuine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, StaleError, VerificationError
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.roots import Roots

from .genuine import crl_name_of, vcek_name_of
from .names import CrlName, VcekName
from .store import Store, Stored

SCHEMA: Final = "twocvm/collateral/v1"
# Some eight thousand chips.
MAX_ARCHIVE_BYTES: Final = 1 << 24
_DOCUMENT: Final = "collateral"
_LISTS: Final = {"vcek_crls": VekKind.VCEK, "vlek_crls": VekKind.VLEK}


def encode_archive(pieces: Iterable[Stored]) -> bytes:
    """Return the file that holds `pieces`.

    Raises:
        ValueError: They make more than `MAX_ARCHIVE_BYTES`.
    """
    document: dict[str, list[strictjson.Json]] = {"vceks": [], **{member: [] for member in _LISTS}}
    for piece in pieces:
        member = "vceks" if isinstance(piece.name, VcekName) else f"{piece.name.kind.lower()}_crls"
        document[member].append(strictjson.base64url(piece.der))
    raw = strictjson.canonical({"schema": SCHEMA, **document})
    if len(raw) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"archive: got {len(raw)} bytes, want at most {MAX_ARCHIVE_BYTES}")
    return raw


def parse_archive(raw: bytes, *, roots: Roots) -> tuple[tuple[VcekName | CrlName, bytes], ...]:
    """Return every piece of a file, with its name; all are genuine.

    Raises:
        MalformedError: It is no such file, or a piece in it is not genuine (`MALFORMED_COLLATERAL`).
    """
    value = strictjson.parse_canonical(raw, document=_DOCUMENT, max_bytes=MAX_ARCHIVE_BYTES)
    members = Fields(value, document=_DOCUMENT, pointer="", required=frozenset({"schema", "vceks", *_LISTS}))
    members.exactly("schema", SCHEMA)
    found: list[tuple[VcekName | CrlName, bytes]] = []
    for member in ("vceks", *_LISTS):
        for pointer, der in _pieces(members, member):
            try:
                kind = _LISTS.get(member)
                name = vcek_name_of(der, roots=roots) if kind is None else crl_name_of(der, kind=kind, roots=roots)
            except (MalformedError, VerificationError) as error:
                raise MalformedError(_DOCUMENT, pointer, error.detail) from error
            found.append((name, der))
    return tuple(found)


def import_pieces(
    pieces: Iterable[tuple[VcekName | CrlName, bytes]], *, store: Store
) -> tuple[tuple[Stored, ...], tuple[StaleError, ...]]:
    """Put pieces into a store; return what it holds of each now, and which lists were older than its own.

    Raises:
        VerificationError: A piece is not genuine under the store's roots.
        FetchError: The folder cannot be written.
    """
    kept: list[Stored] = []
    older: list[StaleError] = []
    for name, der in pieces:
        try:
            kept.append(store.put_vcek(name, der) if isinstance(name, VcekName) else store.put_crl(name, der))
        except StaleError as error:
            older.append(error)
    return tuple(kept), tuple(older)


def _pieces(members: Fields, member: str) -> Iterator[tuple[str, bytes]]:
    for number, text in enumerate(members.array(member)):
        pointer = f"/{member}/{number}"
        try:
            yield pointer, strictjson.parse_base64url(text if isinstance(text, str) else "")
        except ValueError as error:
            raise MalformedError(_DOCUMENT, pointer, str(error)) from error
