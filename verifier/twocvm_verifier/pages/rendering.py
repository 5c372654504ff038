"""Pages made of their documents. Whatever stands in a document is text on the page, and never markup.

Jinja2 escapes everything, refuses what a document does not have, and writes out what cannot be seen. A page brings its
one style sheet and a policy that allows that sheet, by its digest, and nothing else: no script, no picture, no font, no
frame, no form, from nowhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from twocvm_verifier.clock import parse_time
from twocvm_verifier.markup import visible
from twocvm_verifier.strictjson import Json

_TEMPLATES: Final = "templates"
# Not those of a locale: a page is the same wherever it is made.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who made a page, which is all that differs between two pages of the same document.

    Attributes:
        maker: The program and its version.
        service: The URL of the service that judged; empty where a command did.
        until: Until when the service shows it; empty where it is a file.
        strangers_policy: Whether the policy is one that whoever asked the service brought along, and not its owner's.
    """

    maker: str
    service: str
    until: str
    strangers_policy: bool = False


def maker() -> str:
    """Return which program makes pages here."""
    return f"twocvm {version('twocvm')}"


def report_page(document: Mapping[str, Json], origin: Origin) -> str:
    """Return the page of one appraisal.

    Args:
        document: As `report_document` or `error_document` made it.
        origin: Who made it.
    """
    return _environment().get_template("report.html").render(page=document, origin=origin, **_frame())


def front_page(document: Mapping[str, Json], origin: Origin) -> str:
    """Return the page that says what a service is and trusts.

    Args:
        document: As `service.front` makes it.
        origin: Who made it.
    """
    return _environment().get_template("front.html").render(page=document, origin=origin, **_frame())


@cache
def content_security_policy() -> str:
    """Return the Content-Security-Policy that every page stands under."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _frame() -> dict[str, str]:
    # The style sheet is ours, and the only thing on a page that is not escaped.
    return {"style": Markup(_style()), "policy": content_security_policy()}  # noqa: S704


@cache
def _style() -> str:
    return (files(__package__) / _TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("twocvm_verifier.pages", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters["moment"] = moment
    return environment


def moment(written: str) -> str:
    """Return a time as people read it.

    Args:
        written: As `format_time` writes it; what is none stays as it is.

    >>> moment("2026-11-22T09:05:00Z")
    '22 Nov 2026, 09:05:00 UTC'
    """
    try:
        at = parse_time(written)
    except ValueError:
        return written
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year:04}, {at:%H:%M:%S} UTC"


def _finalized(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
