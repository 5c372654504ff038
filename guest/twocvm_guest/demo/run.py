"""The whole run: one guest, and what three participants do with it, each for itself.

The guest is a process of its own. The participants are threads of this one, each with its own connection, keys and
judgement; they share the guest's address, and the files that a real group would send each other beforehand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from twocvm_guest.image.folder import ImageFolder
from twocvm_guest.platforms.measure import measure_installed
from twocvm_sdk import lock
from twocvm_verifier import simulated_roots
from twocvm_verifier.manifest.graph import nodes
from twocvm_verifier.ratls.proof import ChannelProof
from twocvm_verifier.result import Status
from twocvm_verifier.snp.revocation import REQUIRE
from twocvm_verifier.snp.verify import REVOCATION

from .agreement import reaches
from .cast import CAST, Role
from .machine import GuestMachine
from .member import Beliefs, Member, Received, Refused, ask_as_stranger
from .prepare import Prepared, prepare
from .process import GuestProcess
from .show import Show
from .summary import Summary
from .together import together

# A guest that was told that everything arrived wipes itself within a tick; an emulated machine takes its time.
_END_SECONDS: Final = 60.0

_R = TypeVar("_R")


def run_demo(folder: Path, show: Show, *, image: ImageFolder | None = None) -> Summary:
    """Play the whole demo in an empty folder, and return what it came to.

    Args:
        folder: Where everything is written: keys, manifest, consents, outputs and receipts.
        show: Told what happens.
        image: A development image, for a guest in a machine of its own; None for one in a process.

    Raises:
        TwoCvmError: Something was refused that should have held.
    """
    prepared = prepare(folder, show, measurement=measure_installed() if image is None else image.software)
    with _guest(prepared, image, folder / "guest.log") as guest:
        return play(guest, prepared, show)


def play(guest: GuestProcess | GuestMachine, prepared: Prepared, show: Show) -> Summary:
    """Play the demo with a guest that was started; as `run_demo`."""
    with show.phase(f"a guest starts, in {guest.kind}"):
        serving = guest.wait_ready()
        show.line(f"{serving.platform} platform, process {guest.pid}, {serving.url}")
        for warning in guest.warnings():
            show.line(warning, style="yellow")
    beliefs = Beliefs(
        manifest=prepared.manifest,
        policy=prepared.policy,
        roots=simulated_roots(prepared.root_file.read_bytes()),
        crls=REQUIRE,
    )
    return _Run(guest=guest, url=serving.url, prepared=prepared, beliefs=beliefs, show=show).play()


def _guest(prepared: Prepared, image: ImageFolder | None, log: Path) -> GuestProcess | GuestMachine:
    if image is None:
        return GuestProcess(manifest=prepared.manifest_file, root=prepared.root_file, log=log)
    return GuestMachine(image, root=prepared.root_file, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One guest, and everybody who has to do with it."""

    guest: GuestProcess | GuestMachine
    url: str
    prepared: Prepared
    beliefs: Beliefs
    show: Show

    def play(self) -> Summary:
        """Take the guest from its lock to its end."""
        self._lock()
        members = self._connect()
        self._join_and_release(members)
        outcome, received = self._run(members)
        refused = self._ask_for_others(members)
        self._judge_receipts(members)
        self._leave(members)
        evaluation = next(each.file for each in received if each.output == "evaluation")
        return Summary(
            manifest_hash=self.beliefs.manifest.hash,
            report_id=members[0].session.proof.report_id,
            outcome=outcome,
            reaches=tuple(reaches(self.beliefs.manifest)),
            received=received,
            refused=refused,
            receipts=tuple(member.name for member in members),
            evaluation=json.loads(evaluation.read_bytes()),
            unchecked=_unchecked(members[0].session.proof),
            warnings=self.guest.warnings(),
            phases=self.show.phases,
        )

    def _lock(self) -> None:
        with self.show.phase("it is locked to the manifest, for its whole life"):
            proof = lock(
                self.url,
                manifest=self.beliefs.manifest,
                consents=self.prepared.consents,
                policy=self.beliefs.policy,
                identity=self.prepared.identities[CAST[0].name],
                roots=self.beliefs.roots,
                crls=self.beliefs.crls,
            )
            self.show.line(f"with three consents; launch {proof.report_id.hex()[:32]}... proves it in a new report")

    def _connect(self) -> tuple[Member, ...]:
        def connect(role: Role) -> Member:
            folder = self.prepared.folder / "received" / role.name
            folder.mkdir(parents=True)
            member = Member.connect(
                self.url,
                identity=self.prepared.identities[role.name],
                items=role.items(self.prepared.demo),
                folder=folder,
                beliefs=self.beliefs,
            )
            self.show.says(role.name, _proven(member.session.proof))
            return member

        with self.show.phase("each verifies the guest, on its own connection"):
            members = together(CAST, connect, otherwise=self.guest.stop)
            for unchecked in _unchecked(members[0].session.proof):
                self.show.line(f"not checked: {unchecked}", style="yellow")
            return members

    def _join_and_release(self, members: tuple[Member, ...]) -> None:
        with self.show.phase("each commits to its items, and joins"):
            for member in members:
                if (notice := member.session.notice) is not None:
                    self.show.says(
                        member.name, f"knows: the host can recover much of {' and '.join(notice.components)}"
                    )
            self._all(members, Member.join)
            for member in members:
                self.show.says(member.name, f"signed a go for this guest: {', '.join(member.items)}")
        with self.show.phase("each sees everybody's go, and releases"), self.show.transfers() as transfers:
            rosters = self._all(members, lambda member: member.release(transfers.of(member.name)))
        (digest,) = {roster.digest.hex() for roster in rosters}
        self.show.line(f"all three saw the same roster, {digest[:32]}...")

    def _run(self, members: tuple[Member, ...]) -> tuple[str, tuple[Received, ...]]:
        with self.show.phase("the components run, once, in workers of their own"):
            (outcome,) = set(self._all(members, Member.wait_for_end))
            self.show.line(f"{outcome}: {', then '.join(node.name for node in nodes(self.beliefs.manifest))}")
        with self.show.phase("each takes the outputs that are its own"):
            received = tuple(one for each in self._all(members, Member.receive) for one in each)
            for one in received:
                self.show.says(one.recipient, f"has {one.output}, {one.size_bytes} bytes, as its receipt says")
        return outcome, received

    def _ask_for_others(self, members: tuple[Member, ...]) -> tuple[Refused, ...]:
        with self.show.phase("each asks for outputs that are not its own"):
            refused = [one for each in self._all(members, Member.ask_for_others) for one in each]
            refused += ask_as_stranger(self.url, self.prepared.stranger, self.beliefs)
            for one in refused:
                self.show.says(one.who, f"asks for {one.output}: refused, {one.code}")
        return tuple(refused)

    def _judge_receipts(self, members: tuple[Member, ...]) -> None:
        with self.show.phase("each judges its receipt from the file alone"):
            for member, verified in zip(members, self._all(members, Member.judge_receipt), strict=True):
                self.show.says(
                    member.name, f"receipt holds: {verified.body.outcome}, {verified.body.log.events} events"
                )

    def _leave(self, members: tuple[Member, ...]) -> None:
        with self.show.phase("everything has arrived, and the guest wipes itself"):
            self._all(members, Member.leave)
            status = self.guest.wait_ended(_END_SECONDS)
            self.show.line(self.guest.ending if status == 0 else f"the guest ended with {status}")

    def _all(self, members: tuple[Member, ...], work: Callable[[Member], _R]) -> tuple[_R, ...]:
        return together(members, work, otherwise=self.guest.stop)


def _proven(proof: ChannelProof) -> str:
    counted = Counter(check.status for check in proof.appraisal.checks)
    secure = "secure" if proof.appraisal.secure else "NOT SECURE, simulated platform"
    return (
        f"{counted[Status.PASS]} checks pass, none fails, {counted[Status.SKIP]} are not asked for; "
        f"verdict {proof.appraisal.verdict}, {secure}"
    )


def _unchecked(proof: ChannelProof) -> tuple[str, ...]:
    """Return what was left out although a release needs it, and what was warned of, with the reasons."""
    return tuple(
        f"{check.id}: {check.detail}"
        for check in proof.appraisal.checks
        if check.status is Status.WARN or (check.status is Status.SKIP and check.id == REVOCATION)
    )
