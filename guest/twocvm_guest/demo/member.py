"""One participant of the demo from its connection to its receipt.

Everything a member knows of the guest it has verified itself, on its own connection. It does what a program of a real
participant would do, and one thing more: it asks for outputs that are not its own, to show that it does not get them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from twocvm_sdk import Identity, Participant, Session
from twocvm_sdk.connection import AttestedConnection
from twocvm_sdk.guest import Guest
from twocvm_sdk.items import Progress
from twocvm_sdk.notices import CodeNotice
from twocvm_sdk.trust import expect
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.roster import Roster
from twocvm_verifier.policy import Policy
from twocvm_verifier.receipt_file import VerifiedReceipt, verify_receipt_file
from twocvm_verifier.snp.revocation import CrlUse
from twocvm_verifier.snp.roots import Roots
from twocvm_verifier.verifier import SnpVerifier

RECEIPT: Final = "receipt.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """What a participant holds the guest to. Here all have the same; each could have its own.

    Attributes:
        manifest: What was signed.
        policy: The appraisal policy.
        roots: The simulated platform's root, accepted knowingly.
        crls: How revocation is asked about.
    """

    manifest: Manifest
    policy: Policy
    roots: Roots
    crls: CrlUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One output in a recipient's hands.

    Attributes:
        output: Its name.
        recipient: Who has it.
        file: Where it lies.
        size_bytes: Its length.
    """

    output: str
    recipient: str
    file: Path
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that somebody asked the guest for and did not get: who, which output, and the code of the refusal."""

    who: str
    output: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One participant on its one connection. Made by `connect`; for one thread at a time.

    Attributes:
        identity: Its keys.
        items: What it releases, by name.
        folder: Where it keeps what it gets.
        beliefs: What it holds the guest to.
        session: Its side of the session; the guest is proven.
    """

    identity: Identity
    items: Mapping[str, Path]
    folder: Path
    beliefs: Beliefs
    session: Session

    @classmethod
    def connect(
        cls, url: str, *, identity: Identity, items: Mapping[str, Path], folder: Path, beliefs: Beliefs
    ) -> Self:
        """Connect to the guest at `url`, and return once it has proven itself.

        Raises:
            TwoCvmError: The guest is not as believed.
        """
        session = Participant.connect(
            url,
            manifest=beliefs.manifest,
            policy=beliefs.policy,
            identity=identity,
            roots=beliefs.roots,
            crls=beliefs.crls,
        )
        return cls(identity=identity, items=items, folder=folder, beliefs=beliefs, session=session)

    @property
    def name(self) -> str:
        """Its name in the manifest."""
        return self.identity.name

    def join(self) -> None:
        """Commit to its items and sign the go for this guest."""
        self.session.join(self.items, notify=_told)

    def release(self, progress: Progress) -> Roster:
        """Wait until everybody has joined, verify the roster, and send its items."""
        return self.session.release(self.items, progress=progress, notify=_told)

    def wait_for_end(self) -> str:
        """Wait for the run to end, and return its outcome from this member's verified receipt."""
        return self.session.receipt().outcome.value

    def receive(self) -> tuple[Received, ...]:
        """Take every output that is its own; each is what the receipt says, or nothing."""
        received = []
        for output in self.beliefs.manifest.outputs_of(self.name):
            file = self.folder / f"{output.name}.json"
            taken = self.session.output(output.name)
            taken.save(file)
            received.append(Received(output=output.name, recipient=self.name, file=file, size_bytes=taken.size_bytes))
        return tuple(received)

    def ask_for_others(self) -> tuple[Refused, ...]:
        """Ask the guest for every output that is not its own, past the SDK, which would not even ask."""
        own = self.beliefs.manifest.outputs_of(self.name)
        others = (output.name for output in self.beliefs.manifest.outputs if output not in own)
        return tuple(ask(self.session.instance.guest, self.name, output) for output in others)

    def judge_receipt(self) -> VerifiedReceipt:
        """Keep the receipt as a file, and judge that file as anybody could: offline, from the file alone."""
        file = self.folder / RECEIPT
        self.session.receipt().save(file)
        return verify_receipt_file(
            file.read_bytes(),
            manifest=self.beliefs.manifest,
            policy=self.beliefs.policy,
            verifier=SnpVerifier(roots=self.beliefs.roots, crls=self.beliefs.crls),
            at=SystemClock().now(),
        )

    def leave(self) -> None:
        """Tell the guest that everything has arrived, so that it can wipe itself, and hang up."""
        for output in self.beliefs.manifest.outputs_of(self.name):
            self.session.ack(output.name)
        self.session.close()


def ask_as_stranger(url: str, identity: Identity, beliefs: Beliefs) -> tuple[Refused, ...]:
    """Ask for every output with keys that the manifest does not know; such as the machine's operator could."""
    expectation = expect(
        beliefs.manifest, policy=beliefs.policy, roots=beliefs.roots, crls=beliefs.crls, unlocked_ok=False
    )
    refused = []
    for output in beliefs.manifest.outputs:
        with AttestedConnection.open(
            url,
            expectation=expectation,
            identity=identity.tls,
            clock=SystemClock(),
            randomness=secrets.token_bytes,
        ) as connection:
            refused.append(ask(Guest(connection), identity.name, output.name))
    return tuple(refused)


def ask(guest: Guest, who: str, output: str) -> Refused:
    """Ask for an output that is not one's own, and return how it was refused.

    Raises:
        RuntimeError: The guest began to serve it; no demo may pass over that.
    """
    try:
        with guest.output(output, size_bytes=0):
            pass
    except ReleaseError as error:
        if error.code != "OUTPUT_MISMATCH":
            return Refused(who=who, output=output, code=error.code)
    raise RuntimeError(f"the guest gave {output!r} to {who!r}, who is no recipient of it")


def _told(_: CodeNotice) -> None:
    """Say nothing again: the demo has shown the notice before anybody joins."""
