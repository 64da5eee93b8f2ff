"""A `KeyValue` in memory, for simulations: same order, same snapshots, same limits, and a crash that may lose what was under way.

Not durable. The one on disk is `kv.LmdbStore`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from comity.store.errors import StoreError
from comity.store.kv import Batch


class Coin(Protocol):
    """The part of `random.Random` that a crash needs."""

    def random(self) -> float: ...


@dataclass(slots=True)
class _Table:
    values: dict[bytes, bytes] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    readers: int = 0

    def copy(self) -> _Table:
        return _Table(dict(self.values), list(self.keys))


class MemoryStore:
    """Tables in memory. `write` is `begin` and `finish` at once; between the two a `crash` keeps the whole batch or none."""

    def __init__(self, tables: Sequence[str]) -> None:
        self._tables = {name: _Table() for name in tables}
        self._under_way: Batch | None = None

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._table(table).values.get(key)

    def items(
        self, table: str, prefix: bytes = b"", start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        held = self._table(table)
        held.readers += 1
        try:
            keys, step = held.keys, -1 if reverse else 1
            index = _last(keys, prefix, start) if reverse else bisect_left(keys, max(prefix, start))
            while 0 <= index < len(keys) and keys[index].startswith(prefix):
                yield keys[index], held.values[keys[index]]
                index += step
        finally:
            held.readers -= 1

    def write(self, batch: Batch) -> None:
        self.begin(batch)
        self.finish()

    def begin(self, batch: Batch) -> None:
        """Put a batch under way: not to be seen yet."""
        if self._under_way is not None:
            raise StoreError("a write is under way already")
        for table, _, _ in batch.operations:
            self._table(table)
        self._under_way = batch

    def finish(self) -> None:
        """Commit the batch that is under way."""
        if self._under_way is None:
            raise StoreError("no write is under way")
        batch, self._under_way = self._under_way, None
        for table, key, value in batch.operations:
            self._set(table, key, value)

    def crash(self, coin: Coin) -> None:
        """Lose power: a batch under way is there whole or not at all, as `coin` falls; what was finished stays."""
        if self._under_way is not None and coin.random() < 0.5:
            self.finish()
        self._under_way = None

    def _set(self, name: str, key: bytes, value: bytes | None) -> None:
        table = self._tables[name]
        if table.readers:  # an iterator keeps the table that it began with
            table = self._tables[name] = table.copy()
        if value is None:
            if table.values.pop(key, None) is not None:
                del table.keys[bisect_left(table.keys, key)]
            return
        if key not in table.values:
            insort(table.keys, key)
        table.values[key] = value

    def _table(self, name: str) -> _Table:
        try:
            return self._tables[name]
        except KeyError:
            raise StoreError(f"no table `{name}`", why=f"tables are {', '.join(self._tables)}") from None


def _last(keys: list[bytes], prefix: bytes, start: bytes) -> int:
    """Index of the last key that has `prefix` and is at most `start`, if there is one."""
    index = bisect_right(keys, prefix, key=lambda key: key[: len(prefix)]) if prefix else len(keys)
    return min(index, bisect_right(keys, start) if start else index) - 1
