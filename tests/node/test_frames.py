"""Frames: what goes in comes out however it is cut, and nothing else does."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comity.node import frames
from comity.node.errors import ChildGone, PeerError
from comity.node.frames import Decoder, Frame
from comity.node.noise import Cipher

KEY = bytes(range(32))


def feed(decoder: Decoder, data: bytes, cut: int) -> list[Frame]:
    return [frame for start in range(0, len(data), cut) for frame in decoder.feed(data[start : start + cut])]


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=5), st.integers(1, 400))
def test_round_trip_however_it_is_cut(messages: list[tuple[int, bytes]], cut: int) -> None:
    send = Cipher(KEY)
    wire = b"".join(frames.seal(send, kind, body) for kind, body in messages)
    assert feed(Decoder(Cipher(KEY)), wire, cut) == messages


@pytest.mark.parametrize("size", [0, 1, 65_517, 65_518, 65_519, 65_520, 200_000])
def test_large_frames_are_split_into_noise_messages(size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    wire = frames.seal(Cipher(KEY), 7, body)
    assert len(wire) == 4 + frames.sealed_size(size + 1)
    decoder = Decoder(Cipher(KEY))
    assert feed(decoder, wire, 10_000) == [Frame(7, body)]
    assert decoder.held_bytes == 0


def test_limits() -> None:
    with pytest.raises(PeerError, match="too large to send"):
        frames.seal(Cipher(KEY), 0, bytes(frames.FRAME_BYTES_MAX))
    wire = frames.seal(Cipher(KEY), 0, bytes(1000))
    with pytest.raises(PeerError, match="out of bounds"):
        list(Decoder(Cipher(KEY), bytes_max=1000).feed(wire))
    assert list(Decoder(Cipher(KEY), bytes_max=1001).feed(wire)) == [Frame(0, bytes(1000))]


@pytest.mark.parametrize("length", [0, 1, 16, frames.SEALED_BYTES_MAX + 1, 2**32 - 1])
def test_bad_lengths_are_refused_before_a_byte_is_stored(length: int) -> None:
    decoder = Decoder(Cipher(KEY))
    with pytest.raises(PeerError, match="out of bounds"):
        list(decoder.feed(frames.LENGTH.pack(length) + b"x"))


def test_a_moved_frame_end_is_noticed() -> None:
    """Without the length as associated data, shortening it would make the second chunk's first byte a kind."""
    wire = frames.seal(Cipher(KEY), 1, bytes(100_000))
    moved = frames.LENGTH.pack(65_535) + wire[4:]
    with pytest.raises(PeerError, match="decrypt"):
        list(Decoder(Cipher(KEY)).feed(moved))


def test_an_empty_last_chunk_is_refused() -> None:
    send = Cipher(KEY)
    header = frames.LENGTH.pack(65_535 + 16)
    wire = header + send.encrypt(bytes(frames.CHUNK_BYTES_MAX), header) + send.encrypt(b"", header)
    with pytest.raises(PeerError, match="empty chunk"):
        list(Decoder(Cipher(KEY)).feed(wire))


@given(st.binary(max_size=400))
def test_random_bytes_never_make_a_frame(junk: bytes) -> None:
    decoder = Decoder(Cipher(KEY))
    try:
        assert list(decoder.feed(junk)) == []
    except PeerError:
        return
    assert decoder.held_bytes <= len(junk)


@settings(max_examples=60)
@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    wire = bytearray(frames.seal(Cipher(KEY), 3, b"hello"))
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(PeerError):
        assert list(Decoder(Cipher(KEY)).feed(bytes(wire))) == []  # a longer length waits for more, and gets none


def test_garbage_holds_at_most_one_chunk() -> None:
    """A claimed 16 MiB of garbage fails at the first chunk: no more than 64 KiB is ever kept of it."""
    decoder = Decoder(Cipher(KEY))
    list(decoder.feed(frames.LENGTH.pack(frames.SEALED_BYTES_MAX)))
    list(decoder.feed(bytes(65_534)))
    with pytest.raises(PeerError):
        list(decoder.feed(bytes(1)))


def test_plain_frames_over_a_socket() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(frames.pack(b"hello") + frames.pack(b""))
        assert frames.receive(other) == b"hello"
        assert frames.receive(other) == b""
        one.sendall(frames.LENGTH.pack(11))
        with pytest.raises(PeerError, match="out of bounds"):
            frames.receive(other, bytes_max=10)
        one.close()
        with pytest.raises(ChildGone):
            frames.receive(other)
