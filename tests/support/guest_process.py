"""A guest as people start it: `twocvm guest serve` in a process of its own, with real components in real workers.

    with GuestProcess(folder) as guest:                       # the command, its JSON line read
        world = acting_world(guest.measurement, commands=["loop"])
        side = guest.side(world)                              # lock, join and release as its participants
        side.released()
        guest.kill()

Components are the scripted one of `tests.support.actor`; each has its commands in an item of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.actor import ACTOR, ACTOR_IMPORTS, RUN
from tests.support.attested_guest import NO_CRL, policy
from tests.support.guest import ANYBODY, Client, identity_of
from tests.support.manifests import Document, World
from tests.support.processes import uncounted

from twocvm_sdk.connection import AttestedConnection
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.ratls.proof import Expectation
from twocvm_verifier.snp.roots import simulated_roots
from twocvm_verifier.verifier import SnpVerifier

COMMAND: Final = (sys.executable, "-c", "from twocvm_guest.main import main; main()")
PATIENCE_SECONDS: Final = 60.0


def acting_world(
    measurement: bytes,
    *,
    commands: Sequence[str],
    participants: int = 3,
    items: int | None = None,
    components: int = 1,
    secret: bytes = b"",
    wall_seconds: int = 10,
    deadline_seconds: int = 3600,
) -> World:
    """Return a world whose components are scripted actors in a chain; the last one writes both outputs.

    Args:
        measurement: Of the guest that is to be locked.
        commands: What the first component does before it reports.
        participants: How many.
        items: How many data items beside the scripts.
        components: How many.
        secret: What the first item holds; its name where nothing is said.
        wall_seconds: Of each component.
        deadline_seconds: Of the manifest.
    """
    names = [f"step-{index}" for index in range(components)]

    def edit(document: Document) -> None:
        document["not_after"] = "2199-01-01T00:00:00Z"
        document["rules"]["deadline_seconds"] = deadline_seconds
        owner = document["participants"][0]["name"]
        for component in document["components"]:
            component |= {"imports": list(ACTOR_IMPORTS), "exports": [RUN], "entry": RUN}
            component["limits"]["wall_seconds"] = wall_seconds
        for channel in document["channels"]:
            channel["from"] = channel["from"].replace(".next", ".report")
        for name in names:
            script = {"name": f"script-{name}", "owner": owner, "media_type": "text/plain", "max_bytes": 4096}
            document["data"].append(script)
            target = f"component:{name}.script"
            document["channels"].append(
                {"from": f"data:script-{name}", "to": target, "kind": "file", "max_bytes": 4096}
            )
        for output in document["outputs"]:
            output["from"] = output["from"].replace(".model", ".report")

    contents = {f"script-{name}": b"read /in/script/data\n" for name in names}
    contents["script-step-0"] = "\n".join(commands).encode()
    # The last one: what came down the chain, and the second output.
    contents[f"script-{names[-1]}"] += b"\nread /in/previous/data" * (components > 1)
    contents[f"script-{names[-1]}"] += b"\nwrite /out/evaluation/data 7"
    if secret:
        contents["records-a"] = secret
    return World(
        participants=participants,
        items=items,
        components=components,
        component_files=dict.fromkeys(names, ACTOR),
        contents=contents,
        measurement=measurement,
        edit=edit,
    )


class GuestProcess:
    """`twocvm guest serve --platform simulated` for the length of a `with`.

    Args:
        folder: Where it may write, also as its temporary folder; the root goes there.
        manifest: Launched with it, so born locked.
    """

    def __init__(self, folder: Path, *, manifest: bytes | None = None) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        self._root = folder / "root.pem"
        self._arguments = ["--simulated-root-out", str(self._root), "-o", "json"]
        if manifest is not None:
            (folder / "manifest.json").write_bytes(manifest)
            self._arguments += ["--manifest", str(folder / "manifest.json")]
        self.facts: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [*COMMAND, "guest", "serve", "--platform", "simulated", "--listen", "127.0.0.1:0", *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**uncounted(), "TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder)},
        )
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise RuntimeError(f"the guest did not start: {self.process.communicate()[1].decode()}")
        self.facts = json.loads(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @property
    def measurement(self) -> bytes:
        """What the guest printed as its MEASUREMENT."""
        return bytes.fromhex(self.facts["measurement"])

    def side(self, world: World) -> Side:
        """Return the participants' side of a session in this guest."""
        return Side(self, world)

    def memory_files(self) -> set[str]:
        """Return the names of the memory files that the guest holds."""
        found = set()
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(entry))
        return {link.removeprefix("/memfd:") for link in found if link.startswith("/memfd:")}

    def workers(self) -> set[int]:
        """Return the processes that the guest has started, and that these have."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        found: set[int] = set()
        edge = {self.process.pid}
        while edge:
            edge = {child for child, parent in parents.items() if parent in edge} - found
            found |= edge
        return found

    def busy_workers(self) -> set[int]:
        """Wait until a run has workers, and return them."""
        last = time.monotonic() + PATIENCE_SECONDS
        while not (found := self.workers()):
            if time.monotonic() > last:
                raise TimeoutError("the guest has no workers")
            time.sleep(0.01)
        return found

    def kill(self) -> None:
        """Kill the guest without a word."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def terminate(self) -> int:
        """Tell the guest to stop, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def root(self) -> bytes:
        """Return the simulated root that the guest wrote."""
        return self._root.read_bytes()


class Side:
    """All participants of one world, at one guest process."""

    def __init__(self, guest: GuestProcess, world: World) -> None:
        self.guest, self.world = guest, world
        self._verifier = SnpVerifier(roots=simulated_roots(guest.root()), crls=NO_CRL)

    def connect(self, name: str = ANYBODY, *, unlocked_ok: bool = False) -> Client:
        """Return a client of a participant's."""
        connection = AttestedConnection.open(
            self.guest.facts["listen"],
            expectation=Expectation(
                manifest=self.world.manifest, policy=policy(), verifier=self._verifier, unlocked_ok=unlocked_ok
            ),
            identity=identity_of(name) if name else None,
            clock=SystemClock(),
            randomness=secrets.token_bytes,
        )
        return Client(self, connection, name)  # type: ignore[arg-type]

    def released(self) -> None:
        """Lock, join and release as everybody."""
        with self.connect(unlocked_ok=True) as client:
            client.accepted(client.put_manifest())
        self.joined_and_released()

    def joined_and_released(self) -> None:
        """Join and release as everybody."""
        for step in (Client.join, Client.upload_all):
            for name in self.world.names:
                with self.connect(name) as client:
                    step(client)

    def wait_for(self, *states: str) -> str:
        """Wait until the session is in one of `states`, and return it."""
        with self.connect() as client:
            return client.wait_for(*states, seconds=PATIENCE_SECONDS)


def files_with(secret: bytes, *folders: Path) -> list[Path]:
    """Return the files in `folders` that hold `secret`."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and not path.is_symlink() and secret in path.read_bytes():
                    found.append(path)
            except OSError:
                continue
    return found


def gone(processes: set[int]) -> bool:
    """Wait until none of `processes` is alive, and return whether that came about."""
    last = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < last:
        alive = [pid for pid in processes if _state(pid) not in {"", "Z", "X"}]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
