"""Catching up: which peer is asked for which sealed blocks, and in which order they are tried. Pure, one replica's.

Not execution, nor what seals must show (`justification.check_seals`): the replica does both with what `next` gives.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from comity.ledger.messages import BLOCKS_COUNT_MAX, GetBlocks
from comity.ledger.protocol import Peer
from comity.ledger.types import SealedBlock

TIMEOUT_MS = 3_000
"""After this an asked peer is believed to have nothing until it says otherwise."""


@dataclass(slots=True)
class Sync:
    """Heights that peers claim, the one request under way, and the blocks that wait to be tried."""

    heights: dict[Peer, int] = field(default_factory=dict)
    failures: dict[Peer, int] = field(default_factory=dict)
    asked: Peer | None = None
    waiting: deque[tuple[Peer, SealedBlock]] = field(default_factory=deque)

    def claims(self, peer: Peer, height: int) -> None:
        """A peer says that it has `height`."""
        if height > self.heights.get(peer, -1):
            self.heights[peer] = height

    def forget(self, peer: Peer) -> None:
        """The peer is gone, or caught lying: nothing of it is used."""
        self.heights.pop(peer, None)
        self.failures.pop(peer, None)
        if self.asked == peer:
            self.asked = None
        self.waiting = deque(pair for pair in self.waiting if pair[0] != peer)

    def behind(self, head: int) -> int:
        """By how many blocks, as far as peers say."""
        return max(0, max(self.heights.values(), default=0) - head)

    def ask(self, head: int) -> tuple[Peer, GetBlocks] | None:
        """The next request, unless one is under way, or blocks wait, or nobody has more."""
        if self.asked is not None or self.waiting:
            return None
        able = [peer for peer, height in self.heights.items() if height > head]
        if not able:
            return None
        # Who failed least, then who has most: one that only boasts delays the others once, not each time.
        self.asked = max(able, key=lambda peer: (-self.failures.get(peer, 0), self.heights[peer]))
        return self.asked, GetBlocks(head + 1, min(BLOCKS_COUNT_MAX, self.heights[self.asked] - head))

    def fail(self, head: int) -> None:
        """The asked peer gave nothing of use: until it claims more again it is passed over, and then others go first."""
        if self.asked is not None:
            self.heights[self.asked] = min(head, self.heights.get(self.asked, head))
            self.failures[self.asked] = self.failures.get(self.asked, 0) + 1
            self.asked = None

    def answered(self, peer: Peer, blocks: tuple[SealedBlock, ...], head: int) -> bool:
        """Take an answer; False unless it was asked of this peer and goes on from `head`."""
        if peer != self.asked:
            return False
        following = [b for b in blocks if b.block.header.height > head]
        heights = [b.block.header.height for b in following]
        if not following or heights != list(range(head + 1, head + 1 + len(following))):
            self.fail(head)
            return False
        self.asked = None
        self.waiting.extend((peer, block) for block in following)
        return True

    def next(self, head: int) -> tuple[Peer, SealedBlock] | None:
        """The block to try after `head`; those that consensus has made final meanwhile are passed over."""
        while self.waiting and self.waiting[0][1].block.header.height <= head:
            self.waiting.popleft()
        if self.waiting and self.waiting[0][1].block.header.height == head + 1:
            return self.waiting[0]
        self.waiting.clear()
        return None
