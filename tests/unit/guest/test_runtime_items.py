"""Items: sealed memory files and their readers."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_guest.runtime.items import SEALS, Item, ItemWriter, memory_file, seal
from twocvm_verifier.errors import ReleaseError


def written(content: bytes, name: str = "records") -> Item:
    """An item that holds `content`."""
    writer = ItemWriter(name, max_bytes=len(content))
    writer.write(content)
    return writer.seal()


@given(chunks=st.lists(st.binary(max_size=100), max_size=8))
def test_item_is_the_chunks_in_order(chunks: list[bytes]) -> None:
    """Whatever the chunks, the item holds them in order, with their length and digest."""
    writer = ItemWriter("records", max_bytes=1000)
    for chunk in chunks:
        writer.write(chunk)
    item = writer.seal()
    content = b"".join(chunks)
    assert item.open().read() == content
    assert (item.size_bytes, item.sha256) == (len(content), hashlib.sha256(content).digest())
    item.close()


def test_exactly_the_maximum_is_taken() -> None:
    """An item of exactly `max_bytes` is taken, one byte more is refused and leaves no memory file."""
    assert written(b"12345").size_bytes == 5
    before = len(os.listdir("/proc/self/fd"))
    writer = ItemWriter("records", max_bytes=5)
    writer.write(b"123")
    with pytest.raises(ReleaseError) as caught:
        writer.write(b"456")
    assert caught.value.code == "ITEM_TOO_LARGE"
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ValueError, match="ended"):
        writer.write(b"4")


def test_a_sealed_item_cannot_change() -> None:
    """Not even the process that made an item can write, grow, shrink or unseal it."""
    item = written(b"secret")
    assert fcntl.fcntl(item.fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    with pytest.raises(PermissionError):
        os.pwrite(item.fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(item.fd, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(item.fd, 100)
    item.close()


def test_an_incomplete_seal_of_another_is_refused() -> None:
    """A memory file whose seals somebody else fixed before they were complete is not taken for an item."""
    fd = memory_file("forged")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    with pytest.raises(ValueError, match="sealed by another"):
        seal(fd)
    os.close(fd)


def test_readers_are_independent() -> None:
    """Two readers of one item have a position each, and seeking works from start, place and end."""
    item = written(b"0123456789")
    first, second = item.open(), item.open()
    assert first.read(4) == b"0123"
    assert second.read(2) == b"01"
    assert first.seek(-1, io.SEEK_END) == 9
    assert first.read() == b"9"
    assert second.seek(1, io.SEEK_CUR) == 3
    with pytest.raises(ValueError, match="before the start"):
        second.seek(-1)
    item.close()


def test_closing_ends_every_reader() -> None:
    """After `close` no reader gets a byte, and the descriptor's number may be reused without harm."""
    item = written(bytes(3 << 20))
    reader = item.open()
    reader.read(10)
    item.close()
    item.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(2 << 20)
    with pytest.raises(ValueError, match="closed"):
        item.duplicate("other")


def test_a_duplicate_lives_on_its_own() -> None:
    """Closing an item leaves its duplicate readable, under the duplicate's own name."""
    item = written(b"shared")
    other = item.duplicate("model")
    item.close()
    assert (other.name, other.open().read(), other.sha256) == ("model", b"shared", hashlib.sha256(b"shared").digest())
    assert "shared" not in repr(other)
    other.close()


def test_an_ended_writer_stays_ended() -> None:
    """After `seal` and after `discard` a writer takes nothing and gives nothing."""
    writer = ItemWriter("records", max_bytes=1)
    writer.discard()
    writer.discard()
    with pytest.raises(ValueError, match="ended"):
        writer.seal()


def test_reading_while_closing_is_never_another_file() -> None:
    """Readers racing a close see the item's bytes or an error, never bytes of a file that reused the descriptor."""
    for _ in range(20):
        item = written(b"A" * 65536)
        wrong: list[bytes] = []

        def read(item: Item = item, wrong: list[bytes] = wrong) -> None:
            try:
                while (data := item.open().read()) == b"A" * 65536:
                    pass
            except ValueError:
                return
            wrong.append(data)

        threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        item.close()
        decoy = [written(b"B" * 65536) for _ in range(4)]
        for thread in threads:
            thread.join()
        for other in decoy:
            other.close()
        assert wrong == []
