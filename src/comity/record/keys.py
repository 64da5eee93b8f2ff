"""secp256k1 keys as Ethereum uses them: deterministic recoverable signatures, and addresses.

Not where keys are kept (`node.signer`), nor what they sign (`envelope`, `ledger.transaction`, `ledger.qbft`).
"""

from __future__ import annotations

from collections.abc import Callable

import coincurve

from comity.record.digest import DIGEST_BYTES, keccak256, sha256
from comity.record.errors import BadKey, BadSignature
from comity.record.types import Address, Hash32

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""n of SEC 2 section 2.4.1."""
S_MAX = ORDER // 2
"""EIP-2: the higher twin of each signature is refused, so that a message and a key have one."""
SIGNATURE_BYTES = 65
ADDRESS_BYTES = 20
_DEV_DOMAIN = b"comity dev key, worthless in production\n"


class PrivateKey:
    """A secp256k1 private key. It never shows itself: `repr` gives its address, and it does not pickle."""

    __slots__ = ("_key", "address")

    def __init__(self, key: coincurve.PrivateKey) -> None:
        self._key = key
        self.address: Address = address_of(key.public_key.format(compressed=False))

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> PrivateKey:
        """A fresh key from `entropy(32)`: `secrets.token_bytes`, or a seeded source in a simulation."""
        while True:
            secret = entropy(DIGEST_BYTES)
            if len(secret) == DIGEST_BYTES and 0 < int.from_bytes(secret, "big") < ORDER:
                return cls.from_bytes(secret)
            if len(secret) != DIGEST_BYTES:
                raise BadKey("entropy source gave the wrong length", why=f"{len(secret)} bytes, not {DIGEST_BYTES}")

    @classmethod
    def from_bytes(cls, secret: bytes) -> PrivateKey:
        """The key of 32 big-endian bytes; `BadKey` unless 0 < secret < n."""
        if len(secret) != DIGEST_BYTES or not 0 < int.from_bytes(secret, "big") < ORDER:
            raise BadKey("not a secp256k1 private key", why="it must be 32 bytes, above 0 and below the order")
        return cls(coincurve.PrivateKey(bytes(secret)))

    @classmethod
    def from_seed(cls, dev_seed: str) -> PrivateKey:
        """The key that anyone can derive from `dev_seed`: for `comity dev`, demos and tests, worth nothing."""
        return cls.from_bytes(bytes.fromhex(sha256(_DEV_DOMAIN + dev_seed.encode("utf-8"))))

    def sign(self, hash32: bytes) -> bytes:
        """65 bytes r‖s‖v over a 32-byte hash: RFC 6979 nonce, low s, v in {0, 1}."""
        if len(hash32) != DIGEST_BYTES:
            raise BadSignature("only a 32-byte hash can be signed", why=f"{len(hash32)} bytes")
        signature = self._key.sign_recoverable(bytes(hash32), hasher=None)
        if signature[-1] > 1:  # r ≥ n: one hash in 2^127, and Ethereum has no form for it
            raise BadSignature("this hash has no Ethereum signature under this key")
        return signature

    def to_bytes(self) -> bytes:
        """The 32 secret bytes, for the key file and nothing else."""
        return self._key.secret

    @property
    def public_key(self) -> bytes:
        """65 bytes, 04‖x‖y (SEC 1 section 2.3.3)."""
        return self._key.public_key.format(compressed=False)

    def __repr__(self) -> str:
        return f"PrivateKey(of {to_hex(self.address)})"

    def __reduce__(self) -> str:
        raise BadKey("a private key does not pickle")


def recover(hash32: bytes, signature: bytes) -> Address:
    """The address whose key signed `hash32` (SEC 1 section 4.1.6).

    Raises `BadSignature` unless the signature is 65 bytes r‖s‖v with low s, v in {0, 1}, and r on the curve.
    """
    if len(hash32) != DIGEST_BYTES:
        raise BadSignature("a signature covers a 32-byte hash", why=f"{len(hash32)} bytes")
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature("signature has the wrong length", why=f"{len(signature)} bytes, not {SIGNATURE_BYTES}")
    if signature[64] > 1:
        raise BadSignature("signature's recovery bit is neither 0 nor 1", why=f"{signature[64]}")
    if int.from_bytes(signature[32:64], "big") > S_MAX:
        raise BadSignature("signature's s is above half the order", why="EIP-2 allows the lower twin only")
    try:
        key = coincurve.PublicKey.from_signature_and_message(bytes(signature), bytes(hash32), hasher=None)
    except ValueError as error:
        raise BadSignature("no key made this signature", why=str(error)) from None
    return address_of(key.format(compressed=False))


def address_of(public_key: bytes) -> Address:
    """The last 20 bytes of Keccak-256(x‖y) (Yellow Paper, appendix F), of a SEC 1 key of 33 or 65 bytes."""
    if len(public_key) != SIGNATURE_BYTES or public_key[0] != 4:
        try:
            public_key = coincurve.PublicKey(bytes(public_key)).format(compressed=False)
        except ValueError as error:
            raise BadKey("not a secp256k1 public key", why=str(error)) from None
    return Address(keccak256(public_key[1:])[-ADDRESS_BYTES:])


def to_hex(address: Address) -> str:
    """`0x` and 40 lower-case hexadecimal characters: how records and key ids write an address."""
    return "0x" + address.hex()


def from_hex(text: str) -> Address:
    """The address that `to_hex` wrote; `BadKey` for any other form."""
    try:
        address = Address(bytes.fromhex(text[2:]))
    except ValueError:
        address = Address(b"")
    if len(address) != ADDRESS_BYTES or to_hex(address) != text:
        raise BadKey("not an address", why=f"{text[:60]!r}", hint="give 0x and 40 lower-case hexadecimal characters")
    return address


def hash32(data: bytes) -> Hash32:
    """SHA-256 in its 32-byte form, as DSSE signatures use it."""
    return Hash32(bytes.fromhex(sha256(data)))
