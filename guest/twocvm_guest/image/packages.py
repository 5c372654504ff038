"""Fetches what the lock names, and believes nothing but its digests.

Files that are at hand are not fetched again. Debian's come from the mirror that the machine itself uses, else from
Debian's own; the index of Python packages is the one that pip is set up for.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from twocvm_verifier.errors import BindingError, FetchError

from .lock import WHEELS, Lock, Package, Wheel

DEFAULT_MIRROR: Final = "https://deb.debian.org"
_SOURCES: Final = Path("/etc/apt")
_ADDRESS: Final = re.compile(r"(https?://[^\s\]]+?)/(debian|debian-security)/?(?=\s|$)")
_TIMEOUT_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16
# What wheels may be built for, to run with Debian 12's C library (2.36) and Python 3.11.
_PLATFORMS: Final = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
_LEGACY: Final = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")

Get = Callable[[str, int], bytes | None]
"""Takes an address and a length in bytes, and returns what is there, or None; of what is longer, one byte too many.
OSError where it cannot be reached."""


def mirrors(folder: Path = _SOURCES) -> tuple[str, ...]:
    """Return where Debian's archives may be had: what this machine is set up for, then Debian's own mirror.

    Args:
        folder: Of apt's settings.
    """
    files = (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*")))
    lines = (line for file in files if file.is_file() for line in file.read_text(errors="replace").splitlines())
    found = (match.group(1) for line in lines if not line.startswith("#") for match in _ADDRESS.finditer(line))
    return tuple(dict.fromkeys((*found, DEFAULT_MIRROR)))


def get(address: str, expected_bytes: int) -> bytes | None:
    """Return what an address has, or None where it has nothing.

    Args:
        address: Where.
        expected_bytes: How long it is; what is longer is cut off behind the byte that shows it.

    Raises:
        OSError: It cannot be reached, or is no address.
    """
    import requests

    headers = {"Accept-Encoding": "identity"}
    with requests.get(address, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as answer:
        if not answer.ok:
            return None
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > expected_bytes:
                break
    return bytes(body[: expected_bytes + 1])


def fetch_packages(lock: Lock, cache: Path, *, mirrors: Iterable[str], get: Get) -> dict[str, bytes]:
    """Return the locked Debian packages by name, from the cache or from the first mirror that has them.

    Args:
        lock: What is wanted.
        cache: Where fetched files are kept.
        mirrors: Addresses below which `debian` and `debian-security` lie.
        get: How something is fetched.

    Raises:
        FetchError: PACKAGE_NOT_FOUND; no mirror has one.
        BindingError: PACKAGE_DIFFERS; a mirror has another file in its place.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return {package.name: _package(package, cache, tuple(mirrors), get) for package in lock.packages}


def fetch_wheels(lock: Lock, cache: Path) -> dict[Wheel, bytes]:
    """Return the locked wheels, from the cache or through pip, which checks their digests as this does.

    Raises:
        FetchError: PACKAGE_NOT_FOUND; pip cannot get one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    found = dict(_cached(lock, cache))
    if len(found) < len(lock.wheels):
        _download(cache)
        found = dict(_cached(lock, cache))
    if missing := [wheel.origin for wheel in lock.wheels if wheel not in found]:
        raise FetchError("PACKAGE_NOT_FOUND", f"wheels: there is none with the locked digest of {', '.join(missing)}")
    return {wheel: found[wheel] for wheel in lock.wheels}


def _package(package: Package, cache: Path, mirrors: tuple[str, ...], get: Get) -> bytes:
    kept = cache / package.path.rpartition("/")[2]
    if kept.is_file() and _is(package, raw := kept.read_bytes()):
        return raw
    failed: list[str] = []
    for mirror in mirrors:
        try:
            fetched = get(f"{mirror}/{package.archive}/{package.path}", package.size)
        except OSError:
            failed.append(f"{mirror} cannot be reached")
            continue
        if fetched is None:
            failed.append(f"{mirror} has it not")
            continue
        if not _is(package, fetched):
            raise BindingError(
                "PACKAGE_DIFFERS", f"package {package.origin}: {mirror} has another file than the locked one"
            )
        kept.write_bytes(fetched)
        return fetched
    raise FetchError("PACKAGE_NOT_FOUND", f"package {package.origin}: {', '.join(failed)}")


def _is(package: Package, raw: bytes) -> bool:
    return len(raw) == package.size and hashlib.sha256(raw).digest() == package.sha256


def _cached(lock: Lock, cache: Path) -> Iterator[tuple[Wheel, bytes]]:
    wanted = {digest: wheel for wheel in lock.wheels for digest in wheel.sha256}
    for file in sorted(cache.glob("*.whl")):
        raw = file.read_bytes()
        if wheel := wanted.get(hashlib.sha256(raw).digest()):
            yield wheel, raw


def _download(cache: Path) -> None:
    platforms = (*(f"manylinux_{version}_x86_64" for version in _PLATFORMS), *_LEGACY)
    words = (
        *("-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp"),
        *(word for abi in ("cp311", "abi3", "none") for word in ("--abi", abi)),
        *(word for platform in platforms for word in ("--platform", platform)),
        *("--dest", str(cache), "--requirement", str(WHEELS)),
    )
    done = subprocess.run((sys.executable, *words), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise FetchError("PACKAGE_NOT_FOUND", f"wheels: pip ended with {done.returncode} and said {last!r:.300}")
