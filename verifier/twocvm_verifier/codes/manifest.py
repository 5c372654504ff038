"""Codes of the manifest and of signed statements."""

from __future__ import annotations

from typing import Final

from .table import NOT_AUTHENTIC, UNSUPPORTED, Code, malformed

_MANIFEST: Final = "docs/spec/manifest.md"
_STATEMENTS: Final = "docs/spec/statements.md"


def _forged(http_status: int, meaning: str) -> Code:
    return Code(exit_status=NOT_AUTHENTIC, http_status=http_status, meaning=meaning, spec=_STATEMENTS)


def _unsupported(meaning: str) -> Code:
    return Code(exit_status=UNSUPPORTED, http_status=422, meaning=meaning, spec=_MANIFEST)


CODES: Final[dict[str, Code]] = {
    # The manifest.
    "MALFORMED_MANIFEST": malformed(
        "The manifest breaks a rule of its format; every problem is listed with its place. Mend it, and sign again "
        "what was signed. What is authored in TOML becomes a manifest by `twocvm manifest new`.",
        _MANIFEST,
    ),
    "UNSUPPORTED_FILTER": _unsupported(
        "The manifest has a filter that this version has not got, so nobody here can say what it lets through; or one "
        "that needs an extra (`noise`: `pip install twocvm[noise]`) which is not installed. Use another, or install "
        "it.",
    ),
    # Signed statements.
    "MALFORMED_STATEMENT": malformed(
        "A consent, go or withdrawal has not exactly the members of its kind in their one form. Sign it again.",
        _STATEMENTS,
    ),
    "CONSENTS_INCOMPLETE": _forged(
        422,
        "There is not exactly one consent for each participant of the manifest. Collect those that are missing.",
    ),
    "GO_COMMITMENT": _forged(
        422,
        "A go commits to another item than the manifest does. Release the item that all participants agreed on.",
    ),
    "GO_ITEMS": _forged(
        422,
        "A go does not commit to exactly the data items that its participant owns in the manifest.",
    ),
    "ROSTER_MISMATCH": _forged(
        500,
        "The guest's roster has not exactly one go for each participant of the manifest. Do not release; the guest or "
        "its host hides someone.",
    ),
    "STATEMENT_KEY": _forged(
        403,
        "A statement is not signed with the consent key that the manifest has for its participant.",
    ),
    "STATEMENT_OTHER_GUEST": _forged(
        403,
        "A statement was signed for another guest: another launch, or another TLS key. It may have been replayed.",
    ),
    "STATEMENT_OTHER_MANIFEST": _forged(
        403,
        "A statement was signed for another manifest. Compare the hashes, and sign the one that is meant.",
    ),
    "STATEMENT_PARTICIPANT": _forged(
        403,
        "A statement is from somebody whom the manifest does not name.",
    ),
    "STATEMENT_SIGNATURE": _forged(
        403,
        "The signature of a statement does not verify: it was changed after it was signed, or never signed.",
    ),
}
