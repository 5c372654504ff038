"""Advisories as maintainers write them, TOML, and as a bundle carries them, the same in JSON; both strict.

Rules beyond the fields and their types:
1. A product stands in `fix`, `unaffected` or `unattested`, never in two of them; something stands in one.
2. A fix has a condition, or says in `unrecorded` why none is known.
3. A fix's chips are of its product, and it names only TCB components that the product has.
4. `recorded` is a real day, and `published` is one, or a month or a year where no more is known; ids are unique.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Final, TypeAlias

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand
from twocvm_verifier.snp.product import Product, product_of_cpuid
from twocvm_verifier.snp.tcb import layout
from twocvm_verifier.strictjson import Json, text_problem

from .model import Advisory, Chip, Fix

MAX_ADVISORY_BYTES: Final = 65_536
MAX_ADVISORIES: Final = 512
_MAX_TEXT_CHARACTERS: Final = 1000
_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_BULLETIN: Final = re.compile(r"(AMD-SB-[0-9]{4,5})?", re.ASCII)
_CVE: Final = re.compile(r"CVE-[0-9]{4}-[0-9]{4,7}", re.ASCII)
_PUBLISHED: Final = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", re.ASCII)
_FIRST_DAY: Final = "YYYY-01-01"
_CHIP: Final = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{2})", re.ASCII)
_MASK: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
# AMD's chips; a simulated platform is open to everything, and says so by itself.
_PRODUCTS: Final = frozenset(Product) - {Product.SIMULATED}
_TEXTS: Final = ("id", "title", "bulletin", "source", "published", "recorded", "basis")
_MEMBERS: Final = frozenset({*_TEXTS, "cves", "fix", "unaffected", "unattested"})
_FIX_MEMBERS: Final = frozenset(
    {"product", "chips", "tcb", "mitigations", "platform_info", "guest_policy", "unrecorded"}
)

Written: TypeAlias = Any  # what tomllib or strictjson gave: nothing is known of it until it is looked at


@cache
def shipped_advisories() -> tuple[Advisory, ...]:
    """Return the advisories that ship with this version, by id.

    Raises:
        MalformedError: This installation's table is not what was shipped.
    """
    files = [file for file in (resources.files(__package__) / "data").iterdir() if file.name.endswith(".toml")]
    found = tuple(sorted((parse_advisory(file.read_text(encoding="utf-8")) for file in files), key=lambda it: it.id))
    require_unique(found)
    return found


def parse_advisory(text: str) -> Advisory:
    """Return the advisory that `text` writes.

    Args:
        text: TOML, at most 64 KiB of UTF-8.

    Raises:
        MalformedError: Anything that breaks a rule of the module; the first is named.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ADVISORY_BYTES:
        raise _malformed("", f"want at most {MAX_ADVISORY_BYTES} bytes")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("", "not TOML") from error
    return advisory_of_document(document)


def advisory_of_document(document: Written) -> Advisory:
    """Return the advisory that a document writes, as `tomllib` or `strictjson` read it.

    Raises:
        MalformedError: As `parse_advisory`.
    """
    members = _table(document, _MEMBERS, "")
    texts = {name: _text(members.get(name, "" if name == "bulletin" else None), name) for name in _TEXTS}
    for name, form in (("id", _ID), ("bulletin", _BULLETIN), ("published", _PUBLISHED)):
        if not form.fullmatch(texts[name]):
            raise _malformed(name, "is not of its form")
    _require_day(texts["published"] + _FIRST_DAY[len(texts["published"]) :], "published")
    _require_day(texts["recorded"], "recorded")
    cves = tuple(_matching(_CVE, cve, "cves").string for cve in _list(members.get("cves", []), "cves"))
    fixes = tuple(_fix(fix, f"fix/{index}") for index, fix in enumerate(_list(members.get("fix", []), "fix")))
    unaffected = _reasons(members.get("unaffected", {}), "unaffected")
    unattested = _reasons(members.get("unattested", {}), "unattested")
    _require_apart({fix.product for fix in fixes}, unaffected.keys(), unattested.keys())
    return Advisory(**texts, cves=cves, fixes=fixes, unaffected=unaffected, unattested=unattested)


def documents_of(advisories: tuple[Advisory, ...]) -> list[Json]:
    """Return the documents that `advisory_of_document` reads back as these advisories."""
    return [_document(advisory) for advisory in advisories]


def require_unique(advisories: tuple[Advisory, ...]) -> None:
    """Refuse a table in which two advisories have one id, or that is longer than any real one."""
    if len(advisories) > MAX_ADVISORIES:
        raise _malformed("", f"want at most {MAX_ADVISORIES} advisories")
    if len({advisory.id for advisory in advisories}) != len(advisories):
        raise _malformed("id", "two advisories have one id")


def _fix(written: Written, where: str) -> Fix:
    members = _table(written, _FIX_MEMBERS, where)
    product = members.get("product")
    if not isinstance(product, str) or product not in _PRODUCTS:
        raise _malformed(f"{where}/product", f"want one of {', '.join(sorted(_PRODUCTS))}")
    fix = Fix(
        product=Product(product),
        chips=tuple(_chip(chip, Product(product), f"{where}/chips") for chip in _list(members.get("chips", []), where)),
        tcb=_tcb(members.get("tcb", {}), Product(product), f"{where}/tcb"),
        mitigations=int(_matching(_MASK, members.get("mitigations", "0x0"), f"{where}/mitigations").string, 16),
        platform_info=_bits(members.get("platform_info", {}), PLATFORM_INFO_BITS, f"{where}/platform_info"),
        guest_policy=_bits(members.get("guest_policy", {}), GUEST_POLICY_BITS, f"{where}/guest_policy"),
        unrecorded=_text(members["unrecorded"], f"{where}/unrecorded") if "unrecorded" in members else "",
    )
    bits = (fix.platform_info, fix.guest_policy)
    if not (fix.tcb or fix.mitigations or fix.unrecorded or any(each.required | each.forbidden for each in bits)):
        raise _malformed(where, "a fix without a condition says in `unrecorded` why it has none")
    return fix


def _chip(written: Written, product: Product, where: str) -> Chip:
    family, model, stepping = (int(part, 16) for part in _matching(_CHIP, written, where).groups())
    if product_of_cpuid(family, model) is not product:
        raise _malformed(where, f"{written!r} is no {product}")
    return family, model, stepping


def _tcb(written: Written, product: Product, where: str) -> dict[str, int]:
    members = _table(written, frozenset(layout(product)), where)
    for value in members.values():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 0xFF:
            raise _malformed(where, "want levels from 1 to 255")
    return dict(members)


def _bits(written: Written, bits: Mapping[str, int], where: str) -> BitDemand:
    members = _table(written, frozenset({"required", "forbidden"}), where)
    masks = {}
    for name in ("required", "forbidden"):
        named = _list(members.get(name, []), where)
        if not all(isinstance(bit, str) and bit in bits for bit in named):
            raise _malformed(where, f"want names of bits: {', '.join(sorted(bits))}")
        masks[name] = sum(1 << bits[bit] for bit in set(named))
    if masks["required"] & masks["forbidden"]:
        raise _malformed(where, "a bit is both required and forbidden")
    return BitDemand(**masks)


def _reasons(written: Written, where: str) -> dict[str, str]:
    members = _table(written, frozenset(map(str, _PRODUCTS)), where)
    return {product: _text(reason, f"{where}/{product}") for product, reason in members.items()}


def _require_apart(*places: Any) -> None:  # noqa: ANN401 - sets and views of keys
    named = [str(product) for place in places for product in place]
    if not named:
        raise _malformed("", "want a product in `fix`, `unaffected` or `unattested`")
    if len(set(named)) != len(named):
        raise _malformed("", "a product stands in two of `fix`, `unaffected` and `unattested`")


def _require_day(text: str, where: str) -> None:
    try:
        same = date.fromisoformat(text).isoformat() == text
    except ValueError:
        same = False
    if not same:
        raise _malformed(where, "want a day such as 2025-02-03")


def _table(written: Written, members: frozenset[str], where: str) -> Mapping[str, Written]:
    if not isinstance(written, dict):
        raise _malformed(where, "want a table")
    if unknown := sorted(set(written) - members):
        raise _malformed(where, f"unknown field {unknown[0]!r}")
    return written


def _list(written: Written, where: str) -> list[Written]:
    if not isinstance(written, list):
        raise _malformed(where, "want a list")
    return written


def _text(written: Written, where: str) -> str:
    if not isinstance(written, str) or len(written) > _MAX_TEXT_CHARACTERS or text_problem(written):
        raise _malformed(where, f"want text of at most {_MAX_TEXT_CHARACTERS} characters, in one line")
    if not written.strip() and where != "bulletin":
        raise _malformed(where, "is empty")
    return written


def _matching(form: re.Pattern[str], written: Written, where: str) -> re.Match[str]:
    match = form.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise _malformed(where, "is not of its form")
    return match


def _document(advisory: Advisory) -> Json:
    return {
        **{name: getattr(advisory, name) for name in _TEXTS},
        "cves": list(advisory.cves),
        "fix": [_fix_document(fix) for fix in advisory.fixes],
        "unaffected": dict(advisory.unaffected),
        "unattested": dict(advisory.unattested),
    }


def _fix_document(fix: Fix) -> Json:
    said: dict[str, Json] = {"unrecorded": fix.unrecorded} if fix.unrecorded else {}
    return {
        **said,
        "product": str(fix.product),
        "chips": ["/".join(f"{part:02x}" for part in chip) for chip in fix.chips],
        "tcb": dict(fix.tcb),
        "mitigations": f"{fix.mitigations:#x}",
        "platform_info": _bits_document(fix.platform_info, PLATFORM_INFO_BITS),
        "guest_policy": _bits_document(fix.guest_policy, GUEST_POLICY_BITS),
    }


def _bits_document(demand: BitDemand, bits: Mapping[str, int]) -> Json:
    return {
        name: [bit for bit, position in bits.items() if getattr(demand, name) >> position & 1]
        for name in ("required", "forbidden")
    }


def _malformed(where: str, detail: str) -> MalformedError:
    return MalformedError("advisory", f"/{where}" if where else "", detail)
