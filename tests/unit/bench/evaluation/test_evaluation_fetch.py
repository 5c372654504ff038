"""SQLite's sources are what they were, or there are none."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from bench.evaluation.memory import fetch
from bench.evaluation.model import MissingError


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/deps/sqlite3/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _expect(monkeypatch: pytest.MonkeyPatch, archive: Path, files: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fetch, "ARCHIVE_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(fetch, "FILES_SHA256", digests)


def test_only_what_is_locked_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two files come out, and nothing else that the archive has."""
    files = {"sqlite3.c": b"int x;", "sqlite3.h": b"extern int x;"}
    archive = _archive(tmp_path / "a.tgz", files | {"../../../../escaped": b"!"})
    _expect(monkeypatch, archive, files)
    fetch.extract(archive, tmp_path / "out")
    assert {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()} == files
    assert not list(tmp_path.rglob("escaped"))


def test_another_archive_is_refused(tmp_path: Path) -> None:
    """One bit more, and it is not the archive that it was."""
    with pytest.raises(MissingError, match="is not the archive"):
        fetch.extract(_archive(tmp_path / "a.tgz", {"sqlite3.c": b""}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file has its own digest."""
    archive = _archive(tmp_path / "a.tgz", {"sqlite3.c": b"changed"})
    _expect(monkeypatch, archive, {"sqlite3.c": b"int x;"})
    with pytest.raises(MissingError, match=r"sqlite3\.c is not what it was"):
        fetch.extract(archive, tmp_path / "out")


def test_what_cannot_be_fetched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leave to fetch, and without the program to fetch with, the reason is the column's."""
    monkeypatch.setattr(fetch, "BUILT", tmp_path)
    with pytest.raises(MissingError, match="not fetched yet"):
        fetch.sqlite(fetches=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="npm is not installed"):
        fetch.sqlite(fetches=True)
