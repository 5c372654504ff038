"""The audit log: what a record is, that it is durable before anybody hears, and how ends in the middle are mended."""

from __future__ import annotations

import json
import multiprocessing
import resource
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.audit_logs import (
    NAME,
    Told,
    auditing,
    codes,
    examined,
    lines,
    rewritten,
    verdict,
    written,
)

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.service.audit.folder import ACTIVE, AuditFolder, read_tail, rotated
from twocvm_verifier.service.audit.record import (
    MAX_RECORD_BYTES,
    NOTHING_BEFORE,
    Entry,
    Kind,
    Record,
    begin_entry,
    parse_record,
)
from twocvm_verifier.service.audit.writer import Pace
from twocvm_verifier.service.problems import ServiceError

FIRST = Record(entry=begin_entry(log=NAME), seq=0, previous=NOTHING_BEFORE, at="2026-01-02T03:04:05Z")


@pytest.fixture
def folder(tmp_path):
    """Where a log is, or is not yet."""
    return tmp_path / "audit"


@contextmanager
def full_after(size_bytes: int):
    """Let files grow no further than this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "rumour"},
        {"kind": 3},
        {"seq": -1},
        {"seq": True},
        {"previous": "00"},
        {"at": "yesterday"},
        {"log": "AB" * 32},
        {"log": 1},
        {"more": "x"},
    ],
    ids=str,
)
def test_what_is_no_record(change):
    """A record has its members, each in its one form, and no other."""
    value = json.loads(FIRST.encode()) | change
    with pytest.raises(MalformedError) as caught:
        parse_record(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    assert caught.value.code == "MALFORMED_AUDIT"


@pytest.mark.parametrize("line", [b"", b"[]", b'{"seq":0}', FIRST.encode() + b"\n", b" " + FIRST.encode()], ids=repr)
def test_what_is_no_line(line):
    """A line is one record, canonical, and nothing besides."""
    with pytest.raises(MalformedError):
        parse_record(line)


def test_an_entry_holds_what_its_kind_has():
    """Nothing that could break a line, or that a reader does not know, is ever written."""
    with pytest.raises(ValueError, match="members"):
        Entry(kind=Kind.BEGIN, members={})
    with pytest.raises(ValueError, match="request_id"):
        verdict("a\nb")


def test_the_longest_record_is_short_enough():
    """What a verdict can hold fits into a line many times."""
    longest = verdict("x" * 64, manifest="ef" * 32, code="C" * 64, jti="j" * 64, kid="k" * 64)
    assert len(Record(entry=longest, seq=2**53 - 1, previous=bytes(32), at=FIRST.at).encode()) < MAX_RECORD_BYTES / 8


def test_a_log_begins_is_signed_and_ends_signed(folder):
    """From its beginning on there is something that the key vouches for, and nothing is left open at the end."""
    told = Told()
    kinds = [json.loads(line)["kind"] for line in written(folder, events=told)]
    assert kinds == ["begin", "checkpoint", *["verdict"] * 5, "checkpoint"]
    assert told.records == 5
    assert [position.seq for position in told.checkpoints] == [0, 6]
    found = examined(folder)
    assert (found.findings, found.notes, found.records, found.verdicts) == ((), (), 8, 5)
    assert found.signed == told.checkpoints[-1]


def test_the_log_is_its_owners_alone(folder):
    """Nobody else may read who was judged, or write it."""
    written(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_log_goes_on_where_it_ended(folder):
    """A start adds to what is there, under the same name."""
    written(folder)
    before = lines(folder)
    after = written(folder)
    assert after[: len(before)] == before
    assert codes(examined(folder)) == []
    assert examined(folder).verdicts == 10


def test_nobody_hears_before_the_disk_has_it(folder):
    """What waits for a record waits for the disk; all that came meanwhile are written in one go."""
    slow = SlowDisk(folder, log=NAME, max_file_bytes=1 << 24)
    with auditing(folder, folder=slow) as log:
        slow.wait_for(2)  # its beginning and its first checkpoint
        slow.disk.clear()
        first = log.record(verdict("first"))
        slow.begun.wait(10)
        crowd = [log.record(verdict(f"r-{number}")) for number in range(50)]
        assert not first.done()
        slow.disk.set()
        assert {waiting.result(10).seq for waiting in crowd} == {52}
        assert first.result().seq == 2
    # The beginning, a checkpoint, the first, all others, the last checkpoint.
    assert slow.syncs == 5


class SlowDisk(AuditFolder):
    """A disk that is done when a test says so."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.disk, self.begun, self.syncs = threading.Event(), threading.Event(), 0
        self._counted = threading.Condition()
        self.disk.set()

    def wait_for(self, syncs: int) -> None:
        """Wait until the disk was asked so many times."""
        with self._counted:
            assert self._counted.wait_for(lambda: self.syncs >= syncs, 10)

    def sync(self) -> None:
        if not self.disk.is_set():
            self.begun.set()
            self.disk.wait(10)
        super().sync()
        with self._counted:
            self.syncs += 1
            self._counted.notify_all()


def test_who_stops_waiting_takes_nothing_back(folder):
    """A client that goes away ends neither its record nor those of others."""
    with auditing(folder) as log:
        gone = log.record(verdict("gone"))
        assert not gone.cancel()
        assert log.record(verdict("here")).result(10)
    assert examined(folder).verdicts == 2


def test_a_full_disk_refuses_and_recovers(folder):
    """No verdict leaves while the disk is full; what was torn is told of, and then it goes on."""
    told = Told()
    with auditing(folder, events=told) as log:
        log.record(verdict("before")).result(10)
        size = (folder / ACTIVE).stat().st_size
        with full_after(size + 40):
            for number in range(3):
                with pytest.raises(ServiceError) as caught:
                    log.record(verdict(f"lost-{number}")).result(10)
                assert caught.value.code == "AUDIT_UNAVAILABLE"
        log.record(verdict("after")).result(10)
    found = examined(folder)
    assert (codes(found), len(found.notes), found.verdicts) == ([], 1, 2)
    assert len(told.reasons) == 3


def test_a_disk_that_loses_writes_ends_it(folder):
    """After the disk has failed once nobody knows what is on it: nothing more is recorded, and nothing told."""

    class Failing(AuditFolder):
        fails = False

        def sync(self):
            if self.fails:
                raise OSError(5, "I/O error")
            super().sync()

    failing, told = Failing(folder, log=NAME, max_file_bytes=1 << 24), Told()
    with auditing(folder, folder=failing, events=told) as log:
        log.record(verdict()).result(10)
        assert log.ready
        for failing.fails in (True, False):
            with pytest.raises(ServiceError):
                log.record(verdict()).result(10)
        assert not log.ready
    # The last is the checkpoint at the end, which was not written either.
    assert told.reasons == ["EIO", "AUDIT_UNAVAILABLE", "AUDIT_UNAVAILABLE"]


def test_an_error_that_nobody_expected_ends_nothing(folder):
    """Who waits is told, with no word of the error, and the next is written."""

    class Odd(AuditFolder):
        odd = False

        def append(self, entries, *, at):
            if self.odd:
                raise ValueError("quotes something")
            return super().append(entries, at=at)

    strange, told = Odd(folder, log=NAME, max_file_bytes=1 << 24), Told()
    with auditing(folder, folder=strange, events=told) as log:
        log.record(verdict()).result(10)
        strange.odd = True
        with pytest.raises(ServiceError):
            log.record(verdict()).result(10)
        strange.odd = False
        log.record(verdict()).result(10)
    assert told.reasons == ["ValueError"]


def test_a_disk_that_is_nearly_full_is_said_before(folder, monkeypatch):
    """A service that will have to refuse says so first."""
    with auditing(folder) as log:
        assert log.ready
        monkeypatch.setattr(AuditFolder, "free_bytes", lambda _: 4096)
        assert not log.ready


def test_what_ends_takes_nothing_more(folder):
    """A verdict that comes after the end is refused, not forgotten."""
    with auditing(folder) as log:
        pass
    with pytest.raises(ServiceError) as caught:
        log.record(verdict()).result()
    assert caught.value.code == "AUDIT_UNAVAILABLE"


@pytest.mark.parametrize("torn", [b'{"at":"20', b"{", b"\x00" * 700, b'{"at":\n{"kind', b"half\n"], ids=repr)
def test_an_end_in_the_middle_of_a_line_is_told(folder, torn):
    """What was torn stays, the next record says what it is, and no verdict is lost with it."""
    whole = written(folder)
    rewritten(folder, [*whole, torn])
    assert examined(folder).notes == (f"{len(torn)} bytes behind the last record are not yet a record",)
    after = written(folder, verdicts=1)
    assert b"".join(after).startswith(b"".join(whole) + torn)
    found = examined(folder)
    assert (codes(found), len(found.notes), found.verdicts) == ([], 1, 6)


def test_a_record_that_lacks_only_its_lines_end_is_whole(folder):
    """Nothing was torn, so nothing is told."""
    whole = written(folder)
    rewritten(folder, [*whole[:-1], whole[-1].rstrip()])
    assert codes(examined(folder)) == []
    written(folder)
    found = examined(folder)
    assert (codes(found), found.notes, found.verdicts) == ([], (), 10)


def test_every_place_to_die_at_is_mended(folder):
    """Wherever in its last two records a log ends, a start mends it, and an auditor finds nothing wrong."""
    whole = b"".join(written(folder, verdicts=1))
    for size in range(len(whole) - 900, len(whole), 23):
        rewritten(folder, [whole[:size]])
        with auditing(folder):
            pass
        assert codes(examined(folder)) == [], size


def test_a_log_that_ends_in_nothing_known_is_left_alone(folder):
    """A service does not begin behind what it did not write."""
    written(folder)
    rewritten(folder, [b"x" * 100_000])
    with pytest.raises(ServiceError) as caught, auditing(folder):
        pass
    assert caught.value.code == "AUDIT_BROKEN"


def test_a_log_that_does_not_begin_is_left_alone(folder):
    """The name of a log is in its first record; where that is another, nothing is appended."""
    whole = written(folder)
    for first in ([], [b"no record\n"]):
        rewritten(folder, first + whole[1:])
        with pytest.raises(ServiceError) as caught, auditing(folder):
            pass
        assert caught.value.code == "AUDIT_BROKEN"


def test_a_tail_without_a_record():
    """There is nothing that a next record could name."""
    with pytest.raises(ServiceError):
        read_tail(b"")


def test_full_files_are_put_aside(folder):
    """A new file begins where the last ended, and all together are one log."""
    written(folder, verdicts=40, max_file_bytes=4096)
    assert len(rotated(folder)) >= 3
    assert all(file.stat().st_size < 4096 + MAX_RECORD_BYTES for file in folder.iterdir())
    found = examined(folder)
    assert (codes(found), found.verdicts) == ([], 40)


def test_a_stop_while_a_file_is_put_aside(folder):
    """Between the two steps there is no newest file; the next start makes it, behind the last that was put aside."""
    written(folder, verdicts=40, max_file_bytes=4096)
    newest = rotated(folder)[-1]
    (folder / ACTIVE).unlink()
    written(folder)
    assert newest in rotated(folder)
    found = examined(folder, key=None)
    assert codes(found) == []


def test_nothing_is_put_over_another_file(folder):
    """A file of the name that a full one would get is somebody's, and stays."""
    written(folder)
    (folder / f"audit-{0:016d}.jsonl").write_text("mine")
    with pytest.raises(ServiceError) as caught, auditing(folder, max_file_bytes=16):
        pass
    assert caught.value.code == "AUDIT_BROKEN"


def test_a_folder_or_file_that_others_can_use(folder):
    """Who could write the log could write anything."""
    written(folder)
    for exposed in (folder / ACTIVE, folder):
        mode = exposed.stat().st_mode
        exposed.chmod(mode | 0o040)
        with pytest.raises(ServiceError) as caught, auditing(folder):
            pass
        assert caught.value.code == "AUDIT_EXPOSED"
        exposed.chmod(mode)


def test_checkpoints_come_by_number_and_by_time(folder):
    """Some records or some time, whichever is first, and none where nothing happened."""
    told = Told()
    with auditing(folder, events=told, pace=Pace(records=2, seconds=3600.0)) as log:
        for number in range(5):
            log.record(verdict(f"r-{number}")).result(10)
    assert len(told.checkpoints) == 4
    with auditing(folder, events=told, pace=Pace(records=100, seconds=0.05)) as log:
        log.record(verdict()).result(10)
        found = threading.Event()
        while len(told.checkpoints) < 6:
            found.wait(0.01)
    assert len(told.checkpoints) == 6
    assert codes(examined(folder)) == []


def test_a_key_that_fails_stops_no_verdict(folder):
    """A key far away may be gone for a while; verdicts are durable all the same, and it is said."""

    def gone():
        raise ConnectionError("the key's host told us 'secret'")

    told = Told()
    with auditing(folder, events=told, signer=gone) as log:
        assert log.record(verdict()).result(10)
    assert told.reasons == ["ConnectionError"] * 2
    assert codes(examined(folder)) == ["AUDIT_SIGNATURE"]


def _append_from_elsewhere(folder: Path, name: str, number: int) -> None:
    with auditing(folder, max_file_bytes=20_000) as log:
        for waiting in [log.record(verdict(f"{name}-{each}")) for each in range(number)]:
            waiting.result(30)


def test_several_processes_write_one_log(folder):
    """Workers share a log and its files: every record is there once, and the chain is whole."""
    context = multiprocessing.get_context("spawn")
    written(folder, verdicts=1)
    workers = [context.Process(target=_append_from_elsewhere, args=(folder, f"w{n}", 60)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = examined(folder, key=None)
    assert (codes(found), found.verdicts) == ([], 121)
    assert len(rotated(folder)) >= 2


def test_a_log_that_is_cut_under_a_running_service_ends_it(folder):
    """A service notices that the log ends before what it wrote, or otherwise, and tells no verdict more."""
    with auditing(folder) as log:
        for number in range(3):
            log.record(verdict(f"r-{number}")).result(10)
        rewritten(folder, lines(folder)[:-2])
        with pytest.raises(ServiceError):
            log.record(verdict()).result(10)


def test_a_file_that_is_taken_away_is_missed(folder):
    """A service goes on in a new file, whose first record names what is gone."""
    with auditing(folder) as log:
        log.record(verdict("one")).result(10)
        (folder / ACTIVE).unlink()
        log.record(verdict("two")).result(10)
    assert "AUDIT_MISSING" in codes(examined(folder))
