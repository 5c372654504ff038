"""CKKS by TenSEAL (Microsoft SEAL): an encrypted vector times a matrix that is in the clear, by its diagonals.

The request has `size`, `seed`, `repeats` and `tolerance`. Keys and encryption are not timed, nor is decryption.
"""

from __future__ import annotations

from typing import Any

import tenseal

from .product import numbers, product, require_near, told
from .serving import Told, Work, serve

DEGREE, MODULI, SCALE = 8192, (60, 40, 40, 60), 2.0**40


def make(request: dict[str, Any]) -> tuple[Work[Any], Told[Any]]:
    """Encrypt the vector, and return what multiplies it and what decrypts and checks the last result."""
    matrix, vector = numbers(request["size"], request["seed"])
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=list(MODULI))
    context.global_scale = SCALE
    context.generate_galois_keys()
    encrypted = tenseal.ckks_vector(context, vector)
    columns = [list(map(float, column)) for column in zip(*matrix, strict=True)]

    def work() -> Any:
        for _ in range(request["repeats"]):
            result = encrypted.matmul(columns)
        return result

    def checked(result: Any) -> tuple[str, float]:
        clear = result.decrypt()
        require_near(clear, product(matrix, vector), request["tolerance"])
        return told(clear)

    return work, checked


if __name__ == "__main__":
    serve(make)
