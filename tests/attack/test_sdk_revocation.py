"""An old revocation list handed over by the guest: the participant's own is newer, and counts."""

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import tests.support.guest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.amd import FakeAmd, fake_amd, shared_keys
from tests.support.attested_guest import policy
from tests.support.crls import crl_of
from tests.support.guest import LiveGuest
from tests.support.manifests import AT, NOT_BEFORE, World
from tests.support.sides import Side

from twocvm_guest.platforms import simulated_pki
from twocvm_guest.platforms.simulated import TCB, SimulatedChip
from twocvm_sdk.cli.guests import keep_crl
from twocvm_sdk.cli.revocation import held_crls, open_store, remember_crl
from twocvm_verifier.collateral import Store
from twocvm_verifier.errors import FetchError, TwoCvmError
from twocvm_verifier.policy.model import DEFAULT_MAX_CRL_AGE_SECONDS
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.revocation import CrlMode, Crls
from twocvm_verifier.snp.roots import verify_roots
from twocvm_verifier.verifier import SnpVerifier

DAY = timedelta(days=1)
STRICT = policy(max_crl_age_seconds=DEFAULT_MAX_CRL_AGE_SECONDS)


def _chip() -> SimulatedChip:
    """Return a chip whose root key the test has, so that its root can issue further lists."""
    keys, chip_id = shared_keys(), secrets.token_bytes(64)
    vcek = keys.vek.public_key()
    ark, ask = simulated_pki._make_ark(keys.ark), simulated_pki._make_ask(keys.ask, keys.ark)
    certificates = simulated_pki.SimulatedCertificates(
        vcek_key=keys.vek,
        vcek_der=simulated_pki._make_vcek(vcek, keys.ask, chip_id=chip_id, tcb=TCB, at=NOT_BEFORE),
        chain_pem=ask.public_bytes(Encoding.PEM) + ark.public_bytes(Encoding.PEM),
        crl_der=simulated_pki._make_crl(keys.ark, at=AT - 2 * DAY),
    )
    return SimulatedChip(chip_id=chip_id, certificates=certificates)


def _list(*, number: int, begins: datetime, ends: datetime, revoked: tuple[int, ...] = ()) -> Crls:
    simulated = FakeAmd(product=Product.SIMULATED, keys=shared_keys())
    raw = crl_of(simulated, number=number, revoked=revoked, this_update=begins, next_update=ends)
    return Crls(mode=CrlMode.PREFER, held=(raw,))


CASES = {
    "a newer one that revokes": (_list, {"number": 9, "revoked": (simulated_pki._ASK_SERIAL,)}, "CHAIN_REVOKED", 10),
    "a newer one that has ended": (_list, {"number": 9, "ends": AT - DAY / 2}, "CRL_ROLLED_BACK", 40),
    "an older one that revokes": (_list, {"number": 0, "revoked": (simulated_pki._ASK_SERIAL,)}, "CHAIN_REVOKED", 10),
}


@pytest.mark.parametrize("case", CASES)
def test_the_guests_list_does_not_outweigh_ones_own(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest brings a genuine list, and the participant holds another: no session begins, whatever it says."""
    monkeypatch.setattr(tests.support.guest, "chip", _chip)
    make, fields, code, exit_status = CASES[case]
    crls = make(**{"begins": AT - DAY, "ends": AT + 30 * DAY, **fields})
    with LiveGuest(World()) as guest:
        guest.lock()
        side = Side(guest, "hospital-a", tmp_path)
        with side.connect(policy=STRICT, crls=Crls(mode=CrlMode.PREFER, held=())):
            pass
        with pytest.raises(TwoCvmError) as refused:
            side.connect(policy=STRICT, crls=crls)
    assert (refused.value.code, refused.value.exit_status) == (code, exit_status)


def test_the_newest_list_counts_when_it_revokes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two lists that both hold, the participant's newer one is the one in the result."""
    monkeypatch.setattr(tests.support.guest, "chip", _chip)
    crls = _list(number=9, begins=AT - DAY, ends=AT + 30 * DAY)
    with LiveGuest(World()) as guest:
        guest.lock()
        with Side(guest, "hospital-a", tmp_path).connect(policy=STRICT, crls=crls) as session:
            found = session.proof.verified.revocation
    assert (found.verified.crl.number, found.source) == (9, "store")  # type: ignore[union-attr]


def test_a_command_remembers_the_newest_list_it_saw(tmp_path: Path) -> None:
    """What evidence brought is in the store for the next command, and an older one never takes its place."""
    milan = fake_amd(Product.MILAN)
    roots = verify_roots([milan.hierarchy()], revoked=frozenset())
    store = Store(tmp_path / "store", roots=roots)
    at = milan_at()
    for number, kept in ((3, 3), (7, 7), (4, 7)):
        verifier = SnpVerifier(roots=roots, crls=held_crls(store))
        verified = verifier.verify(milan.report(), vek=milan.vcek(), crl=crl_of(milan, number=number), at=at)
        assert verified.revocation.verified.crl.number == kept  # type: ignore[union-attr]
        remember_crl(verified, store=store)
        (held,) = held_crls(store).held
        assert held == crl_of_number(verified, kept)


def test_a_simulated_list_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated platform leaves nothing in the store."""
    monkeypatch.setattr(tests.support.guest, "chip", _chip)
    with LiveGuest(World()) as guest:
        guest.lock()
        side = Side(guest, "hospital-a", tmp_path)
        store = open_store(tmp_path / "store", roots=side.arguments["roots"])
        with side.connect(crls=held_crls(store)) as session:
            remember_crl(session.proof.verified, store=store)
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that cannot be kept ends no command, and is told: the next one will know less than this one."""
    milan = fake_amd(Product.MILAN)
    roots = verify_roots([milan.hierarchy()], revoked=frozenset())
    (tmp_path / "file").write_bytes(b"")
    side = SimpleNamespace(store=Store(tmp_path / "file" / "store", roots=roots))
    verified = SnpVerifier(roots=roots, crls=held_crls(side.store)).verify(
        milan.report(), vek=milan.vcek(), crl=crl_of(milan), at=milan_at()
    )
    with pytest.raises(FetchError) as refused:
        remember_crl(verified, store=side.store)
    assert refused.value.code == "STORE_UNWRITABLE"
    keep_crl(side, SimpleNamespace(verified=verified))  # type: ignore[arg-type]
    assert "could not be kept" in capsys.readouterr().err


def milan_at() -> datetime:
    """When the made-up hierarchy of `tests.support.amd` is in force."""
    from tests.support.amd import AT as AMD_AT

    return AMD_AT


def crl_of_number(verified: object, number: int) -> bytes:
    """Return the list that counted, which has that number."""
    crl = verified.revocation.verified.crl  # type: ignore[attr-defined]
    assert crl.number == number
    return bytes(crl.raw)
