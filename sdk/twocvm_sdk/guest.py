"""The routes of a guest, each as one call over a proven connection.

Decides what an answer may look like: its status, type, length and form. What the answers say is judged by their
readers (`agreement`, `participant`, `receipts`). A refusal of the guest keeps its code where the table has that code
for that HTTP status, and becomes one of the `GUEST_` codes where not; nothing that the guest wrote is repeated but
quoted and cut.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import requests

from twocvm_verifier import strictjson
from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import FetchError, LockError, MalformedError, ReleaseError, TwoCvmError
from twocvm_verifier.eventlog import MAX_LOG_BYTES, Event, parse_log
from twocvm_verifier.jsonfields import Fields
from twocvm_verifier.manifest.roster import parse_statements
from twocvm_verifier.manifest.statements import Consent, Go, Statement
from twocvm_verifier.receipt import MAX_RECEIPT_BYTES, Receipt, parse_receipt
from twocvm_verifier.strictjson import Json

from .connection import AttestedConnection
from .items import CHUNK_BYTES, Progress, ReadItem, Upload

# A manifest of 1 MiB, and consents or goes of at most 20,000 participants (docs/spec/session.md).
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
MAX_PROBLEM_BYTES: Final = 16 * 1024
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
_SHOWN_CHARACTERS: Final = 200

# What a refusal means where its code is not in our table; every other status is a guest that could not answer.
_BY_STATUS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "GUEST_REJECTED",
        401: "GUEST_DENIED",
        403: "GUEST_DENIED",
        404: "GUEST_DENIED",
        409: "GUEST_REFUSED",
        413: "GUEST_REJECTED",
        422: "GUEST_REJECTED",
    }
)

Refusal: TypeAlias = type[LockError] | type[ReleaseError]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedManifest:
    """What a guest says that it is locked to.

    Attributes:
        raw: The manifest's canonical bytes.
        consents: The consents, sorted by participant, not yet verified.
    """

    raw: bytes
    consents: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRoster:
    """Who has joined so far.

    Attributes:
        complete: Whether the guest says that nobody is missing.
        goes: The goes, sorted by participant, not yet verified.
    """

    complete: bool
    goes: tuple[Statement, ...]


class Guest:
    """One guest behind one proven connection.

    Every method raises a `TwoCvmError`: the guest's refusal, `MalformedError` (MALFORMED_ANSWER and the formats' own),
    or what the connection raises when it is lost.

    Args:
        connection: Proven; whoever opened it closes it.
    """

    def __init__(self, connection: AttestedConnection) -> None:
        self.connection: Final = connection

    def manifest(self) -> ServedManifest:
        """Fetch the manifest in force, with its consents."""
        fields = self._fields("GET", "/v1/manifest", required={"manifest", "consents"})
        consents = parse_statements(Consent, fields.json("consents"), pointer="/consents")
        return ServedManifest(raw=strictjson.canonical(fields.json("manifest")), consents=consents)

    def put_manifest(self, manifest: bytes, consents: tuple[Statement, ...]) -> None:
        """Ask the guest to lock itself; it closes the connection afterwards.

        Args:
            manifest: Canonical bytes.
            consents: One of each participant, sorted by participant.
        """
        value = strictjson.parse(manifest, document="manifest", max_bytes=MAX_ANSWER_BYTES)
        body: Json = {"manifest": value, "consents": [consent.to_json() for consent in consents]}
        _require_nothing(
            self._exchange("PUT", "/v1/manifest", body=body, max_bytes=MAX_PROBLEM_BYTES, refused=LockError)
        )

    def join(self, go: Statement) -> None:
        """Hand over a go."""
        self._send("POST", "/v1/join", go.to_json())

    def withdraw(self, withdrawal: Statement) -> None:
        """Hand over a withdrawal."""
        self._send("POST", "/v1/withdraw", withdrawal.to_json())

    def roster(self) -> ServedRoster:
        """Fetch the goes so far."""
        fields = self._fields("GET", "/v1/roster", required={"complete", "goes"})
        complete = fields.json("complete")
        if not isinstance(complete, bool):
            raise MalformedError("answer", "/complete", "not true or false")
        return ServedRoster(complete=complete, goes=parse_statements(Go, fields.json("goes"), pointer="/goes"))

    def log(self) -> tuple[Event, ...]:
        """Fetch the event log."""
        return parse_log(self._exchange("GET", "/v1/log", max_bytes=MAX_LOG_BYTES))

    def state(self) -> str:
        """Fetch the session's state."""
        return self._fields("GET", "/v1/session", required={"state"}).name("state")

    def failures(self) -> Mapping[str, str]:
        """Fetch the code of each node that failed and that nobody else's data could reach, by node."""
        found = self._fields("GET", "/v1/failures", required={"failures"}).json("failures")
        if not isinstance(found, dict):
            raise MalformedError("answer", "/failures", "not an object")
        codes = {node: code for node, code in found.items() if isinstance(code, str) and code in CODES}
        if codes.keys() != found.keys():
            raise MalformedError("answer", "/failures", "not codes of the table")
        return MappingProxyType(codes)

    def receipt(self) -> Receipt:
        """Fetch this participant's receipt."""
        return parse_receipt(self._exchange("GET", "/v1/receipt", max_bytes=MAX_RECEIPT_BYTES))

    def acknowledge(self, name: str) -> None:
        """Say that an output has arrived for good."""
        self._send("POST", f"/v1/outputs/{name}/ack", {})

    def upload(self, item: ReadItem, *, salt: bytes | None, progress: Progress) -> None:
        """Send one item.

        Args:
            item: As it was read.
            salt: Of its commitment (32 bytes); None for a component, which has none.
            progress: Told after every chunk.

        Raises:
            ReleaseError: ITEM_CHANGED; then the guest has no whole item.
        """
        headers = {"Content-Type": BYTES, "Content-Digest": content_digest(item.sha256)}
        if salt is not None:
            headers["Item-Salt"] = strictjson.base64url(salt)
        # `requests` sends an empty stream chunked; no bytes at all it sends with their length.
        body = Upload(item, progress=progress) if item.size_bytes else b""
        with self._request("PUT", f"/v1/artifacts/{item.name}", headers=headers, body=body) as response:
            _require_nothing(_read_all(response, media_type=JSON, max_bytes=MAX_PROBLEM_BYTES))

    def release_held(self, item: ReadItem, *, salt: bytes | None) -> None:
        """Release one item that the machine has: say which it is, and send nothing of it.

        Args:
            item: As `upload`.
            salt: As `upload`.

        Raises:
            ReleaseError: ITEM_NOT_HELD; it can be sent instead.
        """
        said: dict[str, Json] = {"bytes": item.size_bytes, "sha256": item.sha256.hex()}
        if salt is not None:
            said["salt"] = strictjson.base64url(salt)
        self._send("POST", f"/v1/artifacts/{item.name}", said)

    @contextmanager
    def output(self, name: str, *, size_bytes: int) -> Iterator[Iterator[bytes]]:
        """Fetch one output in chunks, for the length of a `with`.

        Args:
            name: The output's name.
            size_bytes: What the receipt says; more is never read.

        Raises:
            ReleaseError: OUTPUT_MISMATCH where the guest announces another length.
        """
        with self._request("GET", f"/v1/outputs/{name}", headers={}, body=None) as response:
            _require_type(response, BYTES)
            if response.headers.get("Content-Length") != str(size_bytes):
                raise ReleaseError(
                    "OUTPUT_MISMATCH", f"output {name!r}: another length than the receipt's {size_bytes}"
                )
            yield response.iter_content(CHUNK_BYTES)

    def _send(self, method: str, path: str, body: Json) -> None:
        _require_nothing(self._exchange(method, path, body=body, max_bytes=MAX_PROBLEM_BYTES))

    def _fields(self, method: str, path: str, *, required: frozenset[str] | set[str]) -> Fields:
        raw = self._exchange(method, path, max_bytes=MAX_ANSWER_BYTES)
        value = strictjson.parse_canonical(raw, document="answer", max_bytes=MAX_ANSWER_BYTES)
        return Fields(value, document="answer", pointer="", required=required)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        max_bytes: int,
        body: Json | None = None,
        refused: Refusal = ReleaseError,
    ) -> bytes:
        data = None if body is None else strictjson.canonical(body)
        headers = {} if data is None else {"Content-Type": JSON}
        with self._request(method, path, headers=headers, body=data, refused=refused) as response:
            return _read_all(response, media_type=JSON, max_bytes=max_bytes)

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Upload | None,
        refused: Refusal = ReleaseError,
    ) -> Iterator[requests.Response]:
        url = self.connection.base_url + path
        with self.connection.http.request(
            method, url, headers=dict(headers), data=body, stream=True, allow_redirects=False
        ) as response:
            if response.status_code != requests.codes.ok:
                raise _refusal(response, refused)
            yield response


def content_digest(sha256: bytes) -> str:
    """Return the Content-Digest field of RFC 9530 for a SHA-256 (32 bytes)."""
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"


def _read_all(response: requests.Response, *, media_type: str, max_bytes: int) -> bytes:
    _require_type(response, media_type)
    parts, size = [], 0
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise MalformedError("answer", "", f"got more than {max_bytes} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _require_type(response: requests.Response, media_type: str) -> None:
    got = response.headers.get("Content-Type", "")
    if got != media_type:
        raise MalformedError("answer", "", f"got type {got!r:.80}, want {media_type}")


def _require_nothing(raw: bytes) -> None:
    if raw != b"{}":
        raise MalformedError("answer", "", "says something where nothing is to be said")


def _refusal(response: requests.Response, refused: Refusal) -> TwoCvmError:
    """Return what a refusal of the guest means on this side."""
    status = response.status_code
    code, detail = _problem(response)
    row = CODES.get(code)
    shown = f"guest: answered {status}, {code!r:.80}: {detail!r:.{_SHOWN_CHARACTERS}}"
    # A code counts only with its own status, and an error inside the guest is not one of ours.
    if row is not None and row.http_status == status != requests.codes.server_error:
        # The meaning of a code of ours is ours to say, and is said once.
        return refused(code, f"guest: answered {status}" if detail == row.meaning else shown)
    if status in _BY_STATUS:
        return refused(_BY_STATUS[status], shown)
    return FetchError("GUEST_FAILED", shown)


def _problem(response: requests.Response) -> tuple[str, str]:
    # RFC 9457; whatever else came is shown as nothing at all.
    try:
        raw = _read_all(response, media_type="application/problem+json", max_bytes=MAX_PROBLEM_BYTES)
        value = strictjson.parse(raw, document="answer", max_bytes=MAX_PROBLEM_BYTES)
    except MalformedError:
        return "", ""
    if not isinstance(value, Mapping):
        return "", ""
    code, detail = value.get("code"), value.get("detail")
    return code if isinstance(code, str) else "", detail if isinstance(detail, str) else ""
