"""`twocvm verifier audit verify`: everything that is wrong with an audit log, for whoever was not there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from twocvm_verifier.shell import Form, OutputForm, command_group, read_file, unusable, write_json

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

    from twocvm_verifier.strictjson import Json

    from .audit.examine import Examination
    from .audit.record import Position

app = command_group()

_SCHEMA: Final = "twocvm/audit/v1"
_HEAD: Final = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})", re.ASCII)
_KEYS: Final = "verifier keys"
_MAX_JWKS_BYTES: Final = 65_536

Logs: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="The log's files, oldest first, or its folder.")
]
Jwks: TypeAlias = Annotated[
    Path | None, typer.Option("--jwks", metavar="FILE", help="The service's keys, as it has published them.")
]
Heads: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--head", metavar="SEQ:DIGEST", help="A head that was kept: the log holds it, or is not the one."),
]


@app.callback()
def _group() -> None:
    """Judge the audit log of a verifier service."""


@app.command("verify")
def verify_command(files: Logs, jwks: Jwks = None, head: Heads = None, output: Form = OutputForm.TEXT) -> None:
    """Say everything that is wrong with an audit log, and up to where somebody vouches for it.

    Exit status: 0 nothing is wrong, 10 something is, 30 there is no record or the keys are none.
    """
    from .audit.examine import examine, log_files

    keys = None if jwks is None else _keys(jwks)
    kept = tuple(_position(text) for text in head or ())
    try:
        found = examine((file for path in files for file in log_files(path)), keys=keys, kept=kept)
    except OSError as error:
        raise unusable(Path(str(error.filename)), error, option="FILE") from error
    if output is OutputForm.JSON:
        write_json(_told(found))
    else:
        _print(found)
    raise typer.Exit(_status(found))


def _keys(path: Path) -> KeySet:
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    from twocvm_verifier import strictjson
    from twocvm_verifier.errors import MalformedError

    raw = read_file(path, option="--jwks")
    try:
        return KeySet.import_key_set(strictjson.parse(raw, document=_KEYS, max_bytes=_MAX_JWKS_BYTES))  # type: ignore[arg-type]
    except MalformedError as error:
        raise MalformedError(_KEYS, "", f"{str(path)!r}: {error.detail.partition(': ')[2]}") from error
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedError(_KEYS, "", f"{str(path)!r}: not a JWK Set") from error


def _position(text: str) -> Position:
    from .audit.record import Position

    match = _HEAD.fullmatch(text)
    if match is None:
        raise typer.BadParameter("want a number, a colon and 64 lower-case hex digits", param_hint="--head")
    return Position(seq=int(match[1]), head=bytes.fromhex(match[2]))


def _status(found: Examination) -> int:
    from twocvm_verifier.codes import CODES
    from twocvm_verifier.codes.table import MALFORMED

    statuses = {CODES[finding.code].exit_status for finding in found.findings}
    return 0 if not statuses else MALFORMED if MALFORMED in statuses else min(statuses)


def _told(found: Examination) -> dict[str, Json]:
    told: dict[str, Json] = {
        "schema": _SCHEMA,
        "records": found.records,
        "verdicts": found.verdicts,
        "notes": found.notes,
        "findings": [{"code": each.code, "where": each.where, "detail": each.detail} for each in found.findings],
    }
    for name, position in (("end", found.end), ("signed", found.signed)):
        if position is not None:
            told[name] = _written(position)
    return told


def _print(found: Examination) -> None:
    for finding in found.findings:
        sys.stdout.write(f"{finding.code}: {finding.where}: {finding.detail}\n")
    for note in found.notes:
        sys.stdout.write(f"note: {note}\n")
    sys.stdout.write(f"{found.records} records, {found.verdicts} verdicts\n")
    if found.end is not None:
        sys.stdout.write(f"head to keep: {_written(found.end)}\n")
        signed = "nothing that was examined" if found.signed is None else _written(found.signed)
        sys.stdout.write(f"signed up to: {signed}\n")


def _written(position: Position) -> str:
    return f"{position.seq}:{position.head.hex()}"
