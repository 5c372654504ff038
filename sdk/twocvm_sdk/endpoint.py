"""One guest's address together with what whoever answers there is held to; every client of a guest comes from here.

    guest = Endpoint(url, manifest=manifest, policy=policy, identity=me)
    with guest.requests() as session:            # `requests`
        session.get(guest.url + "/v1/session")
    with guest.httpx() as client:                # `httpx2`; `await guest.async_httpx()` for the other kind
        client.get("/v1/session")
    with guest.connect() as connection:          # any protocol
        connection.sendall(b"...")

Each of them is one connection, and is returned only after the guest has proven itself on it. None of them connects
again by itself. All connections of one `Endpoint` lead to one launch of a guest, by the REPORT_ID of the first.

These clients show which guest answers, under which manifest. That everybody consented, and what happened since, is
asked for by `Participant.connect`, which is what releases data.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Final

from twocvm_verifier.clock import Clock, SystemClock
from twocvm_verifier.errors import BindingError, UnsupportedError
from twocvm_verifier.snp.revocation import PREFER, CrlUse

from .connection import AttestedConnection, Timeouts
from .instance import MAX_PROOF_AGE_SECONDS
from .line import Line
from .ratls import RatlsConnection
from .trust import expect

if TYPE_CHECKING:
    from twocvm_verifier.appraisal import Verifier
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.policy import Policy
    from twocvm_verifier.snp.roots import Roots

    from .bound import BoundSession
    from .httpxbound import AttestedAsyncClient, AttestedClient
    from .identity import Identity


class Endpoint:
    """Where a guest is, and what is expected of it. Opens nothing until it is asked to. Threads may share it.

    Args:
        url: `https://HOST[:PORT]`.
        manifest: The caller's own copy.
        policy: What every report is held to, beside the manifest's `platform`.
        identity: Whose certificate is shown to a guest that was accepted; None shows none.
        roots: Trust anchors; AMD's where none are given.
        crls: Whether revocation is asked about.
        verifier: Who judges instead of this machine, which then has no `roots` and `crls` to give.
        clock: The machine's own where none is given.
        timeouts: `Timeouts()` where none are given.

    Raises:
        ValueError: Simulated roots with a manifest that does not allow them.
        ReleaseError: NOT_A_PARTICIPANT.
    """

    def __init__(
        self,
        url: str,
        *,
        manifest: Manifest,
        policy: Policy,
        identity: Identity | None,
        roots: Roots | None = None,
        crls: CrlUse = PREFER,
        verifier: Verifier | None = None,
        clock: Clock | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        if identity is not None:
            identity.require_entry(manifest)
        self.url: Final = url.removesuffix("/")
        self._expectation = expect(
            manifest, policy=policy, roots=roots, crls=crls, verifier=verifier, unlocked_ok=False
        )
        self._identity = None if identity is None else identity.tls
        self._clock = clock or SystemClock()
        self._timeouts = timeouts
        self._report_id: bytes | None = None
        self._lock = threading.Lock()

    def open(self) -> AttestedConnection:
        """Connect, and return the connection once the guest has proven itself on it.

        Raises:
            ValueError: The URL is no guest's.
            BindingError: GUEST_REPLACED: it is another launch than on the first connection.
            HandshakeError: The guest did not prove itself; the refusal is the `__cause__`, and gives the code.
            FetchError: The connection could not be made, was lost, or took too long.
        """
        connection = AttestedConnection.open(
            self.url,
            expectation=self._expectation,
            identity=self._identity,
            clock=self._clock,
            randomness=secrets.token_bytes,
            timeouts=self._timeouts,
        )
        got = connection.certificate.report_id
        with self._lock:
            self._report_id = want = self._report_id or got
        if got != want:
            connection.close()
            raise BindingError("GUEST_REPLACED", f"guest: got instance {got.hex()[:16]}, want {want.hex()[:16]}")
        return connection

    def line(self) -> Line:
        """Return a new verified connection for HTTP, whose proof is never older than a minute when a request leaves.

        Raises:
            TwoCvmError: As `open`.
        """
        return Line(self.open(), max_proof_age_seconds=MAX_PROOF_AGE_SECONDS)

    def connect(self) -> RatlsConnection:
        """Return a new verified connection for any protocol. Errors as `open`."""
        return RatlsConnection(self.open())

    def requests(self) -> BoundSession:
        """Return a `requests` session on a new verified connection. Errors as `open`."""
        from .bound import BoundSession

        return BoundSession(self.line())

    def httpx(self) -> AttestedClient:
        """Return an `httpx2` client on a new verified connection.

        Raises:
            UnsupportedError: EXTRA_MISSING: the extra `httpx` is not installed.
            TwoCvmError: As `open`.
        """
        _require_httpx()
        from .httpxbound import AttestedClient

        return AttestedClient(self.line())

    async def async_httpx(self) -> AttestedAsyncClient:
        """Return an asynchronous `httpx2` client on a new verified connection; the event loop goes on meanwhile.

        Raises:
            UnsupportedError: EXTRA_MISSING: the extra `httpx` is not installed.
            TwoCvmError: As `open`.
        """
        _require_httpx()
        from .httpxbound import AttestedAsyncClient, in_thread

        return AttestedAsyncClient(await in_thread(self.line, undo=lambda line: line.connection.close()))


def _require_httpx() -> None:
    try:
        import httpx2  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[httpx]") from error
