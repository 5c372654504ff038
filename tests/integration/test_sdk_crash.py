"""A participant's process killed at any step: another one goes on, on one go, and nothing is released twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.manifests import World
from tests.support.sides import sides
from tests.support.tampering import LyingGuest

from twocvm_sdk.ledger import Ledger

# Another process of the same participant: it believes what this test believes, and releases.
_RELEASE = """
import signal, os, sys
from pathlib import Path
from tests.support.attested_guest import NO_CRL, policy
from tests.support.sdk import StandingClock
from twocvm_sdk import Identity, Participant, release
from twocvm_verifier.manifest import parse_manifest
from twocvm_verifier.snp.roots import simulated_roots

url, folder, moment = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "before the signature":
    release.sign_go = die
if moment == "in the middle of the item":
    progress = lambda name, sent, total: die() if sent else None
elif moment == "before the item":
    progress = die
else:
    progress = release.silent
manifest = parse_manifest((folder / "manifest").read_bytes())
roots = simulated_roots((folder / "root").read_bytes())
me = Identity.load(folder / "hospital-a")
with Participant.connect(url, manifest=manifest, policy=policy(), identity=me, roots=roots, crls=NO_CRL,
                         clock=StandingClock()) as session:
    session.release({"records-a": folder / "hospital-a.files" / "records-a"}, progress=progress)
"""

MOMENTS = {
    "before the signature": None,
    "when the go has arrived": "/v1/join",
    "before the item": None,
    "in the middle of the item": None,
    "when the item has arrived": "/v1/artifacts/records-a",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_process_goes_on(tmp_path: Path, moment: str) -> None:
    """Killed with SIGKILL anywhere, the release is ended by the next process, with the same go and the same item."""
    content = {"records-a": bytes(600_000)}
    with LyingGuest(World(contents=content)) as guest:
        guest.lock()
        everybody = sides(guest, tmp_path)
        for name in ("hospital-b", "analytics"):
            with everybody[name].connect() as session:
                session.join(everybody[name].files)
        (tmp_path / "manifest").write_bytes(guest.world.raw)
        (tmp_path / "root").write_bytes(guest.platform.root_pem)
        command = [sys.executable, "-c", _RELEASE, guest.url, str(tmp_path), moment]
        victim = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
        if (path := MOMENTS[moment]) is not None:
            guest.hooks[path] = lambda: os.kill(victim.pid, signal.SIGKILL)
        assert victim.stderr is not None
        _, said = victim.communicate(timeout=60)
        assert victim.returncode == -signal.SIGKILL, said.decode()
        guest.hooks.clear()
        for name in ("hospital-a", "hospital-b", "analytics"):
            everybody[name].release()
        assert guest.wait_for("completed") == "completed"
        assert guest.workers.seen["records-a"] == content["records-a"]
        assert guest.count("POST /v1/join") == 3 or moment == "when the go has arrived"
    side = everybody["hospital-a"]
    ledger = Ledger(
        folder=side.identity.ledger_folder, manifest_hash=guest.world.manifest.hash, participant="hospital-a"
    )
    assert len(ledger.goes()) == 1
