"""A Byzantine validator: an honest replica whose key, mouth and ears are in bad hands. Its habits are drawn from the seed."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from comity.ledger.block import header_hash
from comity.ledger.messages import NOT_PREPARED, Ballot, Blocks, Kind, Message, Proposal, RoundChange, Status, Vote
from comity.ledger.protocol import Peer
from comity.ledger.types import ZERO_HASH, Block, Seals
from comity.record.types import Hash32

if TYPE_CHECKING:
    from sim.network import Network, Node

MEMORY_COUNT_MAX = 200


class Adversary:
    """What it says instead of what its replica says."""

    def __init__(self, network: Network, node: Node, habits: tuple[str, ...]) -> None:
        self.network = network
        self.node = node
        self.habits = frozenset(habits)
        self._heard: deque[Message] = deque(maxlen=MEMORY_COUNT_MAX)
        self._twins: dict[Hash32, Block] = {}
        self._voted: set[tuple[int, int, Hash32]] = set()

    def overhear(self, source: Peer, message: Message) -> None:
        """Act on what others say."""
        self._heard.append(message)
        if "vote-all" in self.habits and isinstance(message, Proposal):
            vote = message.ballot.vote
            key = (vote.height, vote.round, vote.digest)
            if key not in self._voted:
                self._voted.add(key)
                self._tell_all(self._ballot(Kind.PREPARE, vote, vote.digest))
                self._tell_all(self._ballot(Kind.COMMIT, vote, vote.digest))
        if "rush" in self.habits and isinstance(message, Ballot | RoundChange) and self._chance(0.02):
            vote = message.vote if isinstance(message, Ballot) else message.ballot.vote
            far = replace(vote, kind=Kind.ROUND_CHANGE, round=vote.round + self.network.rng.randint(1, 6))
            self._tell_all(RoundChange(self._sign(replace(far, digest=ZERO_HASH, prepared=NOT_PREPARED))))

    def twist(self, peer: Peer, message: Message) -> list[Message]:
        """What `peer` is told instead of `message`."""
        told = self._twisted(peer, message)
        if "whisper" in self.habits and isinstance(message, Ballot) and self._other_half(peer):
            told = []
        if "withhold" in self.habits and self._chance(0.4):
            told = []
        if "replay" in self.habits and self._heard and self._chance(0.15):
            told = [*told, self.network.rng.choice(list(self._heard))]
        if "tamper" in self.habits:
            told = [self._tampered(each) if self._chance(0.3) else each for each in told]
        self._heard.extend(told)
        return told

    def _twisted(self, peer: Peer, message: Message) -> list[Message]:
        match message:
            case Proposal():
                return self._proposal(peer, message)
            case Ballot(vote) if "equivocate" in self.habits and vote.digest in self._twins and self._other_half(peer):
                twin = self._twins[vote.digest]
                return [self._ballot(vote.kind, vote, header_hash(twin.header))]
            case RoundChange():
                return [self._round_change(message)]
            case Status() if "boast" in self.habits and self._chance(0.3):
                return [replace(message, height=message.height + self.network.rng.randint(1, 1_000))]
            case Blocks(sealed) if "boast" in self.habits and sealed and self._chance(0.5):
                return [Blocks((*sealed[:-1], replace(sealed[-1], seals=Seals(0, sealed[-1].seals.signatures[:1]))))]
        return [message]

    def _proposal(self, peer: Peer, message: Proposal) -> list[Message]:
        vote = message.ballot.vote
        if "invalid" in self.habits and self._chance(0.5):
            header = replace(message.block.header, state_root=Hash32(self.network.rng.randbytes(32)))
            return [self._propose(message, Block(header, message.block.transactions))]
        if "forge" in self.habits and vote.round > 0 and self._chance(0.5):
            block = self._twin(message.block)
            if block is not None:
                return [replace(self._propose(message, block), prepares=())]
        if "equivocate" in self.habits and not message.prepares:
            if vote.digest not in self._twins:
                twin = self._twin(message.block)
                if twin is not None:
                    self._twins[vote.digest] = twin
                    self._twins[header_hash(twin.header)] = message.block
            if vote.digest in self._twins and self._other_half(peer):
                return [self._propose(message, self._twins[vote.digest])]
        return [message]

    def _round_change(self, message: RoundChange) -> RoundChange:
        vote = message.ballot.vote
        if "deny" in self.habits and vote.prepared != NOT_PREPARED:
            return RoundChange(self._sign(replace(vote, digest=ZERO_HASH, prepared=NOT_PREPARED)))
        if "forge" in self.habits and self._chance(0.3):
            block = self._twin(None)
            if block is not None:
                lie = replace(vote, digest=header_hash(block.header), prepared=vote.round - 1)
                prepare = self._ballot(Kind.PREPARE, replace(vote, round=vote.round - 1), header_hash(block.header))
                return RoundChange(self._sign(lie), block, (prepare.signature,) * 3)
        return message

    def _tampered(self, message: Message) -> Message:
        """Another body under an honest header."""
        if isinstance(message, Blocks) and message.sealed:
            last = message.sealed[-1]
            body = () if last.block.transactions else (b"\xc0",)
            return Blocks((*message.sealed[:-1], replace(last, block=replace(last.block, transactions=body))))
        if isinstance(message, Proposal | RoundChange) and message.block is not None:
            body = () if message.block.transactions else (b"\xc0",)
            return replace(message, block=replace(message.block, transactions=body))
        return message

    def _twin(self, block: Block | None) -> Block | None:
        """Another valid block on the head: empty, and a second later."""
        chain = self.node.disk.chain
        if block is not None and block.header.height != chain.height + 1:
            return None
        timestamp = (block.header if block else chain.head.block.header).timestamp + 1
        twin: Block = chain.build(timestamp, self.node.key.address, ())[0]
        return twin

    def _propose(self, message: Proposal, block: Block) -> Proposal:
        vote = replace(message.ballot.vote, digest=header_hash(block.header))
        return replace(message, ballot=self._sign(vote), block=block)

    def _ballot(self, kind: Kind, like: Vote, digest: Hash32) -> Ballot:
        return self._sign(Vote(kind, like.height, like.round, digest))

    def _sign(self, vote: Vote) -> Ballot:
        return Ballot(vote, self.node.key.sign(vote.signing_hash(self.network.world.chain_id)))

    def _tell_all(self, message: Message) -> None:
        from comity.ledger import messages

        for peer in self.network.nodes:
            if peer != self.node.name:
                self.network.wire(self.node.name, peer, messages.encode(message))

    def _other_half(self, peer: Peer) -> bool:
        return int(peer[1:]) % 2 == 1

    def _chance(self, probability: float) -> bool:
        return self.network.rng.random() < probability
