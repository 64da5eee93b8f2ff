"""What can go wrong on disk.

ComityError
└── StoreError
    ├── StoreFull          no space left: on the disk, or in the map that was configured
    ├── StoreLocked        another process holds it
    ├── TooLarge           a key, value, entry or blob above its limit
    ├── NotStored          no blob of that digest here
    └── CorruptStore       bytes are not those that were written
"""

from __future__ import annotations

import errno

from comity.record.errors import ComityError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(ComityError):
    """The disk, or a store on it, refused."""

    code = "store"
    exit_code = 2


class StoreFull(StoreError):
    """No space left."""

    code = "store-full"
    exit_code = 1


class StoreLocked(StoreError):
    """Another process holds the file."""

    code = "store-locked"
    exit_code = 1


class TooLarge(StoreError):
    """Above a limit."""

    code = "too-large"
    exit_code = 1


class NotStored(StoreError):
    """The blob is not here: never was, or deleted."""

    code = "not-stored"
    exit_code = 1


class CorruptStore(StoreError):
    """Stored bytes fail their check: bit rot, tampering, or the wrong key."""

    code = "corrupt-store"
    exit_code = 4


def from_os(what: str, error: OSError) -> StoreError:
    """The `StoreError` for an operating system's error."""
    if error.errno in _FULL:
        return StoreFull(what, why=str(error), hint="free disk space, then try again; nothing was written")
    return StoreError(what, why=str(error))
