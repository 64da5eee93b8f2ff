"""Length-prefixed frames: encrypted ones between nodes, plain ones between a node and its own processes.

An incremental decoder that never holds more than one frame and one read. Who may speak is `noise`'s matter; when to give up,
`connection`'s.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from comity.node.errors import ChildGone, PeerError
from comity.node.noise import MESSAGE_BYTES_MAX, TAG_BYTES, Cipher

LENGTH = struct.Struct(">I")
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Kind and body of one frame between nodes, before encryption."""
CHUNK_BYTES_MAX = MESSAGE_BYTES_MAX - TAG_BYTES
HANDSHAKE_BYTES_MAX = 1024
LOCAL_BYTES_MAX = 256 * 1024 * 1024
"""One message between a node and its own processes."""


class Frame(NamedTuple):
    kind: int
    body: bytes


def sealed_size(plain_bytes: int) -> int:
    """The ciphertext size of a frame of so many plaintext bytes: one tag a chunk."""
    return plain_bytes + TAG_BYTES * -(-plain_bytes // CHUNK_BYTES_MAX)


SEALED_BYTES_MAX = sealed_size(FRAME_BYTES_MAX)


def seal(cipher: Cipher, kind: int, body: bytes) -> bytes:
    """One frame on the wire: length of what follows, then Noise messages whose associated data is that length.

    Raises `PeerError` above FRAME_BYTES_MAX. The length is authenticated, so that nobody in between can move a frame's end.
    """
    plain = bytes([kind]) + body
    if len(plain) > FRAME_BYTES_MAX:
        raise PeerError("a message is too large to send", why=f"{len(plain)} bytes, at most {FRAME_BYTES_MAX}")
    header = LENGTH.pack(sealed_size(len(plain)))
    chunks = (plain[start : start + CHUNK_BYTES_MAX] for start in range(0, len(plain), CHUNK_BYTES_MAX))
    return header + b"".join(cipher.encrypt(chunk, header) for chunk in chunks)


class Decoder:
    """Bytes in, frames out, for one encrypted direction. Any error is final: the connection must be dropped."""

    def __init__(self, cipher: Cipher, *, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._cipher = cipher
        self._sealed_max = sealed_size(bytes_max)
        self._buffer = bytearray()
        self._header = b""
        self._left = 0
        self._plain = bytearray()

    @property
    def held_bytes(self) -> int:
        """What is waiting for the rest of its frame."""
        return len(self._buffer) + len(self._plain)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises `PeerError` on a bad length or tag, before anything of that size is stored."""
        self._buffer += data
        while self._open_chunk():
            if self._left == 0:
                plain, self._header = bytes(self._plain), b""
                self._plain.clear()
                yield Frame(plain[0], plain[1:])

    def _open_chunk(self) -> bool:
        if not self._header:
            if len(self._buffer) < LENGTH.size:
                return False
            self._header = bytes(self._buffer[: LENGTH.size])
            (self._left,) = LENGTH.unpack(self._header)
            if not TAG_BYTES < self._left <= self._sealed_max:
                raise PeerError("a frame's length is out of bounds", why=f"{self._left} bytes")
            del self._buffer[: LENGTH.size]
        size = min(self._left, MESSAGE_BYTES_MAX)
        if len(self._buffer) < size:
            return False
        if size <= TAG_BYTES:
            raise PeerError("a frame ends in an empty chunk")
        self._plain += self._cipher.decrypt(bytes(self._buffer[:size]), self._header)
        del self._buffer[:size]
        self._left -= size
        return True


def pack(body: bytes) -> bytes:
    """A plain frame: 4-byte big-endian length, then the body."""
    return LENGTH.pack(len(body)) + body


def unpack_length(header: bytes, bytes_max: int) -> int:
    """The length in a plain frame's header. Raises `PeerError` above `bytes_max`."""
    (size,) = LENGTH.unpack(header)
    if size > bytes_max:
        raise PeerError("a frame's length is out of bounds", why=f"{size} bytes, at most {bytes_max}")
    return int(size)


def receive(connection: socket.socket, *, bytes_max: int = LOCAL_BYTES_MAX) -> bytes:
    """The next plain frame from a blocking socket. Raises `ChildGone` at the end of the stream."""
    header = _exactly(connection, LENGTH.size)
    return _exactly(connection, unpack_length(header, bytes_max))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise ChildGone("the other end closed the channel")
        data += piece
    return bytes(data)
