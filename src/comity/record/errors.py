"""Every expected error is a `ComityError`: what happened, why we know, and the command that mends it.

ComityError
├── MalformedRecord     bytes that are not a record
├── BadSignature        a signature that does not fit
└── (each package hangs its own tree below ComityError in its own errors.py)
"""

from __future__ import annotations


class ComityError(Exception):
    """An expected failure. `exit_code`: 1 fixable by the user, 2 usage or internal, 3 denied, 4 verification failed, 5 unreachable."""

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


class BadSignature(ComityError):
    """A signature that does not recover to the key that it must."""

    code = "bad-signature"
    exit_code = 4
