"""Pages of the service: who gets one, for how long, that it is the command's, and what every answer tells browsers."""

from __future__ import annotations

import html
import random
import re
import zlib
from datetime import timedelta

import pytest
from tests.support.amd import AT, borrowed_names, fake_amd
from tests.support.htmltext import parsed
from tests.support.redis_server import redis_server
from tests.support.sdk import StandingClock
from tests.support.verifier_service import (
    FEDERATION,
    ISSUER,
    asked,
    by_parts,
    for_release,
    naming_policy,
    report,
    service,
)

from twocvm_guest.main import run
from twocvm_verifier import strictjson
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.framing import sha256
from twocvm_verifier.policy.writing import document_of, policy_toml
from twocvm_verifier.service.assembly import parts_of
from twocvm_verifier.service.headers import EVERY
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.rules import require_sound
from twocvm_verifier.service.settings import CollateralPlaces, Listen, Pages, Settings, State
from twocvm_verifier.service.state.redis import RedisPlace, connect
from twocvm_verifier.service.state.reports import MemoryReports, NoReports
from twocvm_verifier.service.state.reports_redis import RedisReports
from twocvm_verifier.service.tokens import KeyRing, new_key
from twocvm_verifier.service.watching import open_watch
from twocvm_verifier.snp.product import Product

SECONDS = 600


@pytest.fixture
def clock():
    """A clock that stands."""
    return StandingClock(at=AT)


@pytest.fixture
def client(clock):
    """A service that keeps pages."""
    with service(
        default=naming_policy(), clock=clock, reports=MemoryReports(clock=clock), report_seconds=SECONDS
    ) as made:
        yield made


def kept(client, request=None) -> str:
    """Have a judgement's page kept, and return its path."""
    answer = client.post("/v1/appraise?report=1", json=request or asked())
    assert answer.status_code == 200, answer.text
    return answer.json()["report"]["path"]


def without_origin(page: str) -> str:
    """Return a page without what says who made it."""
    return re.sub(r'<p class="origin.*?</p>', "", page, flags=re.S)


def test_a_page_is_kept_only_where_owner_and_request_want_it(client):
    """Without report=1 there is none, with report=0 neither; where the owner keeps none it is refused."""
    for query in ("", "?report=0", "?explain=1"):
        assert "report" not in client.post(f"/v1/appraise{query}", json=asked()).json()
    with service() as keeping_none:
        answer = keeping_none.post("/v1/appraise?report=1", json=asked())
        assert (answer.status_code, answer.json()["code"]) == (422, "REPORTS_OFF")
        assert keeping_none.get("/reports/" + "A" * 43).json()["code"] == "REPORT_UNKNOWN"
    assert Settings().pages == Pages(reports=False, report_seconds=86_400)


def test_a_page_shows_the_judgement_and_no_evidence(client):
    """Who has the address sees verdict, checks and policy; neither report nor certificate stands in it, nor a token."""
    request = asked(evidence=by_parts())
    answer = client.post("/v1/appraise?report=1", json=request).json()
    page = client.get(answer["report"]["path"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = " ".join(parsed(page.text).text.split())
    for check in answer["appraisal"]["checks"]:
        assert check["id"] in text
    assert answer["appraisal"]["policy"]["sha256"] in text
    assert f"Judged by {ISSUER}" in text
    for secret in (*request["evidence"].values(), report().hex(), answer["token"]):
        assert secret not in page.text


def test_a_page_is_for_nobody_but_its_reader(client):
    """No cache keeps it, no engine lists it, no frame holds it, no script runs in it, nobody is told where it is."""
    headers = client.get(kept(client)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-robots-tag"].startswith("noindex")
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("frame-ancestors 'none'")
    assert "unsafe" not in policy


def test_addresses_are_random_and_the_store_does_not_know_them(clock):
    """Two pages of one judgement have addresses of 32 random bytes each, of which the store has a digest."""
    seen = []

    class Watched(MemoryReports):
        def keep(self, name, document, *, until):
            """Keep, and note by which name."""
            seen.append(name)
            super().keep(name, document, until=until)

    with service(clock=clock, reports=Watched(clock=clock), report_seconds=SECONDS) as client:
        paths = [kept(client), kept(client)]
    identifiers = [strictjson.parse_base64url(path.removeprefix("/reports/")) for path in paths]
    assert len(set(identifiers)) == 2
    assert all(len(identifier) == 32 for identifier in identifiers)
    assert seen == [sha256(identifier) for identifier in identifiers]


def test_a_page_ends(client, clock):
    """After its time it is as if it had never been, to the second."""
    path = kept(client)
    clock.at += timedelta(seconds=SECONDS - 1)
    assert client.get(path).status_code == 200
    clock.at += timedelta(seconds=1)
    gone = client.get(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "REPORT_UNKNOWN")


@pytest.mark.parametrize("name", ["x", "A" * 43, "A" * 44, "-" * 43 + "=", "A" * 4000])
def test_other_addresses_lead_nowhere(client, name):
    """What is no address, and one that nobody was given, are answered alike."""
    kept(client)
    answer = client.get(f"/reports/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "REPORT_UNKNOWN")


def test_it_is_the_page_that_the_command_makes(tmp_path, capsys):
    """Byte for byte, but for the paragraph that says who made it: forged, refused, warned of."""
    (tmp_path / "policy.toml").write_text(policy_toml(naming_policy()))
    amd = fake_amd(Product.SIMULATED)
    (tmp_path / "root.pem").write_bytes(amd.chain())
    forger = borrowed_names(Product.SIMULATED)
    clock = StandingClock(at=AT)
    keeping = {"reports": MemoryReports(clock=clock), "report_seconds": SECONDS}
    with service(roots=amd.roots(), default=naming_policy(), clock=clock, **keeping) as simulated:
        for pieces in (
            {"report": report(amd), "vek": amd.vcek()},
            {"report": report(amd, policy=0xB0000), "vek": amd.vcek(), "chain": amd.chain()},
            {"report": report(forger), "vek": forger.vcek()},
        ):
            theirs = simulated.get(kept(simulated, {"evidence": by_parts(crl=None, **pieces)})).text
            command = ["appraise", "--offline", "-q", "--policy", str(tmp_path / "policy.toml")]
            command += ["--simulated-root", str(tmp_path / "root.pem"), "--at", "2026-06-01T00:00:00Z"]
            for name, raw in pieces.items():
                (tmp_path / name).write_bytes(raw)
                command += [f"--{name}", str(tmp_path / name)]
            run([*command, "--html", str(tmp_path / "ours.html")])
            ours = (tmp_path / "ours.html").read_text(encoding="utf-8")
            assert ours != theirs
            assert without_origin(ours) == without_origin(theirs)
    capsys.readouterr()


def test_a_strangers_policy_is_called_that(client):
    """Under a policy that whoever asked brought along no page looks as if the service's owner stood behind it."""
    lax = document_of(naming_policy(provisional_firmware=True)) | {"name": "approved by everybody"}
    text = client.get(kept(client, asked(policy=lax))).text
    assert 'class="banner affirming' in text
    assert "Not this service's policy." in html.unescape(text)
    assert "Not this service" not in client.get(kept(client)).text


def test_a_release_says_what_no_command_asks_again(client):
    """What was bound, and judged as before a release, is said on the page; its manifest stands there by its hash."""
    text = client.get(kept(client, for_release())).text
    assert "judged as before a release" in text
    assert "begin with binding" in text
    assert "--manifest manifest.json" in text


def test_a_page_of_another_version_is_not_shown(clock):
    """What another replica kept in another form leads nowhere, rather than to half a page."""
    for packed in ({"until": "x", "page": {"schema": "twocvm/page/v2"}}, {"until": "x", "page": []}, []):
        reports = MemoryReports(clock=clock)
        reports.keep(sha256(bytes(32)), zlib.compress(strictjson.canonical(packed)), until=AT + timedelta(seconds=9))
        with service(clock=clock, reports=reports) as client:
            answer = client.get(f"/reports/{strictjson.base64url(bytes(32))}")
            assert (answer.status_code, answer.json()["code"]) == (404, "REPORT_UNKNOWN")


def test_a_page_that_was_swollen_is_an_error_of_ours(clock):
    """A store that somebody else writes to makes nobody unpack without end."""
    reports = MemoryReports(clock=clock)
    reports.keep(sha256(bytes(32)), zlib.compress(bytes(1 << 26)), until=AT + timedelta(seconds=9))
    with service(clock=clock, reports=reports) as client:
        answer = client.get(f"/reports/{strictjson.base64url(bytes(32))}")
    assert answer.status_code >= 400
    assert len(answer.content) < 1000


def test_a_page_has_a_size(client):
    """A stranger's policy of its greatest size is judged by, and not kept."""
    dice = random.Random(7)  # noqa: S311 - nothing here is a secret
    many = [f"{dice.getrandbits(384):096x}" for _ in range(1000)]
    request = asked(policy=document_of(naming_policy()) | {"measurements": many})
    assert client.post("/v1/appraise", json=request).status_code == 200
    answer = client.post("/v1/appraise?report=1", json=request)
    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")


def test_only_so_many_are_kept(clock):
    """One too many is refused, and there is room again once the first is over."""
    reports = MemoryReports(clock=clock, max_reports=2)
    for name in (b"a", b"b"):
        reports.keep(name, name, until=AT + timedelta(seconds=5))
    with pytest.raises(ServiceError, match="as many"):
        reports.keep(b"c", b"c", until=AT + timedelta(seconds=5))
    clock.at += timedelta(seconds=5)
    reports.keep(b"c", b"c", until=clock.at + timedelta(seconds=5))
    reports.keep(b"d", b"d", until=clock.at + timedelta(seconds=5))
    assert reports.find(b"c") == b"c"
    with pytest.raises(ServiceError):
        NoReports().keep(b"", b"", until=AT)


def test_the_first_page_says_what_is_trusted(client):
    """Roots by fingerprint, the policy's digest, the key's thumbprint, issuer, media types, audiences, and curl."""
    page = client.get("/")
    text = " ".join(parsed(page.text).text.split())
    roots = client.app.state.desk.parts.appraiser.verifier.roots
    for issuer in roots.issuers.values():
        assert issuer.sha256.hex() in text
        assert issuer.ark_sha256.hex() in text
    [key] = client.get("/.well-known/jwks.json").json()["keys"]
    for said in (naming_policy().sha256.hex(), key["kid"], ISSUER, "application/cmw+json", FEDERATION, "curl -s"):
        assert said in text
    assert "SIMULATED" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src")


def test_a_service_that_trusts_a_simulated_platform_says_so_first():
    """Title, banner and text leave no doubt."""
    with service(roots=fake_amd(Product.SIMULATED).roots()) as client:
        text = client.get("/").text
    assert "<title>SIMULATED, " in text
    assert 'class="hazard"' in text
    assert "No verdict here is better than a warning" in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/nowhere"), ("PUT", "/"), ("GET", "/livez"), ("POST", "/v1/appraise"),
        ("GET", "/.well-known/jwks.json"), ("GET", "/reports/x"), ("GET", "/v1/policies"), ("DELETE", "/%2e%2e"),
        ("POST", "/challenge-response/v1/newSession"), ("GET", "/openapi.json"), ("GET", "/vcek/v1/Milan/crl"),
    ],
)  # fmt: skip
def test_every_answer_has_the_headers(client, method, path):
    """Whoever answers, a browser is told to load nothing, frame nothing, guess nothing and tell nobody."""
    headers = client.request(method, path).headers
    for name in EVERY.keys() - {"Cache-Control", "Content-Security-Policy"}:
        assert headers[name] == EVERY[name]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"]
    # The test's client speaks https.
    assert headers["strict-transport-security"].startswith("max-age=")


def test_without_tls_nobody_is_told_to_use_it(client):
    """Strict-Transport-Security is the word of who speaks TLS."""
    assert "strict-transport-security" not in client.get("http://verifier.example/").headers


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """A real Redis."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


def test_any_replica_shows_a_page_that_is_in_redis(redis):
    """What one replica kept another shows, until it is over; the server forgets it by itself."""

    def keeping():
        return {"reports": RedisReports(client=connect(redis.place())), "report_seconds": SECONDS}

    with service(clock=SystemClock(), **keeping()) as one:
        path = kept(one)
        shown = one.get(path)
    with service(clock=SystemClock(), **keeping()) as two:
        assert two.get(path).text == shown.text
        assert two.get("/reports/" + "A" * 43).json()["code"] == "REPORT_UNKNOWN"
    [key] = redis.client().keys("*:report:*")
    assert SECONDS - 60 < redis.client().ttl(key) <= SECONDS


def test_only_so_many_are_kept_in_redis(redis):
    """The bound is of all replicas together, and what is over counts no longer."""
    redis.client().flushall()
    now = SystemClock().now()
    reports = [RedisReports(client=connect(redis.place()), max_reports=2) for _ in range(2)]
    reports[0].keep(b"a" * 32, b"a", until=now - timedelta(seconds=5))
    for name in (b"b", b"c"):
        reports[0].keep(name * 32, name, until=now + timedelta(seconds=60))
    with pytest.raises(ServiceError) as refused:
        reports[1].keep(b"d" * 32, b"d", until=now + timedelta(seconds=60))
    assert refused.value.code == "SERVICE_BUSY"
    assert reports[1].find(b"b" * 32) == b"b"


def test_a_redis_that_is_not_there():
    """Who cannot reach the store says so, and nothing of where it is."""
    place = RedisPlace(url="redis://127.0.0.1:1/0", user="", password="", authority=None)
    with service(reports=RedisReports(client=connect(place)), report_seconds=SECONDS) as client:
        answer = client.post("/v1/appraise?report=1", json=asked())
        assert (answer.status_code, answer.json()["code"]) == (503, "STATE_UNREACHABLE")
        assert client.get("/reports/" + "A" * 43).json()["code"] == "STATE_UNREACHABLE"


def test_workers_show_each_others_pages_or_none(tmp_path):
    """Settings with which one worker would keep what another does not show are refused; others give what they say."""
    pages = Pages(reports=True)
    listen = Listen(workers=2)
    with pytest.raises(MalformedError, match=r"pages\.reports"):
        require_sound(Settings(pages=pages, listen=listen, state=State(store="sealed", seal_key=tmp_path)))
    keys, clock = KeyRing(current=new_key(), following=None), SystemClock()
    for store, kind in (("memory", MemoryReports), ("redis", RedisReports)):
        settings = Settings(pages=pages, collateral=CollateralPlaces(offline=True), state=State(store=store))
        watch = open_watch(settings, signer=lambda: keys.current, clock=clock, random_bytes=bytes)
        made = parts_of(settings, issuer=ISSUER, keys=keys, watch=watch, clock=clock)
        assert isinstance(made.reports, kind)
