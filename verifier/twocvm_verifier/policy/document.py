"""A policy as its owner writes it: TOML, strict, read on top of the built-in default.

A field that is left out is as in `Policy.builtin()`. A field that is not to be checked says so with a reason:
`measurements = { unchecked = "we pin the manifest instead" }`. Unknown fields are refused, and all problems are
reported at once. The format stands in `docs/spec/appraisal.md`.

>>> parse_policy('products = ["Genoa"]').products
('Genoa',)
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from twocvm_verifier.errors import MalformedError
from twocvm_verifier.snp.product import Product

from . import values
from .model import Policy
from .values import ValueProblemError, Written

MAX_POLICY_BYTES: Final = 262_144
_MAX_CRL_AGE_SECONDS: Final = 10 * 365 * 86_400
_MAX_VMPL: Final = 3


def parse_policy(text: str) -> Policy:
    """Return the policy that `text` writes.

    Args:
        text: TOML, at most 256 KiB of UTF-8.

    Raises:
        MalformedError: Not such a document; every problem is named with its place.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_POLICY_BYTES:
        raise MalformedError("policy", "", f"got {size} bytes, want at most {MAX_POLICY_BYTES}")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("policy", "", "not TOML") from error
    return policy_of_document(document)


def policy_of_document(document: Written) -> Policy:
    """Return the policy that a document writes, as `tomllib` or `strictjson` read it.

    Raises:
        MalformedError: As `parse_policy`.
    """
    if not isinstance(document, Mapping):
        raise MalformedError("policy", "", "not a table")
    changes: dict[str, Any] = {}
    problems: list[str] = []
    places: list[str] = []
    for key, value in document.items():
        reader = _FIELDS.get(key)
        if reader is None:
            problems.append(f"{key!r}: unknown field")
            places.append("")
            continue
        try:
            changes[key] = reader(value)
        except ValueProblemError as problem:
            problems.append(f"{key}: {problem}")
            places.append(f"/{key}")
    changes |= changes.pop("guest_policy", {})
    if problems:
        raise MalformedError("policy", "", "; ".join(problems), places=tuple(places))
    try:
        return replace(Policy.builtin(), **changes)
    except ValueError as error:
        # Each value is right by itself, and one asks for another.
        raise MalformedError("policy", "", str(error)) from error


_FIELDS: Final[Mapping[str, Callable[[Written], object]]] = {
    "name": values.name,
    "products": lambda value: values.listed(value, values.one_of(frozenset(Product))),
    "guest_policy": values.guest_policy,
    "platform_info": values.platform_info,
    "vmpl": values.unless_unchecked(
        lambda value: values.listed(value, lambda vmpl: values.integer(vmpl, most=_MAX_VMPL))
    ),
    "provisional_firmware": values.flag,
    "minimum_firmware": values.unless_unchecked(values.minimum_firmware),
    "minimum_tcb": values.unless_unchecked(values.minimum_tcb),
    "minimum_tcb_of": values.minimum_tcb_of,
    "mitigations": values.unless_unchecked(values.mitigations),
    "closed_advisories": values.unless_unchecked(lambda value: values.listed(value, values.advisory)),
    "measurements": values.hex_list(48),
    "firmware_measurements": values.hex_list(48),
    "launches": values.unless_unchecked(lambda value: values.listed(value, values.launch)),
    "host_data": values.hex_list(32),
    "family_ids": values.hex_list(16),
    "image_ids": values.hex_list(16),
    "report_ids": values.hex_list(32),
    "id_key_digests": values.hex_list(48),
    "author_key_digests": values.hex_list(48),
    "minimum_guest_svn": values.unless_unchecked(values.guest_svn),
    "pcrs": values.unless_unchecked(values.pcrs),
    "chip_ids": values.hex_list(64),
    "csp_ids": values.unless_unchecked(lambda value: values.listed(value, values.name)),
    "require_host_data": values.flag,
    "max_crl_age_seconds": values.unless_unchecked(lambda value: values.integer(value, most=_MAX_CRL_AGE_SECONDS)),
    "require_levels": values.required_levels,
}
