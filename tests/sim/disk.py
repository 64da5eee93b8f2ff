"""What survives a crash of a simulated node: the chain's tables, the remembered certificate, the vote log's file."""

from __future__ import annotations

import random
from typing import Any

from comity.store.kv import Batch
from comity.store.memory import MemoryStore
from support.faulty import FaultyFile, PowerCut

TABLE = "consensus"


class CuttingStore(MemoryStore):
    """A store whose next write may be the last thing that the machine does."""

    def __init__(self, tables: tuple[str, ...]) -> None:
        super().__init__(tables)
        self.cut_next = False

    def write(self, batch: Batch) -> None:
        self.begin(batch)
        if self.cut_next:
            self.cut_next = False
            raise PowerCut
        self.finish()


class Disk:
    """One node's storage. After `crash` comes `restart`, which reads what is left."""

    def __init__(self, world: Any, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.store = CuttingStore((*world.tables, TABLE))
        self.vote_file = FaultyFile(rng)
        self.chain: Any = None
        world.prepare(self.store)

    @property
    def remembered(self) -> bytes:
        return self.store.get(TABLE, b"remembered") or b""

    def remember(self, data: bytes) -> None:
        batch = Batch()
        batch.put(TABLE, b"remembered", data)
        self.store.write(batch)

    def cut_power_soon(self) -> None:
        """The power fails during one of the next writes."""
        if self._rng.random() < 0.5:
            self.store.cut_next = True
        else:
            self.vote_file.cut_power_at(self._rng.randint(1, 4))

    def spare(self) -> None:
        """No more cuts."""
        self.store.cut_next = False
        self.vote_file.cut_power_at(1 << 40)

    def crash(self) -> None:
        self.store.crash(self._rng)
        self.store.cut_next = False
        self.vote_file = self.vote_file.crash()

    def restart(self) -> None:
        self.chain = self._world.open(self.store)
