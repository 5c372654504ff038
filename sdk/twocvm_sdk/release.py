"""Join, roster, release: the steps from a proven guest to items that have left, in their one order.

Decides when something may be signed and when something may leave. Rules, in order:

1. all of this participant's items are released together, and each is read before anything is signed;
2. no go and no release outside `not_before` and `not_after`, by this machine's clock;
3. no go and no release once the log has a run, a withdrawal or an end;
4. a go is in the ledger before it is signed, and a second one for the manifest needs `again`;
5. nothing leaves before the roster is complete, verified, in the log, and bound by a proof that was asked for later;
6. before each item, a proof that is older than a minute is asked for again, and so are rules 2 and 3, and the ledger:
   another process may have withdrawn from a guest that never heard of it;
7. after a fresh proof that failed (`watch`) nothing more leaves, not even the rest of an item.

A lost connection is replaced by a new one to the same instance, which is verified in full, and the step that it broke
is done again there (`Instance.persist`). What was admitted before, by another process, before a crash or before an
answer was lost, is not sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twocvm_verifier.clock import Clock, format_time
from twocvm_verifier.errors import BindingError, FetchError, LogProofError, ReleaseError
from twocvm_verifier.eventlog import EventType, VerifiedLog, go_digest
from twocvm_verifier.framing import HASH_BYTES
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Roster, verify_roster
from twocvm_verifier.manifest.statements import Statement, sign_go

from .identity import Identity
from .instance import Instance
from .items import Progress, ReadItem, read_items, require_names
from .ledger import Ledger, LedgerGo, LedgerItem
from .waiting import Waiting
from .watch import Watch


def silent(name: str, sent_bytes: int, total_bytes: int) -> None:
    """Take progress and tell nobody."""
    del name, sent_bytes, total_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Releaser:
    """One participant's way through join, roster and release on one instance.

    Attributes:
        instance: Proven, its manifest and consents verified.
        identity: Whose items they are.
        clock: Judges `not_before`, `not_after` and waiting.
        ledger: This participant's, for this manifest.
        watch: Begins with the go.
    """

    instance: Instance
    identity: Identity
    clock: Clock
    ledger: Ledger
    watch: Watch

    def join(self, paths: Mapping[str, Path], *, salts: Mapping[str, bytes], again: bool) -> None:
        """Commit to the items and hand over the go.

        Args:
            paths: All of this participant's items, data and components, by name.
            salts: For items whose commitment is in the manifest, the salt that it was made with (32 bytes).
            again: Whether a second go for this manifest may be given.

        Raises:
            ValueError: `paths` is not exactly this participant's items.
            ReleaseError: GO_ALREADY_GIVEN, OUTSIDE_VALIDITY, LOG_STARTED, ITEM_CHANGED and the others of the rules.
        """
        with self._read(paths, again=again) as items:
            self._join(items, salts=salts, again=again)

    def release(
        self,
        paths: Mapping[str, Path],
        *,
        salts: Mapping[str, bytes],
        held: Collection[str],
        again: bool,
        wait_seconds: float,
        progress: Progress,
    ) -> Roster:
        """Commit to the items, wait for everybody, and send what was not sent before.

        Args:
            paths: As `join`.
            salts: As `join`.
            held: Names of items that the machine brought; they are named to it and not sent.
            again: As `join`.
            wait_seconds: How long to wait for the other participants.
            progress: Told while items are sent.

        Returns:
            Who joined, as verified.

        Raises:
            ValueError: `paths` is not exactly this participant's items.
            TwoCvmError: Any rule of the module; then nothing more leaves.
        """
        if foreign := sorted(set(held) - paths.keys()):
            raise ValueError(f"held: {foreign} are not among the items")
        with self._read(paths, again=again) as items:
            go = self._join(items, salts=salts, again=again)
            self._wait_for_roster(wait_seconds=wait_seconds)
            roster = self.instance.persist(self._roster)
            if _digest(roster, self.identity.name) != go_digest(self._sign(go).object):
                raise BindingError("GO_NOT_OURS", "roster: has another go of this participant than its ledger")
            self.instance.persist(lambda: self._bind(roster))
            for name in sorted(items):
                self._send(items[name], go, roster, held=name in held, progress=progress)
        return roster

    @contextmanager
    def _read(self, paths: Mapping[str, Path], *, again: bool) -> Iterator[Mapping[str, ReadItem]]:
        manifest = self.instance.manifest
        self.identity.require_entry(manifest)
        require_names(frozenset(paths), manifest=manifest, participant=self.identity.name)
        # Asked before files of any size are read; asked again, and for good, when the go is written down.
        self.ledger.standing(self.instance.report_id, again=again)
        with read_items(paths, manifest=manifest) as items:
            yield items

    def _join(self, items: Mapping[str, ReadItem], *, salts: Mapping[str, bytes], again: bool) -> LedgerGo:
        self.watch.require_proven()
        go = self.instance.persist(lambda: self._give_go(items, salts=salts, again=again))
        self.watch.start()
        return go

    def _give_go(self, items: Mapping[str, ReadItem], *, salts: Mapping[str, bytes], again: bool) -> LedgerGo:
        log = self.instance.log()
        given = log.goes.get(self.identity.name)
        standing = self.ledger.standing(self.instance.report_id, again=again)
        if given is None:
            self._require_open(log)
        elif standing is None:
            raise BindingError("GO_NOT_OURS", "log: has a go of this participant that its ledger does not know")
        known = {} if standing is None else {name: item.salt for name, item in standing.items.items()}
        go = self.ledger.record(self._new_go(items, {**salts, **known}), again=again)
        for name, recorded in go.items.items():
            items[name].require(size_bytes=recorded.size_bytes, sha256=recorded.sha256)
        statement = self._sign(go)
        if given is None:
            self.instance.guest.join(statement)
        elif given != go_digest(statement.object):
            raise BindingError("GO_NOT_OURS", "log: has another go of this participant than its ledger")
        return go

    def _new_go(self, items: Mapping[str, ReadItem], salts: Mapping[str, bytes]) -> LedgerGo:
        manifest, name = self.instance.manifest, self.identity.name
        components = {component.name: items[component.name].path for component in manifest.components_of(name)}
        if foreign := sorted(salts.keys() - {item.name for item in manifest.items_of(name)}):
            raise ValueError(f"salts: {foreign} are not data items of {name!r} in this manifest")
        committed = {
            item.name: _commit(items[item.name], salts.get(item.name), wanted=item.commitment)
            for item in manifest.items_of(name)
        }
        return LedgerGo(
            report_id=self.instance.report_id,
            guest_spki_sha256=self.instance.spki_sha256,
            at=self.clock.now(),
            items=committed,
            components=components,
        )

    def _sign(self, go: LedgerGo) -> Statement:
        return sign_go(
            self.identity.consent_key,
            manifest_hash=self.instance.manifest.hash,
            participant=self.identity.name,
            report_id=go.report_id,
            guest_spki_sha256=go.guest_spki_sha256,
            at=go.at,
            items=go.commitments,
        )

    def _wait_for_roster(self, *, wait_seconds: float) -> None:
        """Wait until everybody has joined."""
        for log in self.waiting.logs(wait_seconds=wait_seconds):
            if log.roster is not None:
                return
            log.require_not_started()
        missing = sorted({entry.name for entry in self.instance.manifest.participants} - log.goes.keys())
        raise FetchError("ROSTER_WAIT_ENDED", f"roster: {missing} did not join in {wait_seconds:.0f} s")

    @property
    def waiting(self) -> Waiting:
        """How this participant waits for the others."""
        return Waiting(instance=self.instance, watch=self.watch, clock=self.clock)

    def _roster(self) -> Roster:
        """Fetch the roster, and return it as verified."""
        served = self.instance.guest.roster()
        return verify_roster(
            served.goes,
            manifest=self.instance.manifest,
            report_id=self.instance.report_id,
            guest_spki_sha256=self.instance.spki_sha256,
        )

    def _bind(self, roster: Roster) -> None:
        """Ask for a proof that is younger than the roster, and demand that it binds what the log has."""
        bound = self.instance.reprove().log.events
        log = self._log(roster)
        if not any(event.type is EventType.ROSTER for event in log.events[:bound]):
            raise LogProofError("LOG_ROSTER_MISMATCH", "proof: does not bind the roster that the log has")

    def _log(self, roster: Roster) -> VerifiedLog:
        log = self.instance.log()
        participants = self.instance.manifest.participants
        log.require_roster(
            digest=roster.digest, goes={entry.name: _digest(roster, entry.name) for entry in participants}
        )
        return log

    def _send(self, item: ReadItem, go: LedgerGo, roster: Roster, *, held: bool, progress: Progress) -> None:
        recorded = go.items.get(item.name)
        salt = recorded.salt if recorded else None

        def told(name: str, sent_bytes: int, total_bytes: int) -> None:
            self.watch.require_proven()
            progress(name, sent_bytes, total_bytes)

        def send() -> None:
            self.instance.refresh()
            log = self._log(roster)
            # Asked again each time: the answer to an upload may be what was lost.
            if item.name not in log.admitted:
                self._require_open(log)
                self.ledger.standing(self.instance.report_id, again=True)
                if held:
                    told(item.name, 0, item.size_bytes)
                    self.instance.guest.release_held(item, salt=salt)
                    told(item.name, item.size_bytes, item.size_bytes)
                else:
                    self.instance.guest.upload(item, salt=salt, progress=told)

        self.instance.persist(send)

    def _require_open(self, log: VerifiedLog) -> None:
        log.require_not_started()
        require_in_force(self.instance.manifest, clock=self.clock)


def require_in_force(manifest: Manifest, *, clock: Clock) -> None:
    """Refuse to take part outside the manifest's own dates, by this machine's clock.

    Raises:
        ReleaseError: OUTSIDE_VALIDITY.
    """
    now = clock.now()
    if not manifest.not_before <= now <= manifest.not_after:
        window = f"{format_time(manifest.not_before)} to {format_time(manifest.not_after)}"
        raise ReleaseError("OUTSIDE_VALIDITY", f"clock: got {format_time(now)}, want {window}")


def _digest(roster: Roster, participant: str) -> bytes:
    return go_digest(roster.go_of(participant).to_json())


def _commit(item: ReadItem, salt: bytes | None, *, wanted: bytes | None) -> LedgerItem:
    committed = LedgerItem(
        path=item.path,
        size_bytes=item.size_bytes,
        sha256=item.sha256,
        salt=secrets.token_bytes(HASH_BYTES) if salt is None else salt,
    )
    if wanted is not None and committed.commitment != wanted:
        raise ReleaseError(
            "ITEM_COMMITMENT_MISMATCH",
            f"item {item.name!r}: the file, or its salt, is not what the manifest commits to",
        )
    return committed
