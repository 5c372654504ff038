"""Trust anchors: what may be one, and that evidence never adds one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.amd import borrowed_names, fake_amd, pem, shared_keys, strange_keys

from twocvm_verifier.errors import ChainError, MalformedError
from twocvm_verifier.snp import names
from twocvm_verifier.snp.der import encode_oid
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import (
    MAX_CHAIN_BYTES,
    Hierarchy,
    amd_roots,
    parse_chain,
    simulated_roots,
    verify_roots,
)

MILAN = fake_amd(Product.MILAN)
SIMULATED = fake_amd(Product.SIMULATED)


def roots_of(*, ark: bytes, ask: bytes, product: Product = Product.MILAN):
    """Return the trust anchors of one root with one intermediate."""
    hierarchy = Hierarchy(product=product, ark=ark, intermediates={VekKind.VCEK: ask})
    return verify_roots((hierarchy,), revoked=frozenset())


def refusal(*, ark: bytes, ask: bytes, product: Product = Product.MILAN) -> str:
    """Return what is said of anchors that are refused."""
    with pytest.raises(ChainError) as caught:
        roots_of(ark=ark, ask=ask, product=product)
    assert caught.value.code == "CHAIN_CERTIFICATE"
    return caught.value.detail.split(":")[0]


def test_amd_roots_are_three_products_with_two_issuers_each():
    """Milan, Genoa and Turin, each for VCEKs and VLEKs, none simulated; Genoa's first ASK is known as revoked."""
    roots = amd_roots()
    assert {(issuer.product, issuer.kind) for issuer in roots.issuers.values()} == {
        (product, kind) for product in (Product.MILAN, Product.GENOA, Product.TURIN) for kind in VekKind
    }
    assert not roots.simulated
    assert bytes.fromhex("54467b96b8baf21dd42ef7162a62ec7812c5231ef301790e37a84b822ae6f459") in roots.revoked


def test_simulated_roots_are_taken_by_their_own_door():
    """A simulated platform's PEM makes roots that say what they are."""
    roots = simulated_roots(SIMULATED.chain())
    assert roots.simulated
    assert [issuer.product for issuer in roots.issuers.values()] == [Product.SIMULATED]


@pytest.mark.parametrize("amd", [MILAN, borrowed_names(Product.GENOA)], ids=["fake Milan", "borrowed Genoa"])
def test_hardware_names_are_no_simulated_platform(amd):
    """The door for simulated platforms lets nothing else through."""
    with pytest.raises(ChainError) as caught:
        simulated_roots(amd.chain())
    assert caught.value.code == "CHAIN_CERTIFICATE"


def test_chain_is_asked_in_its_order():
    """ASK, then ARK: the other way round the names do not fit."""
    with pytest.raises(ChainError):
        simulated_roots(pem(SIMULATED.ark()) + pem(SIMULATED.ask()))


@pytest.mark.parametrize("which", ["ark", "ask"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"mark": None},
        {"mark_critical": False},
        {"mark": b"\x0c\x00"},
    ],
    ids=["none", "not critical", "other text"],
)
def test_simulated_certificates_are_marked(which, wrong):
    """Both certificates carry the critical mark, whole."""
    certificates = {"ark": SIMULATED.ark(), "ask": SIMULATED.ask()}
    certificates[which] = replace(getattr(SIMULATED, f"{which}_fields")(), **wrong).der()
    assert refusal(**certificates, product=Product.SIMULATED) == "extensions"


@pytest.mark.parametrize("which", ["ark", "ask"])
def test_hardware_certificates_are_not_marked(which):
    """A mark on a certificate with AMD's names is a forgery of one or of the other."""
    certificates = {"ark": MILAN.ark(), "ask": MILAN.ask()}
    certificates[which] = replace(getattr(MILAN, f"{which}_fields")(), mark=names.SIMULATED_MARK).der()
    assert refusal(**certificates) == "extensions"


@pytest.mark.parametrize("which", ["ark", "ask"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"subject": "SEV-Rome"}, "name"),
        ({"issuer": "ARK-Rome"}, "name"),
        ({"ca": False}, "basic constraints"),
        ({"critical_constraints": False}, "basic constraints"),
        ({"path_length": 3}, "basic constraints"),
        ({"cert_sign": False}, "key usage"),
        ({"salt_bytes": 32}, "signature"),
        ({"hash_algorithm": hashes.SHA256()}, "signature"),
        ({"pss": False}, "signature"),
        ({"extra": (x509.OCSPNoCheck(),)}, "extensions"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_every_rule_holds_for_root_and_intermediate(which, wrong, said):
    """A name, a bit, a parameter wrong in either certificate: it is no trust anchor."""
    certificates = {"ark": MILAN.ark(), "ask": MILAN.ask()}
    certificates[which] = replace(getattr(MILAN, f"{which}_fields")(), **wrong).der()
    assert refusal(**certificates) == said


def test_a_root_must_be_one_that_signs_lists():
    """RFC 5280, 6.3.3: a root whose key usage leaves revocation lists out could revoke nothing."""
    assert refusal(ark=replace(MILAN.ark_fields(), crl_sign=False).der(), ask=MILAN.ask()) == "key usage"


def test_intermediate_of_another_root_is_refused():
    """AMD's names under another key do not hang from this root."""
    assert refusal(ark=MILAN.ark(), ask=borrowed_names().ask()) == "signature"
    assert refusal(ark=borrowed_names().ark(), ask=MILAN.ask()) == "signature"


def test_root_signs_itself():
    """A root that somebody else signed is none."""
    signed_by_another = replace(MILAN.ark_fields(), signer=strange_keys().ark).der()
    assert refusal(ark=signed_by_another, ask=MILAN.ask()) == "signature"


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), rsa.generate_private_key(3, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["RSA-2048", "exponent 3", "P-384"],
)
def test_keys_of_another_kind_are_refused(key):
    """Roots are RSA-4096 with exponent 65537."""
    weak = replace(MILAN.ask_fields(), key=key).der()
    assert refusal(ark=MILAN.ark(), ask=weak) == "key"


def test_small_exponents_are_refused():
    """RSA-4096 with exponent 3 is not what AMD uses."""
    odd = rsa.RSAPublicNumbers(e=3, n=shared_keys().ask.public_key().public_numbers().n).public_key()

    class Holder:
        def public_key(self):
            return odd

    assert refusal(ark=MILAN.ark(), ask=replace(MILAN.ask_fields(), key=Holder()).der()) == "key"


def test_anchors_are_of_one_sort():
    """AMD's roots and a simulated platform's are never accepted together; and none at all is a mistake."""
    with pytest.raises(ValueError, match="never both"):
        verify_roots((MILAN.hierarchy(), SIMULATED.hierarchy()), revoked=frozenset())
    with pytest.raises(ValueError, match="never none"):
        verify_roots((), revoked=frozenset())


def test_issuer_knows_its_window_and_digests():
    """An issuer carries what results list: digests and ends of validity of both certificates."""
    issuer = roots_of(ark=MILAN.ark(), ask=MILAN.ask()).issuers[names.issuer_name(Product.MILAN, VekKind.VCEK)]
    assert issuer.sha256 == hashlib.sha256(MILAN.ask()).digest()
    assert issuer.ark_sha256 == hashlib.sha256(MILAN.ark()).digest()
    assert issuer.not_after == MILAN.ask_fields().end


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no pem",
        pem(b"a"),
        pem(b"a") * 3,
        pem(b"a") + pem(b"b") + b"x",
        b"x" + pem(b"a") + pem(b"b"),
        pem(b"a") + b"# comment\n" + pem(b"b"),
        (pem(b"a") + pem(b"b")).replace(b"CERTIFICATE", b"PRIVATE KEY"),
        b"-----BEGIN CERTIFICATE-----\nYQ=\n-----END CERTIFICATE-----\n" * 2,
        b" " * (MAX_CHAIN_BYTES + 1),
    ],
)
def test_chain_is_two_certificates_and_nothing_else(raw):
    """One, three, text around them, bad base64, too long: malformed."""
    with pytest.raises(MalformedError) as caught:
        parse_chain(raw)
    assert caught.value.code == "MALFORMED_CHAIN"


def test_chain_may_have_windows_line_ends():
    """Line ends and white space between the certificates do not matter."""
    text = (pem(b"first") + b"\n" + pem(b"second")).replace(b"\n", b"\r\n")
    assert parse_chain(text) == (b"first", b"second")


@pytest.mark.parametrize("der", [b"", b"0", bytes(4097), b"\x30\x03\x02\x01\x00"])
def test_bytes_that_are_no_authority_are_malformed(der):
    """What is no certificate of an authority is refused as such."""
    with pytest.raises(MalformedError):
        roots_of(ark=der, ask=MILAN.ask())


def test_leaf_is_no_authority():
    """A VEK, which has no basic constraints at all, is no trust anchor."""
    with pytest.raises(MalformedError):
        roots_of(ark=MILAN.ark(), ask=MILAN.vcek())


def test_keys_and_algorithms_that_nobody_knows_are_malformed():
    """A root whose key or signature has an unknown OID is refused as no certificate of a kind that is known."""
    ark = MILAN.ark()
    for known in ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"):
        unknown = encode_oid(known.rpartition(".")[0] + ".99")
        with pytest.raises(MalformedError):
            roots_of(ark=ark.replace(encode_oid(known), unknown), ask=MILAN.ask())
