"""What must hold in every run, checked at each event: one block a height, no vote against one's own, everything commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comity.ledger.block import header_hash
from comity.ledger.justification import Recover, Rules, check_seals
from comity.ledger.messages import Kind, Vote
from comity.ledger.types import SealedBlock, Transaction
from comity.record.types import Address, Hash32
from sim.faults import CHAOS_MS

if TYPE_CHECKING:
    from sim.network import Network, Node

PEACE_MS = 120_000
"""After the network heals, everything must be done within this."""
RETRY_MS = 1_500
EVENTS_MAX = 400_000


class Laws:
    """The book of one run. Honest nodes only: a Byzantine one may break everything but the others."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.blocks: dict[int, tuple[Hash32, Hash32]] = {}
        self.votes: dict[str, dict[tuple[int, int, Kind], Vote]] = {}
        self.last: dict[str, tuple[int, int]] = {}
        self.locks: dict[str, dict[int, Vote]] = {}
        self.commits: dict[tuple[int, int, Hash32], set[Address]] = {}
        self.pending: dict[Hash32, Transaction] = {}
        self.done: dict[str, dict[Hash32, int]] = {}
        self.heights: dict[str, int] = {}

    # ── Safety ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def committed(self, node: Node, sealed: SealedBlock, recover: Recover, world: Any) -> None:
        """All honest nodes hold the same block at a height, sealed by a quorum, and no transaction twice."""
        header = sealed.block.header
        digest = header_hash(header)
        if node.adversary is not None:
            return
        known = self.blocks.setdefault(header.height, (digest, header.state_root))
        assert known == (digest, header.state_root), f"two blocks at height {header.height}"
        assert node.disk.chain.state_root == header.state_root, f"state root differs at height {header.height}"
        assert self.heights.get(node.name, 0) + 1 == header.height, f"{node.name} skips to height {header.height}"
        self.heights[node.name] = header.height
        check_seals(Rules(world.chain_id, header.height, world.validators, recover), digest, sealed.seals)
        done = self.done.setdefault(node.name, {})
        for raw in sealed.block.transactions:
            hash32 = world.decode(raw).hash
            assert hash32 not in done, f"transaction {hash32.hex()[:8]} stands in two blocks"
            done[hash32] = header.height

    def restarted(self, node: Node) -> None:
        """A commit that the crash kept, or lost, before its answer: the disk says which."""
        height = node.disk.chain.height
        assert height - self.heights.get(node.name, 0) in (0, 1), f"{node.name} lost blocks that were committed"
        if height != self.heights.get(node.name, 0):
            header = node.disk.chain.head.block.header
            known = self.blocks.setdefault(height, (header_hash(header), header.state_root))
            assert known[0] == header_hash(header), f"two blocks at height {height}"
            self.heights[node.name] = height
            done = self.done.setdefault(node.name, {})
            for transaction in node.disk.chain.head_transactions():
                done[transaction] = height

    def signed(self, node: Node, vote: Vote, network: Network) -> None:
        """A signature of an honest key contradicts none before it, goes never back, and never denies a lock."""
        if vote.kind is Kind.PREPARE:
            self._keeps_locks(node, vote, network)
        if vote.kind is Kind.COMMIT:
            self.commits.setdefault((vote.height, vote.round, vote.digest), set()).add(node.key.address)
        votes = self.votes.setdefault(node.name, {})
        at = (vote.height, vote.round)
        assert at >= self.last.get(node.name, (0, 0)), f"{node.name} votes backwards: {vote}"
        self.last[node.name] = at
        before = votes.setdefault((*at, vote.kind), vote)
        assert before == vote, f"{node.name} contradicts itself: {before}, {vote}"
        locks = self.locks.setdefault(node.name, {})
        if vote.kind is Kind.COMMIT:
            locks[vote.height] = vote
        if vote.kind is Kind.ROUND_CHANGE and vote.height in locks:
            lock = locks[vote.height]
            assert vote.prepared >= lock.round, f"{node.name} denies its lock on round {lock.round}: {vote}"

    def _keeps_locks(self, node: Node, vote: Vote, network: Network) -> None:
        """The heart of the safety proof: a block that may be final already is the only one prepared in later rounds."""
        faulty = {other.key.address for other in network.nodes.values() if other.adversary is not None}
        for (height, round_, digest), who in self.commits.items():
            if height == vote.height and round_ < vote.round and digest != vote.digest:
                final = network.validators.is_quorum(who | faulty)
                assert not final, (
                    f"{node.name} prepares another block than that of round {round_}, which may be final: {vote}"
                )

    def halted(self, node: Node, reason: str) -> None:
        assert node.adversary is not None, f"{node.name} halts: {reason}"

    def dropped(self, node: Node, peer: Node, reason: str) -> None:
        """Only a Byzantine validator is ever caught doing wrong."""
        honest = node.adversary is None and peer.adversary is None
        assert not honest, f"{node.name} drops honest {peer.name}: {reason}"

    # ── Liveness ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def pend(self, network: Network, transaction: Transaction) -> None:
        """A client sends its transaction to some node, and again until every honest node has it in a block."""
        self.pending[transaction.hash] = transaction
        if all(transaction.hash in self.done.get(node.name, {}) for node in network.honest):
            return
        alive = [node for node in network.honest if node.alive]
        if alive:
            network.submit(network.rng.choice(alive), transaction)
        network.at(RETRY_MS, self.pend, network, transaction)

    def play(self, network: Network) -> None:
        while network.step_until(CHAOS_MS):
            pass
        assert network.healed or not network.step_until(CHAOS_MS)
        goal = max(self.heights.values(), default=0) + 2
        events = 0
        while not self._reached(network, goal):
            events += 1
            assert events < EVENTS_MAX, "peace never comes: too many events"
            moved = network.step_until(CHAOS_MS + PEACE_MS)
            assert moved, f"no agreement {PEACE_MS // 1000} s after the network healed: heights {self.heights}"

    def _reached(self, network: Network, goal: int) -> bool:
        names = [node.name for node in network.honest]
        return all(
            self.heights.get(name, 0) >= goal and len(self.done.get(name, {})) >= len(self.pending) for name in names
        )
