"""The service's settings: where each comes from, what is refused, and which go together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import twocvm_verifier.service
from twocvm_guest.main import run
from twocvm_verifier.errors import MalformedError, UnsupportedError
from twocvm_verifier.service.addresses import parse_address
from twocvm_verifier.service.configuration import Configured, Said, configure, shown
from twocvm_verifier.service.options import require_extra
from twocvm_verifier.service.rules import require_sound
from twocvm_verifier.service.settings import Audit, Listen, Policies, Settings, State, Tokens

PREFIX = "TWOCVM_VERIFIER_"


def configured(toml: str = "", *options: Said, **environment: str) -> Configured:
    """Return what holds with a file, variables and options."""
    return configure(
        toml=toml.encode(),
        file="verifier.toml",
        environment={f"{PREFIX}{name}": value for name, value in environment.items()} | {"HOME": "/root"},
        options=options,
    )


def refusal(toml: str = "", *options: Said, **environment: str) -> str:
    """Return what is said of settings that are refused."""
    with pytest.raises(MalformedError) as refused:
        configured(toml, *options, **environment)
    assert refused.value.code == "MALFORMED_SETTINGS"
    return str(refused.value)


def unsound(**sections: object) -> str:
    """Return what is said of settings that do not go together."""
    with pytest.raises(MalformedError) as refused:
        require_sound(Settings(**sections))
    return str(refused.value)


def test_the_later_place_counts_and_is_told():
    """Options before variables, variables before the file, the file before defaults."""
    option = Said(section="limits", name="burst", value=3, origin="option --burst")
    found = configured("[limits]\nburst = 1\nconcurrent = 1\n", option, LIMITS_BURST="2", LIMITS_CONNECTIONS="7")
    limits = found.settings.limits
    assert (limits.burst, limits.concurrent, limits.connections) == (3, 1, 7)
    assert [found.origin(f"limits.{name}") for name in ("burst", "concurrent", "connections", "header_seconds")] == [
        "option --burst",
        "file verifier.toml",
        f"variable {PREFIX}LIMITS_CONNECTIONS",
        "default",
    ]


def test_variables_write_every_kind_of_value():
    """Lists, numbers, flags, paths and text."""
    settings = configured(
        TOKENS_FEDERATIONS="a, b,",
        LISTEN_WORKERS="2",
        LISTEN_TLS_BEFORE="true",
        LIMITS_HEADER_SECONDS="0.5",
        TOKENS_KEY="/k",
        STATE_STORE="redis",
        CONFIG="elsewhere.toml",
    ).settings
    assert (settings.tokens.federations, settings.listen.workers, settings.listen.tls_before) == (("a", "b"), 2, True)
    assert (settings.limits.header_seconds, str(settings.tokens.key), settings.state.store) == (0.5, "/k", "redis")


def test_everything_unknown_is_named_with_its_place():
    """A key, a section, a variable and a value outside of any section, all at once."""
    text = refusal("port = 1\n[listen]\nadress = 'x'\n[lisen]\na = 1\n", LISTEN_PORT="1", NOTHING="1")
    assert "'port' in 'verifier.toml': stands in no section" in text
    assert "'listen.adress' (file verifier.toml): unknown; there are address, issuer, workers" in text
    assert f"'listen.port' (variable {PREFIX}LISTEN_PORT): unknown" in text
    assert "'lisen'" in text
    assert "'nothing'" in text


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[listen]\nworkers = '2'", "listen.workers (file verifier.toml): input should be a valid integer"),
        ("[listen]\nworkers = true", "listen.workers"),
        ("[listen]\nworkers = 0", "greater than or equal to 1"),
        ("[listen]\naddress = 'localhost:1'", "want an address and a port"),
        ("[listen]\naddress = '127.0.0.1:65536'", "want an address and a port"),
        ("[listen]\naddress = '999.0.0.1:1'", "listen.address"),
        ("[listen]\nissuer = 'ftp://x'", "want a URL"),
        ("[listen]\nissuer = 'https://x/?a'", "want a URL"),
        ("[listen]\nproxies = ['10.0.0.1/8']", "host bits"),
        ("[listen]\nproxies = [1]", "listen.proxies.0"),
        ("[limits]\nheader_seconds = inf", "limits.header_seconds"),
        ("[limits]\nheader_seconds = nan", "limits.header_seconds"),
        ("[limits]\nrequests_per_second = 0", "limits.requests_per_second"),
        ("[state]\nstore = 'disk'", "state.store"),
        ("[state]\nredis = 'http://x'", "want redis://"),
        ("[state]\nredis = 'redis://:secret@x'", "want neither a user nor a password"),
        ("[state]\nredis = 'redis://x?password=secret'", "want neither a user nor a password"),
        ("[state]\nredis = 'redis://x:port'", "want redis://"),
        ("[state]\nredis = 'redis:'", "want redis://"),
        ("listen = 1", "stands in no section"),
        ("[listen", "not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("#" * 262_145, "262144 bytes"),
    ],
)
def test_values_that_are_not_what_their_setting_takes(toml, said):
    """Each is refused with its name, and no secret is repeated."""
    text = refusal(toml)
    assert said in text
    assert "secret" not in text


@pytest.mark.parametrize("toml", [b"# \xff", b"x = " + b"[" * 100_000])
def test_a_file_that_is_no_text_or_far_too_deep_is_refused(toml):
    """It has no line and column that could be told."""
    with pytest.raises(MalformedError, match=r"'verifier\.toml': not TOML\n"):
        configure(toml=toml, file="verifier.toml", environment={}, options=())


def test_a_variable_that_is_no_value_is_refused():
    """Text where a number is wanted."""
    assert "limits.burst" in refusal(LIMITS_BURST="many")


def test_settings_are_shown_as_they_are_written():
    """What `config show` prints is read as the same settings, and says of each where it is from if asked."""
    found = configured('[tokens]\nfederations = ["a"]\n', LISTEN_PROXIES="10.0.0.0/8")
    text = shown(found, origins=True)
    assert 'federations = ["a"]  # file verifier.toml\n' in text
    assert f'proxies = ["10.0.0.0/8"]  # variable {PREFIX}LISTEN_PROXIES\n' in text
    assert "# certificate is not set  # default\n" in text
    assert configured(text).settings == found.settings
    assert "#" not in shown(found, origins=False).replace("# ", "").replace("is not set", "")


def test_config_show_reads_the_file_and_the_environment(tmp_path, capsys, monkeypatch):
    """The file is an option or a variable; what does not go together is said after it was shown."""
    file = tmp_path / "verifier.toml"
    file.write_text("[listen]\nworkers = 2\n")
    monkeypatch.setenv(f"{PREFIX}LIMITS_BURST", "7")
    monkeypatch.setenv("TWOCVM_MIRROR", "https://a.example https://b.example")
    monkeypatch.setenv("TWOCVM_STORE", "/srv/store")
    assert run(["verifier", "config", "show", "--origin", "--config", str(file)]) == 30
    told = capsys.readouterr()
    assert f"workers = 2  # file {file}\n" in told.out
    assert "burst = 7  # variable TWOCVM_VERIFIER_LIMITS_BURST\n" in told.out
    assert 'mirrors = ["https://a.example", "https://b.example"]  # variable TWOCVM_MIRROR\n' in told.out
    assert 'store = "/srv/store"  # variable TWOCVM_STORE\n' in told.out
    assert told.err.startswith("MALFORMED_SETTINGS: ")
    assert "want tokens.key" in told.err
    file.write_text("")
    monkeypatch.setenv(f"{PREFIX}CONFIG", str(file))
    assert run(["verifier", "config", "show"]) == 0
    assert "burst = 7\n" in capsys.readouterr().out
    monkeypatch.setenv(f"{PREFIX}CONFIG", str(tmp_path / "none"))
    assert run(["verifier", "config", "show"]) == 2
    assert "No such file" in capsys.readouterr().err


OPEN = Listen(address="0.0.0.0:8443", issuer="https://verifier.example")


def test_what_goes_together():
    """Nothing at all, and each way to be reached from elsewhere."""
    for listen in (
        Listen(),
        Listen(address="[::1]:0", proxies=("127.0.0.1",)),
        OPEN.model_copy(update={"certificate": "c", "key": "k"}),
        OPEN.model_copy(update={"tls_before": True, "proxies": ("10.0.0.0/8",)}),
    ):
        require_sound(Settings(listen=listen))
    require_sound(
        Settings(listen=Listen(workers=2), state=State(store="redis"), tokens=Tokens.model_construct(key="k"))
    )


def test_another_machine_is_answered_over_tls_alone():
    """Neither in clear without saying so, nor in halves, nor both; and tokens say who issues them."""
    text = unsound(listen=Listen(address="0.0.0.0:0"))
    assert "listen.address: is not loopback" in text
    assert "listen.issuer" in text
    assert "want both" in unsound(listen=OPEN.model_copy(update={"certificate": "c"}))
    both = OPEN.model_copy(update={"certificate": "c", "key": "k", "tls_before": True})
    assert "listen.tls_before" in unsound(listen=both)
    assert "listen.client_ca" in unsound(listen=Listen.model_construct(client_ca="ca"))
    assert "listen.proxies" in unsound(listen=OPEN.model_copy(update={"proxies": ("10.0.0.0/8",)}))


def test_several_processes_share_what_makes_them_one():
    """A key for tokens and a state; and each state has what it wants."""
    text = unsound(listen=Listen(workers=2))
    assert "share no memory" in text
    assert "want tokens.key" in text
    assert "wants state.seal_key" in unsound(state=State(store="sealed"))
    assert "state.seal_key" in unsound(state=State.model_construct(seal_key="k"))
    assert "state.redis_user" in unsound(state=State(redis_user="u"))


def test_a_key_that_is_kept():
    """One that will sign comes after one that does, and a record that is to be verified later is signed by one."""
    assert "tokens.next_key" in unsound(tokens=Tokens(next_key=Path("k")))
    assert "tokens.next_key" in unsound(tokens=Tokens(next_keeper="hsm:2"))
    assert "audit.folder" in unsound(audit=Audit(folder=Path("d")))
    for kept in (Tokens(key=Path("k"), next_key=Path("l")), Tokens(keeper="hsm:2", next_keeper="hsm:3")):
        require_sound(Settings(tokens=kept, audit=Audit(folder=Path("d"))))


def test_an_address_has_a_url():
    """IPv6 in brackets, and the port that the address got."""
    assert parse_address("[::1]:0").url("https", port=7) == "https://[::1]:7"
    assert parse_address("192.0.2.1:80").url("http", port=80) == "http://192.0.2.1:80"
    assert not parse_address("192.0.2.1:80").loopback


def test_documents_that_could_not_be_shared_or_reached():
    """Workers share no memory, a folder goes with documents in one, and certificates are shown only over TLS."""
    workers = Listen(workers=2)
    shared = {"listen": workers, "state": State(store="redis")}
    assert "policies.documents" in unsound(**shared, policies=Policies(admin_token=Path("t")))
    assert "policies.folder" in unsound(policies=Policies(documents="folder"))
    assert "policies.folder" in unsound(policies=Policies(folder=Path("d")))
    assert "policies.default_name" in unsound(policies=Policies(default_name="Main"))
    assert "policies.admin_certificates" in unsound(policies=Policies(admin_certificates=("ab",)))
    kept = Tokens(keeper="hsm:2", keeper_public=Path("p"))
    require_sound(Settings(**shared, tokens=kept, policies=Policies(admin_token=Path("t"), documents="redis")))
    require_sound(Settings(**shared, tokens=kept))


def test_a_service_without_its_extra_says_what_to_install(monkeypatch):
    """Whoever installed the package alone is told of the extra, and sees no import that failed."""
    monkeypatch.setitem(sys.modules, "twocvm_verifier.service.assembly", None)
    monkeypatch.delattr(twocvm_verifier.service, "assembly", raising=False)
    with pytest.raises(UnsupportedError, match=r"install twocvm\[service\]") as missing:
        require_extra()
    assert missing.value.code == "EXTRA_MISSING"
