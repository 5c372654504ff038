"""Whoever can write an audit log's files, and what an auditor sees of it."""

from __future__ import annotations

import json

import pytest
from tests.support.audit_logs import (
    KEY,
    NAME,
    OTHER_KEY,
    codes,
    edited,
    examined,
    lines,
    rewritten,
    verdict,
    written,
)

from twocvm_verifier.service.audit.checkpoint import Checkpoint, checkpoint_entry
from twocvm_verifier.service.audit.folder import rotated
from twocvm_verifier.service.audit.record import Entry, Kind, Position, Record, begin_entry, mended_entry, parse_record
from twocvm_verifier.service.tokens import KeyRing


@pytest.fixture
def folder(tmp_path):
    """Where a log is."""
    return tmp_path / "audit"


def chained(entries: list[Entry], *, at: str = "2026-01-02T03:04:05Z") -> list[bytes]:
    """Return a log as who has no key makes it."""
    made: list[bytes] = []
    previous = bytes(32)
    for seq, entry in enumerate(entries):
        record = Record(entry=entry, seq=seq, previous=previous, at=at)
        previous = record.position.head
        made.append(record.encode() + b"\n")
    return made


def entries_of(raw: list[bytes]) -> list[Entry]:
    """Return what the records of a log tell."""
    return [parse_record(line.rstrip()).entry for line in raw]


def head_of(line: bytes) -> Position:
    """Return the place that a line makes."""
    return parse_record(line.rstrip()).position


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize(
    "change",
    [{"at": "2027-01-01T00:00:00Z"}, {"previous": "00" * 32}],
    ids=["time", "link"],
)
def test_a_changed_record(folder, number, change):
    """Whatever is changed in a record, the one behind it, or it itself, does not fit."""
    raw = written(folder)
    raw[number] = edited(raw[number], **change)
    assert set(codes(examined(rewritten(folder, raw)))) & {"AUDIT_CHANGED", "AUDIT_FORKED"}


def test_a_changed_verdict(folder):
    """A refusal is not made into an acceptance afterwards."""
    raw = written(folder)
    raw[3] = edited(raw[3], verdict="contraindicated")
    assert codes(examined(rewritten(folder, raw))) == ["AUDIT_CHANGED"]


def test_the_last_record_changed(folder):
    """What no checkpoint follows is held by the head that was kept."""
    raw = written(folder)[:-1]
    kept = head_of(raw[-1])
    raw[-1] = edited(raw[-1], verdict="contraindicated")
    rewritten(folder, raw)
    assert codes(examined(folder)) == []
    assert codes(examined(folder, kept=(kept,))) == ["AUDIT_FORKED"]


@pytest.mark.parametrize("number", range(1, 7))
def test_a_missing_record(folder, number):
    """A number that is not there is said, wherever it was."""
    raw = written(folder)
    del raw[number]
    found = examined(rewritten(folder, raw))
    assert "AUDIT_MISSING" in codes(found)
    assert any(finding.detail == f"record {number} is not there" for finding in found.findings)


def test_a_missing_beginning(folder):
    """A log that begins late is not whole, unless the head before it was kept."""
    raw = written(folder)
    rewritten(folder, raw[3:])
    found = examined(folder, key=None)
    assert codes(found)[-1] == "AUDIT_MISSING"
    assert found.findings[-1].detail == "records 0 to 2 are not there"
    assert "AUDIT_MISSING" not in codes(examined(folder, key=None, kept=(head_of(raw[2]),)))


def test_a_file_that_was_archived(folder):
    """Behind a kept head the rest of a log is examined alone."""
    written(folder, verdicts=40, max_file_bytes=4096)
    gone = rotated(folder)[0]
    kept = head_of(gone.read_bytes().splitlines()[-1])
    gone.unlink()
    assert "AUDIT_MISSING" in codes(examined(folder))
    found = examined(folder, kept=(kept,))
    assert codes(found) == []
    assert found.notes == (f"begins with record {kept.seq + 1}, behind the head that was kept",)


def test_reordered_records(folder):
    """Two records that changed places are seen, and so is one that is there twice."""
    raw = written(folder)
    raw[3], raw[4] = raw[4], raw[3]
    assert codes(examined(rewritten(folder, raw))) == ["AUDIT_REORDERED"]
    raw[3], raw[4] = raw[4], raw[3]
    assert codes(examined(rewritten(folder, [*raw, raw[3]]))) == ["AUDIT_REORDERED"]


def test_a_truncated_log(folder):
    """A log that ends before a head that was kept was cut."""
    raw = written(folder)
    kept = head_of(raw[-2])
    rewritten(folder, raw[:-3])
    assert codes(examined(folder)) == []
    found = examined(folder, kept=(kept,))
    assert codes(found) == ["AUDIT_TRUNCATED"]
    assert codes(examined(rewritten(folder, raw), kept=(kept,))) == []


def test_a_forked_log(folder):
    """Two histories from one beginning are seen, in one file or against a head that was kept."""
    raw = written(folder)
    kept = head_of(raw[4])
    other = [*raw[:4], *chained([*entries_of(raw[:4]), verdict("other"), verdict("more")])[4:]]
    rewritten(folder, [*raw, other[4]])
    assert codes(examined(folder)) == ["AUDIT_FORKED"]
    rewritten(folder, [*raw[:4], edited(raw[4], request_id="other")])
    assert codes(examined(folder, kept=(kept,))) == ["AUDIT_FORKED"]


def test_a_log_made_anew_without_the_key(folder):
    """Who rewrites everything has no signature over it, neither with the old checkpoints nor without."""
    raw = written(folder)
    entries = entries_of(raw)
    entries[3] = verdict("never-asked")
    assert "AUDIT_FORKED" in codes(examined(rewritten(folder, chained(entries))))
    without = [entry for entry in entries if entry.kind is not Kind.CHECKPOINT]
    assert codes(examined(rewritten(folder, chained(without)))) == ["AUDIT_SIGNATURE"]
    # Without keys nobody can know, and the result says that nothing was examined.
    assert examined(folder, key=None).signed is None


def test_a_checkpoint_by_another_key(folder):
    """A signature counts by the service's keys alone."""
    written(folder, signer=lambda: OTHER_KEY)
    assert codes(examined(folder)) == ["AUDIT_SIGNATURE"] * 3
    assert codes(examined(folder, key=OTHER_KEY)) == []


def test_a_token_is_no_checkpoint(folder):
    """What the same key signed as a token vouches for nothing here, whatever it says."""
    raw = written(folder)[:-1]
    claims = {"log": NAME.hex(), "seq": 0, "head": head_of(raw[0]).head.hex()}
    forged = Entry(kind=Kind.CHECKPOINT, members={"jws": KeyRing(current=KEY, following=None).token(claims)})
    rewritten(folder, chained([entries_of(raw)[0], forged], at=json.loads(raw[0])["at"]))
    assert codes(examined(folder)) == ["AUDIT_SIGNATURE"] * 2


@pytest.mark.parametrize("jws", ["e30.e30.AA", "e30.!.AA".replace("!", "e31"), "e30.W10.AA", "A.A.A"])
def test_a_checkpoint_that_says_nothing(folder, jws):
    """What is no checkpoint is said to be none."""
    raw = written(folder)
    entries = [*entries_of(raw)[:2], Entry(kind=Kind.CHECKPOINT, members={"jws": jws})]
    found = examined(rewritten(folder, chained(entries, at=json.loads(raw[0])["at"])))
    assert codes(found) == ["AUDIT_SIGNATURE"]


def test_a_checkpoint_of_another_log(folder, tmp_path):
    """A checkpoint, and a file, of the same service's other log fits nowhere here."""
    raw = written(folder)
    at = json.loads(raw[0])["at"]
    other = Checkpoint(log=bytes(32), position=head_of(raw[0]))
    ahead = Checkpoint(log=NAME, position=Position(seq=9, head=bytes(32)))
    for wrong in (other, ahead):
        entries = [entries_of(raw)[0], checkpoint_entry(wrong, signer=KEY)]
        assert codes(examined(rewritten(folder, chained(entries, at=at))))[0] == "AUDIT_FORKED"
    entries = [entries_of(raw)[0], begin_entry(log=bytes(32))]
    assert codes(examined(rewritten(folder, chained(entries, at=at)), key=None)) == ["AUDIT_FORKED"]
    rewritten(folder, raw)
    second = tmp_path / "second"
    written(second)
    rewritten(second, [edited(lines(second)[0], log="00" * 32), *lines(second)[1:]])
    assert "AUDIT_FORKED" in codes(examined(folder, second))


def test_bytes_that_nobody_told_of(folder):
    """Junk between records is no torn line, for the record behind it does not say so."""
    raw = written(folder)
    for junk in (b"junk\n", b"\n", b"x" * 20_000 + b"\n", b"{" * 9000 + raw[3]):
        found = examined(rewritten(folder, [*raw[:4], junk, *raw[4:]]))
        assert codes(found) == ["AUDIT_CHANGED"], junk[:10]


def test_a_record_at_the_end_of_something_long(folder):
    """What stands behind junk on one line is no record, wherever readers cut it."""
    raw = written(folder)
    for length in (8192, 8193, 16386):
        found = examined(rewritten(folder, [*raw[:4], b"x" * length + raw[4], *raw[5:]]))
        assert "AUDIT_MISSING" in codes(found), length


def test_a_lie_about_torn_bytes(folder):
    """Who says that bytes were torn has to have them there."""
    raw = written(folder)
    at = json.loads(raw[0])["at"]
    entries = entries_of(raw[:3])
    lied = chained([*entries, mended_entry(torn=b"other")], at=at)
    assert codes(examined(rewritten(folder, lied))) == ["AUDIT_CHANGED"]
    assert codes(examined(rewritten(folder, [*lied[:3], b"torn\n", lied[3]]))) == ["AUDIT_CHANGED"]


def test_a_first_record_that_claims_a_past(folder):
    """Nothing comes before record 0."""
    raw = written(folder)
    rewritten(folder, [edited(raw[0], previous="11" * 32)])
    assert codes(examined(folder, key=None)) == ["AUDIT_CHANGED"]


def test_no_record_at_all(folder):
    """An empty log is none."""
    written(folder)
    for nothing in (b"", b"x" * 100_000):
        found = examined(rewritten(folder, [nothing]), kept=(Position(seq=1, head=bytes(32)),), key=None)
        assert codes(found) == ["MALFORMED_AUDIT"]


def test_numbers_from_nowhere_cost_nothing(folder):
    """A number as large as there are any is a gap like another."""
    raw = written(folder)
    rewritten(folder, [*raw, edited(raw[-1], seq=2**53 - 1)])
    assert "AUDIT_MISSING" in codes(examined(folder))
