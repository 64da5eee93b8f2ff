"""A `store.file.File` in memory that behaves as a disk may when power fails: what was not synced is lost, torn or garbled.

file = FaultyFile(random.Random(seed))
log = Log(file)
file.cut_power_at(3)         # the third operation from here raises PowerCut, half done
...
log = Log(file.crash())      # the disk as the restarted machine finds it
"""

from __future__ import annotations

import errno
import random

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine stopped. Not an Exception: no handler of the code under test may swallow it."""


class FaultyFile:
    """Bytes on a simulated disk. `rng` decides every fault, so that a seed replays it."""

    def __init__(self, rng: random.Random, content: bytes = b"") -> None:
        self.rng = rng
        self.durable = bytes(content)
        """What a crash surely keeps."""
        self.space_bytes: int | None = None
        """Room on the disk; None for plenty. Beyond it a write keeps a part and raises ENOSPC."""
        self.sync_fails = False
        """Whether the next sync raises EIO, and whether what it should have kept is kept is open."""
        self.operations = 0
        self._seen = bytearray(content)
        self._unsynced: list[tuple[int, bytes | None]] = []
        self._cut_at: int | None = None
        self._dead = False

    def cut_power_at(self, operation: int) -> None:
        """Stop the machine during the `operation`-th write, truncate, sync or replace from now (1 is the next)."""
        self._cut_at = self.operations + operation

    def crash(self) -> FaultyFile:
        """The file after a power failure. This one is dead from now on."""
        self._dead = True
        disk = bytearray(self.durable)
        for offset, data in self._unsynced:
            if data is None:
                if self.rng.random() < 0.5:
                    _resize(disk, offset)
            else:
                self._tear(disk, offset, data)
        return FaultyFile(self.rng, bytes(disk))

    def read(self, offset: int, size: int) -> bytes:
        self._check()
        return bytes(self._seen[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        cut = self._step()
        room = len(data) if self.space_bytes is None else max(0, self.space_bytes - offset)
        kept = data[:room]
        self._unsynced.append((offset, kept))
        _put(self._seen, offset, kept)
        self._end_step(cut)
        if len(kept) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def truncate(self, size: int) -> None:
        cut = self._step()
        self._unsynced.append((size, None))
        _resize(self._seen, size)
        self._end_step(cut)

    def sync(self) -> None:
        cut = self._step()
        if cut:  # a sync that did not return promises nothing
            self._end_step(cut)
        if self.sync_fails:
            self.sync_fails = False
            raise OSError(errno.EIO, "Input/output error")
        self.durable = bytes(self._seen)
        self._unsynced.clear()

    def replace(self, content: bytes) -> None:
        cut = self._step()
        if cut and self.rng.random() < 0.5:
            self._end_step(cut)
        self.durable = bytes(content)
        self._seen = bytearray(content)
        self._unsynced.clear()
        self._end_step(cut)

    def size(self) -> int:
        self._check()
        return len(self._seen)

    def close(self) -> None:
        self._dead = True

    def _step(self) -> bool:
        self._check()
        self.operations += 1
        return self.operations == self._cut_at

    def _end_step(self, cut: bool) -> None:
        if cut:
            self._dead = True
            raise PowerCut

    def _check(self) -> None:
        if self._dead:
            raise OSError(errno.EBADF, "file of a machine that stopped")

    def _tear(self, disk: bytearray, offset: int, data: bytes) -> None:
        """Each sector of a write reaches the disk, or not, or (its length, not its bytes) as zeros or garbage."""
        at = offset
        while at < offset + len(data):
            end = min(offset + len(data), (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
            fate = self.rng.random()
            if fate < 0.5:
                _put(disk, at, data[at - offset : end - offset])
            elif fate < 0.6 and at >= len(disk):
                _put(disk, at, bytes(end - at))
            elif fate < 0.7 and at >= len(disk):
                _put(disk, at, self.rng.randbytes(end - at))
            at = end


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(data)] = data
