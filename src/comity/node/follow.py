"""Keeps the view at the chain's head: folds every block in, then tells whoever waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from comity.ledger import transaction
from comity.ledger.messages import BLOCKS_BYTES_MAX, BLOCKS_COUNT_MAX
from comity.ledger.types import Receipt, SealedBlock
from comity.ledger.view import View
from comity.node.anchors import Anchors
from comity.node.events import Hub
from comity.node.executor import ChainClient

log = logging.getLogger("comity.follow")


class Follower:
    """One view's follower. `refold` once at start, then `committed` for each block, in order."""

    def __init__(
        self,
        view: View,
        chain: ChainClient,
        chain_id: int,
        *,
        org: str,
        anchors: Anchors,
        hub: Hub,
        changed: Callable[[], None],
    ) -> None:
        self._view, self._chain, self._chain_id = view, chain, chain_id
        self._org, self._anchors, self._hub, self._changed = org, anchors, hub, changed
        self._inbox = -1

    async def refold(self) -> None:
        """Fold all blocks on disk."""
        head, _ = await self._chain.head()
        self._fold(await self._chain.block(0), ())
        while self._view.height < head.block.header.height:
            for sealed in await self._chain.blocks(self._view.height + 1, BLOCKS_COUNT_MAX, BLOCKS_BYTES_MAX):
                self._fold(sealed, await self._chain.receipts(sealed.block.header.height))

    def committed(self, sealed: SealedBlock, receipts: Sequence[Receipt]) -> None:
        """A block is on disk."""
        self._fold(sealed, receipts)
        header = sealed.block.header
        log.info("block %d sealed by %d, %d transactions", header.height, len(sealed.seals.signatures), len(receipts))
        self._hub.publish("block", {"height": header.height})
        inbox = len(self._view.pending_for(self._org))
        if inbox != self._inbox:
            self._inbox = inbox
            self._hub.publish("inbox", {"count": inbox})
        self._changed()

    def _fold(self, sealed: SealedBlock, receipts: Sequence[Receipt]) -> None:
        found = [transaction.decode(raw, chain_id=self._chain_id) for raw in sealed.block.transactions]
        self._view.apply(sealed, receipts, found)
        self._anchors.committed((tx.hash, receipt) for tx, receipt in zip(found, receipts, strict=True))
