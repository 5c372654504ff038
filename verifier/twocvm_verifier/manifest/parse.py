"""From bytes to a valid `Manifest`, or to everything that is wrong with them (`docs/spec/manifest.md`).

1. The bytes are strict JSON in canonical form.
2. Every member has its form; nothing else is there.
3. Names, references, imports and ports resolve.
4. Nodes, flow, limits and filters hold, on all paths.

Steps 2 to 4 note their problems together. Whether this version can also *run* the manifest is `support.py`.
"""

from __future__ import annotations

from typing import Final

from twocvm_verifier.errors import MalformedError, UnsupportedError
from twocvm_verifier.strictjson import parse_canonical

from .draft import Draft
from .filter_form import read_filter
from .filter_rules import find_filter_problems
from .filters import Filter
from .flow import find_flow_problems
from .form import (
    read_channel,
    read_component,
    read_item,
    read_output,
    read_participant,
    read_rules,
)
from .model import Manifest
from .place import NO_TIME, Members, Place
from .platform_form import read_platform
from .problems import ManifestError, Problem, Problems, Rule
from .references import find_reference_problems

VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 2**20
SALT_BYTES: Final = 16
_MAX_PURPOSE_CHARACTERS: Final = 4096
_MAX_REFERENCE_CHARACTERS: Final = 1024

_REQUIRED: Final = (
    "version", "name", "purpose", "salt", "not_before", "not_after",
    "participants", "platform", "components", "outputs", "rules",
)  # fmt: skip
_OPTIONAL: Final = ("data", "channels", "filters", "references")


def parse_manifest(raw: bytes) -> Manifest:
    """Return the manifest that `raw` writes, which is then valid in every respect.

    Args:
        raw: The canonical bytes; they are what is hashed.

    Raises:
        ManifestError: `problems` says what is wrong, all of it.
        UnsupportedError: The manifest names a filter that this version has not got.

    Spec: docs/spec/manifest.md.
    """
    try:
        value = parse_canonical(raw, document="manifest", max_bytes=MAX_MANIFEST_BYTES)
    except MalformedError as error:
        raise ManifestError((_json_problem(error),)) from error
    problems = Problems()
    fields = Place(value, "", problems).members(required=_REQUIRED, optional=_OPTIONAL)
    draft = _read_draft(fields)
    find_reference_problems(draft, problems)
    find_flow_problems(draft, problems)
    find_filter_problems(draft, problems)
    manifest = _manifest(raw, fields, draft)
    problems.refuse()
    for found in draft.filters:
        if found.unsupported:
            raise UnsupportedError("UNSUPPORTED_FILTER", f"filter {found.name!r}: {found.unsupported}")
    return manifest


def _json_problem(error: MalformedError) -> Problem:
    pointer, detail = (error.field, error.detail.partition(": ")[2])
    return Problem(rule=Rule.JSON, pointer=pointer, detail=detail)


def _read_draft(fields: Members) -> Draft:
    return Draft(
        participants=fields["participants"].set(read_participant),
        platform=read_platform(fields["platform"]),
        components=fields["components"].set(read_component),
        data=fields.optional("data", lambda member: member.set(read_item), ()),
        channels=fields.optional("channels", lambda member: member.set(read_channel), ()),
        filters=fields.optional("filters", lambda member: member.set(read_filter), ()),
        outputs=fields["outputs"].set(read_output),
        rules=read_rules(fields["rules"]),
    )


def _manifest(raw: bytes, fields: Members, draft: Draft) -> Manifest:
    """Read what is left, and put all together; worth something only if no problem was noted."""
    version = fields["version"]
    version.integer(VERSION, VERSION)
    not_before, not_after = fields["not_before"].time(), fields["not_after"].time()
    if NO_TIME not in (not_before, not_after) and not_before >= not_after:
        fields["not_after"].wrong(Rule.RANGE, "not_after is not later than not_before")
    return Manifest(
        raw=raw,
        name=fields["name"].name(),
        purpose=fields["purpose"].text(_MAX_PURPOSE_CHARACTERS),
        salt=fields["salt"].hex(SALT_BYTES),
        not_before=not_before,
        not_after=not_after,
        participants=draft.participants,
        platform=draft.platform,
        components=draft.components,
        data=draft.data,
        channels=tuple(channel for channel in draft.channels if channel is not None),
        filters=tuple(
            Filter(name=found.name, owner=found.owner, kind=found.kind)
            for found in draft.filters
            if found.kind is not None
        ),
        outputs=tuple(output for output in draft.outputs if output is not None),
        rules=draft.rules,
        references=fields.optional(
            "references", lambda member: member.set(lambda text: text.text(_MAX_REFERENCE_CHARACTERS)), ()
        ),
    )
