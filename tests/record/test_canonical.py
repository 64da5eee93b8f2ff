"""RFC 8785's own vectors, and everything that strict decoding must refuse."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comity.record import canonical
from comity.record.errors import ComityError, NotCanonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def test_rfc_8785_section_3_2_2() -> None:
    source = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical.encode(canonical.decode(source, floats=True)) == expected.encode()


def test_rfc_8785_section_3_2_3_sorts_by_utf_16() -> None:
    names = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]
    assert list(json.loads(canonical.encode(names)).values()) == order


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_rfc_8785_appendix_b_numbers(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.encode(number) == text.encode()


@given(VALUES)
def test_round_trip_and_one_form(value: Any) -> None:
    data = canonical.encode(value)
    assert canonical.decode(data, canonical=True) == value
    assert json.loads(data) == value
    assert canonical.encode(canonical.decode(json.dumps(value, indent=1).encode())) == data


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_their_value(number: float) -> None:
    assert float(canonical.encode(number)) == number


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b"NaN", "no such number"),
        (b"[Infinity]", "no such number"),
        (b"-Infinity", "no such number"),
        (b"1.0", "not an integer"),
        (b"1e2", "not an integer"),
        (b"9007199254740992", "beyond"),
        (b"-9007199254740992", "beyond"),
        (b"1" * 100_000, "beyond"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf1", "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"", "not JSON"),
        (b"1 2", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"[" * 33 + b"]" * 33, "nested"),
        (b"[" * 900_000, "nested"),
        (b'{"a":' * 200_000, "nested"),
        (b" " * (canonical.DOCUMENT_BYTES_MAX + 1), "too large"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(NotCanonical, match=reason):
        canonical.decode(data)


@pytest.mark.parametrize("data", [b" 1", b'{"b":1,"a":2}', b'"\\u0061"', b'"\\/"', b"-0", b"[1, 2]", b'"\\u001F"'])
def test_other_forms_are_refused_only_when_canonical_is_asked(data: bytes) -> None:
    canonical.decode(data)
    with pytest.raises(NotCanonical, match="canonical form"):
        canonical.decode(data, canonical=True)


def test_limits_are_exact() -> None:
    assert canonical.decode(b"[" * 32 + b"]" * 32)
    assert canonical.decode(b"[1]", bytes_max=3) == [1]
    with pytest.raises(NotCanonical):
        canonical.decode(b"[1]", bytes_max=2)
    assert canonical.decode(b'"[[[[[["', depth_max=0) == "[[[[[["
    assert canonical.decode(rb'"\"[[[["', depth_max=0) == '"[[[['
    assert canonical.decode(b"9007199254740991") == 2**53 - 1
    with pytest.raises(NotCanonical):
        canonical.decode(b"1e999", floats=True)


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), float("nan"), float("inf"), "\ud800", {"\ud800": 1}, {1: 2}, {"a": object()}, b"x", {"s"}],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_does_not_encode(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical.encode(value)


def test_deep_and_circular_values_do_not_exhaust_the_stack() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(NotCanonical, match="nested"):
        canonical.encode(circle)


@given(st.binary(max_size=200) | TEXT.map(str.encode))
@example(b'{"a":"\\ud83d\\ude00"}')
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        value = canonical.decode(data, floats=True)
    except ComityError:
        return
    canonical.encode(value)


@pytest.mark.parametrize(
    "text", [b'"\\"' * 300_000, b'"' + b'\\"' * 500_000, b'["' + b"\\\\" * 400_000, b"[" * 900_000]
)
def test_looking_for_depth_takes_one_pass(text: bytes) -> None:
    # Quadratic, each of these takes minutes.
    with pytest.raises(NotCanonical):
        canonical.decode(text, depth_max=4)


def test_brackets_in_strings_are_no_containers() -> None:
    canonical.check_depth(rb'["[[[[", "\"[[[[", "\\", {"a": "]"}]', 2)
    with pytest.raises(NotCanonical):
        canonical.check_depth(rb'["\\", [[', 2)
