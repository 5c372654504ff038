"""The mirror: KDS's own paths, what the store holds, and no tool for a flood."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from tests.support.amd import AT, CHIP_ID, TURIN_CHIP_ID, VEK_END
from tests.support.crls import NEXT_UPDATE, crl_of
from tests.support.fake_kds import FakeKds, Mode, collateral_of, source_of
from tests.support.sdk import StandingClock
from tests.support.verifier_service import MILAN, parts, service

import twocvm_certs
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.collateral import Collateral, CrlName, Source, Store, VcekName
from twocvm_verifier.corim import Unsigned
from twocvm_verifier.errors import FetchError, MalformedError
from twocvm_verifier.service.admin import NOBODY
from twocvm_verifier.service.app import create_app
from twocvm_verifier.service.library import Library
from twocvm_verifier.service.mirror import Mirror, amd_chains, parse_vcek_request
from twocvm_verifier.service.shelf import Shelf
from twocvm_verifier.service.state.documents_memory import MemoryDocuments
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import parse_chain
from twocvm_verifier.snp.vek import parse_vek

GO = Path(__file__).parents[3] / "bench/go"
VCEK = MILAN.vcek()
NAME = VcekName(product=Product.MILAN, chip_id=CHIP_ID, tcb=parse_vek(VCEK).vek.tcb)
CRL = crl_of(MILAN)
VCEK_CRL = CrlName(product=Product.MILAN, kind=VekKind.VCEK)


@dataclass
class SteppedClock(StandingClock):
    """A clock that waits only where it is told to."""

    seconds: float = 0.0

    def monotonic_seconds(self) -> float:
        """Return what was put in."""
        return self.seconds


def mirror_of(folder: Path, *sources: Source, fetching: bool = True, at: Any = AT) -> Mirror:
    """Return a mirror of a store in a folder, at a standing time."""
    collateral = Collateral(
        store=Store(folder, roots=MILAN.roots()), sources=sources, clock=SystemClock(), patience_seconds=5
    )
    return Mirror(collateral, chains=amd_chains(), clock=StandingClock(at=at), fetching=fetching)


def shelf_of(mirror: Mirror | None) -> Shelf:
    """Return a shelf with nothing but a mirror."""
    library = Library(MemoryDocuments(), trust=Unsigned(), clock=StandingClock(at=AT))
    return Shelf(library=library, admins=NOBODY, mirror=mirror)


@pytest.fixture
def kds() -> Iterator[FakeKds]:
    """A KDS with one certificate and one list."""
    with FakeKds.serving({NAME.kds_path: VCEK, VCEK_CRL.kds_path: CRL}) as made:
        yield made


@pytest.fixture
def client(tmp_path, kds) -> Iterator[TestClient]:
    """A service that mirrors it."""
    with service(shelf=shelf_of(mirror_of(tmp_path, source_of(kds)))) as made:
        yield made


def code(answer: Any) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize(("kind", "issuer"), [("vcek", "ask"), ("vlek", "asvk")])
def test_chains_are_amds(client, product, kind, issuer):
    """Intermediate, then root, as they ship with this version, in PEM as others write it."""
    answer = client.get(f"/{kind}/v1/{product}/cert_chain")
    names = (f"{issuer}-{product.lower()}", f"ark-{product.lower()}")
    assert parse_chain(answer.content) == tuple(map(twocvm_certs.load, names))
    assert max(map(len, answer.text.splitlines())) == 64
    assert answer.headers["cache-control"] == "public, max-age=86400"


def test_a_vcek_is_fetched_once_and_kept(client, kds):
    """The second asks nobody, and whoever has it needs not ask again while it counts."""
    answers = [client.get(NAME.kds_path) for _ in range(2)]
    assert [answer.content for answer in answers] == [VCEK, VCEK]
    assert kds.asked == [NAME.kds_path]
    fields = answers[0].headers
    assert fields["cache-control"] == "public, max-age=31536000, immutable"
    again = client.get(NAME.kds_path, headers={"If-None-Match": f'"x", {fields["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", fields["etag"])


def test_what_ends_is_not_kept_longer(tmp_path, kds):
    """A certificate's last hour is one hour, and after it there is none."""
    for before, status, field in (
        (timedelta(hours=1), 200, "public, max-age=3600, immutable"),
        (-timedelta(1), 503, ""),
    ):
        mirror = mirror_of(tmp_path, source_of(kds), at=VEK_END - before)
        with service(shelf=shelf_of(mirror)) as client:
            answer = client.get(NAME.kds_path)
            assert answer.status_code in (status, 404)
            assert field in answer.headers["cache-control"]


def test_lists_say_until_when_they_count(tmp_path, kds):
    """An hour, or less where the list ends before; since when it counts; and nothing once it ended."""
    with service(shelf=shelf_of(mirror_of(tmp_path, source_of(kds)))) as client:
        answer = client.get(VCEK_CRL.kds_path)
        assert (answer.content, answer.headers["cache-control"]) == (CRL, "public, max-age=3600")
        assert answer.headers["last-modified"] == "Fri, 29 May 2026 00:00:00 GMT"
        assert code(client.get("/vlek/v1/Milan/crl")) == (404, "MIRROR_UNKNOWN")
    with service(shelf=shelf_of(mirror_of(tmp_path, source_of(kds), at=NEXT_UPDATE - timedelta(minutes=1)))) as client:
        assert client.get(VCEK_CRL.kds_path).headers["cache-control"] == "public, max-age=60"
    with service(shelf=shelf_of(mirror_of(tmp_path, source_of(kds), at=NEXT_UPDATE + timedelta(minutes=1)))) as client:
        asked = len(kds.asked)
        for _ in range(5):
            assert code(client.get(VCEK_CRL.kds_path)) == (503, "CRL_STALE")
        assert len(kds.asked) == asked + 1


def test_a_list_is_asked_for_once_however_often_it_is_wanted(tmp_path, kds):
    """AMD's lists are old by nature; a stranger who wants one all day has KDS asked now and then."""
    clock = SteppedClock()
    collateral = collateral_of(tmp_path, MILAN.roots(), source_of(kds))
    with service(shelf=shelf_of(Mirror(collateral, chains={}, clock=clock, fetching=True))) as client:
        for second in range(0, 1300, 50):
            clock.seconds = float(second)
            assert client.get(VCEK_CRL.kds_path).content == CRL
        assert kds.asked == [VCEK_CRL.kds_path] * 3
        # Where there is none, either.
        assert client.get("/vlek/v1/Genoa/crl").status_code == 404
        assert code(client.get("/vlek/v1/Genoa/crl")) == (503, "FETCH_BUSY")
        assert len(kds.asked) == 4


def path(**changes: str) -> str:
    """Return the path of the VCEK, with parameters changed; without one where it is empty."""
    given = {"blSPL": "04", "teeSPL": "00", "snpSPL": "24", "ucodeSPL": "219"} | changes
    query = "&".join(f"{name}={value}" for name, value in given.items() if value)
    return f"/vcek/v1/Milan/{CHIP_ID.hex()}?{query}"


@pytest.mark.parametrize(
    "spelling", [path(), path(blSPL="4", teeSPL="0"), path().replace(CHIP_ID.hex(), CHIP_ID.hex().upper())]
)
def test_spellings_that_kds_takes(client, kds, spelling):
    """Zeros before a number or none, hex in either case, any order: one and the same certificate."""
    kds.documents[NAME.kds_path] = VCEK
    assert client.get(spelling).content == VCEK
    assert kds.asked == [NAME.kds_path]


@pytest.mark.parametrize(
    "wrong",
    [
        path(blSPL=""),
        path(blSPL="256"),
        path(blSPL="-1"),
        path(blSPL="0x4"),
        path(blSPL="0004"),
        path(blSPL="\u0664"),
        path(fmcSPL="1"),
        path(more="1"),
        path() + "&blSPL=4",
        path().replace(CHIP_ID.hex(), CHIP_ID.hex()[:-2]),
        path().replace(CHIP_ID.hex(), "g" * 128),
        path().replace("Milan", "Turin"),
    ],
)
def test_queries_that_kds_does_not_take(client, kds, wrong):
    """Nothing is guessed, and nobody is asked."""
    assert code(client.get(wrong)) == (400, "MALFORMED_KDS_REQUEST")
    assert kds.asked == []


@pytest.mark.parametrize("product", ["Bergamo", "milan", "Simulated", "..%2f..", "Rome"])
def test_products_that_kds_does_not_have(client, kds, product):
    """Neither others' names, nor the simulated one."""
    for route in (f"/vcek/v1/{product}/crl", f"/vcek/v1/{product}/cert_chain", f"/vcek/v1/{product}/{'0' * 128}"):
        assert client.get(route).status_code == 404
    assert kds.asked == []


def test_turin_has_another_layout():
    """Its ids are short, and it has one component more."""
    query = [("fmcSPL", "1"), ("blSPL", "2"), ("teeSPL", "3"), ("snpSPL", "4"), ("ucodeSPL", "5")]
    name = parse_vcek_request(Product.TURIN, TURIN_CHIP_ID[:8].hex(), query)
    assert name == VcekName(product=Product.TURIN, chip_id=TURIN_CHIP_ID, tcb=bytes([1, 2, 3, 4, 0, 0, 0, 5]))
    assert name.kds_path.endswith("?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=05")
    with pytest.raises(MalformedError):
        parse_vcek_request(Product.TURIN, TURIN_CHIP_ID.hex(), query)


def test_a_stranger_floods_nobody(tmp_path, kds):
    """Of many chips that a stranger asks for, one reaches KDS; what is held is answered all the same."""
    mirror = mirror_of(tmp_path, source_of(kds))
    mirror.fetched(NAME)
    before = len(kds.asked)
    with service(shelf=shelf_of(mirror)) as client:
        strange = [path(ucodeSPL=str(number)) for number in range(20)]
        answers = [client.get(each) for each in strange]
        assert {code(answer) for answer in answers[1:]} == {(503, "FETCH_BUSY")}
        assert min(int(answer.headers["retry-after"]) for answer in answers[1:]) >= 10
        assert len(kds.asked) - before == 1
        assert client.get(NAME.kds_path).content == VCEK


def test_strangers_together_have_half_of_the_turns(tmp_path):
    """However many they are, whoever brings evidence finds a turn left."""
    clock = SteppedClock()
    collateral = collateral_of(tmp_path, MILAN.roots())
    mirror = Mirror(collateral, chains={}, clock=clock, fetching=True)
    waits: list[float] = []
    for second in range(100):
        clock.seconds = float(second)
        for stranger in range(3):
            try:
                mirror.admit(f"10.0.{second}.{stranger}")
            except FetchError as busy:
                waits.append(busy.retry_after_seconds)
    assert 300 - len(waits) == 5
    assert all(0 < wait <= 20 for wait in waits)


def test_one_stranger_has_a_share_of_the_turns(tmp_path):
    """Three at once and one in a minute, although nobody else asks."""
    clock = SteppedClock()
    mirror = Mirror(collateral_of(tmp_path, MILAN.roots()), chains={}, clock=clock, fetching=True)
    admitted = []
    for second in range(0, 300, 20):
        clock.seconds = float(second)
        with suppress(FetchError):
            mirror.admit("192.0.2.1")
            admitted.append(second)
    assert admitted == [0, 20, 40, 60, 120, 180, 240]


def test_a_mirror_that_fetches_nothing(tmp_path, kds):
    """It has what it has, and tells of the rest that there is none."""
    mirror = mirror_of(tmp_path, source_of(kds), fetching=False)
    with service(shelf=shelf_of(mirror)) as client:
        assert code(client.get(NAME.kds_path)) == (404, "MIRROR_UNKNOWN")
    assert kds.asked == []


def test_no_mirror_is_no_route(client):
    """Where the owner wants none, none of its paths is one."""
    with service() as without:
        assert code(without.get(VCEK_CRL.kds_path)) == (404, "SERVICE_ROUTE")


@pytest.mark.parametrize(
    ("mode", "status"), [(Mode.MISSING, 404), (Mode.BROKEN, 503), (Mode.HTML, 503), (Mode.WRONG, 503)]
)
def test_what_kds_answers_is_told_as_it_is(client, kds, mode, status):
    """Not there is not there, and whatever is wrong is nothing to keep."""
    kds.mode, kds.wrong = mode, b"\x30\x00"
    answer = client.get(NAME.kds_path)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application on loopback, and yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_our_own_client_fetches_from_a_mirror(tmp_path, kds):
    """A second verifier whose KDS is this service finds everything, genuine under its own roots."""
    app = create_app(parts(shelf=shelf_of(mirror_of(tmp_path / "first", source_of(kds)))))
    with served(app) as url:
        kds_of_second = FakeKds({}, url=url)
        second = collateral_of(tmp_path / "second", MILAN.roots(), source_of(kds_of_second, name="mirror"))
        assert second.vcek(NAME, at=AT).der == VCEK
        assert second.crl(VCEK_CRL, at=AT, max_age_seconds=86_400).der == CRL
    assert second.store.vcek(NAME).der == VCEK


def test_go_sev_guest_fetches_from_a_mirror(tmp_path, kds):
    """A stranger's client, told of another address, verifies a report with all that it fetches there."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    program = tmp_path / "program"
    build = ["go", "build", "-o", program, "./mirror"]
    built = subprocess.run(build, cwd=GO, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"go-sev-guest cannot be built here: {built.stderr.strip().splitlines()[-1]}")
    chains = {(Product.MILAN, VekKind.VCEK): MILAN.chain()}
    collateral = collateral_of(tmp_path / "store", MILAN.roots(), source_of(kds))
    mirror = Mirror(collateral, chains=chains, clock=StandingClock(at=AT), fetching=True)
    (tmp_path / "report").write_bytes(MILAN.report(version=3))
    with served(create_app(parts(shelf=shelf_of(mirror)))) as url:
        command = [program, url, tmp_path / "report"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    asked = ended.stdout.split()
    assert asked[0] == "/vcek/v1/Milan/cert_chain"
    assert any("?blSPL=" in path for path in asked)
    assert VCEK_CRL.kds_path in asked
