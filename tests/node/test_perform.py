"""Performing: a fetch gives away nothing of ours, and believes nobody about bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comity.ledger.controller import Fetch
from comity.node.errors import NotFound, PeerGone
from comity.node.local import TABLES, LocalState
from comity.node.perform import Held, Performer
from comity.record.digest import sha256
from comity.record.types import Digest
from comity.store.blobs import BlobStore
from comity.store.memory import MemoryStore

TABLE, CODE = b"id,label\n1,0\n", b"def train(): ..."


@dataclass
class Members:
    """Other members, and what each gives for any digest."""

    gives: dict[str, bytes] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    async def fetch(self, name: str, digest: Digest, *, bytes_max: int) -> bytes:
        if name not in self.gives:
            raise PeerGone(f"no connection to {name}")
        return self.gives[name]

    def drop(self, name: str, reason: str) -> None:
        self.dropped.append(name)


class Scene:
    def __init__(self, root: Path) -> None:
        self.blobs, self.local, self.members = BlobStore(root, bytes(32)), LocalState(MemoryStore(TABLES)), Members()
        nothing: Any = None
        peers: Any = self.members
        self.perform = Performer(anchors=nothing, peers=peers, blobs=self.blobs, local=self.local, workers={})

    def fetch(self, data: bytes) -> None:
        asyncio.run(self.perform(Fetch("fetch", sha256(data), ("riverside", "lakeside"))))


def test_naming_bytes_that_only_we_hold_does_not_publish_them(tmp_path: Path) -> None:
    """A study may name any digest as its code, also that of a table which is just being added here."""
    scene = Scene(tmp_path)
    scene.blobs.put(TABLE)
    with pytest.raises(NotFound):
        scene.fetch(TABLE)
    assert not scene.local.is_shared(sha256(TABLE))


def test_what_a_member_gives_is_kept_and_shared(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.members.gives = {"riverside": b"other bytes", "lakeside": CODE}
    scene.fetch(CODE)
    assert sha256(CODE) in Held(scene.blobs, scene.local)
    assert scene.members.dropped == ["riverside"]
    scene.members.gives = {}
    scene.fetch(CODE)  # it is here already
