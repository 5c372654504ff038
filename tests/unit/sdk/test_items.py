"""What leaves is what was signed for: read once, hashed again on the way, never whole if it changed."""

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from tests.support.manifests import World

from twocvm_sdk.items import CHUNK_BYTES, Upload, read_items, require_names
from twocvm_verifier.errors import ReleaseError
from twocvm_verifier.manifest import Manifest

_CODE = b"\x00asm component"


def _manifest(max_bytes: int) -> Manifest:
    def edit(document) -> None:
        for place in (*document["data"], *document["channels"]):
            place["max_bytes"] = max_bytes

    return World(components=1, component_files={"step-0": _CODE}, edit=edit).manifest


@pytest.fixture
def manifest() -> Manifest:
    """A manifest with data of two owners and a component of a third."""
    return _manifest(4 * CHUNK_BYTES)


def _silent(name: str, sent: int, total: int) -> None:
    del name, sent, total


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "records.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_is_sent_is_what_was_read(tmp_path: Path, manifest, size: int) -> None:
    """An upload has the length and the bytes of the file, whatever its size, and says how far it is."""
    content = os.urandom(size)
    told: list[tuple[str, int, int]] = []
    with read_items({"records-a": _write(tmp_path, content)}, manifest=manifest) as items:
        item = items["records-a"]
        upload = Upload(item, progress=lambda *step: told.append(step))
        assert len(upload) == item.size_bytes == size
        assert b"".join(upload) == content
    assert item.sha256 == hashlib.sha256(content).digest()
    assert told[0] == ("records-a", 0, size)
    assert told[-1] == ("records-a", size, size)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"\xff" + raw[1:],
        lambda raw: raw[:-1] + b"\xff",
        lambda raw: raw[:-1],
        lambda raw: b"",
    ],
)
def test_a_file_that_changes_is_never_sent_whole(tmp_path: Path, manifest, change) -> None:
    """A file changed between reading and sending is refused before its last part is given out."""
    content = bytes(2 * CHUNK_BYTES + 5)
    path = _write(tmp_path, content)
    sent: list[int] = []
    with read_items({"records-a": path}, manifest=manifest) as items:
        path.write_bytes(change(content))
        upload = Upload(items["records-a"], progress=_silent)
        with pytest.raises(ReleaseError) as refused:
            sent.extend(map(len, upload))
    assert refused.value.code == "ITEM_CHANGED"
    assert sum(sent) < len(content)


def test_what_is_appended_is_not_sent(tmp_path: Path, manifest) -> None:
    """Bytes that were appended after the reading are nobody's item, and stay at home."""
    path = _write(tmp_path, b"signed for")
    with read_items({"records-a": path}, manifest=manifest) as items:
        path.write_bytes(b"signed for, and more")
        assert b"".join(Upload(items["records-a"], progress=_silent)) == b"signed for"


def test_a_file_put_in_its_place_is_not_sent(tmp_path: Path, manifest) -> None:
    """A file that is replaced by name is sent as it was read: it is opened once."""
    path = _write(tmp_path, b"signed for")
    with read_items({"records-a": path}, manifest=manifest) as items:
        (tmp_path / "other").write_bytes(b"swapped in")
        (tmp_path / "other").replace(path)
        assert b"".join(Upload(items["records-a"], progress=_silent)) == b"signed for"


def test_a_file_is_too_large_before_anything_is_signed(tmp_path: Path, manifest) -> None:
    """More than the manifest takes is refused while reading."""
    path = _write(tmp_path, bytes(4 * CHUNK_BYTES + 1))
    with pytest.raises(ReleaseError) as refused, read_items({"records-a": path}, manifest=manifest):
        pass
    assert refused.value.code == "ITEM_TOO_LARGE"


def test_a_component_is_the_one_in_the_manifest(tmp_path: Path, manifest) -> None:
    """A component's file has exactly the digest that all participants signed."""
    with read_items({"step-0": _write(tmp_path, _CODE)}, manifest=manifest) as items:
        assert items["step-0"].size_bytes == len(_CODE)
    with (
        pytest.raises(ReleaseError) as refused,
        read_items({"step-0": _write(tmp_path, _CODE + b"!")}, manifest=manifest),
    ):
        pass
    assert refused.value.code == "ITEM_COMMITMENT_MISMATCH"


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_a_plain_file_is_an_item(tmp_path: Path, manifest, kind: str) -> None:
    """What cannot be read twice from its beginning is refused at once."""
    path = tmp_path / "item"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ReleaseError) as refused, read_items({"records-a": path}, manifest=manifest):
        pass
    assert refused.value.code == "ITEM_UNREADABLE"


@pytest.mark.parametrize("names", [{"records-a", "records-b"}, {"records-a", "step-0"}, {"x"}, set()])
def test_a_participant_releases_exactly_its_own(manifest, names: set[str]) -> None:
    """A missing item, one of somebody else's or an unknown one is a mistake of the caller."""
    with pytest.raises(ValueError, match="items: "):
        require_names(frozenset(names), manifest=manifest, participant="hospital-a")


def test_the_exact_set_is_accepted(manifest) -> None:
    """Data and components count together, and who has none releases none."""
    require_names(frozenset({"records-a"}), manifest=manifest, participant="hospital-a")
    require_names(frozenset({"step-0"}), manifest=manifest, participant="analytics")
    require_names(frozenset(), manifest=manifest, participant="nobody")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Reading and sending 64 MiB takes less than four chunks of memory at any moment."""
    size = 64 * 1024 * 1024
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        with read_items({"records-a": path}, manifest=_manifest(size)) as items:
            assert sum(map(len, Upload(items["records-a"], progress=_silent))) == size
        assert tracemalloc.get_traced_memory()[1] < 4 * CHUNK_BYTES
    finally:
        tracemalloc.stop()
