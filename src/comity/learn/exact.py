"""Exact arithmetic on int64 vectors: sums of squares, means and scalings that neither overflow nor round by chance.

No BLAS and no float is in any value path, so every processor gives the same bits. What they are for: see `rules`.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from comity.learn.fixed import Integers

_INT64_MAX = (1 << 63) - 1
_LIMB_BITS = 29
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_BLOCK = 32
"""Products of two 29-bit limbs stay below 2^58; 32 of them, and a sign, fit 64 bits."""

RATIO_BITS = 30


def magnitude(vector: Integers) -> int:
    """The largest absolute value; 0 for an empty vector."""
    return max(abs(int(vector.min())), abs(int(vector.max()))) if vector.size else 0


def sum_of_squares(vector: Integers) -> int:
    """Σ v², exact, for magnitudes below 2^58."""
    bound = magnitude(vector)
    if bound * bound * max(vector.size, 1) <= _INT64_MAX:
        return int((vector * vector).sum())
    if bound >= 1 << (2 * _LIMB_BITS):
        raise OverflowError("magnitude beyond 2^58")
    high, low = vector >> _LIMB_BITS, vector & _LIMB_MASK
    squares, cross, rest = _blocks(high, high), _blocks(high, low), _blocks(low, low)
    return (squares << (2 * _LIMB_BITS)) + (cross << (_LIMB_BITS + 1)) + rest


def _blocks(left: Integers, right: Integers) -> int:
    products = left * right
    whole = products.size - products.size % _BLOCK
    sums: list[int] = products[:whole].reshape(-1, _BLOCK).sum(axis=1).tolist()
    rest: list[int] = products[whole:].tolist()
    return sum(sums) + sum(rest)


def weighted_mean(rows: list[Integers], weights: list[int]) -> Integers:
    """Σ wᵢ·rowᵢ / Σ wᵢ, rounded to the nearest integer, ties upward. Rows of one length, weights positive."""
    total = sum(weights)
    bound = max(magnitude(row) for row in rows)
    if 2 * bound * total + total <= _INT64_MAX:
        accumulated = np.zeros_like(rows[0])
        for row, weight in zip(rows, weights, strict=True):
            accumulated += row * np.int64(weight)
        result: Integers = (2 * accumulated + np.int64(total)) // np.int64(2 * total)
        return result
    columns = zip(*(row.tolist() for row in rows), strict=True)
    sums = [sum(weight * value for weight, value in zip(weights, column, strict=True)) for column in columns]
    return np.array([(2 * value + total) // (2 * total) for value in sums], dtype=np.int64)


def scale_down(vector: Integers, ratio: int) -> Integers:
    """⌊v·ratio / 2^30⌋ for a ratio of at most 2^30 and magnitudes below 2^58, without a 128-bit product."""
    if not 0 <= ratio <= 1 << RATIO_BITS:
        raise OverflowError("ratio beyond one")
    high, low = vector >> _LIMB_BITS, vector & _LIMB_MASK
    product = high * np.int64(ratio)
    result: Integers = (product >> 1) + (((product & 1) << _LIMB_BITS) + low * np.int64(ratio) >> RATIO_BITS)
    return result


def ratio_of_roots(numerator: int, denominator: int) -> int:
    """⌊2^30·√numerator / √denominator⌋, at most 2^30: the factor that brings one squared norm down to another."""
    if numerator >= denominator:
        return 1 << RATIO_BITS
    return isqrt((numerator << (2 * RATIO_BITS)) // denominator)
