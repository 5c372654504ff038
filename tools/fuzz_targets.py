"""What is fuzzed: every parser of the verifier package, with what it may refuse with and what must hold of the rest.

A target takes any bytes. It raises nothing where they are refused as they may be; where they are accepted and the
format has one spelling only, writing what was read must give the same bytes. Anything else is a finding.

`tests/unit/tools/test_fuzz_targets.py` holds that no parser is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.support.vek_agreement import assert_agreement

from twocvm_verifier import bundle, clock, dsse, eventlog, evidence, receipt, receipt_body, receipt_file, strictcbor
from twocvm_verifier import strictjson as js
from twocvm_verifier.advisories.document import parse_advisory
from twocvm_verifier.azure.hcl import parse_hcl
from twocvm_verifier.azure.member import AzureMember, parse_member
from twocvm_verifier.azure.quote import parse_quote
from twocvm_verifier.azure.runtime import parse_runtime
from twocvm_verifier.binding import Claims, parse_claims
from twocvm_verifier.collateral.archive import parse_archive
from twocvm_verifier.corim import Unsigned
from twocvm_verifier.corim.comid import parse_comid
from twocvm_verifier.corim.document import parse_reference_values
from twocvm_verifier.corim.envelope import parse_corim, trust_of
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.manifest import author
from twocvm_verifier.manifest.consentkeys import parse_spki, spki_der
from twocvm_verifier.manifest.parse import parse_manifest
from twocvm_verifier.manifest.roster import parse_statements
from twocvm_verifier.manifest.statements import Consent, Go, Withdraw, parse_statement_file
from twocvm_verifier.policy.document import parse_policy
from twocvm_verifier.policy.reference import parse_values
from twocvm_verifier.ratls.certificate import parse_certificate
from twocvm_verifier.service import wrappers
from twocvm_verifier.service.addresses import parse_address
from twocvm_verifier.service.audit.checkpoint import parse_checkpoint
from twocvm_verifier.service.audit.record import parse_record
from twocvm_verifier.service.evidence_forms import parse_presented
from twocvm_verifier.service.mirror import parse_product, parse_vcek_request
from twocvm_verifier.service.requests import MEDIA_TYPE as SERVICE_REQUEST
from twocvm_verifier.service.requests import parse_nonce, parse_request
from twocvm_verifier.service.wrappers import parse_wrapped
from twocvm_verifier.snp.certtable import parse_cert_table
from twocvm_verifier.snp.crl import parse_crl
from twocvm_verifier.snp.launch import parse_launch_prefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.roots import amd_roots, parse_chain, simulated_roots
from twocvm_verifier.snp.tcb import parse_tcb
from twocvm_verifier.snp.vek import parse_vek

MAX_BYTES: Final = 65_536


class OtherSpellingError(AssertionError):
    """A parser accepted something that it writes in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser.

    Attributes:
        parse: Reads the bytes.
        write: Writes what was read, where that has one spelling.
        refusals: What `parse` may raise.
    """

    parse: Callable[[bytes], Any]
    write: Callable[[Any], bytes] | None = None
    refusals: tuple[type[Exception], ...] = (MalformedError,)

    def __call__(self, data: bytes) -> bool:
        """Try the parser, and return whether it accepted the bytes.

        Raises:
            OtherSpellingError: It did, and writes them in another way.
            Exception: It raised what it may not.
        """
        try:
            value = self.parse(data)
        except self.refusals:
            return False
        if self.write is not None and self.write(value) != data:
            raise OtherSpellingError(f"{data!r} is read as {value!r}")
        return True


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    # Lone surrogates are text too, as far as Python is concerned.
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


def _json(parse: Callable[[js.Json], Any]) -> Callable[[bytes], Any]:
    return lambda data: parse(js.parse(data, document="log", max_bytes=MAX_BYTES))


def _vek(data: bytes) -> bytes:
    certificate = parse_vek(data)
    assert_agreement(certificate, data)
    return data


def _kds_request(data: bytes) -> object:
    product, _, rest = data.decode("utf-8", "surrogateescape").partition("/")
    hwid, _, query = rest.partition("?")
    return parse_vcek_request(parse_product(product), hwid, parse_qsl(query, keep_blank_values=True))


# By module and function. Where a format is canonical, `write` is what makes it so.
TARGETS: Final[dict[str, Target]] = {
    "advisories.document.parse_advisory": Target(parse=_text(parse_advisory)),
    "azure.hcl.parse_hcl": Target(parse=parse_hcl),
    "azure.member.parse_member": Target(parse=parse_member, write=AzureMember.encode),
    "azure.quote.parse_quote": Target(parse=parse_quote, write=lambda it: it.raw),
    "azure.runtime.parse_runtime": Target(parse=parse_runtime, write=lambda it: it.raw),
    "binding.parse_claims": Target(parse=parse_claims, write=Claims.encode),
    "bundle.parse_bundle": Target(parse=bundle.parse_bundle, refusals=(TwoCvmError,)),
    "clock.parse_time": Target(
        parse=_text(clock.parse_time), write=lambda at: clock.format_time(at).encode(), refusals=(ValueError,)
    ),
    "collateral.archive.parse_archive": Target(parse=partial(parse_archive, roots=amd_roots())),
    "corim.comid.parse_comid": Target(parse=parse_comid),
    "corim.document.parse_reference_values": Target(
        parse=partial(parse_reference_values, trust=Unsigned(), open_reason="fuzzed"), refusals=(TwoCvmError,)
    ),
    "corim.envelope.parse_corim": Target(parse=partial(parse_corim, trust=trust_of([])), refusals=(TwoCvmError,)),
    "dsse.parse_envelope": Target(parse=_json(dsse.parse_envelope)),
    "eventlog.parse_log": Target(parse=eventlog.parse_log),
    "evidence.from_json": Target(parse=_json(evidence.from_json)),
    "evidence.parse_cbor": Target(parse=evidence.parse_cbor, write=evidence.encode_cbor),
    "evidence.parse_json": Target(parse=evidence.parse_json, write=evidence.encode_json),
    "manifest.author.from_json": Target(parse=partial(author.from_json, randomness=bytes), refusals=(TwoCvmError,)),
    "manifest.author.from_toml": Target(
        parse=_text(partial(author.from_toml, randomness=bytes)), refusals=(TwoCvmError,)
    ),
    "manifest.consentkeys.parse_spki": Target(parse=parse_spki, write=spki_der, refusals=(ValueError,)),
    "manifest.parse.parse_manifest": Target(parse=parse_manifest, write=lambda it: it.raw, refusals=(TwoCvmError,)),
    "manifest.roster.parse_statements": Target(parse=_json(partial(parse_statements, Go))),
    "policy.document.parse_policy": Target(parse=_text(parse_policy)),
    "policy.reference.parse_values": Target(parse=_json(parse_values)),
    "ratls.certificate.parse_certificate": Target(parse=parse_certificate, refusals=(TwoCvmError,)),
    "receipt.parse_receipt": Target(parse=receipt.parse_receipt),
    "receipt_body.parse_body": Target(parse=receipt_body.parse_body, write=receipt_body.ReceiptBody.payload),
    "receipt_file.parse_receipt_file": Target(
        parse=receipt_file.parse_receipt_file, write=receipt_file.ReceiptFile.encode
    ),
    "service.audit.checkpoint.parse_checkpoint": Target(parse=_text(parse_checkpoint)),
    "service.audit.record.parse_record": Target(parse=parse_record, write=lambda record: record.encode()),
    "service.evidence_forms.parse_presented": Target(parse=_json(parse_presented)),
    "service.addresses.parse_address": Target(parse=_text(parse_address), refusals=(ValueError,)),
    "service.mirror.parse_vcek_request": Target(parse=_kds_request, refusals=(TwoCvmError,)),
    "service.requests.parse_nonce": Target(parse=_text(parse_nonce)),
    "service.requests.parse_request": Target(parse=partial(parse_request, media_type=SERVICE_REQUEST)),
    "service.wrappers.parse_wrapped": Target(
        parse=partial(parse_wrapped, media_type=wrappers.CBOR, max_bytes=MAX_BYTES)
    ),
    "snp.certtable.parse_cert_table": Target(parse=parse_cert_table),
    "snp.crl.parse_crl": Target(parse=parse_crl, write=lambda crl: crl.raw),
    "snp.launch.parse_launch_prefix": Target(
        parse=_text(parse_launch_prefix), write=lambda it: str(it).encode(), refusals=(ValueError,)
    ),
    "snp.report.parse_report": Target(parse=parse_report, write=lambda report: report.raw),
    "snp.roots.parse_chain": Target(parse=parse_chain),
    "snp.roots.simulated_roots": Target(parse=simulated_roots, refusals=(TwoCvmError,)),
    "snp.tcb.parse_tcb": Target(parse=lambda data: parse_tcb(data[:8].ljust(8, b"\x00"), product=Product.GENOA)),
    "snp.vek.parse_vek": Target(parse=_vek),
    "strictcbor.parse": Target(
        parse=partial(strictcbor.parse, document="evidence", max_bytes=MAX_BYTES), write=strictcbor.encode
    ),
    "strictcbor.parse_tagged": Target(parse=partial(strictcbor.parse_tagged, document="corim", max_bytes=MAX_BYTES)),
    "strictjson.parse": Target(parse=partial(js.parse, document="log", max_bytes=MAX_BYTES)),
    "strictjson.parse_base64url": Target(
        parse=_text(js.parse_base64url), write=lambda data: js.base64url(data).encode(), refusals=(ValueError,)
    ),
    "strictjson.parse_canonical": Target(
        parse=partial(js.parse_canonical, document="log", max_bytes=MAX_BYTES), write=js.canonical
    ),
} | {
    f"manifest.statements.parse_statement_file {kind.__name__}": Target(
        parse=partial(parse_statement_file, kind), write=lambda statement: js.canonical(statement.to_json())
    )
    for kind in (Consent, Go, Withdraw)
}
# Parsers of parts, which only ever see what their whole was read into.
INNER: Final = {
    "service.mirror.parse_product": "service.mirror.parse_vcek_request",
    "service.clients.parse_networks": "service.addresses.parse_address",
    "service.evidence_forms.parse_evidence": "evidence.parse_json",
    "snp.der.parse_signed": "snp.vek.parse_vek",
    "manifest.bodies.parse_body": "manifest.statements.parse_statement_file Go",
    "manifest.statements.parse_statement": "manifest.statements.parse_statement_file Go",
}
NAMES: Final = tuple(sorted(TARGETS))


def selector(name: str) -> bytes:
    """Return the first byte of every input for this target."""
    return bytes([NAMES.index(name)])


def try_selected(data: bytes) -> bool:
    """Try the target that the first byte chooses with the others; as `Target`, and False where it chooses none."""
    return bool(data) and data[0] < len(NAMES) and TARGETS[NAMES[data[0]]](data[1:])
