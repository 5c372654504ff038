"""The forms in which evidence is sent to the service, each read into one.

A CMW collection as JSON or CBOR, a report with the certificate of its key, or a report with the table that the host
gave with it. What comes in any of them is believed by nobody; certificates that do not come along are looked for later.

Spec: docs/spec/challenge.md, 1; docs/spec/evidence.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from twocvm_verifier.azure.verify import Quoted, quoted_of
from twocvm_verifier.binding import Claims, parse_claims
from twocvm_verifier.errors import MalformedError, NotFoundError
from twocvm_verifier.evidence import JSON_MEDIA_TYPE, Evidence, from_json, parse_cbor, parse_json
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.snp.certtable import parse_cert_table
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.strictjson import Json

DOCUMENT: Final = "appraisal-request"
CBOR_MEDIA_TYPE: Final = "application/cmw+cbor"
_CERTIFICATES: Final = frozenset({"vek", "chain", "crl"})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """Evidence as somebody presented it, not yet believed.

    Attributes:
        report: The report, as the platform gave it.
        vek: DER of the certificate of its key, or None where it has to be looked for.
        chain: PEM of intermediate and root, where they came along.
        crl: DER of the root's revocation list, where one came along.
        claims: What REPORT_DATA is said to bind, where that came along.
        azure: What a paravisor's vTPM says of the guest, where it speaks for it.
    """

    report: bytes = field(repr=False)
    vek: bytes | None = field(repr=False)
    chain: bytes | None = field(repr=False)
    crl: bytes | None = field(repr=False)
    claims: Claims | None = field(repr=False)
    azure: bytes | None = field(repr=False, default=None)

    @property
    def quoted(self) -> Quoted | None:
        """What came beside a paravisor's report, and nothing where the report speaks for the guest itself.

        Raises:
            MalformedError: It is not what it should be.
        """
        return quoted_of(self.azure, claims=None if self.claims is None else self.claims.encode())


def parse_evidence(body: bytes, *, media_type: str) -> Presented:
    """Return the evidence that a body is, with nothing around it.

    Args:
        body: The bytes.
        media_type: One of `BARE`.

    Raises:
        MalformedError: It is not what its media type says.
        KeyError: Not one of `BARE`, which the caller asks first.
    """
    return _collected(BARE[media_type](body))


def parse_presented(value: Json) -> Presented:
    """Return the evidence that the member `evidence` of a request writes.

    Raises:
        MalformedError: It is none of the forms.
    """
    if not isinstance(value, Mapping):
        raise MalformedError(DOCUMENT, "/evidence", "not an object")
    if "cmw" in value:
        collection = _fields(value, "cmw").json("cmw")
        return within("/evidence/cmw", lambda: _collected(from_json(collection)))
    if "cmw_cbor" in value:
        raw = _fields(value, "cmw_cbor").base64url("cmw_cbor")
        return _inside("cmw_cbor", lambda: _collected(parse_cbor(raw)))
    if "cert_table" in value:
        members = _fields(value, "report", "cert_table")
        return _with_table(members.base64url("report"), members.base64url("cert_table"))
    members = Fields(
        value, document=DOCUMENT, pointer="/evidence", required=frozenset({"report"}), optional=_CERTIFICATES
    )
    given = {name: members.base64url(name) if name in members else None for name in sorted(_CERTIFICATES)}
    return Presented(report=members.base64url("report"), claims=None, **given)


def within(pointer: str, read: Callable[[], _T]) -> _T:
    """Return what `read` does, which reads the member at `pointer`.

    Raises:
        MalformedError: As `read`, with its places in the document that has the member.
    """
    try:
        return read()
    except MalformedError as error:
        error.within(pointer)
        raise


def _inside(name: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except MalformedError as error:
        # What stands in bytes is at no place of the request's.
        error.places = (f"/evidence/{name}",)
        raise


def _fields(value: Json, *names: str) -> Fields:
    return Fields(value, document=DOCUMENT, pointer="/evidence", required=frozenset(names))


def _collected(evidence: Evidence) -> Presented:
    # A batch's way to its root needs the connection's binder, which only its two ends know.
    return Presented(
        report=evidence.report,
        vek=evidence.vek,
        chain=evidence.chain,
        crl=evidence.crl,
        claims=within("/claims", lambda: parse_claims(evidence.claims)),
        azure=evidence.azure,
    )


def _with_table(report: bytes, raw: bytes) -> Presented:
    table, vek = _inside("cert_table", lambda: parse_cert_table(raw)), None
    with suppress(NotFoundError):
        vek = table.vek_of(_inside("report", lambda: parse_report(report)))
    return Presented(report=report, vek=vek, chain=table.chain, crl=table.blobs.get("crl"), claims=None)


BARE: Final[Mapping[str, Callable[[bytes], Evidence]]] = MappingProxyType(
    {JSON_MEDIA_TYPE: parse_json, CBOR_MEDIA_TYPE: parse_cbor}
)
