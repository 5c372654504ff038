"""The ledger's and the identity's files: any bytes give a value or a refusal, and every value comes back."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twocvm_sdk.identity import PUBLIC, Identity
from twocvm_sdk.ledger import Ledger, LedgerGo, LedgerItem
from twocvm_verifier import strictjson
from twocvm_verifier.errors import MalformedError, ReleaseError

_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
_HASHES = st.binary(min_size=32, max_size=32)
_PATHS = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\x00" not in name and name != b"."
)
_ITEMS = st.builds(
    lambda name, size, sha256, salt: LedgerItem(
        path=Path("/data") / name.decode("utf-8", "surrogateescape"), size_bytes=size, sha256=sha256, salt=salt
    ),
    _PATHS,
    st.integers(0, 2**53 - 1),
    _HASHES,
    _HASHES,
)
_TIMES = st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
_GOES = st.lists(
    st.builds(
        LedgerGo,
        report_id=_HASHES,
        guest_spki_sha256=_HASHES,
        at=_TIMES,
        withdrawn_at=st.none() | _TIMES,
        items=st.dictionaries(_NAMES, _ITEMS, max_size=3),
        components=st.dictionaries(_NAMES, st.just(Path("/code/join.wasm")), max_size=3),
    ),
    max_size=3,
    unique_by=lambda go: go.report_id,
)
_JSON = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["goes", "items", "at"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def _entry_bytes(value: object) -> bytes:
    # Canonical JSON of what has some, and no JSON of the rest.
    try:
        return strictjson.canonical({"name": value})  # type: ignore[dict-item]
    except (ValueError, TypeError):
        return b"none"


def _ledger(folder: Path) -> Ledger:
    return Ledger(folder=folder / "ledger", manifest_hash=bytes(32), participant="a")


@given(goes=_GOES)
def test_every_ledger_comes_back(tmp_path_factory: pytest.TempPathFactory, goes: list[LedgerGo]) -> None:
    """Whatever was recorded is read again, in its order."""
    ledger = _ledger(tmp_path_factory.mktemp("ledger"))
    for go in goes:
        ledger.record(go, again=True)
    assert ledger.goes() == tuple(goes)


@given(raw=st.binary(max_size=200) | _JSON.map(lambda value: repr(value).replace("'", '"').encode("utf-8", "replace")))
def test_any_bytes_are_a_ledger_or_malformed(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Reading a ledger gives goes or MALFORMED_LEDGER, and never an empty ledger for other bytes than one."""
    folder = tmp_path_factory.mktemp("ledger") / "ledger"
    folder.mkdir(mode=0o700)
    ledger = _ledger(folder.parent)
    file = folder / f"{bytes(32).hex()}.a.json"
    file.touch(mode=0o600)
    file.write_bytes(raw)
    with pytest.raises(MalformedError):
        ledger.goes()


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_a_ledger_with_one_bit_changed_never_forgets(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    """One flipped bit gives a refusal, or a ledger that still has a go and still refuses the next one."""
    ledger = _ledger(tmp_path_factory.mktemp("ledger"))
    item = LedgerItem(path=Path("/data/x"), size_bytes=3, sha256=bytes(32), salt=bytes(32))
    go = LedgerGo(
        report_id=bytes([1]) * 32,
        guest_spki_sha256=bytes(32),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        items={"x": item},
        components={},
    )
    ledger.record(go, again=False)
    file = ledger.folder / f"{bytes(32).hex()}.a.json"
    raw = bytearray(file.read_bytes())
    raw[place % len(raw)] ^= 1 << bit
    file.write_bytes(bytes(raw))
    with pytest.raises((MalformedError, ReleaseError)):
        ledger.standing(bytes([2]) * 32, again=False)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """One identity for every example."""
    return Identity.new(tmp_path_factory.mktemp("identity") / "me", "a")


@given(raw=st.binary(max_size=100) | _JSON.map(_entry_bytes))
def test_any_bytes_are_no_other_entry(identity: Identity, raw: bytes) -> None:
    """`identity.json` is the entry of the keys beside it, or the identity is malformed."""
    (identity.folder / PUBLIC).write_bytes(raw)
    with pytest.raises(MalformedError):
        Identity.load(identity.folder)
