"""Codes of lock, join, roster, release, outputs, receipts and event log."""

from __future__ import annotations

from typing import Final

from .table import (
    CANNOT_JUDGE,
    MALFORMED,
    NOT_AUTHENTIC,
    NOT_AUTHORISED,
    UNSUPPORTED,
    WRONG_STATE,
    Code,
    malformed,
)

_SESSION: Final = "docs/spec/session.md"


def _refused(http_status: int, meaning: str, *, exit_status: int = WRONG_STATE) -> Code:
    return Code(exit_status=exit_status, http_status=http_status, meaning=meaning, spec=_SESSION)


def _lie(meaning: str, spec: str) -> Code:
    # Found by participants and judges of receipts, never by the guest.
    return Code(exit_status=NOT_AUTHENTIC, http_status=500, meaning=meaning, spec=spec)


def _ours(exit_status: int, meaning: str) -> Code:
    # Found by a participant's own side, never by the guest.
    return Code(exit_status=exit_status, http_status=500, meaning=meaning, spec="docs/sdk.md")


CODES: Final[dict[str, Code]] = {
    # Documents.
    "MALFORMED_LOG": malformed(
        "The event log is not what this version writes. The peer is another version, or lies.",
        "docs/spec/log.md",
    ),
    "MALFORMED_PADDING": malformed(
        "The output was not padded, or not to its end. The receipt names the filters that it passed, in their order.",
        "docs/spec/filters.md",
    ),
    "MALFORMED_RECEIPT": malformed(
        "The receipt is not what this version writes. The peer is another version, or lies.",
        "docs/spec/receipt.md",
    ),
    "MALFORMED_RECEIPT_FILE": malformed(
        "The file is not a receipt file: one canonical JSON object with all that is needed to judge a receipt.",
        "docs/spec/receipt.md",
    ),
    "MALFORMED_REQUEST": malformed(
        "The request's body or headers are not what this route takes; nothing of it was kept.",
        _SESSION,
    ),
    # Lock.
    "BORN_LOCKED": _refused(
        409,
        "The guest was launched for one manifest and accepts no other. Launch one for yours.",
    ),
    "LOCKED_ALREADY": _refused(
        409,
        "The guest is locked to another manifest, for its whole life. Launch a new guest for yours.",
    ),
    "NOT_LOCKED": _refused(
        409,
        "The guest has no manifest yet. Lock it first, with the consent of every participant.",
    ),
    # Who may call what.
    "CLIENT_CERTIFICATE_REQUIRED": _refused(
        401,
        "The route is for participants, and the connection showed no certificate. Connect with your TLS key.",
        exit_status=NOT_AUTHORISED,
    ),
    "NOT_A_PARTICIPANT": _refused(
        403,
        "The connection's TLS key is not in the manifest. Connect with the key that the manifest lists for you.",
        exit_status=NOT_AUTHORISED,
    ),
    "NOT_YOURS": _refused(
        403,
        "What was asked for belongs to another participant of the manifest.",
        exit_status=NOT_AUTHORISED,
    ),
    "UNKNOWN_NAME": _refused(
        404,
        "The manifest has nothing of this kind under this name.",
        exit_status=NOT_AUTHORISED,
    ),
    # Join and release.
    "GO_OUTSIDE_VALIDITY": _refused(
        409,
        "The go is dated outside not_before and not_after of the manifest. Check your clock, or agree on another.",
    ),
    "GO_STANDS": _refused(
        409,
        "This participant has joined already, with another go; the first one stands.",
    ),
    "ITEM_ADMITTED": _refused(
        409,
        "The item is in the guest already and is taken only once. There is nothing left to do for it.",
    ),
    "ITEM_COMMITMENT_MISMATCH": _refused(
        422,
        "The item is not the one that the go and the manifest commit to. Release the file that you signed for.",
        exit_status=NOT_AUTHENTIC,
    ),
    "ITEM_DIGEST_MISMATCH": _refused(
        422,
        "The bytes that arrived differ from their Content-Digest or Content-Length. Nothing was kept; send them again.",
        exit_status=NOT_AUTHENTIC,
    ),
    "ITEM_NOT_HELD": _refused(
        404,
        "The machine brought no payload with this item. Send the item, or launch the guest with the payload "
        "that has it.",
    ),
    "ITEM_IN_TRANSIT": _refused(
        409,
        "The same item is being sent on another connection. Wait for that one to end.",
    ),
    "ROSTER_INCOMPLETE": _refused(
        409,
        "Not every participant has joined yet, and the guest takes no item before. Wait for the roster.",
    ),
    "TOO_LATE": _refused(
        409,
        "The run has begun, and it is decided once: nobody can join or withdraw any more.",
    ),
    # After the run.
    "OUTPUTS_NOT_READY": _refused(
        409,
        "There is no output before every one of them is sealed. Ask again when the session is completed.",
    ),
    "OUTPUT_WIPED": _refused(
        409,
        "The output is gone: all recipients acknowledged theirs, or the deadline passed.",
    ),
    "RECEIPT_NOT_READY": _refused(
        409,
        "There is no receipt before the session has an outcome. Ask again when it has ended.",
    ),
    "SESSION_ENDED": _refused(
        409,
        "The session has ended without outputs and nothing can bring it back. A new run needs a new guest.",
    ),
    # The event log.
    "LOG_HEAD_MISMATCH": _lie(
        "The event log does not lead to a head that this guest's evidence showed. Its history was changed or cut.",
        "docs/spec/log.md",
    ),
    "LOG_LOCK_MISMATCH": _lie(
        "The event log says that the guest was locked to another manifest, or with other consents, than it serves.",
        "docs/spec/log.md",
    ),
    "LOG_ORDER": _lie(
        "The event log tells a story that no honest guest can have had. Release nothing.",
        "docs/spec/log.md",
    ),
    "LOG_ROSTER_MISMATCH": _lie(
        "The goes or the roster in the event log are not those that the guest serves. Release nothing.",
        "docs/spec/log.md",
    ),
    "LOG_STARTED": Code(
        exit_status=WRONG_STATE,
        http_status=500,
        meaning="The session has already run, been withdrawn from or ended, so it is too late to join or release.",
        spec="docs/spec/log.md",
    ),
    # Receipts.
    "RECEIPT_MISMATCH": _lie(
        "The receipt and what lies beside it (report, manifest, goes, log) do not belong together.",
        "docs/spec/receipt.md",
    ),
    "RECEIPT_OF_ANOTHER": _lie(
        "The receipt is genuine, but of another participant, instance or run than yours.",
        "docs/spec/receipt.md",
    ),
    "RECEIPT_SIGNATURE": _lie(
        "The guest's key did not sign this receipt.",
        "docs/spec/receipt.md",
    ),
    # The participant's own side: keys, ledger, files.
    "GO_ALREADY_GIVEN": _ours(
        WRONG_STATE,
        "A go for this manifest was given before, to an instance that may have run with your data. Only if a second "
        "run is what you want: say `--again` (Python: `again=True`).",
    ),
    "GO_WITHDRAWN": _ours(
        WRONG_STATE,
        "The ledger says that you withdrew your go for this guest instance, so nothing more is released to it. A new "
        "run needs a new guest, and `--again`.",
    ),
    "IDENTITY_EXISTS": _ours(
        WRONG_STATE,
        "There is something in that place already, and keys are never overwritten. Name another folder.",
    ),
    "IDENTITY_EXPOSED": _ours(
        NOT_AUTHORISED,
        "Others on this machine can get at the keys or the ledger. Take their access away (700 and 600), and consider "
        "new keys.",
    ),
    "IDENTITY_UNREADABLE": _ours(
        NOT_AUTHORISED,
        "The keys or the ledger cannot be opened as plain files in a plain folder. Name the folder that "
        "`twocvm identity new` made.",
    ),
    "ITEM_CHANGED": _ours(
        WRONG_STATE,
        "The file is not what it was when the go was signed. Put the old content back; a go cannot be taken back.",
    ),
    "ITEM_UNREADABLE": _ours(
        WRONG_STATE,
        "The file cannot be read twice from its beginning. Name a regular file that this user may read.",
    ),
    "LEDGER_UNWRITABLE": _ours(
        CANNOT_JUDGE,
        "The go could not be written down, so it was not signed. Make room and see that the folder can be written.",
    ),
    "MALFORMED_IDENTITY": malformed(
        "A file of the identity is damaged or belongs to other keys. Restore the folder from its copy.",
        "docs/sdk.md",
    ),
    "MALFORMED_LEDGER": malformed(
        "The ledger of goes is damaged, so nobody can say what was signed before. Nothing is signed until a person "
        "has looked at the file.",
        "docs/sdk.md",
    ),
    "OUTSIDE_VALIDITY": _ours(
        WRONG_STATE,
        "By this machine's clock the manifest is not in force yet, or no longer. Check the clock, or agree on another.",
    ),
    # The participant's own side: what the guest says.
    "GO_NOT_OURS": _lie(
        "The guest has a go in this participant's name that its ledger does not know. Find out who else has the key.",
        "docs/sdk.md",
    ),
    "GUEST_DENIED": _ours(
        NOT_AUTHORISED,
        "The guest says that this is not for you, without a reason that this version knows.",
    ),
    "GUEST_FAILED": _ours(
        CANNOT_JUDGE,
        "The guest could not answer. Try again; if the connection is gone for good, take the session as failed.",
    ),
    "GUEST_REFUSED": _ours(
        WRONG_STATE,
        "The guest refused this in its present state, without a reason that this version knows.",
    ),
    "GUEST_REJECTED": _ours(
        MALFORMED,
        "The guest did not take the request as well formed, without a reason that this version knows.",
    ),
    "GUEST_REPLACED": _lie(
        "Another guest instance answers than the one that was proven before. Release nothing, and start over.",
        "docs/spec/ratls.md",
    ),
    "GUEST_SILENT": _ours(
        CANNOT_JUDGE,
        "The guest has given no fresh proof for too long, so nothing more is released to it. Connect again once it "
        "answers; if it never does, take the session as failed.",
    ),
    "MALFORMED_ANSWER": malformed(
        "The guest's answer is not what this route answers. The peer is another version, or lies.",
        _SESSION,
    ),
    "MANIFEST_DIFFERS": _lie(
        "The guest serves another manifest than the one it was proven under. Release nothing.",
        _SESSION,
    ),
    "SESSION_GOES_ON": _ours(
        CANNOT_JUDGE,
        "The session has not ended while this one waited. Repeat the command to go on waiting.",
    ),
    "OUTPUT_MISMATCH": _lie(
        "The output that was served is not the one in the receipt. Nothing was kept of it.",
        "docs/spec/receipt.md",
    ),
    "ROSTER_WAIT_ENDED": _ours(
        CANNOT_JUDGE,
        "Not every participant joined while this one waited; nothing was released. Repeat the command to go on.",
    ),
    # The service itself.
    "BODY_TOO_LARGE": _refused(
        413,
        "The request's body is larger than this route takes.",
        exit_status=MALFORMED,
    ),
    "CONNECTION_RETIRED": _refused(
        409,
        "The connection was made before the lock. Connect again and verify the guest under its manifest.",
        exit_status=CANNOT_JUDGE,
    ),
    "INTERNAL": Code(
        exit_status=1,
        http_status=500,
        meaning="The guest met an error of its own and says no more about it.",
        spec=_SESSION,
    ),
    "ISOLATION_INCOMPLETE": _refused(
        500,
        "This machine does not give workers every means of isolation, and the guest was told to demand all of them. "
        "`twocvm doctor` says what is missing and why.",
        exit_status=UNSUPPORTED,
    ),
    "ISOLATION_UNKNOWN": _refused(
        500,
        "The worker that was to find out what this machine isolates workers with did not come to its end. Nothing can "
        "be promised of any worker, so nothing is run.",
        exit_status=UNSUPPORTED,
    ),
    "NO_PLATFORM": _refused(
        500,
        "This machine has no platform that this version can attest with. `twocvm doctor` says what it looked for; to "
        "try things out start with --platform simulated.",
        exit_status=UNSUPPORTED,
    ),
    "NO_SUCH_ROUTE": _refused(
        404,
        "The guest has no such route, or not for this method. It serves exactly the routes of its specification.",
        exit_status=UNSUPPORTED,
    ),
    "TOO_MANY_REQUESTS": _refused(
        429,
        "The guest answers this only so often. Wait a moment and ask again.",
        exit_status=CANNOT_JUDGE,
    ),
}
