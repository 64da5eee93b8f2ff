"""Noise_XX_25519_ChaChaPoly over `cryptography` (noiseprotocol.org, revision 34), and who stands behind a static key.

Pure: bytes in, bytes out; entropy is an argument. Framing is in `frames`, sockets in `peers`, the wire format in docs/peers.md.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from comity.node.errors import HandshakeRefused, PeerError
from comity.record.digest import keccak256
from comity.record.errors import ComityError
from comity.record.keys import recover
from comity.record.types import Address, Hash32

KEY_BYTES = 32
TAG_BYTES = 16
MESSAGE_BYTES_MAX = 65_535
NONCE_MAX = 2**64 - 1
"""Reserved by the specification (section 5.1) for rekeying; no message may use it."""
REKEY_MESSAGES = 2**20
"""Both directions rekey after this many messages (section 11.3), long before any AEAD bound."""

_HASHES: dict[str, Callable[[bytes], Any]] = {"SHA256": hashlib.sha256, "BLAKE2s": hashlib.blake2s}
_PATTERN: tuple[tuple[str, ...], ...] = (("e",), ("e", "ee", "s", "es"), ("s", "se"))


def public_key(private: bytes) -> bytes:
    """The X25519 public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


class Cipher:
    """One direction of an encrypted channel: a key, a counter, and rekeying (section 5.1)."""

    def __init__(self, key: bytes, *, rekey_messages: int = REKEY_MESSAGES, nonce: int = 0) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._rekey_messages = rekey_messages
        self._since = 0
        self.nonce = nonce

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Ciphertext and tag. Raises `PeerError` when the nonces are used up."""
        sealed = self._aead.encrypt(self._next_nonce(), plaintext, associated)
        self._advance()
        return sealed

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """The plaintext. Raises `PeerError` if the tag does not fit; the counter then stays."""
        try:
            plain = self._aead.decrypt(self._next_nonce(), ciphertext, associated)
        except InvalidTag:
            raise PeerError("a message does not decrypt", why="forged, replayed, reordered or damaged") from None
        self._advance()
        return plain

    def rekey(self) -> None:
        """Replace the key by the first 32 bytes of ENCRYPT(k, 2^64−1, "", zeros); the counter goes on (section 4.2)."""
        self._aead = ChaCha20Poly1305(self._aead.encrypt(_nonce(NONCE_MAX), bytes(KEY_BYTES), b"")[:KEY_BYTES])

    def _next_nonce(self) -> bytes:
        if self.nonce >= NONCE_MAX:
            raise PeerError("the channel's nonces are used up", why="2^64−1 messages")
        return _nonce(self.nonce)

    def _advance(self) -> None:
        self.nonce += 1
        self._since += 1
        if self._since == self._rekey_messages:
            self.rekey()
            self._since = 0


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


class _Symmetric:
    """Chaining key and handshake hash (section 5.2)."""

    def __init__(self, protocol: bytes, hash_name: str) -> None:
        self._new, self._name = _HASHES[hash_name], hash_name.lower()
        self.hash = protocol.ljust(32, b"\0") if len(protocol) <= 32 else self._new(protocol).digest()
        self._chaining = self.hash
        self._cipher: Cipher | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = self._new(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining, key = self._derive(material)
        self._cipher = Cipher(key)

    def encrypt(self, plaintext: bytes) -> bytes:
        sealed = self._cipher.encrypt(plaintext, self.hash) if self._cipher else plaintext
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        plain = self._cipher.decrypt(sealed, self.hash) if self._cipher else sealed
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        return self._derive(b"")

    def overhead(self) -> int:
        return TAG_BYTES if self._cipher else 0

    def _derive(self, material: bytes) -> tuple[bytes, bytes]:
        secret = self._hmac(self._chaining, material)
        first = self._hmac(secret, b"\x01")
        return first, self._hmac(secret, first + b"\x02")

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._name)


class Handshake:
    """One side of an XX handshake: the initiator writes, reads, writes; the responder reads, writes, reads."""

    def __init__(
        self, *, initiator: bool, static: bytes, ephemeral: bytes, prologue: bytes = b"", hash_name: str = "SHA256"
    ) -> None:
        """`static`, `ephemeral`: 32-byte X25519 private keys; `ephemeral` must be fresh."""
        self._initiator = initiator
        self._static = X25519PrivateKey.from_private_bytes(static)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._remote: dict[str, X25519PublicKey] = {}
        self._symmetric = _Symmetric(f"Noise_XX_25519_ChaChaPoly_{hash_name}".encode(), hash_name)
        self._symmetric.mix_hash(prologue)
        self._step = 0
        self._broken = False

    @property
    def finished(self) -> bool:
        return self._step == len(_PATTERN)

    @property
    def my_turn(self) -> bool:
        return not self.finished and (self._step % 2 == 0) == self._initiator

    @property
    def remote_static(self) -> bytes:
        """The other side's static public key; authenticated once the handshake is finished."""
        if "s" not in self._remote:
            raise HandshakeRefused("the other side's static key is not known yet")
        return self._remote["s"].public_bytes_raw()

    @property
    def hash(self) -> bytes:
        """The handshake hash: equal on both sides, different for every session (channel binding, section 11.2)."""
        return self._symmetric.hash

    def write(self, payload: bytes = b"") -> bytes:
        """The next message of ours. Raises `HandshakeRefused` out of turn."""
        self._enter(mine=True)
        message = b""
        for part in _PATTERN[self._step]:
            if part in ("e", "s"):
                key = (self._ephemeral if part == "e" else self._static).public_key().public_bytes_raw()
                message += self._symmetric.encrypt(key) if part == "s" else key
                if part == "e":
                    self._symmetric.mix_hash(key)
            else:
                self._mix(part)
        message += self._symmetric.encrypt(payload)
        if len(message) > MESSAGE_BYTES_MAX:
            raise HandshakeRefused("a handshake payload is too large")
        self._leave()
        return message

    def read(self, message: bytes) -> bytes:
        """The payload of the next message of theirs. Raises `PeerError`; then this handshake is over."""
        self._enter(mine=False)
        if len(message) > MESSAGE_BYTES_MAX:
            raise HandshakeRefused("a handshake message is too large", why=f"{len(message)} bytes")
        rest = message
        for part in _PATTERN[self._step]:
            if part in ("e", "s"):
                size = KEY_BYTES + (self._symmetric.overhead() if part == "s" else 0)
                if len(rest) < size:
                    raise HandshakeRefused("a handshake message is too short", why=f"{len(message)} bytes")
                raw, rest = rest[:size], rest[size:]
                key = self._symmetric.decrypt(raw) if part == "s" else raw
                self._remote[part] = X25519PublicKey.from_public_bytes(key)
                if part == "e":
                    self._symmetric.mix_hash(key)
            else:
                self._mix(part)
        if len(rest) < self._symmetric.overhead():
            raise HandshakeRefused("a handshake message is too short", why=f"{len(message)} bytes")
        payload = self._symmetric.decrypt(rest)
        self._leave()
        return payload

    def split(self) -> tuple[Cipher, Cipher]:
        """(send, receive) once finished."""
        if not self.finished:
            raise HandshakeRefused("the handshake is not finished")
        first, second = self._symmetric.split()
        mine, theirs = (first, second) if self._initiator else (second, first)
        return Cipher(mine), Cipher(theirs)

    def _enter(self, *, mine: bool) -> None:
        if self._broken or self.finished or self.my_turn != mine:
            raise HandshakeRefused("a handshake message out of turn")
        self._broken = True

    def _leave(self) -> None:
        self._broken = False
        self._step += 1

    def _mix(self, part: str) -> None:
        ours = {"ee": "e", "es": "e" if self._initiator else "s", "se": "s" if self._initiator else "e"}[part]
        theirs = {"ee": "e", "es": "s" if self._initiator else "e", "se": "e" if self._initiator else "s"}[part]
        private = self._ephemeral if ours == "e" else self._static
        try:
            self._symmetric.mix_key(private.exchange(self._remote[theirs]))
        except ValueError:
            raise HandshakeRefused(
                "a key of low order", why="the shared secret would be zero (RFC 7748, section 6.1)"
            ) from None


IDENTITY_DOMAIN = b"comity-noise-v1"
IDENTITY_VERSION = 1
NAME_BYTES_MAX = 32
_IDENTITY_BYTES = 1 + 32 + 65


def identity_hash(static: bytes, genesis: Hash32) -> Hash32:
    """What an organisation signs to vouch for a static key: keccak256("comity-noise-v1" ‖ static public key ‖ genesis hash)."""
    return keccak256(IDENTITY_DOMAIN + static + genesis)


@dataclass(frozen=True, slots=True)
class Identity:
    """The handshake payload: version (1 byte), genesis hash (32), signature (65), organisation's name (ASCII, ≤ 32)."""

    genesis: Hash32
    signature: bytes
    name: str

    def encode(self) -> bytes:
        return bytes([IDENTITY_VERSION]) + self.genesis + self.signature + self.name.encode("ascii")

    @classmethod
    def decode(cls, payload: bytes) -> Identity:
        """Raises `HandshakeRefused` for anything but one well-formed identity."""
        name = payload[_IDENTITY_BYTES:]
        if len(payload) < _IDENTITY_BYTES or len(name) > NAME_BYTES_MAX or payload[0] != IDENTITY_VERSION:
            raise HandshakeRefused("an identity is malformed", why=f"{len(payload)} bytes")
        if not name.isascii() or not all(character in b"abcdefghijklmnopqrstuvwxyz0123456789-" for character in name):
            raise HandshakeRefused("an identity's name is not a slug")
        return cls(Hash32(payload[1:33]), payload[33:_IDENTITY_BYTES], name.decode())

    def address(self, static: bytes, genesis: Hash32) -> Address:
        """Whose signature vouches for `static` on our chain. Raises `HandshakeRefused`."""
        if self.genesis != genesis:
            why = f"genesis {self.genesis.hex()[:12]}, ours {genesis.hex()[:12]}"
            raise HandshakeRefused("the other side is on another network", why=why)
        try:
            return recover(identity_hash(static, genesis), self.signature)
        except (ComityError, ValueError) as error:
            raise HandshakeRefused("an identity's signature does not recover", why=str(error)) from None
