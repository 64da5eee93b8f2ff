"""Every expected error is a `ComityError`: what happened, why we know, and the command that mends it.

ComityError
├── MalformedRecord        bytes that are not a record, or exceed a limit
│   ├── NotCanonical       JSON that is not strict, or not in its one RFC 8785 form
│   └── UnknownKind        a kind or version that this program does not know
├── BadSignature           a signature that does not fit
├── BadKey                 bytes that are no secp256k1 key
├── BadDigest              text or bytes that are no SHA-256 digest
├── BadProof               arguments that no Merkle tree of this shape has
└── (each package hangs its own tree below ComityError in its own errors.py)
"""

from __future__ import annotations


class ComityError(Exception):
    """An expected failure.

    `exit_code`: 1 fixable by the user, 2 usage or internal, 3 denied, 4 verification failed, 5 node unreachable.
    """

    code: str = "error"
    exit_code: int = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.why})" if self.why else self.what


class MalformedRecord(ComityError):
    """Bytes that are not a well-formed record, or exceed a limit."""

    code = "malformed-record"


class NotCanonical(MalformedRecord):
    """JSON that breaks a strict rule (duplicate key, float, surrogate, depth, size) or is not in its canonical form."""

    code = "not-canonical"


class UnknownKind(MalformedRecord):
    """A record kind, or a version of one, that this program does not know."""

    code = "unknown-kind"


class BadSignature(ComityError):
    """A signature that does not recover to the key that it must."""

    code = "bad-signature"
    exit_code = 4


class BadKey(ComityError):
    """Bytes that are not a secp256k1 private or public key."""

    code = "bad-key"


class BadDigest(ComityError):
    """Text that is not 64 lower-case hexadecimal characters, or bytes that are not 32."""

    code = "bad-digest"


class BadProof(ComityError):
    """An index outside its tree, or a tree above the limit."""

    code = "bad-proof"
    exit_code = 4
