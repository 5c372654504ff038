"""What all commands share, here and on the floors above: options, files, the clock, evidence as a person hands it over.

What a person typed wrong is a usage error (exit 2) that names the option; what a file says wrong keeps its own code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from .azure.verify import Quoted
    from .evidence import Evidence
    from .manifest import Manifest
    from .policy import Policy
    from .snp.roots import Roots

STDIO: Final = Path("-")
BUILTIN: Final = "builtin"
# More than the largest document that a command takes, which is a receipt file; every parser has its own, exact limit.
_MAX_FILE_BYTES: Final = 1 << 25
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
# RFC 8949, 3.1: the major type of a map.
_CBOR_MAP: Final = 5


class OutputForm(StrEnum):
    """What `-o` takes."""

    TEXT = "text"
    JSON = "json"


def command_group(about: str | None = None) -> typer.Typer:
    """Return an empty group of commands; its help is plain text, which is quick and reads well in a pipe."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def file_option(text: str, *names: str) -> Any:  # noqa: ANN401 - what typer's own function returns
    """Return an option that takes a file."""
    return typer.Option(*names, metavar="FILE", help=text)


Vek: TypeAlias = Annotated[Path | None, file_option("The VCEK or VLEK certificate of its key, DER or PEM.")]
Chain: TypeAlias = Annotated[
    Path | None, file_option("ASK or ASVK and ARK in PEM, as evidence brings them; only compared.")
]
SimulatedRoot: TypeAlias = Annotated[Path | None, file_option("Accept this simulated platform; it promises nothing.")]
PolicyFile: TypeAlias = Annotated[
    str, typer.Option("--policy", metavar="FILE", help="The appraisal policy, TOML; `builtin` is the strict default.")
]
ReferenceFiles: TypeAlias = Annotated[
    list[Path] | None,
    file_option("Reference values that the policy demands too: a CoRIM, or written out.", "--reference-values"),
]
CorimKeys: TypeAlias = Annotated[
    list[Path] | None, file_option("The public key, PEM, of who may sign a CoRIM.", "--corim-key")
]
LeaveOpen: TypeAlias = Annotated[
    str,
    typer.Option("--leave-open", metavar="REASON", help="Why what a CoRIM names and nobody judges is left open."),
]
At: TypeAlias = Annotated[str, typer.Option("--at", metavar="RFC3339", help="Judge at this time instead of now.")]
Form: TypeAlias = Annotated[OutputForm, typer.Option("-o", "--output", help="How the result is printed.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("-q", "--quiet", help="Print the result and refusals, nothing else.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("-v", "--verbose", help="Print every check.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFiles:
    """Evidence at rest, read and not yet believed.

    Attributes:
        report: The report, as the platform gave it.
        vek: DER of its key's certificate.
        chain: PEM of intermediate and root, or None where none came along.
        quoted: What a paravisor's vTPM says of the guest, where one speaks for it.
    """

    report: bytes
    vek: bytes
    chain: bytes | None
    quoted: Quoted | None


def read_evidence(
    report: Path, *, option: str, vek: Path | None, chain: Path | None, without_vek: str
) -> EvidenceFiles:
    """Read evidence from its files.

    Args:
        report: The report's file, or one of evidence as a guest sends it.
        option: Where it was named.
        vek: The certificate's file, if one was named; it counts before what came along.
        chain: The chain's file, if one was named; likewise.
        without_vek: Why nothing else is tried where no certificate was named.

    Raises:
        NotFoundError: No certificate was named, and none came along; a report that is none is said first.
        MalformedError: The certificate's file holds several, or the evidence is none.
    """
    from .azure.verify import quoted_of
    from .errors import NotFoundError
    from .snp.report import parse_report

    raw = read_file(report, option=option)
    sent = sent_evidence(raw)
    found, given, brought = (raw, None, None) if sent is None else (sent.report, sent.vek, sent.chain)
    der = given if vek is None else certificate(read_file(vek, option="--vek"))
    if der is None:
        parse_report(found)
        raise NotFoundError("VEK_MISSING", f"vek: got none, want the certificate of the report's key; {without_vek}")
    return EvidenceFiles(
        report=found,
        vek=der,
        chain=brought if chain is None else read_file(chain, option="--chain"),
        quoted=None if sent is None else quoted_of(sent.azure, claims=sent.claims),
    )


def sent_evidence(raw: bytes) -> Evidence | None:
    """Return the evidence that a file is, as a guest sends it, or None where it is a bare report.

    A report begins with its version, a small number; a collection with the bracket of JSON, or as a map of CBOR.

    Raises:
        MalformedError: It begins as evidence does, and is none.
    """
    from .evidence import parse_cbor, parse_json

    if raw[:1] == b"{":
        return parse_json(raw)
    return parse_cbor(raw) if raw[:1] and raw[0] >> 5 == _CBOR_MAP else None


def roots_of(simulated_root: Path | None) -> Roots:
    """Return AMD's roots, or those of the simulated platform that was named."""
    from .snp.roots import amd_roots, simulated_roots

    return (
        amd_roots() if simulated_root is None else simulated_roots(read_file(simulated_root, option="--simulated-root"))
    )


def read_manifest(path: Path | str, *, option: str = "--manifest") -> Manifest:
    """Return the manifest in a file, which must be canonical.

    Raises:
        ManifestError: It is none.
    """
    from .manifest import parse_manifest

    # Editors end files with a line break, which is no part of the manifest.
    return parse_manifest(read_file(path, option=option).removesuffix(b"\n"))


def read_policy(name: str, *, option: str = "--policy") -> Policy:
    """Return the policy of a file, or the built-in one for its name.

    Raises:
        MalformedError: The file is no policy.
    """
    from .errors import MalformedError
    from .policy import Policy, parse_policy

    if name == BUILTIN:
        return Policy.builtin()
    try:
        return parse_policy(read_file(name, option=option).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedError("policy", "", "not UTF-8") from error


def with_reference_files(
    policy: Policy, files: Sequence[Path], *, keys: Sequence[Path], leave_open: str, at: datetime
) -> Policy:
    """Return a policy that demands the reference values of files too; what they leave open is said aloud.

    Args:
        policy: To which they are added.
        files: CoRIMs, or documents.
        keys: Public keys in PEM of who may sign a CoRIM.
        leave_open: Why what a CoRIM names and nobody judges is left open; empty where it is not.
        at: When they have to count (aware, UTC).

    Raises:
        TwoCvmError: As `parse_reference_values` and `ReferenceValues.on`.
    """
    if not files:
        return policy
    from .corim import parse_reference_values, trust_of

    trust = trust_of([read_file(key, option="--corim-key") for key in keys])
    for file in files:
        raw = read_file(file, option="--reference-values")
        values = parse_reference_values(raw, trust=trust, open_reason=leave_open)
        for each in values.unread:
            sys.stderr.write(f"left open: {each}\n")
        policy = values.on(policy, at=at)
    return policy


def certificate(raw: bytes) -> bytes:
    """Return one certificate's DER, whether it was given as DER or PEM.

    Raises:
        MalformedError: PEM of none or several.
    """
    if not raw.lstrip().startswith(_PEM):
        return raw
    from .errors import MalformedError
    from .snp.roots import pem_certificates

    found = pem_certificates(raw)
    if len(found) != 1:
        raise MalformedError("vek", "pem", f"got {len(found)} certificates, want one")
    return found[0]


def time_of(text: str) -> datetime:
    """Return the time that was given with --at, or now, in whole seconds as results have it."""
    from .clock import SystemClock, parse_time

    if not text:
        return SystemClock().now().replace(microsecond=0)
    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def read_file(path: Path | str, *, option: str) -> bytes:
    """Return what a file holds, or standard input for `-`.

    Args:
        path: The file.
        option: Where it was named, for what is said of a file that cannot be read.

    Returns:
        The content; of a file that is longer than any document, so much that every parser refuses it.
    """
    try:
        if Path(path) == STDIO:
            return sys.stdin.buffer.read(_MAX_FILE_BYTES)
        with Path(path).open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise unusable(path, error, option=option) from error


def write_file(path: Path, content: bytes, *, option: str) -> None:
    """Write exactly these bytes to a file, or to standard output for `-`."""
    if path == STDIO:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise unusable(path, error, option=option) from error


def unusable(path: Path | str, error: OSError, *, option: str) -> typer.BadParameter:
    """Return the usage error for a file that cannot be read or written."""
    return typer.BadParameter(f"{str(path)!r}: {error.strerror}", param_hint=option)


def write_json(result: object) -> None:
    """Write a result to standard output, for programs."""
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
