"""What the service's owner sets: one section for each thing that is run, each a table of the TOML file.

Every setting has a default with which the service runs on loopback, and no setting is a secret: passwords and keys are
in files, and what is set here is where. Where the values come from is `configuration.py`'s business.

>>> Settings().listen.address
'127.0.0.1:0'
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from twocvm_verifier.gathering import KDS_URL
from twocvm_verifier.shell import BUILTIN

from .addresses import require_address, require_address_or_none, require_networks, require_redis, require_url

Seconds: TypeAlias = Annotated[float, Field(gt=0, le=3600)]


class Section(BaseModel):
    """A table of the file: unknown keys and values of another type are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Listen(Section):
    """Where the service listens, and what stands before it."""

    address: Annotated[str, AfterValidator(require_address)] = "127.0.0.1:0"
    """ADDRESS:PORT; port 0 is any free one. What is not loopback wants TLS."""
    issuer: Annotated[str, AfterValidator(require_url)] = ""
    """This service's own URL, as it stands in tokens; its address where it is empty."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """How many processes judge; more than one want a key for tokens and a state that they share."""
    certificate: Path | None = None
    """The certificate chain, PEM, with which TLS 1.3 is spoken; it is read when the service starts."""
    key: Path | None = None
    """The certificate's key, PEM, mode 0600."""
    client_ca: Path | None = None
    """The authority, PEM, whose certificates clients may show, as administrators do."""
    tls_before: bool = False
    """Whether something that you trust, over a network that you trust, speaks TLS before this process."""
    proxies: Annotated[tuple[str, ...], AfterValidator(require_networks)] = ()
    """Addresses or networks of what stands before; of these alone X-Forwarded-For is believed."""


class Tokens(Section):
    """The keys that sign tokens, and for whom tokens are."""

    key: Path | None = None
    """The key that signs, PEM, mode 0600; where there is none, one that ends with the process."""
    next_key: Path | None = None
    """The key that will sign, published beside `key` or the keeper's, one of which has to be set."""
    keeper: str = ""
    """Who keeps the key that signs, in the place of `key`: hsm:, gcpkms:, awskms: or azurekms: (docs/spec/ear.md)."""
    keeper_public: Path | None = None
    """The public half of the keeper's key, PEM."""
    next_keeper: str = ""
    """Who keeps the key that will sign, in the place of `next_key`."""
    next_keeper_public: Path | None = None
    """The public half of that key, PEM."""
    pin: Path | None = None
    """The file with the PIN of a PKCS#11 token, mode 0600."""
    algorithm: Literal["any", "ES256", "RS256"] = "any"
    """What the key that signs must be for."""
    federations: tuple[str, ...] = ()
    """Audiences that are told only what is affirmed."""


class Policies(Section):
    """The owner's policies."""

    default: str = BUILTIN
    """The file of the policy for who brings none, or `builtin`."""
    also: tuple[str, ...] = ()
    """Files of further policies, asked for by their digests."""
    default_name: str = ""
    """The name of a stored policy, which is the default in the place of `default`."""
    documents: Literal["memory", "folder", "redis"] = "memory"
    """Where stored policies and reference values are; `redis` is that of `[state]`."""
    folder: Path | None = None
    """The folder, where they are in one."""
    admin_token: Path | None = None
    """The file with the admins' bearer token, or with `sha256:` and its digest in hex; mode 0600."""
    admin_certificates: tuple[str, ...] = ()
    """SHA-256 of the admins' client certificates, in hex."""
    corim_keys: tuple[Path, ...] = ()
    """Public keys, PEM, of who may sign a CoRIM."""


class CollateralPlaces(Section):
    """Where certificates and revocation lists are found."""

    store: Path | None = None
    """Where they are kept on this machine; this user's cache where it is not set."""
    mirrors: tuple[str, ...] = ()
    """Services that answer as AMD's KDS does, asked before it."""
    kds: str = KDS_URL
    """AMD's KDS."""
    offline: bool = False
    """Whether nothing is fetched."""
    simulated_root: Path | None = None
    """A simulated platform that is accepted instead of AMD's; it promises nothing."""
    mirror: bool = True
    """Whether strangers get collateral from here, as from AMD's KDS."""
    mirror_fetches: bool = True
    """Whether a certificate that is not at hand is fetched for them, within a share."""


class State(Section):
    """Where it stands which challenges were answered."""

    store: Literal["memory", "redis", "sealed"] = "memory"
    """`memory`: in one process. `redis`: for all replicas. `sealed`: nowhere, so that only time limits a challenge."""
    redis: Annotated[str, AfterValidator(require_redis)] = "redis://127.0.0.1:6379/0"
    """The Redis or Valkey, as redis://HOST:PORT/DB, or rediss:// with TLS; never with a password."""
    redis_password: Path | None = None
    """The file with its password, mode 0600."""
    redis_user: str = ""
    """Its user, where it has users."""
    redis_ca: Path | None = None
    """The authority, PEM, that its certificate is from; the machine's own where it is not set."""
    seal_key: Path | None = None
    """The key that all replicas seal challenges with: 64 hex digits, mode 0600."""


class Limits(Section):
    """What one client, and all together, may ask of one process."""

    requests_per_second: Annotated[float, Field(gt=0, le=1e6)] = 100.0
    """Of one client (an IPv4 address, or the /64 of an IPv6 address), in the long run; see `listen.proxies`."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    """Of one client, at once."""
    concurrent: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Requests that are under way at a time; each may have a body of 2 MiB."""
    concurrent_per_client: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Of one client, behind a proxy too."""
    connections: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Connections at a time."""
    connections_per_client: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Connections of one client at a time; of what stands before this process, all."""
    header_seconds: Seconds = 10.0
    """The longest wait for a request to begin, its headers included."""
    request_seconds: Seconds = 60.0
    """The longest time from there to the end of its answer."""
    shutdown_seconds: Seconds = 10.0
    """How long what is under way may take once the service is told to stop."""


class Logs(Section):
    """What is written about requests, as lines of JSON on standard error."""

    requests: bool = True
    """Whether each request has a line; probes that find nothing wrong have none."""


class Audit(Section):
    """The record of verdicts."""

    folder: Path | None = None
    """Where each verdict is recorded before it is told (docs/spec/audit.md), with `tokens.key` or `tokens.keeper`;
    nowhere where it is not set."""
    file_bytes: Annotated[int, Field(ge=65_536, le=1 << 40)] = 1 << 26
    """Where a new file is begun."""
    checkpoint_records: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """After so many verdicts of a process the key signs the log."""
    checkpoint_seconds: Seconds = 60.0
    """After so long it does, where there are any."""


class Metrics(Section):
    """Figures for who watches the service."""

    listen: Annotated[str, AfterValidator(require_address_or_none)] = ""
    """ADDRESS:PORT where Prometheus finds `/metrics`, without TLS; nowhere where it is empty."""


class Tracing(Section):
    """Traces of requests."""

    endpoint: Annotated[str, AfterValidator(require_url)] = ""
    """The URL that takes spans as OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; none is sent without it."""
    sampled: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of the requests is traced."""
    believe_traceparent: bool = False
    """Whether a request joins the trace that its caller names."""


class Pages(Section):
    """What people see in a browser."""

    reports: bool = False
    """Whether a request may have the page of its appraisal kept, for whoever has its address."""
    report_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 86_400
    """For how long."""


class Settings(Section):
    """All sections."""

    listen: Listen = Listen()
    tokens: Tokens = Tokens()
    policies: Policies = Policies()
    collateral: CollateralPlaces = CollateralPlaces()
    state: State = State()
    limits: Limits = Limits()
    logs: Logs = Logs()
    audit: Audit = Audit()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    pages: Pages = Pages()
