"""The vault: what it holds, and that nothing is left when it is emptied."""

from __future__ import annotations

import threading

import pytest
from tests.support.memory_files import MemoryFiles

from twocvm_guest.runtime.items import Item
from twocvm_guest.vault import Arrival, Vault
from twocvm_verifier.errors import ReleaseError


def item(vault: Vault, name: str, content: bytes = b"secret") -> Item:
    """Return a sealed item that arrived in the vault."""
    arrival = vault.receive(name, max_bytes=len(content))
    arrival.write(content)
    sealed = arrival.seal()
    vault.release(arrival)
    return sealed


def write_until_refused(arrival: Arrival, started: threading.Event) -> None:
    """Write to an upload for as long as it takes anything."""
    try:
        while True:
            arrival.write(b"x" * 4096)
            started.set()
    except ReleaseError:
        return


def test_emptied_vault_holds_and_keeps_nothing() -> None:
    """Emptying closes uploads, items and outputs, and whatever comes afterwards is closed too."""
    vault = Vault()
    kept = MemoryFiles()
    vault.keep_item(item(vault, "kept-item"))
    vault.keep_outputs({"kept-output": item(vault, "kept-output")})
    arrival = vault.receive("on-its-way", max_bytes=10)
    arrival.write(b"secret")
    late = item(vault, "late-item")
    vault.empty()
    with pytest.raises(ReleaseError) as refused:
        vault.keep_item(late)
    assert refused.value.code == "SESSION_ENDED"
    assert vault.holds_nothing
    assert kept.names() == []


def test_upload_ends_when_the_vault_is_emptied() -> None:
    """A writer finds out at its next chunk, or at its end, that the session is over."""
    vault = Vault()
    first, second = vault.receive("first", max_bytes=10), vault.receive("second", max_bytes=10)
    vault.empty()
    for call in (lambda: first.write(b"x"), second.seal, lambda: vault.receive("third", max_bytes=1)):
        with pytest.raises(ReleaseError) as refused:
            call()
        assert refused.value.code == "SESSION_ENDED"


def test_reader_of_an_output_ends_when_the_vault_is_emptied() -> None:
    """A recipient that still reads at the deadline gets nothing more."""
    vault = Vault()
    vault.keep_outputs({"model": item(vault, "model")})
    reader = vault.output("model").open()
    assert reader.raw.read(3) == b"sec"  # type: ignore[attr-defined]
    vault.empty()
    with pytest.raises(ValueError, match="closed"):
        reader.raw.read(3)  # type: ignore[attr-defined]
    with pytest.raises(ReleaseError) as refused:
        vault.output("model")
    assert refused.value.code == "OUTPUT_WIPED"


def test_broken_upload_leaves_nothing() -> None:
    """An upload that is released without its end is gone, and one that was sealed is not touched."""
    vault = Vault()
    kept = MemoryFiles()
    broken = vault.receive("records", max_bytes=10)
    broken.write(b"half")
    vault.release(broken)
    assert kept.names() == []
    sealed = item(vault, "records")
    assert sealed.open().read() == b"secret"
    sealed.close()


def test_upload_is_no_longer_than_announced() -> None:
    """A byte more than an upload announced is refused at the chunk that brings it."""
    arrival = Vault().receive("records", max_bytes=4)
    with pytest.raises(ReleaseError) as refused:
        arrival.write(b"12345")
    assert refused.value.code == "ITEM_TOO_LARGE"


def test_writer_and_wipe_never_meet() -> None:
    """However a wipe falls between the chunks of an upload, the writer is refused and no descriptor is left."""
    kept = MemoryFiles()
    for _ in range(50):
        vault = Vault()
        arrival = vault.receive("records", max_bytes=1 << 30)
        started = threading.Event()
        writer = threading.Thread(target=write_until_refused, args=(arrival, started), daemon=True)
        writer.start()
        assert started.wait(5)
        vault.empty()
        writer.join(5)
        assert not writer.is_alive()
    assert kept.names() == []
