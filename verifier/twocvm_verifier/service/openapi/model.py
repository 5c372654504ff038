"""What a description of a route is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from twocvm_verifier.strictjson import Json

JSON: Final = "application/json"
HTML: Final = "text/html"
# What any request may be answered: it is too much, or an error of the service's own.
ALWAYS: Final = ("RATE_LIMITED", "SERVICE_BUSY", "SERVICE_INTERNAL")
# What cannot be judged or handed out now.
NOT_NOW: Final = (
    "VEK_MISSING", "COLLATERAL_NOT_FOUND", "CRL_MISSING", "CRL_NOT_YET_VALID", "CRL_ROLLED_BACK", "CRL_STALE",
    "FETCH_BUSY", "FETCH_FAILED", "FETCH_REDIRECTED", "FETCH_TOO_LARGE", "FETCH_WRONG", "SIGNING_FAILED",
)  # fmt: skip
# What may be wrong with any body.
BODY: Final = ("REQUEST_TOO_LARGE", "MEDIA_TYPE_UNSUPPORTED", "NOT_ACCEPTABLE")
# What may be wrong with the owner's documents.
SHELVED: Final = ("DOCUMENTS_UNREACHABLE", "DOCUMENT_DAMAGED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A part of a request's path, query or headers.

    Attributes:
        name: Its name.
        place: `path`, `query` or `header`.
        about: One sentence.
        schema: Of its value.
        required: Whether a request must have it; one in a path always.
    """

    name: str
    place: str
    about: str
    schema: Mapping[str, Json]
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer that is no problem.

    Attributes:
        status: Of HTTP.
        about: One sentence.
        content: By media type, the schema of its body; empty where it has none.
        headers: By name, what they hold.
    """

    status: int
    about: str
    content: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        summary: One sentence.
        tag: Under which it is listed.
        answers: What it answers where it does what is asked.
        parameters: Of path, query and headers.
        body: By media type, the schema of what is sent; empty where nothing is.
        refusals: Codes that it may refuse with, beside `ALWAYS`.
        admin: Whether it is for admins alone.
    """

    summary: str
    tag: str
    answers: tuple[Answered, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Mapping[str, Json]] = field(default_factory=lambda: MappingProxyType({}))
    refusals: tuple[str, ...] = ()
    admin: bool = False


def reference(name: str) -> Mapping[str, Json]:
    """Return the schema that is a reference to a named one."""
    return {"$ref": f"#/components/schemas/{name}"}


def told(about: str, schema: Mapping[str, Json], *, status: int = 200, media_type: str = JSON) -> Answered:
    """Return the description of an answer with a body of one media type."""
    return Answered(status=status, about=about, content={media_type: schema})
