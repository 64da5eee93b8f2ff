"""What only this node knows, durably: where its datasets lie and their salts, which blobs others may fetch, and what work came to.

Nothing here is ever sent. Deleting a dataset's salt and blob forgets it for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from comity.node.errors import Forbidden
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
        """Keep where a dataset lies. Before its record is anchored: a salt that is lost then could not be had again."""
        self._put("datasets", record, {"blob": blob, "salt": salt})

    def forget_dataset(self, record: Digest) -> Digest | None:
        """Forget a dataset; its blob, if nothing else of ours needs that, for the caller to delete."""
        held = self.datasets().get(record)
        batch = Batch()
        batch.delete("datasets", record.encode())
        self._store.write(batch)
        return held.blob if held and not self.is_known(held.blob) else None

    def datasets(self) -> dict[Digest, HeldDataset]:
        """Our datasets by record digest."""
        return {
            Digest(key.decode()): HeldDataset(Digest(value["blob"]), value["salt"])
            for key, value in ((k, msgspec.msgpack.decode(v)) for k, v in self._store.items("datasets"))
        }

    def is_known(self, blob: Digest) -> bool:
        """Whether the blob belongs to a dataset of ours, or is shared."""
        return self.is_shared(blob) or any(held.blob == blob for held in self.datasets().values())

    def orphans(self, blobs: Iterable[Digest]) -> list[Digest]:
        """Those of `blobs` that nothing here needs: left by a node that was killed between two writes."""
        ours = {held.blob for held in self.datasets().values()}
        return [blob for blob in blobs if blob not in ours and not self.is_shared(blob)]

    def share(self, blob: Digest) -> None:
        """Let other members fetch this blob. Raises `Forbidden` for a dataset's bytes, whoever asks and however it came to it."""
        if any(held.blob == blob for held in self.datasets().values()):
            raise Forbidden(
                f"blob {blob[:12]} is a dataset", why="its rows never leave this node", hint="comity ls dataset"
            )
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
