"""A small world to test in: participants with their keys, their items, and the manifest that binds them.

    world = World()                          # two hospitals with an item each, a company with two components
    world = World(participants=20, items=40, components=5)
    world.manifest                           # the valid Manifest; world.manifest.raw are its bytes
    world.consents()                         # one Statement for each participant, sorted
    world.go("hospital-a", report_id=r, guest_spki_sha256=s)
    world.party("hospital-a").tls_key        # P-256; .consent_key is Ed25519, P-256 or P-384 in turn
    world.content["records-a"]               # what the item holds; world.salt[...] and world.commitment(...) fit it

Any field can be broken. `World(edit=f)` calls `f(document)` on the JSON document before its sets are sorted; the result
must still be valid for `world.manifest`, while `world.raw` are the bytes whatever they are. `broken_at(world, pointer,
value)` returns bytes in which one member is another, with sets sorted again so that nothing else is wrong.

Everything is the same in every run: keys come from their owner's name, and are fit for nothing but tests.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twocvm_verifier import framing
from twocvm_verifier.manifest import Manifest, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.consentkeys import ConsentPrivateKey, spki_der
from twocvm_verifier.manifest.statements import Statement, sign_consent, sign_go, sign_withdraw

Document = dict[str, Any]
Edit = Callable[[Document], None]

NOT_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
AT: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOT_AFTER: Final = datetime(2027, 1, 1, tzinfo=UTC)
MEASUREMENT: Final = bytes(range(48))
REPORT_ID: Final = bytes([0x1D]) * 32
GUEST_SPKI_SHA256: Final = bytes([0x5B]) * 32
RUN: Final = "wasi:cli/run@0.2.3"
FILES_IMPORTS: Final = ("wasi:filesystem/preopens@0.2.3", "wasi:filesystem/types@0.2.3")
ITEM_MAX_BYTES: Final = 1_000_000
NAMED: Final = ("hospital-a", "hospital-b", "analytics")
CONSENT_KINDS: Final = ("ed25519", "p256", "p384")


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One participant: its name, its keys, and their hashes as a manifest has them."""

    name: str
    tls_key: ec.EllipticCurvePrivateKey
    consent_key: ConsentPrivateKey

    @property
    def tls_spki_sha256(self) -> bytes:
        """SHA-256 of the TLS key's SPKI DER."""
        return framing.sha256(spki_der(self.tls_key))

    def entry(self) -> Document:
        """Return the member of `participants` that names this party."""
        return {
            "name": self.name,
            "tls": [{"spki_sha256": self.tls_spki_sha256.hex()}],
            "consent": {"spki_sha256": framing.sha256(spki_der(self.consent_key)).hex()},
        }


@cache
def party(name: str, consent: str = "ed25519") -> Party:
    """Return the party of that name; the same name and kind of key give the same keys."""
    return Party(name=name, tls_key=_ec_key(f"{name} tls", ec.SECP256R1()), consent_key=_consent_key(name, consent))


class World:
    """Participants, items, components and the manifest over them.

    Items go round the participants; components form a chain that every item flows into, owned by the last participant;
    the first output goes to it, the second to everybody else.

    Args:
        participants: How many.
        items: How many data items; by default one for each participant but the last.
        components: How many, in a chain.
        component_files: The files of the first components, where a test runs them; others have made-up digests.
        contents: What items hold, by name; others hold their own name.
        measurement: What `platform.measurements` has, in an accepted simulated platform.
        edit: Changes the document before it is sorted and parsed.
    """

    def __init__(
        self,
        *,
        participants: int = 3,
        items: int | None = None,
        components: int = 2,
        component_files: Mapping[str, bytes] | None = None,
        contents: Mapping[str, bytes] | None = None,
        measurement: bytes = MEASUREMENT,
        edit: Edit | None = None,
    ) -> None:
        names = [NAMED[index] if index < len(NAMED) else f"participant-{index}" for index in range(participants)]
        self.parties = {name: party(name, CONSENT_KINDS[index % 3]) for index, name in enumerate(names)}
        self._edit = edit
        self._files = dict(component_files or {})
        self._contents = dict(contents or {})
        self._measurement = measurement
        self._item_names = [_item_name(index) for index in range(participants - 1 if items is None else items)]
        self._component_names = [f"step-{index}" for index in range(components)]

    @cached_property
    def document(self) -> Document:
        """The manifest as JSON, after the edit and before its sets are sorted."""
        document = self._plain_document()
        if self._edit is not None:
            self._edit(document)
        return document

    @cached_property
    def raw(self) -> bytes:
        """The canonical bytes of the document, valid or not."""
        return canonical_bytes(self.document)

    @cached_property
    def manifest(self) -> Manifest:
        """The parsed manifest."""
        return parse_manifest(self.raw)

    @property
    def names(self) -> tuple[str, ...]:
        """The participants' names, sorted."""
        return tuple(sorted(self.parties))

    def party(self, name: str) -> Party:
        """Return a participant with its private keys."""
        return self.parties[name]

    @cached_property
    def content(self) -> dict[str, bytes]:
        """What each item holds."""
        return {
            item["name"]: self._contents.get(item["name"], item["name"].encode())
            for item in self.document.get("data", ())
        }

    @cached_property
    def salt(self) -> dict[str, bytes]:
        """The salt (32 bytes) of each item."""
        return {name: hashlib.sha256(f"salt of {name}".encode()).digest() for name in self.content}

    def commitment(self, item: str) -> bytes:
        """Return the commitment to an item's content under its salt."""
        content = self.content[item]
        return framing.item_commitment(salt=self.salt[item], size_bytes=len(content), sha256=framing.sha256(content))

    def commitments(self, owner: str) -> dict[str, bytes]:
        """Return what the go of `owner` commits to."""
        return {
            item["name"]: self.commitment(item["name"])
            for item in self.document.get("data", ())
            if item["owner"] == owner
        }

    def consent(self, name: str, *, manifest_hash: bytes | None = None) -> Statement:
        """Return a participant's consent, to this manifest or another."""
        key = self.party(name).consent_key
        return sign_consent(key, manifest_hash=manifest_hash or self.manifest.hash, participant=name)

    def consents(self) -> tuple[Statement, ...]:
        """Return everybody's consent, sorted by participant; the same ones each time."""
        return self._consents

    @cached_property
    def _consents(self) -> tuple[Statement, ...]:
        return tuple(self.consent(name) for name in self.names)

    def go(
        self,
        name: str,
        *,
        report_id: bytes = REPORT_ID,
        guest_spki_sha256: bytes = GUEST_SPKI_SHA256,
        items: Mapping[str, bytes] | None = None,
        at: datetime = AT,
        manifest_hash: bytes | None = None,
        key: ConsentPrivateKey | None = None,
    ) -> Statement:
        """Return a participant's go; by default it commits to what its items hold."""
        return sign_go(
            key or self.party(name).consent_key,
            manifest_hash=manifest_hash or self.manifest.hash,
            participant=name,
            report_id=report_id,
            guest_spki_sha256=guest_spki_sha256,
            at=at,
            items=self.commitments(name) if items is None else items,
        )

    def goes(
        self, *, report_id: bytes = REPORT_ID, guest_spki_sha256: bytes = GUEST_SPKI_SHA256
    ) -> tuple[Statement, ...]:
        """Return everybody's go to one guest, sorted by participant."""
        return tuple(self.go(name, report_id=report_id, guest_spki_sha256=guest_spki_sha256) for name in self.names)

    def withdraw(self, name: str, *, report_id: bytes = REPORT_ID) -> Statement:
        """Return a participant's withdrawal."""
        key = self.party(name).consent_key
        return sign_withdraw(key, manifest_hash=self.manifest.hash, participant=name, report_id=report_id)

    def _plain_document(self) -> Document:
        names = list(self.parties)
        components = self._component_names
        last, others = names[-1], names[:-1] or names
        document: Document = {
            "version": 1,
            "name": "test-study",
            "purpose": "A test",
            "salt": bytes(range(16)).hex(),
            "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2027-01-01T00:00:00Z",
            "participants": [self.parties[name].entry() for name in names],
            "platform": {
                "measurements": [self._measurement.hex()],
                "products": ["Simulated"],
                "simulated": True,
                "operator": "external",
            },
            "components": [self._component(name, owner=last) for name in components],
            "data": [
                {
                    "name": name,
                    "owner": others[index % len(others)],
                    "media_type": "application/octet-stream",
                    "max_bytes": ITEM_MAX_BYTES,
                }
                for index, name in enumerate(self._item_names)
            ],
            "channels": [
                _file(f"data:{name}", f"component:{components[index % len(components)]}.{name}")
                for index, name in enumerate(self._item_names)
            ]
            + [_file(f"component:{a}.next", f"component:{b}.previous") for a, b in pairwise(components)],
            "outputs": [
                {"name": "model", "from": f"component:{components[-1]}.model", "recipients": [last], "max_bytes": 4096},
                {"name": "evaluation", "from": f"component:{components[-1]}.evaluation", "recipients": others,
                 "max_bytes": 4096},
            ],
            "rules": {"deadline_seconds": 3600},
        }  # fmt: skip
        return {key: member for key, member in document.items() if member != []}

    def _component(self, name: str, *, owner: str) -> Document:
        return {
            "name": name,
            "owner": owner,
            "sha256": hashlib.sha256(self._files.get(name, name.encode())).hexdigest(),
            "profile": "files",
            "entry": RUN,
            "imports": list(FILES_IMPORTS),
            "exports": [RUN],
            "limits": {"memory_bytes": 64 << 20, "wall_seconds": 10, "output_bytes": 10_000_000},
        }


def set_at(document: Document, pointer: str, value: object) -> None:
    """Put `value` at a JSON pointer; the last token may be new, or `-` to append to an array."""
    parent, token = _parent(document, pointer)
    if isinstance(parent, list):
        if token == "-":
            parent.append(value)
        else:
            parent[int(token)] = value
    else:
        parent[token] = value


def remove_at(document: Document, pointer: str) -> None:
    """Remove what stands at a JSON pointer."""
    parent, token = _parent(document, pointer)
    del parent[int(token) if isinstance(parent, list) else token]


def get_at(document: Document, pointer: str) -> Any:
    """Return what stands at a JSON pointer."""
    parent, token = _parent(document, pointer)
    return parent[int(token)] if isinstance(parent, list) else parent[token]


def broken_at(world: World, pointer: str, value: object) -> bytes:
    """Return the world's manifest with another value at `pointer`, canonical and with sorted sets."""
    document = copy.deepcopy(world.document)
    set_at(document, pointer, value)
    return canonical_bytes(document)


def without(world: World, pointer: str) -> bytes:
    """Return the world's manifest without the member at `pointer`, canonical and with sorted sets."""
    document = copy.deepcopy(world.document)
    remove_at(document, pointer)
    return canonical_bytes(document)


def _parent(document: Document, pointer: str) -> tuple[Any, str]:
    *path, last = (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
    value: Any = document
    for token in path:
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value, last


def _file(source: str, target: str) -> Document:
    return {"from": source, "to": target, "kind": "file", "max_bytes": ITEM_MAX_BYTES}


def _item_name(index: int) -> str:
    return f"records-{chr(ord('a') + index)}" if index < 26 else f"records-{index}"


def _consent_key(name: str, kind: str) -> ConsentPrivateKey:
    if kind == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{name} consent".encode()).digest())
    return _ec_key(f"{name} consent", ec.SECP256R1() if kind == "p256" else ec.SECP384R1())


def _ec_key(label: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    # 256 bits are below either group's order but for a chance of 2**-32, and the labels are fixed.
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(label.encode()).digest(), "big"), curve)


def builtin(name: str, kind: str, owner: str = "hospital-a", **parameters: object) -> Document:
    """Return a member of `filters` that is a built-in."""
    return {"name": name, "owner": owner, "builtin": kind, "parameters": parameters}


def noise(name: str = "blur", **changes: object) -> Document:
    """Return a filter that adds noise to the column `n`; Laplace's, epsilon 0.5, unless changed."""
    plain = {"format": "csv", "columns": ["n"], "mechanism": "laplace", "epsilon": "0.5", "sensitivity": "1",
             "digits": 0, "lowest": "0", "highest": "1000"}  # fmt: skip
    return builtin(name, "noise", **plain | changes)


def every_filter() -> list[Document]:
    """Return a filter of every kind; `cleaned` is the component `cleaner`."""
    return [
        builtin("small", "max_bytes", max_bytes=4096),
        builtin("smaller", "max_bytes", "hospital-b", max_bytes=1024),
        {"name": "cleaned", "owner": "hospital-a", "component": "cleaner"},
        builtin("rows", "max_rows", format="csv", max_rows=100),
        builtin("groups", "min_group_size", format="csv", columns=["n"], minimum=5),
        builtin("steps", "rounding", format="csv", columns=["mean"], step="0.5"),
        noise(mechanism="gaussian", delta="0.000001"),
        builtin("padded", "padding", sizes=[1024, 4096]),
        builtin("shape", "json_schema", format="json", schema={"type": "array", "items": {"type": "string"}}),
        builtin("totals", "rounding", format="json-lines", pointers=["/total"], step="10"),
    ]


def use_everything(document: Document) -> None:
    """Edit a world of the default size so that every optional member of the format is there, and valid."""
    document["participants"][0] |= {"display": "Hospital A", "external_id": "did:example:a"}
    document["participants"][0]["tls"].append({"spki_sha256": "aa" * 32})
    document["platform"] |= {
        "id_key_digests": ["01" * 48],
        "author_key_digests": ["02" * 48],
        "products": ["Genoa", "Turin", "Simulated"],
        "minimum_tcb": {"Genoa": {"bootloader": 9, "microcode": 84}, "Turin": {"fmc": 0, "tee": 255}},
        "guest_policy": {"required": ["smt"], "forbidden": ["debug", "migrate_ma"]},
        "platform_info": {"required": ["ecc_en", "alias_check_complete"]},
        "mitigations": {"launch": [2, 10], "current": [63]},
        "vmpl": 1,
        "chip_ids": ["03" * 64],
        "operator": "analytics",
        "ledgers": [{"origin": "example.org/log", "key": "k", "witnesses": ["w1", "w2"], "quorum": 2}],
    }
    document["components"][0]["imports"].append("example:tables/rows@1.2.3")
    document["components"][0]["limits"]["fuel"] = 10**9
    shared = copy.deepcopy(document["components"][0]["limits"])
    document["components"].append(
        {
            "name": "tables",
            "owner": "hospital-a",
            "sha256": "04" * 32,
            "profile": "pure",
            "exports": ["example:tables/rows@1.2.3"],
            "limits": shared,
        }
    )
    rows = "example:tables/rows@1.2.3"
    document["channels"] += [
        {"from": f"component:tables.{rows}", "to": f"component:step-0.{rows}", "kind": "call"},
        {"from": "data:records-b", "to": "component:step-0.mapped", "kind": "window", "max_bytes": ITEM_MAX_BYTES},
    ]
    document["data"][0] |= {"commitment": "05" * 32, "must_pass": ["small"]}
    document["data"][1]["must_not_reach"] = ["outsider"]
    document["participants"].append(party("outsider", "p384").entry())
    document["components"].append(copy.deepcopy(document["components"][1]) | {"name": "cleaner", "sha256": "08" * 32})
    document["data"][0]["budget"] = {"epsilon": "1", "delta": "0.000002"}
    document["filters"] = every_filter()
    for output in document["outputs"]:
        output["filters"] = ["small", "smaller", "cleaned", "rows", "groups", "steps", "blur", "padded"]
    document["rules"] |= {"parallel": True, "clock": "coarse", "random": "seeded", "seed": "06" * 32}
    document["references"] = ["urn:contract:1", "urn:transfer:2"]
