"""The weights blob: exact both ways, one encoding, and every malformed one refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from comity.learn import fixed
from comity.learn.errors import MalformedWeights

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FLOATS = st.floats(-(2.0**30), 2.0**30, allow_nan=False)
ARRAYS = npst.arrays(np.float64, SHAPES, elements=FLOATS)


@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5))
def test_round_trip(arrays: dict[str, np.ndarray]) -> None:
    blob = fixed.encode(fixed.from_floats(arrays))
    back = fixed.decode(blob)
    assert fixed.encode(back) == blob
    for name, values in fixed.to_floats(back).items():
        assert values.shape == arrays[name].shape
        assert np.all(np.abs(values - arrays[name]) <= 2.0**-25 + np.abs(arrays[name]) * 2.0**-52)


def test_rounds_half_to_even() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5]) / fixed.SCALE
    assert fixed.from_floats({"v": values})["v"].tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**31, 1e300])
def test_what_fixed_point_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(MalformedWeights, match="'v'"):
        fixed.from_floats({"v": np.array([0.0, value])})


@pytest.mark.parametrize("values", [np.array(["x"]), np.array([1 + 2j]), np.array([None], dtype=object)])
def test_only_numbers(values: np.ndarray) -> None:
    with pytest.raises(MalformedWeights, match="not numbers"):
        fixed.from_floats({"v": values})


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "é", "a" * 65])
def test_names(name: str) -> None:
    with pytest.raises(MalformedWeights):
        fixed.encode({name: np.zeros(1, dtype=np.int64)})


def blob(header: object, body: bytes = b"", *, raw: bytes | None = None) -> bytes:
    text = raw if raw is not None else json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return fixed.MAGIC + len(text).to_bytes(4, "big") + text + body


MALFORMED = {
    "empty": b"",
    "magic": b"x" * 40,
    "cut header": fixed.MAGIC + (100).to_bytes(4, "big") + b"{}",
    "huge header": fixed.MAGIC + (1 << 31).to_bytes(4, "big"),
    "not json": blob(None, raw=b"{"),
    "not an object": blob([]),
    "deep": blob(None, raw=b"[" * 60_000),
    "not utf-8": blob(None, raw=b"\xff\xfe"),
    "no arrays": blob({"arrays": []}),
    "extra member": blob({"arrays": [], "x": 1}),
    "spaces": blob(None, bytes(8), raw=b'{"arrays": [{"name":"a","shape":[1]}]}'),
    "order": blob({"arrays": [{"name": "b", "shape": [0]}, {"name": "a", "shape": [0]}]}),
    "twice": blob({"arrays": [{"name": "a", "shape": [0]}, {"name": "a", "shape": [0]}]}),
    "negative": blob({"arrays": [{"name": "a", "shape": [-1]}]}),
    "boolean": blob({"arrays": [{"name": "a", "shape": [True]}]}, bytes(8)),
    "float": blob({"arrays": [{"name": "a", "shape": [1.0]}]}, bytes(8)),
    "too many values": blob({"arrays": [{"name": "a", "shape": [1 << 20, 1 << 20]}]}),
    "nine dimensions": blob({"arrays": [{"name": "a", "shape": [1] * 9}]}, bytes(8)),
    "short body": blob({"arrays": [{"name": "a", "shape": [2]}]}, bytes(8)),
    "long body": blob({"arrays": [{"name": "a", "shape": [1]}]}, bytes(9)),
    "too big a value": blob({"arrays": [{"name": "a", "shape": [1]}]}, (1 << 62).to_bytes(8, "little")),
    "smallest int64": blob({"arrays": [{"name": "a", "shape": [1]}]}, bytes(7) + b"\x80"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(MalformedWeights):
        fixed.decode(MALFORMED[name])


@given(st.binary(max_size=200), st.integers(0, 200))
def test_damage_is_refused_or_is_another_value(noise: bytes, at: int) -> None:
    sound = fixed.encode(fixed.from_floats({"a": np.arange(3.0), "b": np.ones((2, 2))}))
    damaged = sound[:at] + noise + sound[at + len(noise) :]
    try:
        weights = fixed.decode(damaged)
    except MalformedWeights:
        return
    assert fixed.encode(weights) == damaged


@pytest.mark.parametrize(
    "header", [b"{", b"\xff", b"[" * 60_000, b"1" * 9_000, b"[]", b'{"arrays":[{}]}', b'{"arrays":5}']
)
def test_the_reason_for_an_unreadable_header_is_everywhere_the_same(header: bytes) -> None:
    """Validators compare reasons bit for bit, and not every Python fails alike."""
    with pytest.raises(MalformedWeights) as caught:
        fixed.decode(fixed.MAGIC + len(header).to_bytes(4, "big") + header)
    assert str(caught.value) == "weights header cannot be read"
