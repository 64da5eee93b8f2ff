"""Frames: exact both ways, and every malformed one refused before it is allocated."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.compute import frames
from comity.compute.errors import MalformedFrame
from comity.compute.frames import Frame

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def read(data: bytes, bytes_max: int = frames.FRAME_BYTES_MAX) -> Frame:
    stream = io.BytesIO(data)

    def exactly(count: int) -> bytes:
        part = stream.read(count)
        if len(part) != count:
            raise EOFError
        return part

    return frames.read(exactly, bytes_max=bytes_max)


@given(
    st.dictionaries(st.text(max_size=8), JSON, max_size=4),
    st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=4),
)
def test_round_trip(body: dict[str, object], parts: dict[str, bytes]) -> None:
    assert read(frames.encode(Frame(body, parts))) == Frame(body, parts)


def header(document: object, *, raw: bytes | None = None) -> bytes:
    text = raw if raw is not None else json.dumps(document).encode()
    return frames.MAGIC + len(text).to_bytes(4, "big") + text


MALFORMED = {
    "magic": b"XXXX" + bytes(4),
    "huge header": frames.MAGIC + b"\xff\xff\xff\xff",
    "not json": header(None, raw=b"{"),
    "nan": header(None, raw=b'{"body":{"x":NaN},"parts":[]}'),
    "deep": header(None, raw=b"[" * 100_000),
    "body is a list": header({"body": [], "parts": []}),
    "no parts": header({"body": {}}),
    "extra": header({"body": {}, "parts": [], "x": 1}),
    "negative": header({"body": {}, "parts": [["a", -1]]}),
    "boolean": header({"body": {}, "parts": [["a", True]]}),
    "huge part": header({"body": {}, "parts": [["a", 1 << 40]]}),
    "twice": header({"body": {}, "parts": [["a", 0], ["a", 0]]}),
    "unnamed": header({"body": {}, "parts": [[1, 0]]}),
    "many": header({"body": {}, "parts": [[str(i), 0] for i in range(200)]}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(MalformedFrame):
        read(MALFORMED[name])


def test_the_reader_sets_the_limit() -> None:
    data = frames.encode(Frame({}, {"a": bytes(100)}))
    with pytest.raises(MalformedFrame):
        read(data, bytes_max=99)
    with pytest.raises(EOFError):
        read(data[:-1])


@given(st.binary(max_size=300))
def test_noise_never_gets_through_as_anything_else(noise: bytes) -> None:
    for data in (noise, frames.MAGIC + noise, header(None, raw=noise)):
        try:
            frame = read(data)
        except (MalformedFrame, EOFError):
            continue
        assert isinstance(frame.body, dict)
