"""The lock, and fetching what it names."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from twocvm_guest.image import packages, recipe
from twocvm_guest.image.lock import DEBIAN, SCHEMA, Lock, Package, Wheel, load_lock, parse_packages, parse_wheels
from twocvm_guest.main import run
from twocvm_verifier.errors import BindingError, FetchError, MalformedError

ROW = {
    "name": "a",
    "version": "1",
    "archive": "debian",
    "path": "pool/main/a/a/a_1_amd64.deb",
    "size": 4,
    "sha256": hashlib.sha256(b"file").hexdigest(),
}


def written(**changes: object) -> bytes:
    """A lock of one package, with changes."""
    return json.dumps({"schema": SCHEMA, "packages": [{**ROW, **changes}]}).encode()


def one() -> Lock:
    """A lock of one package."""
    return Lock(packages=parse_packages(written()), wheels=())


def test_lock_that_ships_has_everything_that_the_recipe_takes() -> None:
    """Every package of the recipe is locked, and no other."""
    names = {package.name for package in load_lock().packages}
    assert names == {recipe.KERNEL, *recipe.TAKEN, *recipe.TOOLS}


def test_lock_leaves_no_choice() -> None:
    """Of each wheel one file is locked: a genuine one for another machine, in the cache of a build, is not taken."""
    assert all(len(wheel.sha256) == 1 for wheel in load_lock().wheels)


def test_locked_wheels_are_those_of_the_locked_requirements() -> None:
    """Each version and digest is one that the guest is installed with everywhere else; nothing of services is."""
    run = Path("requirements/run.txt").read_text(encoding="utf-8")
    for wheel in load_lock().wheels:
        section = re.search(rf"^{wheel.name}=={re.escape(wheel.version)} .*?(?=^\S)", run, re.M | re.S)
        assert section
        assert all(digest.hex() in section.group() for digest in wheel.sha256)
    assert {"redis", "jinja2", "hatchling", "pip"}.isdisjoint(wheel.name for wheel in load_lock().wheels)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"schema": "twocvm/image-lock/v1", "packages": []}',
        written(path="../etc/a.deb"),
        written(path="pool/a/../../a.deb"),
        written(path="https://elsewhere/a.deb"),
        written(archive="ubuntu"),
        written(sha256="00"),
        written(size=-1),
        written(extra=1),
    ],
)
def test_other_locks_are_refused(raw: bytes) -> None:
    """What is no lock, or leads out of an archive, is malformed."""
    with pytest.raises(MalformedError) as refused:
        parse_packages(raw)
    assert refused.value.code == "MALFORMED_IMAGE_LOCK"


@pytest.mark.parametrize("text", ["", "a==1\n", "a==1 \\\n    --hash=sha256:00\n", "--index-url x\n"])
def test_other_lists_of_wheels_are_refused(text: str) -> None:
    """What is not a version with its digests is malformed, an address among them too."""
    with pytest.raises(MalformedError):
        parse_wheels(text)


def test_packages_are_fetched_once(tmp_path: Path) -> None:
    """The first mirror that has a package is asked, and what is at hand is not fetched again."""
    asked: list[str] = []

    def get(address: str, _: int) -> bytes | None:
        asked.append(address)
        return b"file" if "second" in address else None

    lock = one()
    for _ in range(2):
        found = packages.fetch_packages(lock, tmp_path, mirrors=("http://first", "http://second"), get=get)
        assert found == {"a": b"file"}
    assert asked == [f"http://{name}/debian/pool/main/a/a/a_1_amd64.deb" for name in ("first", "second")]


def test_another_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    """A mirror with other bytes ends it; a file of other bytes at hand is fetched again."""
    (tmp_path / "a_1_amd64.deb").write_bytes(b"evil")
    with pytest.raises(BindingError) as refused:
        packages.fetch_packages(one(), tmp_path, mirrors=("http://m",), get=lambda *_: b"liar")
    assert refused.value.code == "PACKAGE_DIFFERS"
    with pytest.raises(FetchError) as absent:
        packages.fetch_packages(one(), tmp_path, mirrors=("http://m",), get=lambda *_: None)
    assert absent.value.code == "PACKAGE_NOT_FOUND"


class Mirror(BaseHTTPRequestHandler):
    """Has a package of four bytes, one that never ends, and one that breaks off."""

    def do_GET(self) -> None:
        """Answer by the path."""
        if "absent" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if "endless" not in self.path:
            self.send_header("Content-Length", "8" if "short" in self.path else "4")
            self.end_headers()
            self.wfile.write(b"file")
            return
        self.end_headers()
        # Until nobody reads it any more.
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror() -> Iterator[str]:
    """The address of a mirror here."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_answer_is_read_as_far_as_the_lock_says(mirror: str, tmp_path: Path) -> None:
    """What goes on behind a package's last byte, for ever it may be, is another file; what breaks off is none."""
    assert packages.get(f"{mirror}/whole", 4) == b"file"
    assert packages.get(f"{mirror}/whole", 3) == b"file"
    assert packages.get(f"{mirror}/endless", 5) == bytes(6)
    assert packages.get(f"{mirror}/absent", 4) is None
    with pytest.raises(OSError, match="IncompleteRead"):
        packages.get(f"{mirror}/short", 8)
    with pytest.raises(BindingError) as refused:
        packages.fetch_packages(one(), tmp_path, mirrors=(f"{mirror}/endless",), get=packages.get)
    assert refused.value.code == "PACKAGE_DIFFERS"
    assert packages.fetch_packages(one(), tmp_path, mirrors=(mirror,), get=packages.get) == {"a": b"file"}


def test_mirrors_are_the_machines_own_and_then_debians(tmp_path: Path) -> None:
    """Both forms of apt's sources are read, comments are not, and Debian's own mirror comes last."""
    (tmp_path / "sources.list").write_text("deb http://here.example/debian bookworm main\n# deb http://old/debian x\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "d.sources").write_text("Types: deb\nURIs: http://two.example/debian-security\n")
    assert packages.mirrors(tmp_path) == ("http://here.example", "http://two.example", packages.DEFAULT_MIRROR)
    assert packages.mirrors(tmp_path / "none") == (packages.DEFAULT_MIRROR,)


def test_what_cannot_be_reached_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    """A refused connection and what is no address say nothing about a package, and the refusal says so."""

    def get(address: str, size: int) -> bytes | None:
        return None if "empty" in address else packages.get(address, size)

    with pytest.raises(FetchError) as refused:
        packages.fetch_packages(one(), tmp_path, mirrors=("http://127.0.0.1:1", "m", "http://empty"), get=get)
    assert "http://127.0.0.1:1 cannot be reached, m cannot be reached, http://empty has it not" in str(refused.value)


def test_wheels_at_hand_are_taken_by_their_digest(tmp_path: Path) -> None:
    """A file's name says nothing, its digest does."""
    (tmp_path / "whatever.whl").write_bytes(b"wheel")
    (tmp_path / "other.whl").write_bytes(b"other")
    wheel = Wheel(name="a", version="1", sha256=frozenset({hashlib.sha256(b"wheel").digest()}))
    assert packages.fetch_wheels(Lock(packages=(), wheels=(wheel,)), tmp_path) == {wheel: b"wheel"}


def test_wheel_that_pip_cannot_get_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pip reaches no index, the refusal has its last words."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    wheel = Wheel(name="a", version="1", sha256=frozenset({bytes(32)}))
    with pytest.raises(FetchError) as refused:
        packages.fetch_wheels(Lock(packages=(), wheels=(wheel,)), tmp_path)
    assert refused.value.code == "PACKAGE_NOT_FOUND"


def test_lock_is_written_as_it_is_read() -> None:
    """The file that ships is what its own parser takes, and names no host."""
    assert all(isinstance(package, Package) for package in parse_packages(DEBIAN.read_bytes()))
    assert b"http" not in DEBIAN.read_bytes()


@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_build_that_could_not_be_kept_is_not_begun(option: str, tmp_path: Path) -> None:
    """A file in the place of a folder is a usage error, before anything is fetched."""
    (tmp_path / "file").write_bytes(b"")
    folders = {"--out": "out", "--cache": "cache"} | {option: "file"}
    words = [word for name, place in folders.items() for word in (name, str(tmp_path / place))]
    assert run(["image", "build", "--mirror", "http://127.0.0.1:1", *words]) == 2


def test_a_file_is_no_image(tmp_path: Path) -> None:
    """Whoever names a file of the image instead of its folder is told so."""
    (tmp_path / "kernel").write_bytes(b"")
    assert run(["image", "list", str(tmp_path / "kernel")]) == 30
