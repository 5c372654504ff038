"""Judging JSON by a schema of the manifest. Imported only in a worker that does so."""

from __future__ import annotations

import json
from typing import Final

import jsonschema_rs

from twocvm_guest.runtime.messages import Outcome

from . import jsontext
from .refusal import Refused, Step, Stream

# An engine without backtracking; what the manifest's patterns need is far less.
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=1 << 22, dfa_size_limit=1 << 22)


def allowed_by(schema: str, *, by_line: bool) -> Step:
    """Return a filter that refuses every record that the schema, which is of the manifest's subset, does not allow."""
    validator = jsonschema_rs.Draft202012Validator(
        json.loads(schema), pattern_options=_PATTERNS, validate_formats=False, offline=True
    )

    def step(stream: Stream) -> Stream:
        for value in jsontext.read(stream, by_line=by_line):
            # Written first, for what cannot be written cannot be judged either.
            written = jsontext.write(value)
            if not validator.is_valid(value):
                raise Refused(Outcome.SCHEMA)
            yield written + (b"\n" if by_line else b"")

    return step
