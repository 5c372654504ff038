"""Routes for the owner's documents and the mirror of AMD's KDS, described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twocvm_verifier.service.library import CORIM_TYPES, TOML
from twocvm_verifier.service.mirror import CERTIFICATE, CHAIN, CRL
from twocvm_verifier.service.state.documents import Kind

from .model import BODY, JSON, NOT_NOW, SHELVED, Answered, Operation, Parameter, reference, told
from .schemas import ANY_OBJECT, HASH, TEXT, TIME, array, obj

_REFERENCE_VALUES: Final = (
    "MALFORMED_REFERENCE_VALUES", "MALFORMED_CORIM", "CORIM_PROFILE", "CORIM_UNTRUSTED", "CORIM_ALTERNATIVES",
    "CORIM_NOT_JUDGED", "REFERENCE_VALUES_CONFLICT", "REFERENCE_VALUES_ENDED",
)  # fmt: skip


def documents() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe the owner's policies and reference values."""
    for kind in Kind:
        yield from _documents_of(kind)


def _documents_of(kind: Kind) -> Iterator[tuple[tuple[str, str], Operation]]:
    tag, noun = "The owner's documents", kind.replace("-", " ")
    base = f"/v1/{kind}"
    ref = Parameter(name="ref", place="path", about="A name, or a digest where a document is read.", schema=TEXT)
    named = (*SHELVED, "ADMIN_REQUIRED")
    revision = obj({"sha256": HASH, "at": TIME, "by": TEXT})
    yield (
        ("GET", base),
        Operation(
            summary=f"List the names of {noun}.",
            tag=tag,
            answers=(told("Each name, with the digest that it points to.", obj({"names": ANY_OBJECT})),),
            refusals=named,
            admin=True,
        ),
    )
    tags = (
        Parameter(name="If-Match", place="header", about="The entity tag that is replaced.", schema=TEXT),
        Parameter(name="If-None-Match", place="header", about="*: the name is new.", schema=TEXT),
    )
    put = obj({"sha256": HASH})
    types = {JSON: ANY_OBJECT, **dict.fromkeys((TOML,) if kind is Kind.POLICY else CORIM_TYPES, reference("Bytes"))}
    malformed = ("MALFORMED_POLICY", "POLICY_EMPTY") if kind is Kind.POLICY else _REFERENCE_VALUES
    yield (
        ("PUT", f"{base}/{{ref}}"),
        Operation(
            summary=f"Point a name to {noun}; a document never changes under its digest.",
            tag=tag,
            parameters=(ref, *tags),
            body=types,
            answers=(
                told("The name points to another document.", put),
                told("The name is new.", put, status=201),
            ),
            refusals=(
                *named, *BODY, *malformed, "MALFORMED_DOCUMENT_REQUEST", "DOCUMENT_CHANGED", "DOCUMENTS_FULL",
            ),
            admin=True,
        ),
    )  # fmt: skip
    yield (
        ("GET", f"{base}/{{ref}}"),
        Operation(
            summary=f"Read {noun}: by digest for everybody, by name for admins.",
            tag=tag,
            parameters=(ref,),
            answers=(
                told("The document, in its one form.", ANY_OBJECT),
                Answered(status=304, about="It is the one that the caller has."),
            ),
            refusals=(*named, "MALFORMED_DOCUMENT_REQUEST", "DOCUMENT_UNKNOWN", "NOT_ACCEPTABLE"),
        ),
    )
    yield (
        ("GET", f"{base}/{{ref}}/history"),
        Operation(
            summary=f"What a name of {noun} pointed to, and who changed it.",
            tag=tag,
            parameters=(ref,),
            answers=(told("The revisions.", obj({"name": TEXT, "revisions": array(revision)})),),
            refusals=(*named, "MALFORMED_DOCUMENT_REQUEST", "DOCUMENT_UNKNOWN"),
            admin=True,
        ),
    )


def mirror() -> Iterator[tuple[tuple[str, str], Operation]]:
    """Describe the mirror of AMD's KDS."""
    tag = "Mirror of AMD's KDS"
    product = Parameter(name="product", place="path", about="Milan, Genoa or Turin.", schema=TEXT)
    refusals = (*NOT_NOW, "MALFORMED_KDS_REQUEST", "MIRROR_UNKNOWN")
    same = Answered(status=304, about="It is the one that the caller has.")
    levels = tuple(
        Parameter(name=f"{part}SPL", place="query", about="A component of the TCB, 0 to 255.", schema=TEXT)
        for part in ("bl", "tee", "snp", "ucode", "fmc")
    )
    yield (
        ("GET", "/vcek/v1/{product}/{hwid}"),
        Operation(
            summary="The VCEK of a chip at a TCB.",
            tag=tag,
            parameters=(product, Parameter(name="hwid", place="path", about="Hex digits.", schema=TEXT), *levels),
            answers=(told("DER.", reference("Bytes"), media_type=CERTIFICATE), same),
            refusals=refusals,
        ),
    )
    for kind in ("vcek", "vlek"):
        for name, media_type in (("cert_chain", CHAIN), ("crl", CRL)):
            yield (
                ("GET", f"/{kind}/v1/{{product}}/{name}"),
                Operation(
                    summary=f"The {'issuer and its root' if name == 'cert_chain' else 'revocation list'}, for {kind}s.",
                    tag=tag,
                    parameters=(product,),
                    answers=(told("As KDS answers it.", reference("Bytes"), media_type=media_type), same),
                    refusals=refusals,
                ),
            )
