"""`twocvm collateral`, and `twocvm appraise` where certificates and lists have to be found, as a person meets them."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.amd import AT, borrowed_names, fake_amd
from tests.support.certtables import GUIDS, table
from tests.support.crls import ISSUER_SERIAL, crl_of
from tests.support.fake_kds import FakeKds, Mode
from tests.support.vectors import require_vectors

from twocvm_guest.main import run
from twocvm_verifier.clock import format_time
from twocvm_verifier.collateral import vcek_names
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

GENUINE = Path(__file__).parents[2] / "examples" / "genuine"
REPORT, VCEK = (GENUINE / "report.bin").read_bytes(), (GENUINE / "vcek.der").read_bytes()
MILAN_NAME, GENOA_NAME = vcek_names(parse_report(REPORT))
JUDGED_AT = "2026-11-22T00:00:00Z"
SIMULATED = fake_amd(Product.SIMULATED)
WHEN = format_time(AT)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder for files; the store is in it, and KDS is nowhere unless a test says where."""
    monkeypatch.setenv("TWOCVM_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TWOCVM_KDS", NOWHERE)
    monkeypatch.delenv("TWOCVM_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def call(capsys, folder):
    """Run one command, and return exit status, standard output and standard error."""

    def one(*arguments: object) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return one


@pytest.fixture
def kds():
    """A KDS that has the VCEK of the report that ships with the project."""
    with FakeKds.serving({MILAN_NAME.kds_path: VCEK}) as serving:
        yield serving


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file and return its path."""
    (folder / name).write_bytes(content)
    return folder / name


def simulated(folder: Path, **changes: bytes | None) -> list[str]:
    """Return the arguments that judge simulated evidence, with `changes` to its files; None leaves one out."""
    files = {"report": SIMULATED.report(), "vek": SIMULATED.vcek(), "simulated-root": SIMULATED.chain(), **changes}
    given = {name.replace("_", "-"): content for name, content in files.items() if content is not None}
    named = [(f"--{name}", str(write(folder, name, content))) for name, content in given.items()]
    return ["appraise", "--at", WHEN, "-o", "json", *(word for pair in named for word in pair)]


def revocation_of(printed: str) -> dict[str, str]:
    """Return the check of revocation in a result."""
    (found,) = (check for check in json.loads(printed)["checks"] if check["id"] == "snp.chain.revocation")
    return found


def test_a_report_is_judged_with_what_kds_has(call, kds, folder):
    """Without --vek the certificate is fetched, said to be, kept, and used offline the next time."""
    arguments = ("appraise", "--report", GENUINE / "report.bin", "--at", JUDGED_AT)
    status, out, err = call(*arguments, "--kds", kds.url)
    assert (status, "Milan chip, report version 2, VCEK: authentic" in out) == (11, True)
    assert "the VEK is from kds, and kept in" in err
    assert (folder / "store" / MILAN_NAME.file_name).read_bytes() == VCEK
    asked = len(kds.asked)
    status, again, err = call(*arguments, "--offline")
    assert (status, again, "the VEK is from" in err, len(kds.asked)) == (11, out, False, asked)


def test_a_mirror_is_asked_before_kds(call, kds):
    """Mirrors are named by option or by environment, in order."""
    with FakeKds.serving({MILAN_NAME.kds_path: VCEK}, mode=Mode.BROKEN) as broken:
        options = ("--mirror", broken.url + "/", "--mirror", kds.url)
        status, _, err = call("appraise", "--report", GENUINE / "report.bin", "--at", JUDGED_AT, *options)
        assert (status, "the VEK is from mirror" in err, broken.asked[0]) == (11, True, MILAN_NAME.kds_path)


@pytest.mark.parametrize(
    ("mode", "code"),
    [(Mode.MISSING, "COLLATERAL_NOT_FOUND"), (Mode.BROKEN, "FETCH_FAILED"), (Mode.HTML, "FETCH_WRONG")],
)
def test_what_cannot_be_fetched_cannot_be_judged(call, kds, mode, code):
    """Exit 40 with the code that says why, as a person and as a program see it; never a refusal."""
    kds.mode = mode
    status, out, err = call("appraise", "--report", GENUINE / "report.bin", "--kds", kds.url, "-o", "json")
    assert (status, json.loads(out)["code"], err.startswith(code)) == (40, code, True)


def test_offline_without_a_certificate(call, kds):
    """Nothing is asked, and the report must still be a report."""
    status, _, err = call("appraise", "--report", GENUINE / "report.bin", "--kds", kds.url, "--offline")
    assert (status, err.startswith("VEK_MISSING"), kds.asked) == (40, True, [])
    assert call("appraise", "--report", GENUINE / "vcek.der", "--offline")[0] == 30


def test_a_certificate_that_nobody_can_ask_for(call, folder, kds):
    """A masked chip: the reason is told, and nothing is asked."""
    report = write(folder, "masked", fake_amd(Product.MILAN).report(chip_id=bytes(64)))
    status, _, err = call("appraise", "--report", report, "--kds", kds.url)
    assert (status, "masked" in err, kds.asked) == (40, True, [])


def test_places_that_are_none(call):
    """A KDS or mirror that is no address is a mistake in the call."""
    for option in ("--kds", "--mirror"):
        status, _, err = call("appraise", "--report", GENUINE / "report.bin", option, "not an address")
        assert (status, option in err) == (2, True)


def test_a_missing_library_is_said(call, monkeypatch):
    """Without the extra, what can be judged is judged, and fetching says what to install."""
    monkeypatch.setitem(sys.modules, "twocvm_verifier.collateral.http", None)
    status, _, err = call("appraise", "--report", GENUINE / "report.bin")
    assert (status, err.startswith("FETCHER_MISSING"), "twocvm[sdk]" in err) == (20, True, True)
    given = ("appraise", "--report", GENUINE / "report.bin", "--vek", GENUINE / "vcek.der", "--at", JUDGED_AT)
    assert call(*given)[0] == 11


def test_the_hosts_table(call, folder):
    """Its VEK, chain and list are used like files of their own; what is named beside it comes first."""
    blobs = {"vcek": SIMULATED.vcek(), "intermediate": SIMULATED.ask(), "ark": SIMULATED.ark()}
    whole = table({GUIDS[name]: blob for name, blob in {**blobs, "crl": crl_of(SIMULATED)}.items()})
    status, out, _ = call(*simulated(folder, vek=None, cert_table=whole))
    result = json.loads(out)
    assert (status, {piece["kind"] for piece in result["collateral"]}) == (0, {"vcek", "ask", "ark", "crl"})
    forged = table({GUIDS[name]: blob for name, blob in {**blobs, "ark": borrowed_names().ark()}.items()})
    status, out, _ = call(*simulated(folder, cert_table=forged))
    assert (status, json.loads(out)["code"]) == (10, "CHAIN_ROOT_UNKNOWN")
    assert call(*simulated(folder, cert_table=forged, chain=SIMULATED.chain()))[0] == 0
    assert call(*simulated(folder, cert_table=b"junk"))[0] == 30


def test_a_table_without_the_certificate(call, folder):
    """Then the certificate is looked for like any other."""
    status, out, _ = call(*simulated(folder, vek=None, cert_table=bytes(24)), "--offline")
    assert (status, json.loads(out)["code"]) == (40, "VEK_MISSING")


def test_a_list_that_is_given(call, folder):
    """In force it passes the check, and it stands in the result."""
    status, out, _ = call(*simulated(folder, crl=crl_of(SIMULATED)))
    assert (status, revocation_of(out)["status"]) == (0, "pass")


LISTS = {
    "junk": (b"junk", 30, "MALFORMED_CRL"),
    "forged": (crl_of(SIMULATED, signer=SIMULATED.keys.ask), 10, "CRL_SIGNATURE"),
    "of another root": (crl_of(fake_amd(Product.MILAN)), 10, "CRL_ISSUER_UNKNOWN"),
    "ended": (crl_of(SIMULATED, next_update=AT - timedelta(days=1)), 40, "CRL_STALE"),
    "of later": (crl_of(SIMULATED, this_update=AT + timedelta(days=1)), 40, "CRL_NOT_YET_VALID"),
    "revoking": (crl_of(SIMULATED, revoked=(ISSUER_SERIAL,)), 10, "CHAIN_REVOKED"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_that_is_given_and_no_use(call, folder, case):
    """Whoever names a list means it: each is refused with its own code."""
    crl, wanted, code = LISTS[case]
    status, out, err = call(*simulated(folder, crl=crl))
    assert (status, json.loads(out)["code"], err.startswith(code)) == (wanted, code, True)


def test_a_table_whose_list_is_no_use(call, folder):
    """What was merely found warns, but one that revokes refuses."""
    for crl, wanted, status in ((b"junk", 0, "warn"), (crl_of(SIMULATED, revoked=(ISSUER_SERIAL,)), 10, "fail")):
        found, out, _ = call(*simulated(folder, cert_table=table({GUIDS["crl"]: crl})))
        assert (found, revocation_of(out)["status"]) == (wanted, status)


def test_a_list_beside_a_vek_of_nobody(call, folder):
    """Of a VEK whose issuer is unknown no list says anything; that it is unknown is what is told."""
    forged = borrowed_names(Product.MILAN)
    changes = {"report": forged.report(), "vek": forged.vcek(), "crl": crl_of(SIMULATED)}
    status, out, _ = call(*simulated(folder, **changes))
    assert (status, json.loads(out)["code"]) == (10, "CHAIN_ISSUER_UNKNOWN")


def test_the_list_that_amd_published(call, folder, kds):
    """Judged in its year the shipped report's issuer is in force; today AMD's old list is stale, and kept from use."""
    crl = require_vectors() / "snp" / "_crl" / "ARK-Milan-2022-05-09-2023-05-09.crl.der"
    vectors = require_vectors() / "snp" / "milan-v2-vcek-enarx-f328bc9e"
    given = ("appraise", "--report", vectors / "report.bin", "--vek", vectors / "vcek.der", "--crl", crl, "-o", "json")
    _, out, _ = call(*given, "--at", "2023-01-01T00:00:00Z")
    assert revocation_of(out)["status"] == "warn"
    assert "number 3" in revocation_of(out)["detail"]
    status, out, _ = call(*given, "--at", JUDGED_AT)
    assert (status, json.loads(out)["code"]) == (40, "CRL_STALE")


def test_the_newest_of_store_and_table_counts(call, folder):
    """A table's list is used where it is newer, and the store's where the table's is older, or none."""
    place = folder / "store" / "crl" / "Simulated-vcek.crl"
    place.parent.mkdir(parents=True)
    place.write_bytes(crl_of(SIMULATED, number=5))
    for crl, number in ((b"junk", 5), (crl_of(SIMULATED, number=4), 5), (crl_of(SIMULATED, number=6), 6)):
        _, out, _ = call(*simulated(folder, cert_table=table({GUIDS["crl"]: crl})))
        assert revocation_of(out)["status"] == "pass"
        assert revocation_of(out)["actual"].startswith(f"number {number},")


def test_fetch_list_export_import(call, kds, folder, monkeypatch):
    """What was fetched is listed, goes into a file, and comes out of it in another store."""
    status, out, err = call("collateral", "fetch", GENUINE / "report.bin", "--kds", kds.url)
    assert (status, "VCEK of Milan chip" in out, err.startswith("COLLATERAL_NOT_FOUND: CRL of")) == (40, True, False)
    assert "/vcek/v1/Milan/crl" in kds.asked
    status, out, _ = call("collateral", "list", "-o", "json")
    (piece,) = json.loads(out)["pieces"]
    assert (status, piece["file"], piece["source"]) == (0, MILAN_NAME.file_name, "store")
    status, _, err = call("collateral", "export", folder / "site.json")
    assert (status, err) == (0, "1 pieces\n")
    monkeypatch.setenv("TWOCVM_STORE", str(folder / "other"))
    assert call("collateral", "list")[:2] == (0, "")
    status, out, _ = call("collateral", "import", folder / "site.json")
    assert (status, "VCEK of Milan chip" in out) == (0, True)
    assert (folder / "other" / MILAN_NAME.file_name).read_bytes() == VCEK


def test_fetch_asks_for_every_list(call, kds):
    """Without reports all products' lists are asked for, and what is not there is told; exit 40."""
    status, out, err = call("collateral", "fetch", "--kds", kds.url)
    assert (status, out) == (40, "")
    assert sorted(kds.asked) == sorted(
        f"/{kind}/v1/{product}/crl" for kind in ("vcek", "vlek") for product in ("Milan", "Genoa", "Turin")
    )
    assert err.count("COLLATERAL_NOT_FOUND: ") == 6


def test_fetch_of_lists_that_amd_published(call, kds):
    """A genuine list is kept although it has ended, because no older one may take its place; exit 40 says so."""
    crl = require_vectors() / "snp" / "_crl" / "ARK-Genoa-2022-10-31-2023-10-31.crl.der"
    kds.documents["/vcek/v1/Genoa/crl"] = crl.read_bytes()
    status, _, err = call("collateral", "fetch", "--kds", kds.url)
    assert (status, "CRL_STALE: CRL of Genoa for VCEKs" in err) == (40, True)
    assert "CRL of Genoa for VCEKs, until 2023-10-31T23:00:00Z" in call("collateral", "list")[1]


def test_fetch_of_all_that_a_report_needs(call, kds):
    """The VCEK and the list of its product, each asked for once: exit 0."""
    kds.documents["/vcek/v1/Milan/crl"] = (
        require_vectors() / "snp" / "_crl" / "ARK-Milan-2022-05-09-2023-05-09.crl.der"
    ).read_bytes()
    fetch = ("collateral", "fetch", GENUINE / "report.bin", GENUINE / "report.bin", "--kds", kds.url)
    status, out, err = call(*fetch, "--at", "2023-01-01T00:00:00Z", "-o", "json")
    pieces = json.loads(out)["pieces"]
    assert (status, err, [piece["source"] for piece in pieces]) == (0, "", ["kds", "store", "kds"])
    assert kds.asked == [MILAN_NAME.kds_path, "/vcek/v1/Milan/crl"]


def test_fetch_of_what_is_no_report(call, kds):
    """Exit 30, before anything is asked."""
    assert call("collateral", "fetch", GENUINE / "vcek.der", "--kds", kds.url)[0] == 30
    assert kds.asked == []


def test_import_of_what_is_not_genuine(call, folder):
    """Exit 30, and nothing of the file is taken."""
    status, _, err = call("collateral", "import", write(folder, "bad.json", b"{}"))
    assert (status, err.startswith("MALFORMED_COLLATERAL")) == (30, True)
    assert call("collateral", "list")[:2] == (0, "")


def test_the_usual_store(call, folder, monkeypatch):
    """Without a word it is in the user's cache, wherever that is."""
    monkeypatch.delenv("TWOCVM_STORE")
    for cache, home in ((folder / "cache", None), (None, folder / "home")):
        monkeypatch.setenv("XDG_CACHE_HOME", "" if cache is None else str(cache))
        monkeypatch.setenv("HOME", str(folder / "home"))
        base = (home / ".cache" if home else cache) / "twocvm" / "collateral"
        place = base / MILAN_NAME.file_name
        place.parent.mkdir(parents=True)
        place.write_bytes(VCEK)
        status, out, _ = call("collateral", "list")
        assert (status, "VCEK of Milan" in out) == (0, True)


def test_a_store_that_cannot_be_written(call, kds, folder):
    """Exit 40, and what to do about it."""
    store = write(folder, "file", b"")
    status, _, err = call("collateral", "fetch", GENUINE / "report.bin", "--kds", kds.url, "--store", store)
    assert (status, "STORE_UNWRITABLE" in err, "--store" in err) == (40, True, True)
