"""The ledger of goes: on disk before anything is signed, and never taken for empty."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_sdk.ledger import Ledger, LedgerGo, LedgerItem
from twocvm_verifier.errors import MalformedError, ReleaseError

_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def _go(instance: int = 1, *, path: Path = Path("/data/records.csv")) -> LedgerGo:
    item = LedgerItem(path=path, size_bytes=17, sha256=bytes([2]) * 32, salt=bytes([3]) * 32)
    return LedgerGo(
        report_id=bytes([instance]) * 32,
        guest_spki_sha256=bytes([9]) * 32,
        at=_AT,
        items={"records-a": item},
        components={"join": Path("/code/join.wasm")},
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger whose folder does not exist yet."""
    return Ledger(folder=tmp_path / "ledger", manifest_hash=bytes([7]) * 32, participant="hospital-a")


def _file(ledger: Ledger) -> Path:
    return ledger.folder / f"{ledger.manifest_hash.hex()}.{ledger.participant}.json"


def test_what_is_recorded_can_be_read_by_another_process(ledger: Ledger) -> None:
    """A go comes back whole: instance, key, time, paths, digests and salts."""
    assert ledger.goes() == ()
    assert ledger.record(_go(), again=False) == _go()
    assert ledger.goes() == (_go(),)
    assert ledger.goes()[0].paths == {"records-a": Path("/data/records.csv"), "join": Path("/code/join.wasm")}


def test_a_second_go_for_the_manifest_is_refused(ledger: Ledger) -> None:
    """Another instance under the same manifest needs an explicit word, and the refusal changes nothing."""
    ledger.record(_go(1), again=False)
    with pytest.raises(ReleaseError) as refused:
        ledger.record(_go(2), again=False)
    assert refused.value.code == "GO_ALREADY_GIVEN"
    assert "may have run" in refused.value.detail
    assert ledger.goes() == (_go(1),)


def test_again_is_the_explicit_word(ledger: Ledger) -> None:
    """With `again` a second go is recorded beside the first."""
    ledger.record(_go(1), again=False)
    assert ledger.record(_go(2), again=True) == _go(2)
    assert ledger.goes() == (_go(1), _go(2))


def test_the_first_go_for_an_instance_stands(ledger: Ledger) -> None:
    """For the same instance the recorded go is returned, `again` or not, and never replaced."""
    ledger.record(_go(1), again=False)
    later = replace(_go(1), at=datetime(2026, 4, 1, tzinfo=UTC))
    assert ledger.record(later, again=False) == _go(1)
    assert ledger.record(later, again=True) == _go(1)
    assert ledger.goes() == (_go(1),)


def test_an_instance_has_one_key(ledger: Ledger) -> None:
    """The same REPORT_ID under another TLS key is refused even with `again`."""
    ledger.record(_go(1), again=False)
    with pytest.raises(ReleaseError) as refused:
        ledger.record(replace(_go(1), guest_spki_sha256=bytes(32)), again=True)
    assert refused.value.code == "GUEST_REPLACED"


def test_manifests_and_participants_are_counted_apart(ledger: Ledger) -> None:
    """A go under one manifest says nothing about another manifest or participant."""
    ledger.record(_go(1), again=False)
    replace(ledger, manifest_hash=bytes(32)).record(_go(2), again=False)
    replace(ledger, participant="hospital-b").record(_go(2), again=False)
    assert ledger.goes() == (_go(1),)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b'"version":1', b'"version":2'),
        lambda raw: raw.replace(b'"version":1', b'"version":true'),
        lambda raw: raw.replace(b"hospital-a", b"hospital-b"),
        lambda raw: raw.replace(b"07" * 32, b"08" * 32),
        lambda raw: raw.replace(b"01" * 32, b"01" * 31),
        lambda raw: raw.replace(b'"bytes":17', b'"bytes":-1'),
        lambda raw: raw.replace(b'"bytes":17', b'"bytes":true'),
        lambda raw: raw.replace(b"file:///data", b"http:///data"),
        lambda raw: raw.replace(b"file:///data", b"file:///%00"),
        lambda raw: raw.replace(b'"goes":[', b'"extra":1,"goes":['),
        lambda raw: b'{"goes":{}}',
        lambda raw: b"[]",
    ],
)
def test_a_damaged_ledger_refuses(ledger: Ledger, damage) -> None:
    """No damage makes the ledger empty: reading and recording are both refused, and the file is left alone."""
    ledger.record(_go(1), again=False)
    damaged = damage(_file(ledger).read_bytes())
    _file(ledger).write_bytes(damaged)
    for act in (ledger.goes, lambda: ledger.record(_go(2), again=True)):
        with pytest.raises(MalformedError) as refused:
            act()
        assert refused.value.code == "MALFORMED_LEDGER"
    assert _file(ledger).read_bytes() == damaged


def test_a_ledger_with_one_instance_twice_refuses(ledger: Ledger) -> None:
    """Two goes for one instance cannot both stand, so such a file is damage."""
    ledger.record(_go(1), again=False)
    ledger.record(_go(2), again=True)
    _file(ledger).write_bytes(_file(ledger).read_bytes().replace(b"02" * 32 + b'"}]', b"01" * 32 + b'"}]'))
    with pytest.raises(MalformedError):
        ledger.goes()


def test_a_ledger_that_others_can_write_refuses(ledger: Ledger) -> None:
    """Whoever can write the ledger can make it forget, so it must be this user's alone."""
    ledger.record(_go(1), again=False)
    _file(ledger).chmod(0o660)
    with pytest.raises(ReleaseError) as refused:
        ledger.record(_go(2), again=False)
    assert refused.value.code == "IDENTITY_EXPOSED"


@pytest.mark.parametrize("where", ["file", "folder", "lock"])
def test_links_are_not_followed(ledger: Ledger, where: str) -> None:
    """A link in the place of the ledger, its folder or its lock is refused."""
    ledger.record(_go(1), again=False)
    path = {"file": _file(ledger), "folder": ledger.folder, "lock": ledger.folder / "lock"}[where]
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))
    with pytest.raises(ReleaseError):
        ledger.record(_go(2), again=True)


def test_a_ledger_that_cannot_be_written_refuses(ledger: Ledger) -> None:
    """Where nothing can be written nothing may be signed."""
    ledger.folder.parent.joinpath("file").write_bytes(b"")
    with pytest.raises(ReleaseError) as refused:
        replace(ledger, folder=ledger.folder.parent / "file" / "ledger").record(_go(), again=False)
    assert refused.value.code == "LEDGER_UNWRITABLE"


def test_a_go_that_was_withdrawn_stands_no_more(ledger: Ledger) -> None:
    """A withdrawal is kept with its first date, is of one instance alone, and ends every use of that go."""
    ledger.record(_go(1), again=False)
    ledger.record(_go(2), again=True)
    ledger.withdraw(_go(1).report_id, at=_AT)
    ledger.withdraw(_go(1).report_id, at=_AT + timedelta(days=1))
    ledger.withdraw(bytes([9]) * 32, at=_AT)
    assert [go.withdrawn_at for go in ledger.goes()] == [_AT, None]
    for use in (lambda: ledger.standing(_go(1).report_id, again=True), lambda: ledger.record(_go(1), again=True)):
        with pytest.raises(ReleaseError) as refused:
            use()
        assert refused.value.code == "GO_WITHDRAWN"
    assert ledger.standing(_go(2).report_id, again=False) == _go(2)


def test_two_goes_at_once_are_one_go(ledger: Ledger) -> None:
    """Of many at once for different instances exactly one is given."""
    given: list[int] = []

    def give(instance: int) -> None:
        try:
            ledger.record(_go(instance), again=False)
        except ReleaseError:
            return
        given.append(instance)

    threads = [threading.Thread(target=give, args=(instance,), daemon=True) for instance in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.goes() == (_go(given[0]),)
    assert len(given) == 1


@given(name=st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\x00" not in name))
def test_any_file_name_survives(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    """Every name that a file can have comes back from the ledger as it was."""
    folder = tmp_path_factory.mktemp("ledger") / "ledger"
    ledger = Ledger(folder=folder, manifest_hash=bytes(32), participant="a")
    go = _go(path=Path("/data") / os.fsdecode(name))
    ledger.record(go, again=False)
    assert ledger.goes() == (go,)


# Children that end themselves at the n-th file operation of one `record`. Audit events fire before the operation, so
# every gap between two operations is one n. Each line: the child's signal, and how many goes the ledger then has.
_VICTIMS = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from twocvm_sdk.ledger import Ledger, LedgerGo

ledger = Ledger(folder=Path(sys.argv[1]), manifest_hash=bytes([7]) * 32, participant="hospital-a")

def record(instance, left):
    def end(event, arguments):
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "fcntl.flock"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
    go = LedgerGo(report_id=bytes([instance]) * 32, guest_spki_sha256=bytes(32), at=datetime.now(UTC), items={},
                  components={})
    sys.addaudithook(end)
    ledger.record(go, again=True)

for instance in (1, 2):
    killed, step = True, 0
    while killed:
        child = os.fork()
        if child == 0:
            record(instance, step)
            os._exit(0)
        killed = os.WTERMSIG(os.waitpid(child, 0)[1])
        step += 1
        print(killed, len(ledger.goes()))
"""


def test_a_process_killed_at_any_step_leaves_a_ledger(ledger: Ledger) -> None:
    """Killed before any file operation of a record, the ledger is what it was; after the last, it has the go."""
    command = [sys.executable, "-c", _VICTIMS, str(ledger.folder)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    first, second = lines.index((0, 1)), lines.index((0, 2))
    assert lines[:first] == [(9, 0)] * first
    assert lines[first + 1 : second] == [(9, 1)] * (second - first - 1)
    assert first >= 5
    assert second - first >= 4
    assert second == len(lines) - 1


def test_what_a_crash_leaves_behind_does_not_pile_up(ledger: Ledger) -> None:
    """A temporary file of a process that was killed is gone after the next record."""
    ledger.record(_go(1), again=False)
    (ledger.folder / ".new-0123456789abcdef").write_bytes(b"half")
    ledger.record(_go(2), again=True)
    assert sorted(path.name for path in ledger.folder.iterdir()) == [_file(ledger).name, "lock"]
