"""Actions done: anchors and calls go to the ledger, fetches to peers, works to whoever knows their name.

It keeps each work's outcome before anybody hears of it, so that a node that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from comity.ledger.controller import Action, Anchor, Call, Fetch, Work
from comity.node.anchors import Anchors
from comity.node.errors import NotFound, PeerError
from comity.node.local import LocalState
from comity.node.peers import Peers
from comity.record.digest import sha256
from comity.record.types import Digest
from comity.store.blobs import BlobStore

Worker = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Performs a work of this name; its outcome is JSON-like, bytes allowed. None keeps nothing."""


class Performer:
    """Performs one action; raises `ComityError` when it should be tried again."""

    def __init__(
        self,
        *,
        anchors: Anchors,
        peers: Peers,
        blobs: BlobStore,
        local: LocalState,
        workers: Mapping[str, Worker],
    ) -> None:
        self._anchors, self._peers, self._blobs, self._local = anchors, peers, blobs, local
        self._workers = dict(workers)

    async def __call__(self, action: Action) -> None:
        match action:
            case Anchor(record=record):
                await self._anchors.record(record)
            case Call(contract=contract, function=function, arguments=arguments):
                await self._anchors.call(contract, function, arguments)
            case Fetch():
                await self._fetch(action.digest, action.holders, action.bytes_max)
            case Work(key=key, name=name, arguments=arguments):
                outcome = await self._workers[name](name, arguments)
                if outcome is not None:
                    await asyncio.to_thread(self._local.keep_outcome, key, outcome)

    async def _fetch(self, digest: Digest, holders: tuple[str, ...], bytes_max: int) -> None:
        # A blob that is here but not shared may be a table that is just being added: only what another member gives
        # under this digest is known to be no secret of ours. A study may name any digest as its code.
        if self._local.is_shared(digest) and self._blobs.has(digest):
            return
        troubles = []
        for holder in holders:
            try:
                data = await self._peers.fetch(holder, digest, bytes_max=bytes_max)
            except PeerError as error:
                troubles.append(f"{holder}: {error.what}")
                continue
            if sha256(data) != digest:
                self._peers.drop(holder, "sent other bytes than were asked for")
                troubles.append(f"{holder}: other bytes")
                continue
            await asyncio.to_thread(self._blobs.put, data, bytes_max=bytes_max)
            self._local.share(digest)
            return
        raise NotFound(f"nobody gives blob {digest[:12]}", why="; ".join(troubles) or "nobody to ask")


class Outcomes(Mapping[str, Any]):
    """The outcomes of works, read from disk as they are asked for."""

    def __init__(self, local: LocalState) -> None:
        self._local = local

    def __getitem__(self, key: str) -> Any:
        outcome = self._local.outcome(key)
        if outcome is None:
            raise KeyError(key)
        return outcome

    def __iter__(self) -> Iterator[str]:
        return iter(self._local.outcomes())

    def __len__(self) -> int:
        return len(self._local.outcomes())


class Held:
    """The blobs that this node holds and may share, as a container."""

    def __init__(self, blobs: BlobStore, local: LocalState) -> None:
        self._blobs, self._local = blobs, local

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self._local.is_shared(Digest(digest)) and self._blobs.has(Digest(digest))
