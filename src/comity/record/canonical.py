"""Canonical JSON: one byte form per value (RFC 8785), and a decoder that refuses what is ambiguous (RFC 7493).

Not a schema: see `kinds` for what a record may hold. Encoding is the `rfc8785` library; strict decoding is ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import rfc8785

from comity.record.errors import NotCanonical
from comity.record.types import Json

DOCUMENT_BYTES_MAX = 1 << 20
DEPTH_MAX = 32
INTEGER_MAX = 2**53 - 1
"""RFC 7493 section 2.2: what every JSON reader holds exactly."""

_INTEGER_CHARACTERS_MAX = len(str(-INTEGER_MAX))
# A string that never ends is taken to the end of the text, possessively: looking from each of its quotes anew would be quadratic.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def encode(value: Any, *, depth_max: int = DEPTH_MAX) -> bytes:
    """The canonical bytes of a value of None, bool, int, float, str, list, tuple and dict.

    Raises `NotCanonical` for anything else: integers beyond 2^53 - 1, NaN, infinities, lone surrogates, excess depth.
    """
    _check_value(value, depth_max)
    try:
        return rfc8785.dumps(value)
    except ValueError as error:  # also UnicodeEncodeError: the library lets it escape for a lone surrogate in a key
        raise NotCanonical("value has no canonical JSON form", why=str(error)) from None


def decode(
    data: bytes,
    *,
    bytes_max: int = DOCUMENT_BYTES_MAX,
    depth_max: int = DEPTH_MAX,
    floats: bool = False,
    canonical: bool = False,
) -> Json:
    """The value of a JSON text, or `NotCanonical`.

    Refuses: more than `bytes_max` bytes or `depth_max` nested containers (both before parsing), bytes that are not
    UTF-8, a BOM, duplicate keys, NaN and infinities, integers beyond 2^53 - 1, lone surrogates, fractions and exponents
    unless `floats`, and, when `canonical`, every text but the one that `encode` gives for the value.
    """
    if len(data) > bytes_max:
        raise NotCanonical("JSON text is too large", why=f"{len(data)} bytes, at most {bytes_max}")
    check_depth(data, depth_max)
    try:
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float if floats else _no_float,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise NotCanonical("JSON text is not UTF-8", why=f"byte {error.start}: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise NotCanonical("text is not JSON", why=f"{error.msg} at character {error.pos}") from None
    if b"\\u" in data:  # the only way in for a lone surrogate, as UTF-8 holds none
        _check_value(value, depth_max)
    if canonical and rfc8785.dumps(value) != data:
        raise NotCanonical("JSON text is not in canonical form", why="RFC 8785 gives other bytes for the same value")
    return value


def check_depth(data: bytes, depth_max: int) -> None:
    """Refuse (`NotCanonical`) text with more nested containers, before any parser recurses into it: a native one may crash."""
    depth = 0
    for token in _TOKEN.finditer(data):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth > depth_max:
                    raise NotCanonical("JSON text is nested too deeply", why=f"at most {depth_max} levels")
            case b"}" | b"]":
                depth -= 1


def _check_value(value: Any, depth_max: int) -> None:
    """Depth and surrogates, without recursion, so that no input can exhaust the stack."""
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, Mapping | list | tuple):
            if depth >= depth_max:
                raise NotCanonical("value is nested too deeply", why=f"at most {depth_max} levels")
            if isinstance(item, Mapping):
                stack.extend((key, depth) for key in item)
                stack.extend((child, depth + 1) for child in item.values())
            else:
                stack.extend((child, depth + 1) for child in item)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("text holds a lone surrogate", why="it has no UTF-8 form") from None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotCanonical("JSON object names a key twice", why=repr(twice[:64]))
    return value


def _integer(text: str) -> int:
    # The length first: turning a long run of digits into an int costs quadratic time.
    if len(text) > _INTEGER_CHARACTERS_MAX or abs(number := int(text)) > INTEGER_MAX:
        raise NotCanonical("JSON integer is beyond 2^53 - 1", why=f"{text[:24]}")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotCanonical("JSON number is beyond a double", why=text[:24])
    return number


def _no_float(text: str) -> NoReturn:
    raise NotCanonical("JSON number is not an integer", why=text[:24], hint="write fractions as decimal strings")


def _no_constant(text: str) -> NoReturn:
    raise NotCanonical("JSON has no such number", why=text)
