"""A running node as the API sees it: its parts by name, and the few answers that need several of them.

`app` builds and runs it; nothing here starts or stops anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comity import __version__
from comity.ledger.evidence import Prediction, collect, select
from comity.ledger.genesis import Genesis
from comity.ledger.view import View
from comity.node.auth import LOGIN_S_MAX, Auth
from comity.node.config import SETTINGS, Value
from comity.node.desk import Desk
from comity.node.doctor import Doctor
from comity.node.errors import Busy
from comity.node.events import Hub, Journal
from comity.node.executor import ChainClient
from comity.node.local import LocalState
from comity.node.metrics import Metrics
from comity.node.peers import Peers
from comity.node.reconcile import Reconciler
from comity.node.runtime import Runtime
from comity.node.serving import Kept, Serving
from comity.record.types import Address, Digest, Hash32
from comity.store.blobs import BlobStore

Json = dict[str, Any]
ANCHORED_S_MAX = 15.0
ANCHORED_POLL_S = 0.1


@dataclass
class Node:
    """The parts of one organisation's node, once they all run."""

    org: str
    url: str
    dev: bool
    since: int
    """Unix seconds of the start."""
    genesis: Genesis
    genesis_hash: Hash32
    values: Mapping[str, Value]
    view: View
    chain: ChainClient
    runtime: Runtime
    peers: Peers
    blobs: BlobStore
    local: LocalState
    desk: Desk
    serving: Serving
    auth: Auth
    doctor: Doctor
    hub: Hub
    metrics: Metrics
    journal: Journal
    reconciler: Reconciler

    login_s = LOGIN_S_MAX

    def status(self, person: str) -> Json:
        """What `comity status` and the console's home page show."""
        report = self.doctor.examine()
        return {
            "org": self.org, "person": person, "version": __version__, "dev": self.dev, "since": self.since, "url": self.url,
            "peer": self.view.members[self.org].endpoint if self.org in self.view.members else "",
            "health": report["health"],
            "failing": [row for row in report["checks"] if row["ok"] is False],
            "ledger": self._ledger(),
            "peers": {"connected": len(self.peers.connected), "known": len(self.view.members) - (self.org in self.view.members)},
            "inbox": len(self.view.pending_for(self.org)),
            "work": [_work(key) for key in self.reconciler.running],
            "predictions": {"total": self.serving.total, "pending": self.serving.pending},
        }  # fmt: skip

    def _ledger(self) -> Json:
        validators = validators_at(self.view, self.view.height + 1)
        return {
            "chain_id": self.genesis.chain_id, "genesis": self.genesis_hash.hex(), "height": int(self.view.height),
            "time": self.view.time, "age_s": max(0, int(time.time()) - self.view.time),
            "validators": len(validators), "quorum": quorum(len(validators)), "validating": self.org in validators.values(),
            "syncing": self.runtime.replica.syncing, "halted": self.runtime.replica.halted or None,
        }  # fmt: skip

    def settings(self) -> list[Json]:
        """Every setting with its origin."""
        docs = {setting.name: setting.help for setting in SETTINGS}
        return [
            {"name": name, "value": value.value, "origin": value.origin, "doc": docs[name]}
            for name, value in self.values.items()
        ]

    def members(self) -> list[Json]:
        """The member registry with what this node sees of each."""
        connected, heights = set(self.peers.connected), self.runtime.replica.peer_heights
        return [
            {
                "name": m.name, "self": m.name == self.org, "org": "0x" + m.org.hex(),
                "validator": "0x" + m.validator.hex() if m.validator else None, "endpoint": m.endpoint, "admitted": int(m.since),
                "connected": None if m.name == self.org else m.name in connected,
                "height": int(self.view.height) if m.name == self.org else heights.get(m.name),
            }
            for m in self.view.members.values()
        ]  # fmt: skip

    def held(self, digest: Digest) -> int | None:
        """The size of a blob, if this node has it."""
        return self.blobs.size(digest) if self.blobs.has(digest) else None

    def may_serve(self, digest: Digest) -> bool:
        """Whether other members, and readers of the API, may have a blob: never a dataset's bytes."""
        return self.local.is_shared(digest) and self.blobs.has(digest)

    async def evidence(self, target: Digest, prediction: Kept | None = None) -> dict[str, bytes]:
        """The files of a bundle for a record, or for a prediction of this node. Raises `BadEvidence` with the reason."""
        proved = await self._anchored(prediction) if prediction else None
        selection = select(target, self.view, proved)
        blocks = {
            height: (await self.chain.block(height), await self.chain.receipts(height)) for height in selection.heights
        }
        return await asyncio.to_thread(collect, selection, self.genesis.encode(), blocks.__getitem__, self._public_blob)

    async def _anchored(self, kept: Kept) -> Prediction:
        """The prediction with its proof; a fresh one waits a little for its batch."""
        deadline = time.monotonic() + ANCHORED_S_MAX
        while (proved := self._proved(kept)) is None:
            if time.monotonic() > deadline:
                raise Busy("the prediction's batch is not anchored yet", hint="ask again in a few seconds")
            await asyncio.sleep(ANCHORED_POLL_S)
        return proved

    def _proved(self, kept: Kept) -> Prediction | None:
        receipt = kept.receipt
        for batch in self.view.services[receipt.service].batches:
            if batch.org == self.org and batch.first <= receipt.sequence < batch.first + batch.count:
                proof = self.serving.receipts.prove(receipt, batch.first, batch.count)
                return Prediction(
                    batch=batch.record, receipt=proof.receipt, index=proof.index, path=proof.path,
                    request=kept.inputs, parameters=kept.parameters, response=kept.response,
                )  # fmt: skip
        return None

    def _public_blob(self, digest: Digest) -> bytes | None:
        return self.blobs.get(digest) if self.may_serve(digest) else None


def validators_at(view: View, height: int) -> dict[Address, str]:
    """Who seals the block at a height, by validator: the founders, and each member admitted in an earlier block."""
    members = [m for m in view.members.values() if m.validator is not None and (m.since == 0 or m.since < height)]
    return {m.validator: m.name for m in members if m.validator is not None}


def quorum(validators: int) -> int:
    """How many of n equal validators seal a block: ⌊2n/3⌋ + 1."""
    return 2 * validators // 3 + 1


def _work(key: str) -> Json:
    """What an action's key says to people: its first part is the work, its second the record it is about."""
    name, _, about = key.partition("/")
    digest = about[:64]
    return {"name": name, "about": digest, "title": " ".join([name, digest[:12], *about[65:].split("/")]).rstrip()}
