"""Ordered key-value tables with one atomic, durable commit per write.

`KeyValue` is the protocol; `LmdbStore` keeps it on disk, `memory.MemoryStore` in a simulation. Not for blobs: see `blobs`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import lmdb

from comity.store.errors import CorruptStore, StoreError, StoreFull, TooLarge, from_os
from comity.store.file import sync_folder

KEY_BYTES_MAX = 511
"""LMDB's own limit (MDB_MAXKEYSIZE)."""
VALUE_BYTES_MAX = 32 * 1024 * 1024
MAP_BYTES_MAX = 64 * 1024**3
READERS_MAX = 126


class Batch:
    """Puts and deletes that one `write` commits together, in order: the last word on a key counts."""

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[tuple[str, bytes, bytes | None]] = []
        """(table, key, value), None for a delete."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set a key of 1 to 511 bytes; `TooLarge` above the limits."""
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge("value is too large to store", why=f"{len(value)} bytes, at most {VALUE_BYTES_MAX}")
        self._add(table, key, bytes(value))

    def delete(self, table: str, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""
        self._add(table, key, None)

    def _add(self, table: str, key: bytes, value: bytes | None) -> None:
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            raise TooLarge("key does not fit the store", why=f"{len(key)} bytes, from 1 to {KEY_BYTES_MAX}")
        self.operations.append((table, bytes(key), value))

    def __len__(self) -> int:
        return len(self.operations)


class KeyValue(Protocol):
    """Tables of bytes to bytes, in ascending order of key."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    def items(
        self, table: str, prefix: bytes = b"", start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin with `prefix`, from `start` on: keys ≥ start, or with `reverse`, descending, keys ≤ start.

        An empty `start` is no bound. The iterator sees the table as it was at its first step, whatever is written since.
        """
        ...

    def write(self, batch: Batch) -> None:
        """All of `batch` or none of it; durable on return. `StoreFull` when there is no space: then nothing was written."""
        ...


class LmdbStore:
    """A `KeyValue` in an LMDB environment (a folder): one fsynced commit a write, readable again after any crash."""

    def __init__(self, path: Path, tables: Sequence[str], map_bytes_max: int = MAP_BYTES_MAX) -> None:
        self._path = path
        self._map_bytes_max = map_bytes_max
        with self._translated("open"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(path),
                map_size=map_bytes_max,
                max_dbs=len(tables),
                max_readers=READERS_MAX,
                mode=0o600,
                # A sync commit a write; no writemap, under which a full disk is a SIGBUS and not an error.
                sync=True,
                metasync=True,
                writemap=False,
            )
            try:
                self._tables = {name: self._environment.open_db(name.encode("ascii")) for name in tables}
            except BaseException:
                self._environment.close()
                raise
            sync_folder(path)
            sync_folder(path.parent)

    def get(self, table: str, key: bytes) -> bytes | None:
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            return None
        with self._translated("read"), self._environment.begin(db=self._table(table)) as reader:
            value: bytes | None = reader.get(key)
            return value

    def items(
        self, table: str, prefix: bytes = b"", start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        handle = self._table(table)
        with self._translated("read"), self._environment.begin(db=handle) as reader, reader.cursor() as cursor:
            found = _seek_last(cursor, prefix, start) if reverse else cursor.set_range(max(prefix, start))
            while found and cursor.key().startswith(prefix):
                yield cursor.item()
                found = cursor.prev() if reverse else cursor.next()

    def write(self, batch: Batch) -> None:
        if not batch.operations:
            return
        with self._translated("write"), self._environment.begin(write=True) as writer:
            for table, key, value in batch.operations:
                if value is None:
                    writer.delete(key, db=self._table(table))
                else:
                    writer.put(key, value, db=self._table(table))

    def close(self) -> None:
        """Close the environment; open iterators end with it."""
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _table(self, name: str) -> lmdb._Database:
        try:
            return self._tables[name]
        except KeyError:
            raise StoreError(f"no table `{name}`", why=f"tables are {', '.join(self._tables)}") from None

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        what = f"could not {doing} the ledger's store at {self._path}"
        try:
            yield
        except lmdb.MapFullError:
            why = f"its map of {self._map_bytes_max} bytes is full"
            raise StoreFull(what, why=why, hint="raise the map's size in the configuration and restart") from None
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError) as error:
            raise CorruptStore(
                what, why=str(error), hint="move the folder away; the node catches up from peers"
            ) from None
        except lmdb.Error as error:
            raise _from_lmdb(what, error) from None
        except OSError as error:
            raise from_os(what, error) from None


def _from_lmdb(what: str, error: lmdb.Error) -> StoreError:
    # py-lmdb has one class for all system errors and puts strerror into the text.
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in str(error):
            return from_os(what, OSError(number, str(error)))
    return StoreError(what, why=str(error))


def _seek_last(cursor: lmdb.Cursor, prefix: bytes, start: bytes) -> bool:
    """Place the cursor at the last key that has `prefix` and is at most `start`."""
    past = _after(prefix)
    if start and (past is None or start < past):
        if cursor.set_range(start):
            return cursor.key() == start or cursor.prev()
        return cursor.last()
    if past is not None and cursor.set_range(past):
        return cursor.prev()
    return cursor.last()


def _after(prefix: bytes) -> bytes | None:
    """The least key above all that begin with `prefix`; None when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
