"""`twocvm verifier audit verify`: what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from tests.support.audit_logs import KEY, edited, examined, lines, rewritten, written

from twocvm_guest.main import run


@pytest.fixture
def folder(tmp_path):
    """A whole log."""
    written(tmp_path / "audit")
    return tmp_path / "audit"


@pytest.fixture
def jwks(tmp_path):
    """The keys that its service has published."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [dict(KEY.public_jwk)]}))
    return path


def verify(*arguments: object) -> int:
    """Run the command."""
    return run(["verifier", "audit", "verify", *(str(each) for each in arguments)])


def test_a_whole_log(folder, jwks, capsys):
    """Nothing is wrong: 0, with the head to keep and how far somebody vouches for it."""
    end = examined(folder).end
    assert verify(folder, "--jwks", jwks) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["8 records, 5 verdicts", f"head to keep: 7:{end.head.hex()}"]
    assert printed[2].startswith("signed up to: 6:")
    assert verify(folder / "audit.jsonl", "--head", f"7:{end.head.hex()}") == 0
    assert "signed up to: nothing that was examined" in capsys.readouterr().out


def test_every_finding_is_printed(folder, jwks, capsys):
    """What is wrong ends with 10; every finding has its code, its place and what it is."""
    raw = lines(folder)
    rewritten(folder, [*raw[:3], edited(raw[3], verdict="warning"), *raw[5:], b"{"])
    assert verify(folder, "--jwks", jwks) == 10
    printed = capsys.readouterr().out
    assert "AUDIT_MISSING: log: record 4 is not there\n" in printed
    assert "note: 1 bytes behind the last record are not yet a record\n" in printed
    assert verify(folder, "--jwks", jwks, "-o", "json") == 10
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "twocvm/audit/v1"
    assert {finding["code"] for finding in told["findings"]} == {"AUDIT_MISSING"}
    assert told["signed"].startswith("6:")


def test_what_is_no_log(tmp_path, capsys):
    """No record at all is malformed; what cannot be read is a usage error."""
    (tmp_path / "empty").write_bytes(b"")
    assert verify(tmp_path / "empty") == 30
    assert capsys.readouterr().out == "MALFORMED_AUDIT: log: got no record\n0 records, 0 verdicts\n"
    assert verify(tmp_path / "empty", "-o", "json") == 30
    assert "end" not in json.loads(capsys.readouterr().out)
    assert verify(tmp_path / "absent") == 2


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (b"{}", "not a JWK Set"),
        (b"[]", "not a JWK Set"),
        (b'{"keys":[{}]}', "not a JWK Set"),
        (b'{"keys":3}', "not a JWK Set"),
        (b"no", "not JSON: Expecting value at byte 0"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_keys_that_are_none(folder, tmp_path, capsys, keys, fault):
    """Whichever way they are wrong, the file is named, and what is wrong with it; so it is where it cannot be read."""
    jwks = tmp_path / "jwks"
    jwks.write_bytes(keys)
    assert verify(folder, "--jwks", jwks) == 30
    told = capsys.readouterr().err
    assert told.startswith("MALFORMED_VERIFIER_KEYS: ")
    assert f"{str(jwks)!r}: {fault}\n" in told
    assert verify(folder, "--jwks", tmp_path) == 2
    assert str(tmp_path) in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("head", ["7", "7:ab", f"x:{'0' * 64}", f"1:{'A' * 64}"])
def test_what_is_no_head(tmp_path, head):
    """A head has one form."""
    assert verify(tmp_path, "--head", head) == 2
