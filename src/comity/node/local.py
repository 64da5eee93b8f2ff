"""What only this node knows, durably: where its datasets lie and their salts, which blobs others may fetch, and what work came to.

Nothing here is ever sent. Deleting a dataset's salt and blob forgets it for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from comity.record.types import Digest
from comity.store.kv import Batch, KeyValue

TABLES = ("datasets", "shared", "outcomes")


@dataclass(frozen=True)
class HeldDataset:
    """One of our datasets: the blob that has its rows, and the salt of its commitment."""

    blob: Digest
    salt: bytes


class LocalState:
    """Small facts in a key-value store; every method that changes something is one durable write."""

    def __init__(self, store: KeyValue) -> None:
        self._store = store

    def add_dataset(self, record: Digest, blob: Digest, salt: bytes) -> None:
        self._put("datasets", record, {"blob": blob, "salt": salt})

    def datasets(self) -> dict[Digest, HeldDataset]:
        """Our datasets by record digest."""
        return {
            Digest(key.decode()): HeldDataset(Digest(value["blob"]), value["salt"])
            for key, value in ((k, msgspec.msgpack.decode(v)) for k, v in self._store.items("datasets"))
        }

    def is_known(self, blob: Digest) -> bool:
        """Whether the blob belongs to a dataset of ours, or is shared."""
        return self.is_shared(blob) or any(held.blob == blob for held in self.datasets().values())

    def share(self, blob: Digest) -> None:
        """Let other members fetch this blob. Never called for a dataset's bytes."""
        if not self.is_shared(blob):
            self._put("shared", blob, True)

    def is_shared(self, blob: Digest) -> bool:
        return self._store.get("shared", blob.encode()) is not None

    def outcome(self, key: str) -> Any:
        """What the work of this key came to, or None."""
        data = self._store.get("outcomes", key.encode())
        return None if data is None else msgspec.msgpack.decode(data)

    def keep_outcome(self, key: str, value: Any) -> None:
        """Keep what the work of this key came to: JSON-like values and bytes."""
        self._put("outcomes", key, value)

    def outcomes(self) -> dict[str, Any]:
        return {key.decode(): msgspec.msgpack.decode(value) for key, value in self._store.items("outcomes")}

    def _put(self, table: str, key: str, value: Any) -> None:
        batch = Batch()
        batch.put(table, key.encode(), msgspec.msgpack.encode(value))
        self._store.write(batch)
