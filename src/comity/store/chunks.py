"""A blob's body: 64 KiB chunks under AES-256-GCM, so that any prefix read is authentic and none can be moved, cut or added.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption, CRYPTO 2015, section 6): the
nonce is the chunk's number, and whether it is the last one is authenticated.
A data key encrypts one blob once, so no nonce repeats.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from comity.store.header import NONCE_BYTES, TAG_BYTES

CHUNK_BYTES = 64 * 1024
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
_MORE, _LAST = b"\x00", b"\x01"


class ChunkSealer:
    """Encrypts chunks in order. Once only: a second sealer of one key would repeat its nonces."""

    def __init__(self, data_key: bytes) -> None:
        self._cipher = AESGCM(data_key)
        self._number = 0

    def seal(self, chunk: bytes, last: bool) -> bytes:
        """The next chunk encrypted, 16 bytes longer."""
        nonce = self._number.to_bytes(NONCE_BYTES, "big")
        self._number += 1
        return self._cipher.encrypt(nonce, chunk, _LAST if last else _MORE)


class ChunkOpener:
    """Decrypts chunks, each by its number."""

    def __init__(self, data_key: bytes) -> None:
        self._cipher = AESGCM(data_key)

    def open(self, number: int, sealed: bytes, last: bool) -> bytes | None:
        """The plaintext, or None when this is not chunk `number`, or not the last one as `last` says."""
        try:
            return self._cipher.decrypt(number.to_bytes(NONCE_BYTES, "big"), sealed, _LAST if last else _MORE)
        except InvalidTag:
            return None


def count(length: int) -> int:
    """Chunks of a plaintext: an empty one has one empty chunk, so that emptiness is authenticated too."""
    return max(1, -(-length // CHUNK_BYTES))


def sealed_bytes(length: int) -> int:
    """Length of the body of a plaintext of `length` bytes."""
    return length + TAG_BYTES * count(length)
