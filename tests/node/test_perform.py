"""Fetching: from whoever gives the right bytes, and never by turning our own rows into something to give."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from comity.ledger.controller import Anchor, Call, Fetch, Work
from comity.node.errors import Forbidden, NotFound, PeerGone
from comity.node.local import TABLES, LocalState
from comity.node.perform import Held, Outcomes, Performer
from comity.record.digest import sha256
from comity.record.errors import ComityError
from comity.record.record import Record
from comity.record.types import Digest
from comity.store.blobs import BlobStore
from comity.store.memory import MemoryStore

DATA = b"artefact"
BLOB = sha256(DATA)
RECORD = Record.make("revocation", "northfield", {"about": "a" * 64, "because": ""})


class Peers:
    """Gives what the test says; notes who was dropped."""

    def __init__(self, **holds: bytes) -> None:
        self.holds, self.dropped, self.asked = holds, list[str](), list[str]()

    async def fetch(self, name: str, digest: Digest, *, bytes_max: int) -> bytes:
        self.asked.append(name)
        if name not in self.holds:
            raise PeerGone("not connected")
        return self.holds[name]

    def drop(self, name: str, why: str) -> None:
        self.dropped.append(name)


class World:
    def __init__(self, root: Path, **holds: bytes) -> None:
        self.peers, self.calls = Peers(**holds), list[Any]()
        self.local, self.blobs = LocalState(MemoryStore(TABLES)), BlobStore(root, bytes(32))
        self.perform = Performer(
            anchors=cast("Any", self), peers=cast("Any", self.peers), blobs=self.blobs, local=self.local,
            workers={"train": self.train, "load": self.train},
        )  # fmt: skip

    async def record(self, record: Record) -> None:
        self.calls.append(record)

    async def call(self, *call: Any) -> None:
        self.calls.append(call)

    async def train(self, name: str, arguments: Any) -> Any:
        return {"update": arguments["update"]} if name == "train" else None

    def do(self, action: Any) -> None:
        asyncio.run(self.perform(action))


def test_bytes_that_fit_are_kept_and_shared_and_liars_dropped(tmp_path: Path) -> None:
    world = World(tmp_path, liar=b"other bytes", honest=DATA)
    world.do(Fetch("fetch/x", BLOB, ("away", "liar", "honest", "never")))
    assert world.peers.asked == ["away", "liar", "honest"]
    assert world.peers.dropped == ["liar"]
    assert world.blobs.get(BLOB) == DATA
    world.do(Fetch("fetch/x", BLOB, ("away",)))  # it is here already
    assert BLOB in Held(world.blobs, world.local)
    assert sha256(b"other bytes") not in Held(world.blobs, world.local)
    assert 7 not in Held(world.blobs, world.local)


def test_nobody_gives_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="away: not connected"):
        World(tmp_path).do(Fetch("fetch/x", BLOB, ("away",)))
    with pytest.raises(NotFound, match="nobody to ask"):
        World(tmp_path / "2").do(Fetch("fetch/x", BLOB, ()))


def test_no_more_is_fetched_than_was_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, honest=DATA)
    with pytest.raises(ComityError, match="large"):
        world.do(Fetch("fetch/x", BLOB, ("honest",), len(DATA) - 1))
    assert not world.blobs.has(BLOB)


def test_naming_bytes_that_only_we_hold_does_not_publish_them(tmp_path: Path) -> None:
    """A study may name any digest as its code, also that of a table which is just being added here."""
    world = World(tmp_path)
    world.blobs.put(DATA, bytes_max=100)
    with pytest.raises(NotFound):
        world.do(Fetch("fetch/x", BLOB, ("thief",)))
    assert not world.local.is_shared(BLOB)


def test_a_record_that_names_our_rows_does_not_make_them_public(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.blobs.put(DATA, bytes_max=100)
    world.local.add_dataset(Digest("a" * 64), BLOB, b"salt")
    with pytest.raises(NotFound):
        world.do(Fetch("fetch/x", BLOB, ("thief",)))
    world.peers.holds["thief"] = DATA
    with pytest.raises(Forbidden, match="is a dataset"):
        world.do(Fetch("fetch/x", BLOB, ("thief",)))
    assert BLOB not in Held(world.blobs, world.local)


def test_the_ledgers_actions_and_the_works(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.do(Anchor("a", RECORD))
    world.do(Call("b", "Studies", "close", (1,)))
    assert world.calls == [RECORD, ("Studies", "close", (1,))]
    world.do(Work("train/1", "train", {"update": "u"}))
    world.do(Work("load/1", "load", {"update": "u"}))
    outcomes = Outcomes(world.local)
    assert dict(outcomes) == {"train/1": {"update": "u"}}
    assert len(outcomes) == 1
    assert outcomes.get("load/1") is None
