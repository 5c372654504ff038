"""MEASUREMENT of the simulated platform."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from twocvm_guest.platforms.measure import (
    PACKAGES,
    _folder,
    installed_folders,
    measure,
    measure_installed,
    read_files,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a package of three files."""
    for name, content in {"a.py": b"a", "sub/b.py": b"b", "py.typed": b""}.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "package"


def test_it_is_the_one_of_the_specification(folder: Path) -> None:
    """SHA-384 over label, zero byte, and the JCS of the sorted pairs of path and SHA-256."""
    files = {"p/a.py": b"a", "p/py.typed": b"", "p/sub/b.py": b"b"}
    pairs = [[path, hashlib.sha256(content).hexdigest()] for path, content in sorted(files.items())]
    listed = json.dumps(pairs, separators=(",", ":")).encode()
    assert measure({"p": folder}) == hashlib.sha384(b"2cvm.simulated.v1\x00" + listed).digest()


def test_any_change_changes_it(folder: Path) -> None:
    """Another byte, another name, another file or one less is another measurement."""
    seen = [measure({"p": folder})]
    (folder / "a.py").write_bytes(b"A")
    seen.append(measure({"p": folder}))
    (folder / "a.py").rename(folder / "c.py")
    seen.append(measure({"p": folder}))
    (folder / "data.bin").write_bytes(b"")
    seen.append(measure({"p": folder}))
    (folder / "data.bin").unlink()
    (folder / "c.py").unlink()
    seen.append(measure({"p": folder}))
    seen.append(measure({"q": folder}))
    assert len(set(seen)) == len(seen)


def test_caches_do_not_change_it(folder: Path) -> None:
    """What the interpreter compiles beside the sources does not count."""
    before = measure({"p": folder})
    (folder / "sub" / "__pycache__").mkdir()
    (folder / "sub" / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"\x00")
    assert measure({"p": folder}) == before


def test_what_tools_leave_does_not_change_it(folder: Path) -> None:
    """Files and folders that begin with a dot do not count."""
    before = measure({"p": folder})
    (folder / ".cache").mkdir()
    (folder / ".cache" / "a.db").write_bytes(b"x")
    (folder / "sub" / ".b.swp").write_bytes(b"x")
    assert measure({"p": folder}) == before


def test_examples_do_not_change_it(folder: Path) -> None:
    """What a wheel carries along beside the code, and a checkout does not, does not count."""
    before = measure({"p": folder})
    (folder / "_examples" / "demo").mkdir(parents=True)
    (folder / "_examples" / "demo" / "manifest.toml").write_bytes(b"x")
    assert measure({"p": folder}) == before


def test_a_wheel_has_the_files_of_a_checkout(tmp_path: Path) -> None:
    """Installed in place or from a wheel, a version is the same files: the same measurement, and the same image."""
    root = Path(__file__).parents[3]
    words = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(words, cwd=root, check=True, capture_output=True, timeout=100)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    assert read_files({name: tmp_path / "installed" / name for name in PACKAGES}) == read_files(installed_folders())


def test_the_order_of_folders_does_not_change_it(folder: Path) -> None:
    """Packages may be named in any order."""
    assert measure({"p": folder, "q": folder}) == measure({"q": folder, "p": folder})


def test_the_installed_packages_have_one() -> None:
    """The four packages are found where they are installed, and measure the same twice."""
    assert len(PACKAGES) == 4
    assert measure_installed() == measure_installed() != hashlib.sha384().digest()
    assert len(measure_installed()) == 48


def test_what_is_not_installed_is_not_measured() -> None:
    """A package that cannot be found as files is a broken installation, never an empty measurement."""
    with pytest.raises(RuntimeError, match="twocvm_nothing"):
        _folder("twocvm_nothing")
