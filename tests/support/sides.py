"""Participants on a live guest, each through its own SDK.

with LiveGuest(World()) as guest:
everybody = release_all(guest, tmp_path)          # identities, files, lock, join, roster, release
with everybody["analytics"].connect() as session:
session.output("model").read()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.attested_guest import NO_CRL, policy
from tests.support.guest import LiveGuest, file_of
from tests.support.sdk import StandingClock, identity_of

from twocvm_sdk import Identity, Participant, Session, lock
from twocvm_verifier.clock import Clock
from twocvm_verifier.ratls.proof import ChannelProof
from twocvm_verifier.snp.roots import simulated_roots


class Side:
    """One participant of a live guest's world, with what its SDK needs.

    Args:
        guest: The guest.
        name: The participant.
        folder: Where its identity and files go.
        clock: Judges its dates.
    """

    def __init__(self, guest: LiveGuest, name: str, folder: Path, *, clock: Clock | None = None) -> None:
        self.guest, self.name = guest, name
        self.world = guest.world
        self.clock = clock or StandingClock()
        place = folder / name
        self.identity = Identity.load(place) if place.exists() else identity_of(self.world.party(name), folder)
        self.files = self._write_files(folder / f"{name}.files")

    def connect(self, **changes: Any) -> Session:
        """Connect as this participant, with `changes` to the arguments."""
        return Participant.connect(**{"url": self.guest.url, **self.arguments, **changes})

    def lock(self, **changes: Any) -> ChannelProof:
        """Lock the guest as this participant, with `changes` to the arguments."""
        return lock(self.guest.url, **{"consents": self.world.consents(), **self.arguments, **changes})

    def release(self, **changes: Any) -> None:
        """Connect, release everything, and close."""
        with self.connect() as session:
            session.release(self.files, **{"wait_seconds": 20.0, **changes})

    @property
    def arguments(self) -> dict[str, Any]:
        """What every connection of this participant is made with."""
        return {
            "manifest": self.world.manifest,
            "policy": policy(),
            "identity": self.identity,
            "roots": simulated_roots(self.guest.platform.root_pem),
            "crls": NO_CRL,
            "clock": self.clock,
        }

    def _write_files(self, folder: Path) -> dict[str, Path]:
        folder.mkdir(exist_ok=True)
        manifest, files = self.world.manifest, {}
        for item in (*manifest.items_of(self.name), *manifest.components_of(self.name)):
            content = self.world.content.get(item.name)
            files[item.name] = folder / item.name
            files[item.name].write_bytes(file_of(self.world, item.name) if content is None else content)
        return files


def sides(guest: LiveGuest, folder: Path) -> dict[str, Side]:
    """Return everybody of a guest's world."""
    return {name: Side(guest, name, folder) for name in guest.world.names}


@contextmanager
def together(*acts: Callable[[], object]) -> Iterator[None]:
    """Run acts in threads for the length of a `with`, and raise the first failure of one at its end."""
    with ThreadPoolExecutor(len(acts)) as executor:
        running = [executor.submit(act) for act in acts]
        yield
        for each in running:
            each.result(30)


def release_all(guest: LiveGuest, folder: Path) -> dict[str, Side]:
    """Have everybody lock, join and release, and return them."""
    everybody = sides(guest, folder)
    everybody[guest.world.names[0]].lock()
    with together(*(side.release for side in everybody.values())):
        pass
    return everybody
