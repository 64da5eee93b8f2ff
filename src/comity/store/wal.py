"""An append-only log whose entries are on disk before `append` returns: votes, receipts.

A torn tail, of an append that never returned, is cut at open; damage before it is `CorruptStore`, never silently cut.
Files are behind the `File` protocol (`file.py`), so that a test can tear them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from comity.store.errors import CorruptStore, StoreError, TooLarge, from_os
from comity.store.file import File, PosixFile

ENTRY_BYTES_MAX = 16 * 1024 * 1024
GROUP_BYTES_MAX = 64 * 1024 * 1024
_MAGIC = b"CWL1"
_HEADER = struct.Struct(">4sI16s")
"""Magic, length of the body, and SHA-256(offset as 8 bytes, length as 4 bytes, body) cut to 16 bytes."""
_LENGTH = struct.Struct(">I")


class Log:
    """Entries of bytes, oldest first.

    One `append` or `append_many` writes one frame, so that a group is there whole or not at all, and so that a good frame
    after a bad one proves that the bad one had been acknowledged.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._broken = False
        try:
            self._end, self._count = self._scan()
            if self._end != file.size():
                file.truncate(self._end)
                file.sync()
        except OSError as error:
            raise from_os("could not open the log", error) from None

    @classmethod
    def open(cls, path: Path) -> Log:
        """The log at `path`, made if it is not there; `StoreLocked` while another process has it open."""
        file = PosixFile(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def append(self, entry: bytes) -> None:
        """Add an entry; it is on disk on return. After a failed fsync the log takes no more until opened again."""
        self.append_many((entry,))

    def append_many(self, entries: Iterable[bytes]) -> None:
        """Add entries together, with one fsync; all are on disk on return, and a crash before keeps all or none."""
        group = tuple(entries)
        if not group:
            return
        if self._broken:
            raise StoreError("the log is not writable", why="a write or fsync failed before", hint="restart the node")
        frame = _frame(self._end, group)
        # Broken until proven written: after a failed fsync the kernel may have dropped pages, so nothing later is safe.
        self._broken = True
        try:
            self._write(frame)
            self._file.sync()
        except OSError as error:
            raise from_os("could not append to the log", error) from None
        self._broken = False
        self._end += len(frame)
        self._count += len(group)

    def compact(self, entries: Iterable[bytes]) -> None:
        """Replace all entries by these, atomically: a crash keeps the old log or the new one."""
        group = tuple(entries)
        content = _frame(0, group) if group else b""
        self._broken = True
        try:
            self._file.replace(content)
        except OSError as error:
            raise from_os("could not compact the log", error) from None
        self._broken = False
        self._end, self._count = len(content), len(group)

    def __iter__(self) -> Iterator[bytes]:
        offset, end = 0, self._end
        while offset < end:
            body = self._body(offset, end)
            if body is None:
                raise CorruptStore("the log changed under its reader", why=f"bad frame at byte {offset}")
            yield from _entries(body)
            offset += _HEADER.size + len(body)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the file."""
        self._broken = True
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, frame: bytes) -> None:
        try:
            self._file.write(self._end, frame)
        except OSError:
            # A full disk must not cost the log: cut what was half written, and it takes entries again.
            self._file.truncate(self._end)
            self._file.sync()
            self._broken = False
            raise

    def _scan(self) -> tuple[int, int]:
        """The end of the last good frame, and how many entries stand before it."""
        size, offset, count = self._file.size(), 0, 0
        while (body := self._body(offset, size)) is not None:
            offset += _HEADER.size + len(body)
            count += sum(1 for _ in _entries(body))
        if self._has_frame_after(offset, size):
            why = f"frame at byte {offset} is damaged, and later ones are whole"
            raise CorruptStore("the log lost entries that it had kept", why=why, hint="restore the file, or the disk")
        return offset, count

    def _has_frame_after(self, offset: int, size: int) -> bool:
        # A tail is at most one frame, so that what must be searched fits in memory; more is a file that is not ours.
        if size - offset > GROUP_BYTES_MAX + _HEADER.size:
            return True
        tail = self._file.read(offset, size - offset)
        at = tail.find(_MAGIC, 1)
        while at >= 0:
            if self._body(offset + at, size) is not None:
                return True
            at = tail.find(_MAGIC, at + 1)
        return False

    def _body(self, offset: int, size: int) -> bytes | None:
        """The body of the frame at `offset`, or None unless it is whole and its check fits."""
        if size - offset < _HEADER.size:
            return None
        magic, length, check = _HEADER.unpack(self._file.read(offset, _HEADER.size))
        if magic != _MAGIC or length > min(GROUP_BYTES_MAX, size - offset - _HEADER.size):
            return None
        body = self._file.read(offset + _HEADER.size, length)
        return body if _check(offset, body) == check else None


def _frame(offset: int, group: tuple[bytes, ...]) -> bytes:
    for entry in group:
        if len(entry) > ENTRY_BYTES_MAX:
            raise TooLarge("entry is too large for the log", why=f"{len(entry)} bytes, at most {ENTRY_BYTES_MAX}")
    body = b"".join(_LENGTH.pack(len(entry)) + entry for entry in group)
    if len(body) > GROUP_BYTES_MAX:
        raise TooLarge("entries are too large for one append", why=f"{len(body)} bytes, at most {GROUP_BYTES_MAX}")
    return _HEADER.pack(_MAGIC, len(body), _check(offset, body)) + body


def _check(offset: int, body: bytes) -> bytes:
    # The offset is in it, so that a stale frame that a file system gives back elsewhere does not pass.
    return hashlib.sha256(struct.pack(">QI", offset, len(body)) + body).digest()[:16]


def _entries(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + _LENGTH.size], "big")
        at += _LENGTH.size
        if at + length > len(body):
            raise CorruptStore("the log holds a frame that this program did not write", why="an entry overruns it")
        yield body[at : at + length]
        at += length
