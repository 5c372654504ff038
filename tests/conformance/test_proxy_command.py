"""`twocvm proxy`, as a process, with real tools in front of it and a live guest behind it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import requests
from tests.support.guest import LiveGuest
from tests.support.manifests import World, set_at
from tests.support.sides import sides

from twocvm_guest.main import run

POLICY = 'name = "test"\nmax_crl_age_seconds = { unchecked = "these tests have no revocation list" }\n'
NAME = "hospital-a"


def _long_lived(document) -> None:
    # Commands judge by the machine's own clock.
    set_at(document, "/not_after", "2100-01-01T00:00:00Z")


@dataclass(kw_only=True)
class Started:
    """A proxy's process.

    Attributes:
        url: What it printed.
        process: It.
    """

    url: str
    process: subprocess.Popen[str]

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Interrupt it, and return its exit status and what it said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@dataclass(kw_only=True)
class Scene:
    """A locked guest, and one participant's files."""

    guest: LiveGuest
    folder: Path

    def words(self, *, listen: str, identity: bool, more: tuple[str, ...] = ()) -> list[str]:
        """Return the words of the command."""
        files = {"manifest": "manifest.json", "policy": "policy.toml", "simulated-root": "root.pem"}
        options = files | ({"identity": NAME} if identity else {})
        named = [word for option, file in options.items() for word in (f"--{option}", str(self.folder / file))]
        return ["proxy", self.guest.url, "--listen", listen, *named, *more]

    @contextmanager
    def proxy(
        self, *, listen: str = "127.0.0.1:0", identity: bool = False, more: tuple[str, ...] = ()
    ) -> Iterator[Started]:
        """Run the command for the length of a `with`."""
        words = self.words(listen=listen, identity=identity, more=more)
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        with subprocess.Popen(
            [sys.executable, "-c", "from twocvm_guest.main import main; main()", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            try:
                assert process.stdout is not None
                yield Started(url=process.stdout.readline().strip(), process=process)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A guest that is locked to a manifest which is in force now."""
    folder = tmp_path_factory.mktemp("proxy")
    with LiveGuest(World(edit=_long_lived)) as guest:
        guest.lock()
        sides(guest, folder)
        (folder / "manifest.json").write_bytes(guest.world.raw)
        (folder / "policy.toml").write_text(POLICY)
        (folder / "root.pem").write_bytes(guest.platform.root_pem)
        yield Scene(guest=guest, folder=folder)


def _curl(*words: str) -> subprocess.CompletedProcess[str]:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    return subprocess.run(
        [curl, "--silent", "--show-error", "--max-time", "20", *words], capture_output=True, text=True, check=False
    )


def test_python_tools_without_an_identity(scene: Scene) -> None:
    """Any HTTP library talks to the guest; without an identity as nobody. Ctrl-C ends it in peace."""
    with scene.proxy() as started:
        assert started.url.startswith("http://127.0.0.1:")
        assert requests.get(started.url + "/v1/session", timeout=10).json() == {"state": "locked"}
        assert httpx2.get(started.url + "/v1/session", trust_env=False).json() == {"state": "locked"}
        denied = requests.get(started.url + "/v1/manifest", timeout=10)
        assert (denied.status_code, denied.json()["code"]) == (401, "CLIENT_CERTIFICATE_REQUIRED")
        status, said = started.end()
    assert status == 0
    assert "channel: warning (simulated, NOT SECURE)" in said
    assert "connected to instance" in said


def test_curl_with_an_identity_and_a_secret(scene: Scene) -> None:
    """With curl one acts as the participant once it shows the secret, read from a file; without it, not at all."""
    secret, config = scene.folder / "secret", scene.folder / "curl.conf"
    with scene.proxy(identity=True, more=("--secret", str(secret))) as started:
        config.write_text(f'header = "Authorization: Bearer {secret.read_text().strip()}"\n')
        shown = _curl("--config", str(config), started.url + "/v1/manifest")
        assert json.loads(shown.stdout)["manifest"]["name"] == scene.guest.world.manifest.name
        refused = _curl(started.url + "/v1/manifest")
        assert json.loads(refused.stdout)["code"] == "PROXY_SECRET"
        status, said = started.end(signal.SIGTERM)
    assert status == 0
    assert secret.read_text().strip() not in said


def test_curl_over_a_socket_file(scene: Scene, tmp_path: Path) -> None:
    """Over a socket file, which is this user's alone, curl acts as the participant without a secret."""
    path = tmp_path / "socket"
    with scene.proxy(listen=f"unix:{path}", identity=True) as started:
        assert started.url == f"unix:{path}"
        shown = _curl("--unix-socket", str(path), "http://guest/v1/log")
        assert len(json.loads(shown.stdout)["events"]) >= 2
        big = tmp_path / "big"
        big.write_bytes(bytes(3_000_000))
        sent = _curl("--unix-socket", str(path), "--upload-file", str(big), "http://guest/v1/artifacts/records-b")
        # The guest's own answer: an item needs its Content-Digest.
        assert json.loads(sent.stdout)["code"] == "MALFORMED_REQUEST"
        assert started.end()[0] == 0
    assert not path.exists()


def test_what_the_command_does_not_do(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not listen for others, nor act for a participant without telling users apart; each is a usage error."""
    assert run(scene.words(listen="0.0.0.0:0", identity=False)) == 2
    assert run(scene.words(listen="127.0.0.1:0", identity=True)) == 2
    assert "everybody on this machine" in capsys.readouterr().err
    assert run(scene.words(listen=f"unix:{tmp_path}", identity=False)) == 2
    assert run(scene.words(listen="127.0.0.1:0", identity=True, more=("--secret", str(tmp_path / "none" / "x")))) == 2
    words = scene.words(listen="127.0.0.1:0", identity=False)
    words[1] = "http://127.0.0.1:1"
    assert run(words) == 2


def test_a_guest_that_is_not_proven_ends_the_command(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing listens for a guest that does not prove itself: the command ends with the refusal."""
    words = scene.words(listen="127.0.0.1:0", identity=False)
    cut = words.index("--simulated-root")
    del words[cut : cut + 2]
    assert run(words) in {10, 11, 30}
    assert "listening" not in capsys.readouterr().out
    unreachable = scene.words(listen="127.0.0.1:0", identity=False)
    unreachable[1] = "https://127.0.0.1:1"
    assert run(unreachable) == 40
