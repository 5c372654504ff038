"""Stores of documents: whichever it is, a name moves once for each who knew where it pointed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.amd import AT
from tests.support.redis_server import RedisServer, redis_server

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.framing import sha256
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.state import documents
from twocvm_verifier.service.state.documents import Change, Documents, Kind, Revision
from twocvm_verifier.service.state.documents_folder import FolderDocuments
from twocvm_verifier.service.state.documents_memory import MemoryDocuments
from twocvm_verifier.service.state.documents_redis import RedisDocuments
from twocvm_verifier.service.state.redis import RedisPlace, connect

RACERS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    """One server for all tests here."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["memory", "folder", "redis"])
def store(request, tmp_path) -> Documents:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryDocuments()
    if request.param == "folder":
        return FolderDocuments(tmp_path / "documents")
    client = connect(request.getfixturevalue("server").place())
    client.flushall()
    return RedisDocuments(client)


def change(content: bytes, *, expected: bytes = b"", **changes: Any) -> Change:
    """Return a wish to have `main` point to some content."""
    revision = Revision(sha256=sha256(content), at=AT, by="token")
    return replace(
        Change(kind=Kind.POLICY, name="main", expected=expected, content=content, revision=revision), **changes
    )


def code_of(call: Any) -> str:
    """Return the code of the refusal that a call ends with."""
    with pytest.raises(ServiceError) as refused:
        call()
    return refused.value.code


def test_a_name_points_to_what_was_put(store):
    """A document is there under its digest, and the name's history says when and by whom."""
    store.put(change(b"one"))
    store.put(change(b"two", expected=sha256(b"one"), revision=Revision(sha256=sha256(b"two"), at=AT, by="x")))
    assert dict(store.names(Kind.POLICY)) == {"main": sha256(b"two")}
    assert [(each.sha256, each.by) for each in store.history(Kind.POLICY, "main")] == [
        (sha256(b"one"), "token"),
        (sha256(b"two"), "x"),
    ]
    assert store.history(Kind.POLICY, "main")[0].at == AT
    for content in (b"one", b"two"):
        assert store.content(Kind.POLICY, sha256(content)) == content


def test_kinds_know_nothing_of_each_other(store):
    """What is a policy's name or digest is none of reference values."""
    store.put(change(b"one"))
    assert dict(store.names(Kind.REFERENCE_VALUES)) == {}
    assert store.history(Kind.REFERENCE_VALUES, "main") == ()
    assert store.content(Kind.REFERENCE_VALUES, sha256(b"one")) is None
    assert store.content(Kind.POLICY, sha256(b"two")) is None


@pytest.mark.parametrize("expected", [b"", sha256(b"else")])
def test_who_does_not_know_where_a_name_points_does_not_move_it(store, expected):
    """An update that would be lost is refused, and leaves everything as it was."""
    store.put(change(b"one"))
    assert code_of(lambda: store.put(change(b"two", expected=expected))) == "DOCUMENT_CHANGED"
    assert dict(store.names(Kind.POLICY)) == {"main": sha256(b"one")}
    assert store.content(Kind.POLICY, sha256(b"two")) is None
    missing = change(b"two", expected=sha256(b"one"), name="other")
    assert code_of(lambda: store.put(missing)) == "DOCUMENT_CHANGED"


def test_of_many_who_move_a_name_at_once_one_does(store):
    """Every other is told so, and the history has one more step."""
    store.put(change(b"one"))
    start, outcomes = threading.Barrier(RACERS), []

    def race(number: int) -> None:
        wish = change(b"next %d" % number, expected=sha256(b"one"))
        start.wait()
        try:
            store.put(wish)
            outcomes.append("moved")
        except ServiceError as error:
            outcomes.append(error.code)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(outcomes) == ["DOCUMENT_CHANGED"] * (RACERS - 1) + ["moved"]
    assert len(store.history(Kind.POLICY, "main")) == 2


def test_a_store_has_an_end(store, monkeypatch):
    """Neither names nor revisions without end."""
    for module in ("documents", "documents_redis"):
        monkeypatch.setattr(f"twocvm_verifier.service.state.{module}.MAX_NAMES", 2)
        monkeypatch.setattr(f"twocvm_verifier.service.state.{module}.MAX_REVISIONS", 2)
    store.put(change(b"one"))
    store.put(change(b"one", name="other"))
    assert code_of(lambda: store.put(change(b"one", name="third"))) == "DOCUMENTS_FULL"
    store.put(change(b"two", expected=sha256(b"one")))
    assert code_of(lambda: store.put(change(b"three", expected=sha256(b"two")))) == "DOCUMENTS_FULL"
    assert documents.MAX_NAMES == 2


def test_another_process_sees_the_same_folder(tmp_path):
    """What one writes another reads, and a power cut leaves nothing half."""
    FolderDocuments(tmp_path / "documents").put(change(b"one"))
    assert dict(FolderDocuments(tmp_path / "documents").names(Kind.POLICY)) == {"main": sha256(b"one")}
    assert not list((tmp_path / "documents").rglob(".new-*"))
    assert (tmp_path / "documents").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"sha256":"00"}\n', b"not json\n"])
def test_a_history_that_somebody_else_wrote(tmp_path, content):
    """A name whose file is not ours points nowhere, or is damaged; never to something."""
    place = tmp_path / "policies/names/main.jsonl"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    store = FolderDocuments(tmp_path)
    if not content:
        assert dict(store.names(Kind.POLICY)) == {}
        return
    assert code_of(lambda: store.names(Kind.POLICY)) == "DOCUMENT_DAMAGED"


def test_a_time_that_is_none(tmp_path):
    """A revision without a time is not ours."""
    place = tmp_path / "policies/names/main.jsonl"
    place.parent.mkdir(parents=True)
    place.write_text(f'{{"at":"yesterday","by":"token","sha256":"{"0" * 64}"}}\n')
    with pytest.raises(ServiceError) as damaged:
        FolderDocuments(tmp_path).history(Kind.POLICY, "main")
    cause = damaged.value.__cause__
    assert isinstance(cause, MalformedError)
    assert (damaged.value.code, cause.code) == ("DOCUMENT_DAMAGED", "MALFORMED_STORED_DOCUMENT")


def test_a_folder_that_cannot_be_used(tmp_path):
    """The disk's refusal is said as one, to readers and writers."""
    (tmp_path / "file").write_bytes(b"")
    assert code_of(lambda: FolderDocuments(tmp_path / "file").put(change(b"one"))) == "DOCUMENTS_UNREACHABLE"
    (tmp_path / "store/policies").mkdir(parents=True)
    (tmp_path / "store/policies/content").write_bytes(b"")
    store = FolderDocuments(tmp_path / "store")
    assert code_of(lambda: store.put(change(b"one"))) == "DOCUMENTS_UNREACHABLE"
    assert code_of(lambda: store.content(Kind.POLICY, bytes(32))) == "DOCUMENTS_UNREACHABLE"


def test_a_redis_that_is_not_there(tmp_path):
    """Nobody is told that there is no such document while nobody can know."""
    nowhere = RedisPlace(url=f"unix://{tmp_path}/none.sock", user="", password="", authority=None)
    store = RedisDocuments(connect(nowhere))
    for call in (
        lambda: store.put(change(b"one")),
        lambda: store.names(Kind.POLICY),
        lambda: store.history(Kind.POLICY, "main"),
        lambda: store.content(Kind.POLICY, bytes(32)),
    ):
        assert code_of(call) == "DOCUMENTS_UNREACHABLE"


def test_a_redis_call_that_is_made_twice(server):
    """Where an answer was lost on its way, the same again finds itself done; another time is another wish."""
    client = connect(server.place())
    client.flushall()
    store = RedisDocuments(client)
    for _ in range(2):
        store.put(change(b"one"))
    assert len(store.history(Kind.POLICY, "main")) == 1
    later = Revision(sha256=sha256(b"one"), at=AT + timedelta(seconds=1), by="token")
    assert code_of(lambda: store.put(change(b"one", revision=later))) == "DOCUMENT_CHANGED"


def test_what_is_kept_is_brought_to_the_disk_first(tmp_path, monkeypatch):
    """A document before its name, a file before its move, a move before the answer."""
    done: list[str] = []
    fsync, replacing = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), fsync(descriptor))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, place: (done.append(place.parent.name), replacing(self, place))[1]
    )
    FolderDocuments(tmp_path).put(change(b"one"))
    assert done == ["sync", "content", "sync", "sync", "names", "sync"]
