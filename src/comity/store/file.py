"""A file as logs need it: positioned reads and writes, explicit sync, atomic replacement. `PosixFile` is the real one.

Simulations and tests hand in one that tears and loses what was not synced.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from comity.store.errors import StoreLocked, from_os


class File(Protocol):
    """Bytes that are only safe after `sync`. Every method may raise OSError."""

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer at the end."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`; a crash before `sync` may keep any part of it."""
        ...

    def truncate(self, size: int) -> None:
        """Cut to `size` bytes."""
        ...

    def sync(self) -> None:
        """Make all before durable."""
        ...

    def replace(self, content: bytes) -> None:
        """Make `content` the whole file, atomically and durably."""
        ...

    def size(self) -> int:
        """Length in bytes."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class PosixFile:
    """A file on disk, exclusively locked, readable by its owner only; its folder entry is synced when it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._handle = _open_locked(path)
            sync_folder(path.parent)
        except OSError as error:
            raise from_os(f"could not open {path}", error) from None

    def read(self, offset: int, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := os.pread(self._handle, size, offset)):
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._handle, size)

    def sync(self) -> None:
        os.fsync(self._handle)

    def replace(self, content: bytes) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        handle = _open_locked(fresh)
        try:
            write_all(handle, content)
            os.fsync(handle)
            fresh.replace(self._path)
        except BaseException:
            os.close(handle)
            raise
        # The new file is locked before it takes the name, so that there is no moment without a lock.
        os.close(self._handle)
        self._handle = handle
        sync_folder(self._path.parent)

    def size(self) -> int:
        return os.fstat(self._handle).st_size

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable: a rename or a new file is not until then."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A replacement may have taken the name since we opened it: then our lock is on a file that nobody else will see.
        taken = not os.path.samestat(os.fstat(handle), path.stat())
    except BlockingIOError:
        taken = True
    except BaseException:
        os.close(handle)
        raise
    if taken:
        os.close(handle)
        raise StoreLocked(f"{path} is in use", why="another process has locked it", hint="stop that process")
    return handle


def write_all(handle: int, data: bytes) -> None:
    """Write all of `data` at the handle's position, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
