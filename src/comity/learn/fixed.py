"""Weights as exact integers: float arrays ↔ signed 64-bit fixed point with 24 fractional bits, and their blob.

Integers add in any order to the same sum on every processor; floats do not. Not aggregation: see `rules`.
Blob: magic ‖ header length (4 bytes, big-endian) ‖ header (canonical JSON) ‖ little-endian int64 values, array by array.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from comity.learn.errors import MalformedWeights

FRACTION_BITS = 24
SCALE = 1 << FRACTION_BITS
MAGNITUDE_BITS = 55
MAGNITUDE_MAX = (1 << MAGNITUDE_BITS) - 1
"""Largest fixed-point magnitude: ±2^31 in real units, with eight bits of headroom for sums."""

MAGIC = b"comity-fixed-v1\n"
ARRAYS_MAX = 256
DIMENSIONS_MAX = 8
VALUES_MAX = 1 << 24
HEADER_BYTES_MAX = 1 << 16
BLOB_BYTES_MAX = len(MAGIC) + 4 + HEADER_BYTES_MAX + 8 * VALUES_MAX
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = dict[str, Integers]
"""Named int64 fixed-point arrays, in ascending order of their names."""


def from_floats(arrays: Mapping[str, npt.ArrayLike]) -> Weights:
    """Round each value to the nearest 2^-24, ties to even. Refuses what is not a finite number below 2^31."""
    weights: Weights = {}
    for name in sorted(arrays):
        values = np.asarray(arrays[name])
        if values.dtype.kind not in "fiu":
            raise MalformedWeights(f"array {name!r} holds {values.dtype}, not numbers")
        scaled = np.rint(values.astype(np.float64) * SCALE)
        if not np.isfinite(scaled).all():
            raise MalformedWeights(f"array {name!r} holds a value that is not finite", why="training diverged")
        if scaled.size and float(np.abs(scaled).max()) > MAGNITUDE_MAX:
            raise MalformedWeights(f"array {name!r} holds a value beyond ±2^31", why="fixed point cannot hold it")
        weights[name] = scaled.astype(np.int64)
    _check(weights)
    return weights


def to_floats(weights: Weights) -> dict[str, Floats]:
    """The exact float64 values, where a magnitude is below 2^29; nearest float64 above it."""
    return {name: array.astype(np.float64) / SCALE for name, array in weights.items()}


def encode(weights: Weights) -> bytes:
    """The blob. One set of weights has exactly one encoding."""
    _check(weights)
    header = _header([(name, weights[name].shape) for name in sorted(weights)])
    body = b"".join(np.ascontiguousarray(weights[name], dtype="<i8").tobytes() for name in sorted(weights))
    return MAGIC + len(header).to_bytes(4, "big") + header + body


def decode(blob: bytes) -> Weights:
    """Read a blob strictly: exact length, canonical header, bounded values. Raises `MalformedWeights`."""
    if len(blob) > BLOB_BYTES_MAX:
        raise MalformedWeights("weights blob is too large", why=f"{len(blob)} bytes, limit {BLOB_BYTES_MAX}")
    start = len(MAGIC) + 4
    if len(blob) < start or not blob.startswith(MAGIC):
        raise MalformedWeights("not a weights blob", why="magic is missing")
    header_bytes = int.from_bytes(blob[len(MAGIC) : start], "big")
    if header_bytes > HEADER_BYTES_MAX or start + header_bytes > len(blob):
        raise MalformedWeights("weights header is too long", why=f"{header_bytes} bytes")
    header = bytes(blob[start : start + header_bytes])
    shapes = _parse_header(header)
    offset = start + header_bytes
    if len(blob) != offset + 8 * sum(math.prod(shape) for _, shape in shapes):
        raise MalformedWeights("weights blob has the wrong length", why="header and values disagree")
    weights: Weights = {}
    for name, shape in shapes:
        count = math.prod(shape)
        values = np.frombuffer(blob, dtype="<i8", count=count, offset=offset)
        weights[name] = values.astype(np.int64).reshape(shape)
        offset += 8 * count
    _check(weights)
    return weights


def _header(shapes: list[tuple[str, tuple[int, ...]]]) -> bytes:
    """ASCII names and integers only, so this is RFC 8785 already."""
    arrays = [{"name": name, "shape": list(shape)} for name, shape in shapes]
    return json.dumps({"arrays": arrays}, sort_keys=True, separators=(",", ":")).encode("ascii")


def _parse_header(header: bytes) -> list[tuple[str, tuple[int, ...]]]:
    try:
        document: Any = json.loads(header)
        shapes = [(array["name"], tuple(array["shape"])) for array in document["arrays"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        # One reason for all: it stands in the Round record, and which error comes is a matter of Python's version and stack.
        raise MalformedWeights("weights header cannot be read") from error
    if len(shapes) > ARRAYS_MAX:
        raise MalformedWeights("weights hold too many arrays", why=f"{len(shapes)}, limit {ARRAYS_MAX}")
    total = 0
    for name, shape in shapes:
        if not isinstance(name, str) or not _NAME.match(name):
            raise MalformedWeights("weights header names an array badly")
        if len(shape) > DIMENSIONS_MAX or any(type(n) is not int or not 0 <= n <= VALUES_MAX for n in shape):
            raise MalformedWeights(f"array {name!r} has an impossible shape")
        total += math.prod(shape)
    if total > VALUES_MAX:
        raise MalformedWeights("weights hold too many values", why=f"{total}, limit {VALUES_MAX}")
    names = [name for name, _ in shapes]
    if names != sorted(set(names)) or _header(shapes) != header:
        raise MalformedWeights("weights header is not canonical")
    return shapes


def _check(weights: Weights) -> None:
    if not 1 <= len(weights) <= ARRAYS_MAX:
        raise MalformedWeights("weights must hold arrays", why=f"{len(weights)} of at most {ARRAYS_MAX}")
    if sum(array.size for array in weights.values()) > VALUES_MAX:
        raise MalformedWeights("weights hold too many values", why=f"limit {VALUES_MAX}")
    for name, array in weights.items():
        if not _NAME.match(name):
            raise MalformedWeights(f"array name {name!r} is not [a-z][a-z0-9_]*")
        if array.dtype != np.int64 or array.ndim > DIMENSIONS_MAX:
            raise MalformedWeights(f"array {name!r} is not int64 with at most {DIMENSIONS_MAX} dimensions")
        if array.size and (int(array.min()) < -MAGNITUDE_MAX or int(array.max()) > MAGNITUDE_MAX):
            raise MalformedWeights(f"array {name!r} holds a value beyond ±2^31")
