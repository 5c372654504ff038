"""CKKS and BFV by OpenFHE: a matrix times an encrypted vector, in several ways that are far apart in time.

The request has `scheme` (ckks or bfv), `way`, `size`, `seed`, `repeats` and `tolerance`. The ways:

    rows        the matrix is encrypted too, a ciphertext a row: EvalMult, then EvalSum over the row
    diagonals   the matrix is encrypted too, a ciphertext a diagonal: EvalRotate the vector, EvalMult, EvalAdd
    clear       as diagonals, with the matrix in the clear

Keys and encryption are not timed, nor is decryption.
"""

from __future__ import annotations

from typing import Any

import openfhe

from .product import numbers, product, require_near, told
from .serving import Told, Work, serve

MODULUS = 65537
SCALE_BITS = 50
# What CKKS is given is this many times smaller, on both sides of a product, so that sums stay below its first modulus.
SHRUNK = 64


class Scheme:
    """A context with its keys, for vectors of one size."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.context = openfhe.GenCryptoContext(_parameters(name, size))
        for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE"):
            self.context.Enable(getattr(openfhe.PKESchemeFeature, feature))
        self.keys = self.context.KeyGen()
        self.context.EvalMultKeyGen(self.keys.secretKey)
        self.context.EvalSumKeyGen(self.keys.secretKey)
        self.context.EvalRotateKeyGen(self.keys.secretKey, list(range(1, size)))

    def packed(self, values: list[int]) -> Any:
        """Return numbers as a plaintext."""
        if self.name == "ckks":
            return self.context.MakeCKKSPackedPlaintext([value / SHRUNK for value in values])
        return self.context.MakePackedPlaintext(values)

    def encrypted(self, values: list[int]) -> Any:
        """Return numbers as a ciphertext."""
        return self.context.Encrypt(self.keys.publicKey, self.packed(values))

    def decrypted(self, ciphertext: Any, length: int) -> list[float]:
        """Return a ciphertext's first numbers."""
        plain = self.context.Decrypt(self.keys.secretKey, ciphertext)
        plain.SetLength(length)
        if self.name == "ckks":
            return [value * SHRUNK**2 for value in plain.GetRealPackedValue()[:length]]
        return [float(each) for each in plain.GetPackedValue()[:length]]


def _parameters(name: str, size: int) -> Any:
    parameters = openfhe.CCParamsCKKSRNS() if name == "ckks" else openfhe.CCParamsBFVRNS()
    parameters.SetMultiplicativeDepth(1)
    if name == "ckks":
        parameters.SetScalingModSize(SCALE_BITS)
        parameters.SetBatchSize(size)
    else:
        parameters.SetPlaintextModulus(MODULUS)
    return parameters


def _by_rows(scheme: Scheme, matrix: list[list[int]], vector: list[int]) -> tuple[Work[Any], Told[Any]]:
    context, rows, x = scheme.context, [scheme.encrypted(row) for row in matrix], scheme.encrypted(vector)

    def work() -> list[Any]:
        return [context.EvalSum(context.EvalMult(row, x), scheme.size) for row in rows]

    return work, lambda sums: [scheme.decrypted(each, 1)[0] for each in sums]


def _by_diagonals(
    scheme: Scheme, matrix: list[list[int]], vector: list[int], *, clear: bool
) -> tuple[Work[Any], Told[Any]]:
    context, size = scheme.context, scheme.size
    diagonals = [[matrix[i][(i + k) % size] for i in range(size)] for k in range(size)]
    made = [scheme.packed(each) if clear else scheme.encrypted(each) for each in diagonals]
    # Twice, so that rotating brings the beginning behind the end; CKKS packs it round and round by itself.
    x = scheme.encrypted(vector if scheme.name == "ckks" else vector * 2)

    def work() -> Any:
        total = context.EvalMult(x, made[0])
        for k in range(1, size):
            total = context.EvalAdd(total, context.EvalMult(context.EvalRotate(x, k), made[k]))
        return total

    return work, lambda total: scheme.decrypted(total, size)


def make(request: dict[str, Any]) -> tuple[Work[Any], Told[Any]]:
    """Encrypt, and return what multiplies and what decrypts and checks the last result."""
    matrix, vector = numbers(request["size"], request["seed"])
    scheme = Scheme(request["scheme"], request["size"])
    if request["way"] == "rows":
        once, clear = _by_rows(scheme, matrix, vector)
    else:
        once, clear = _by_diagonals(scheme, matrix, vector, clear=request["way"] == "clear")

    def work() -> Any:
        for _ in range(request["repeats"]):
            result = once()
        return result

    def checked(result: Any) -> tuple[str, float]:
        found = clear(result)
        require_near(found, product(matrix, vector), request["tolerance"])
        return told(found)

    return work, checked


if __name__ == "__main__":
    serve(make)
