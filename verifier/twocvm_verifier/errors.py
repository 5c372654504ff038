"""The errors of this project, and nothing else.

Every refusal is one of these classes and has a `code` from `codes.CODES`, where its meaning, its exit status and its
HTTP status are. The text says thing, got, want. Wrong use by our own caller is `TypeError`, `ValueError` or
`RuntimeError`, outside this tree.

>>> MalformedError("report", "length", "got 1183 bytes, want 1184").code
'MALFORMED_REPORT'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import CODES, Code

if TYPE_CHECKING:
    from .result import Check


class TwoCvmError(Exception):
    """Something was refused; `code` says what, `str(error)` says why.

    Where it ends a program or a cell of a notebook, code and meaning stand below it as a note: what to do.

    Args:
        code: A name in `codes.CODES`.
        detail: One sentence without a stop: thing, got, want. No secret, no untrusted text without `!r`.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.row: Code = CODES[code]
        self.code = code
        self.detail = detail
        super().__init__(detail)
        self.add_note(f"{code}: {self.row.meaning} [{self.row.spec}]")

    @property
    def exit_status(self) -> int:
        """The command line's exit status for this refusal (`docs/codes.md`)."""
        return self.row.exit_status


class MalformedError(TwoCvmError):
    """Bytes are not what they claim to be. The code is `MALFORMED_` and the format's name.

    Args:
        document: The format's name, such as `report` or `manifest`.
        field: Where in it: a field name or a JSON pointer.
        detail: What came and what was expected.
        places: JSON pointers to all that is wrong, of this project's names and of indices alone, so that they may be
            told to anybody; `field` where it is one, unless they are given.
    """

    def __init__(self, document: str, field: str, detail: str, *, places: tuple[str, ...] | None = None) -> None:
        self.document = document
        self.field = field
        self.places = ((field,) if field.startswith("/") else ()) if places is None else places
        where = f"{document}.{field}" if field and not field.startswith("/") else f"{document}{field}"
        super().__init__("MALFORMED_" + document.upper().replace("-", "_").replace(" ", "_"), f"{where}: {detail}")

    def within(self, pointer: str) -> None:
        """Let `places` be those of the document in which this one is the member at `pointer`."""
        self.places = tuple(f"{pointer}{place}" for place in self.places or ("",))


class CollateralError(TwoCvmError):
    """Evidence cannot be judged now. Never means that it was refused."""


class FetchError(CollateralError):
    """A source could not be reached or answered badly; trying again may help.

    Args:
        code: A name in `codes.CODES`.
        detail: As `TwoCvmError`.
        retry_after_seconds: When to try again at the earliest; 0 where the source did not say.
    """

    def __init__(self, code: str, detail: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(code, detail)
        self.retry_after_seconds = retry_after_seconds


class StaleError(CollateralError):
    """Collateral is at hand, but too old to be used."""


class NotFoundError(CollateralError):
    """Collateral is not at any source that was asked."""


class VerificationError(TwoCvmError):
    """Evidence is not authentic."""


class ChainError(VerificationError):
    """A certificate does not lead to a trusted root."""


class SignatureError(VerificationError):
    """A signature does not verify."""


class RevokedError(VerificationError):
    """A certificate of the chain was revoked."""


class BindingError(VerificationError):
    """Two things that must belong together do not."""


class LogProofError(VerificationError):
    """The event log, or a proof of inclusion in one, does not fit its head."""


class AppraisalError(TwoCvmError):
    """Evidence is authentic and not acceptable. `findings` holds every failed check, not the first.

    Args:
        findings: The checks that failed, at least one.
    """

    def __init__(self, findings: tuple[Check, ...]) -> None:
        if not findings:
            raise ValueError("a refusal needs a finding")
        self.findings = findings
        super().__init__(findings[0].code, "; ".join(f"{check.id}: {check.detail}" for check in findings))
        for check in findings:
            if check.expected or check.actual:
                self.add_note(f"{check.id}: got {check.actual or 'nothing'}, want {check.expected}")


class LockError(TwoCvmError):
    """A guest did not lock to a manifest, or is locked to another."""


class ReleaseError(TwoCvmError):
    """A step of the session was refused: wrong state, wrong participant, wrong item."""


class HandshakeError(TwoCvmError):
    """An attested connection was not made. Where a refusal of ours is the reason, it is the `__cause__`."""


class UnsupportedError(TwoCvmError):
    """This installation or this version cannot do what was asked."""


class ComponentError(TwoCvmError):
    """A component was not admitted, or ended in a way its manifest does not allow."""
