"""QBFT for one height: `step(state, event) -> (state, actions)`, without I/O, clock or randomness (arXiv 2002.03613).

Not the justification rules (`justification`), nor pacing, sync and transactions (`replica`). Specification: docs/consensus.md;
the timers follow PBFT (Castro, Liskov 1999, section 4.5.2): above round 0 one runs only once a quorum has left the rounds below.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from comity.ledger.block import header_hash
from comity.ledger.justification import Rules, Unjustified, check_proposal, check_round_change
from comity.ledger.messages import (
    NOT_PREPARED,
    Ballot,
    Certificate,
    Consensus,
    Kind,
    Proposal,
    RoundChange,
    Vote,
    ballot_of,
)
from comity.ledger.protocol import Broadcast, Built, Check, Checked, Remember, SetTimer, Sign, Signed
from comity.ledger.types import ZERO_HASH, Block, SealedBlock, Seals
from comity.record.types import Address, Hash32

BACKOFF_EXPONENT_MAX = 10
"""The round timer doubles up to request timeout · 2^10: half an hour at 2 s."""
CLOCK_DRIFT_S_MAX = 10
"""A fresh block from further in the future is not voted for, unless its parent is as late: clocks may go back."""
BLOCKS_KNOWN_MAX = 4
VOTES_PER_SENDER_MAX = 8
"""Rounds for which one sender's PREPAREs, COMMITs or ROUND-CHANGEs are kept, each kind by itself; the highest win."""


# ── Events and actions of its own; the others are those of `protocol` ────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Due:
    """It is time for a block at this height: the round timer may run, and the proposer may propose."""

    now: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A consensus message of this height."""

    now: int
    message: Consensus


@dataclass(frozen=True, slots=True)
class TimedOut:
    now: int


@dataclass(frozen=True, slots=True)
class Draft:
    """This validator proposes a block of its own in `round`: answer with `Built`."""

    round: int


@dataclass(frozen=True, slots=True)
class Entered:
    """A new round has begun here."""

    round: int


@dataclass(frozen=True, slots=True)
class Decided:
    sealed: SealedBlock


Event: TypeAlias = Due | Arrived | TimedOut | Built | Checked | Signed
Action: TypeAlias = Draft | Entered | Decided | Broadcast | Check | Remember | SetTimer | Sign
M = TypeVar("M", Ballot, RoundChange)


@dataclass(slots=True)
class State:
    """Everything that a validator knows about one height. The caller owns it; only `step` and `resume` change it."""

    rules: Rules
    me: Address
    request_timeout_ms: int
    parent_s: int = 0
    """The parent's timestamp, unix seconds."""
    round: int = 0
    proposal: Proposal | None = None
    """The justified proposal of this round; the first wins."""
    accepted: Hash32 | None = None
    prepared: Certificate | None = None
    timing: bool = False
    """Whether the timer of this round runs."""
    decided: bool = False
    asked: set[tuple[Kind, int]] = field(default_factory=set)
    """The votes asked of the signer, and in them the rounds in which a block was asked for."""
    chosen: tuple[Ballot, ...] = ()
    """The ROUND-CHANGEs that justify this round's own proposal, as they stood when it was begun: one that comes while
    the block is being built may name a prepared block, and must not stand beside a new one."""
    drafts: dict[Hash32, Proposal] = field(default_factory=dict)
    """Own proposals that wait for their signature."""
    sent: list[Consensus] = field(default_factory=list)
    """Own messages of this round, to be sent again."""
    blocks: dict[Hash32, Block] = field(default_factory=dict)
    verdicts: dict[Hash32, str | None] = field(default_factory=dict)
    checking: set[Hash32] = field(default_factory=set)
    votes: dict[tuple[Kind, int], dict[Address, Ballot]] = field(default_factory=dict)
    changes: dict[int, dict[Address, RoundChange]] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return self.rules.height

    @property
    def idle(self) -> bool:
        """Nothing has happened at this height yet."""
        return self.round == 0 and not self.timing


def resume(state: State, now: int, round_: int, certificate: Certificate | None) -> list[Action]:
    """After a restart inside a height: go on in the last round signed for, with what was remembered. The timer runs at
    once, because the ROUND-CHANGEs that started it elsewhere are forgotten here, and perhaps everywhere."""
    state.round = round_
    state.prepared = certificate
    actions: list[Action] = _start_timer(state, now)
    if certificate is not None:
        _know(state, certificate.digest, certificate.block)
        state.checking.add(certificate.digest)
        actions.append(Check(certificate.digest, certificate.block))
    if round_ > 0 and (certificate is None or certificate.round < round_):
        actions += _ask_round_change(state)
    return actions


def step(state: State, event: Event) -> tuple[State, list[Action]]:
    """One event. The state is changed in place and returned; `Unjustified` for a message that no correct validator sends."""
    if state.decided:
        return state, []
    match event:
        case Arrived(now, message):
            return state, _arrived(state, now, message)
        case Checked():
            return state, _checked(state, event)
        case Signed():
            return state, _signed(state, event)
        case Built():
            return state, _built(state, event)
        case Due(now):
            return state, _due(state, now)
        case TimedOut(now):
            return state, _enter(state, state.round + 1) + _ask_round_change(state)


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _due(state: State, now: int) -> list[Action]:
    if not state.idle:
        return []
    return _start_timer(state, now) + _draft(state)


def _start_timer(state: State, now: int) -> list[Action]:
    if state.timing:
        return []
    state.timing = True
    return [SetTimer("round", now + state.request_timeout_ms * 2 ** min(state.round, BACKOFF_EXPONENT_MAX))]


def _enter(state: State, round_: int) -> list[Action]:
    state.round = round_
    state.proposal = state.accepted = None
    state.timing = False
    state.chosen = ()
    state.sent.clear()
    state.drafts.clear()
    for earlier in [r for r in state.changes if r < round_]:
        del state.changes[earlier]
    for key in [k for k in state.votes if k[0] is Kind.PREPARE and k[1] < round_]:
        del state.votes[key]
    return [SetTimer("round", None), Entered(round_)]


# ── Proposing ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _draft(state: State) -> list[Action]:
    """Ask for a block, once a round, when this validator is the proposer."""
    key = (Kind.PROPOSAL, state.round)
    if state.rules.proposer(state.round) != state.me or key in state.asked:
        return []
    state.asked.add(key)
    return [Draft(state.round)]


def _built(state: State, event: Built) -> list[Action]:
    if event.height != state.height or event.round != state.round or state.proposal is not None:
        return []
    return _propose(state, event.block, header_hash(event.block.header), ())


def _propose(state: State, block: Block, digest: Hash32, prepares: tuple[bytes, ...]) -> list[Action]:
    vote = Vote(Kind.PROPOSAL, state.height, state.round, digest)
    state.drafts[digest] = Proposal(Ballot(vote, b""), block, state.chosen, prepares)
    return [Sign(vote)]


def _propose_after_round_change(state: State) -> list[Action]:
    """The proposer of a round that a quorum has entered proposes: the block of the highest prepared round, or a new one."""
    changes = state.changes.get(state.round, {})
    key = (Kind.PROPOSAL, state.round)
    if state.rules.proposer(state.round) != state.me or key in state.asked:
        return []
    if not state.rules.validators.is_quorum(frozenset(changes)):
        return []
    state.chosen = tuple(changes[a].ballot for a in sorted(changes))
    best = max((changes[a] for a in sorted(changes)), key=lambda m: m.ballot.vote.prepared)
    if best.block is None:
        return _draft(state)
    state.asked.add(key)
    return _propose(state, best.block, best.ballot.vote.digest, best.prepares)


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _arrived(state: State, now: int, message: Consensus) -> list[Action]:
    ballot = ballot_of(message)
    if ballot.vote.height != state.height or _is_known(state, ballot.vote, ballot.signature):
        return []
    sender = state.rules.signer(ballot)
    match message:
        case Proposal():
            return _on_proposal(state, now, message, sender)
        case RoundChange():
            return _on_round_change(state, now, message, sender)
        case Ballot():
            return _on_ballot(state, message, sender)


def _is_known(state: State, vote: Vote, signature: bytes) -> bool:
    """Too late to matter, or seen already: told before the signature is recovered, which is what costs."""
    if vote.kind is not Kind.COMMIT and vote.round < state.round:
        return True
    if vote.kind is Kind.PROPOSAL:
        return vote.round == state.round and state.proposal is not None
    if vote.kind is Kind.ROUND_CHANGE:
        return any(m.ballot.signature == signature for m in state.changes.get(vote.round, {}).values())
    return any(b.signature == signature for b in state.votes.get((vote.kind, vote.round), {}).values())


def _on_proposal(state: State, now: int, message: Proposal, sender: Address) -> list[Action]:
    vote, block = message.ballot.vote, message.block
    if sender != state.rules.proposer(vote.round):
        raise Unjustified("proposal by a validator whose turn it is not", why=f"0x{sender.hex()}, round {vote.round}")
    check_proposal(state.rules, message)
    latest = max(now // 1000 + CLOCK_DRIFT_S_MAX, state.parent_s)
    if not message.prepares and block.header.timestamp > latest:
        return []
    actions = _enter(state, vote.round) if vote.round > state.round else []
    state.proposal = message
    _know(state, vote.digest, block)
    actions += _start_timer(state, now)
    if vote.digest in state.verdicts:
        return actions + _accept(state)
    if vote.digest not in state.checking:
        state.checking.add(vote.digest)
        actions.append(Check(vote.digest, block))
    return actions


def _on_ballot(state: State, ballot: Ballot, sender: Address) -> list[Action]:
    vote = ballot.vote
    _keep(state.votes.setdefault((vote.kind, vote.round), {}), sender, ballot)
    rounds = sorted(r for (kind, r), who in state.votes.items() if kind is vote.kind and sender in who)
    for surplus in rounds[:-VOTES_PER_SENDER_MAX]:
        del state.votes[vote.kind, surplus][sender]
        if not state.votes[vote.kind, surplus]:
            del state.votes[vote.kind, surplus]
    return _progress(state)


def _on_round_change(state: State, now: int, message: RoundChange, sender: Address) -> list[Action]:
    check_round_change(state.rules, message)
    _keep(state.changes.setdefault(message.ballot.vote.round, {}), sender, message)
    rounds = sorted(r for r, who in state.changes.items() if sender in who)
    for surplus in rounds[:-VOTES_PER_SENDER_MAX]:
        del state.changes[surplus][sender]
        if not state.changes[surplus]:
            del state.changes[surplus]
    return _follow_round_changes(state, now)


def _follow_round_changes(state: State, now: int) -> list[Action]:
    actions: list[Action] = []
    highest: dict[Address, int] = {}
    for round_, who in state.changes.items():
        for sender in who:
            highest[sender] = max(round_, highest.get(sender, 0))
    ahead = {sender for sender, round_ in highest.items() if round_ > state.round}
    if state.rules.validators.is_honest_one(ahead):
        actions += _enter(state, min(highest[sender] for sender in ahead)) + _ask_round_change(state)
    if state.round > 0:
        if state.rules.validators.is_quorum({sender for sender, round_ in highest.items() if round_ >= state.round}):
            actions += _start_timer(state, now)
        actions += _propose_after_round_change(state)
    return actions


def _keep(table: dict[Address, M], sender: Address, message: M) -> None:
    """The first of a sender wins: a second one that differs is equivocation, and helps nobody."""
    table.setdefault(sender, message)


def _know(state: State, digest: Hash32, block: Block) -> None:
    state.blocks.pop(digest, None)
    state.blocks[digest] = block
    while len(state.blocks) > BLOCKS_KNOWN_MAX:
        del state.blocks[next(iter(state.blocks))]


# ── Voting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _checked(state: State, event: Checked) -> list[Action]:
    state.checking.discard(event.digest)
    state.verdicts[event.digest] = event.error
    if state.proposal is not None and state.proposal.ballot.vote.digest == event.digest:
        return _accept(state)
    return _progress(state)


def _accept(state: State) -> list[Action]:
    """Vote PREPARE for this round's proposal, if it is valid; an invalid one is answered by the round timer."""
    if state.proposal is None or state.accepted is not None:
        return []
    digest = state.proposal.ballot.vote.digest
    if state.verdicts[digest] is not None:
        return []
    state.accepted = digest
    return _ask(state, Vote(Kind.PREPARE, state.height, state.round, digest)) + _progress(state)


def _progress(state: State) -> list[Action]:
    actions: list[Action] = []
    if state.accepted is not None and (Kind.COMMIT, state.round) not in state.asked:
        prepares = _for(state, Kind.PREPARE, state.round, state.accepted)
        if state.rules.validators.is_quorum(frozenset(prepares)):
            signatures = tuple(prepares[a] for a in sorted(prepares))
            block = state.blocks[state.accepted]
            state.prepared = Certificate(state.height, state.round, block, state.accepted, signatures)
            actions.append(Remember(state.prepared.encode()))
            actions += _ask(state, Vote(Kind.COMMIT, state.height, state.round, state.accepted))
    return actions + _decide(state)


def _decide(state: State) -> list[Action]:
    """A quorum of COMMITs in any one round decides, also in a round that this validator has left."""
    for kind, round_ in [key for key in state.votes if key[0] is Kind.COMMIT]:
        for digest in {b.vote.digest: None for b in state.votes[kind, round_].values()}:
            seals = _for(state, kind, round_, digest)
            if digest not in state.blocks or state.verdicts.get(digest, "") is not None:
                continue
            if state.rules.validators.is_quorum(frozenset(seals)):
                state.decided = True
                signatures = tuple(seals[a] for a in sorted(seals))
                return [SetTimer("round", None), Decided(SealedBlock(state.blocks[digest], Seals(round_, signatures)))]
    return []


def _for(state: State, kind: Kind, round_: int, digest: Hash32) -> dict[Address, bytes]:
    ballots = state.votes.get((kind, round_), {})
    return {sender: b.signature for sender, b in ballots.items() if b.vote.digest == digest}


def _ask(state: State, vote: Vote) -> list[Action]:
    """Ask for a signature, once a kind and round."""
    if (vote.kind, vote.round) in state.asked:
        return []
    state.asked.add((vote.kind, vote.round))
    return [Sign(vote)]


def _ask_round_change(state: State) -> list[Action]:
    prepared, digest = NOT_PREPARED, ZERO_HASH
    if state.prepared is not None:
        prepared, digest = state.prepared.round, state.prepared.digest
    return _ask(state, Vote(Kind.ROUND_CHANGE, state.height, state.round, digest, prepared))


def _signed(state: State, event: Signed) -> list[Action]:
    """A vote leaves, and counts here as if it had been received."""
    if event.vote.height != state.height or event.signature is None:
        return []
    message = _message(state, event.vote, event.signature)
    if message is None:
        return []
    if event.vote.round == state.round:
        state.sent.append(message)
    return [Broadcast(message), *_arrived(state, event.now, message)]


def _message(state: State, vote: Vote, signature: bytes) -> Consensus | None:
    ballot = Ballot(vote, signature)
    match vote.kind:
        case Kind.PROPOSAL:
            draft = state.drafts.pop(vote.digest, None)
            return None if draft is None else replace(draft, ballot=ballot)
        case Kind.ROUND_CHANGE:
            if vote.prepared == NOT_PREPARED:
                return RoundChange(ballot)
            if state.prepared is None or state.prepared.round != vote.prepared:
                return None
            return RoundChange(ballot, state.prepared.block, state.prepared.prepares)
        case _:
            return ballot
