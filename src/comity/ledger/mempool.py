"""Transactions that wait for a block: who may wait, in which order they leave, and why one is refused. Pure.

Not decoding (`transaction`) nor execution (`chain`): the sender's account at the head comes with each admission.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from comity.ledger.errors import LedgerError
from comity.ledger.types import Account, Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32

POOL_COUNT_MAX = 8_192
POOL_BYTES_MAX = 64 << 20
SENDER_COUNT_MAX = 1_024
GAP_MAX = 1_024
"""How far a nonce may lie beyond the account's."""
BLOCK_TRANSACTIONS_BYTES_MAX = 3 << 20
BLOCK_TRANSACTIONS_COUNT_MAX = 5_000
REPLACEMENT_PERCENT = 110
RECENT_COUNT_MAX = 16_384
LIFETIME_BLOCKS_MAX = 4_096
"""A transaction that no block took for so long leaves."""


K = TypeVar("K")
V = TypeVar("V")


class PoolRefused(LedgerError):
    """A transaction that may not wait here. `why` says which rule, `hint` what would pass."""

    code = "transaction-refused"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one pool."""

    count_max: int = POOL_COUNT_MAX
    bytes_max: int = POOL_BYTES_MAX
    sender_count_max: int = SENDER_COUNT_MAX
    gap_max: int = GAP_MAX


@dataclass(frozen=True, slots=True)
class _Entry:
    transaction: Transaction
    arrival: int
    born: int
    """The pool's block count at admission."""

    @property
    def cost(self) -> int:
        """The most that it can take from its sender: gas at the fee cap, and the value."""
        return self.transaction.gas * self.transaction.max_fee + self.transaction.value


@dataclass(slots=True)
class _Sender:
    account: Account
    entries: dict[int, _Entry] = field(default_factory=dict)
    """By nonce."""
    promised: int = 0
    """What they cost together, at most."""


class Mempool:
    """Pending transactions by sender and nonce. `rule` refuses by the chain's own rules (it raises `LedgerError`).

    Gas costs nothing here and an address nothing either, so fees alone keep nobody out: senders take turns, `is_member`
    go before strangers, and a full pool drops what no block could take, then strangers', for a member's next one.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        rule: Callable[[Transaction], None] | None = None,
        is_member: Callable[[Address], bool] = lambda _: False,
    ) -> None:
        self._limits = limits or Limits()
        self._rule = rule
        self._is_member = is_member
        self._senders: dict[Address, _Sender] = {}
        self._hashes: dict[Hash32, Transaction] = {}
        self._ready: dict[Address, None] = {}
        """Senders whose next nonce is here."""
        self._committed: dict[Hash32, None] = {}
        self._accounts: dict[Address, Account] = {}
        """Accounts as recent blocks left them: an admission may have looked before the block."""
        self._bytes = 0
        self._arrivals = 0
        self._blocks = 0

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, hash32: object) -> bool:
        return hash32 in self._hashes

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._hashes.values())

    def get(self, hash32: Hash32) -> Transaction | None:
        """A waiting transaction."""
        return self._hashes.get(hash32)

    def is_known(self, hash32: Hash32) -> bool:
        """Whether it waits here, or stood in a recent block."""
        return hash32 in self._hashes or hash32 in self._committed

    @property
    def ready(self) -> bool:
        """Whether a block could take something now."""
        return bool(self._ready)

    @property
    def senders(self) -> tuple[Address, ...]:
        """Accounts whose change matters here: those with transactions waiting."""
        return tuple(self._senders)

    def next_nonce(self, sender: Address, account: Account) -> int:
        """The first nonce that neither a block nor this pool has (eth_getTransactionCount at "pending")."""
        nonce = self._current(sender, account).nonce
        waiting = self._senders.get(sender)
        while waiting is not None and nonce in waiting.entries:
            nonce += 1
        return nonce

    # ── Admission ────────────────────────────────────────────────────────────────────────────────────────────────────
    def add(self, transaction: Transaction, account: Account, gas_limit: int) -> None:
        """Admit a transaction whose sender has `account` at the head; `PoolRefused` (or the rule's error) otherwise."""
        account = self._current(transaction.sender, account)
        self._check_alone(transaction, account, gas_limit)
        sender = self._senders.get(transaction.sender)
        old = sender.entries.get(transaction.nonce) if sender else None
        victims: list[Hash32] = []
        if old is not None:
            _check_replacement(transaction, old.transaction)
        else:
            victims = self._make_room(transaction, account, sender)
        entry = _Entry(transaction, self._arrivals, self._blocks)
        _check_funds(entry, old, sender.promised if sender else 0, account)
        if self._rule is not None:
            self._rule(transaction)
        for victim in victims:
            self.remove(victim)
        if sender is None:
            sender = self._senders[transaction.sender] = _Sender(account)
        if old is not None:
            self._forget(sender, old)
        sender.entries[transaction.nonce] = entry
        sender.promised += entry.cost
        self._arrivals += 1
        self._hashes[transaction.hash] = transaction
        self._bytes += len(transaction.raw)
        if account != sender.account:
            sender.account = account
            self._settle(transaction.sender)
        elif transaction.nonce == account.nonce:
            self._ready[transaction.sender] = None

    def _current(self, address: Address, account: Account) -> Account:
        recent = self._accounts.get(address)
        return recent if recent is not None and recent.nonce >= account.nonce else account

    def _check_alone(self, transaction: Transaction, account: Account, gas_limit: int) -> None:
        if self.is_known(transaction.hash):
            raise PoolRefused("transaction is known already", why="it waits, or stands in a recent block")
        if transaction.nonce < account.nonce:
            raise PoolRefused(
                "nonce too low",
                why=f"{transaction.nonce}, the account is at {account.nonce}",
                hint=f"sign it again with nonce {account.nonce}",
            )
        if transaction.nonce > account.nonce + self._limits.gap_max:
            raise PoolRefused(
                "nonce too far ahead",
                why=f"{transaction.nonce}, the account is at {account.nonce}, at most {self._limits.gap_max} ahead",
                hint="send the transactions before it first",
            )
        if transaction.gas > gas_limit:
            raise PoolRefused(
                "gas above the block's limit", why=f"{transaction.gas}, at most {gas_limit}", hint="lower its gas"
            )
        if len(transaction.raw) > BLOCK_TRANSACTIONS_BYTES_MAX:
            raise PoolRefused("transaction too large for a block", why=f"{len(transaction.raw)} bytes")

    def _make_room(self, transaction: Transaction, account: Account, sender: _Sender | None) -> list[Hash32]:
        """What must leave so that it may wait; `PoolRefused` when that is not enough."""
        limits = self._limits
        if sender is not None and len(sender.entries) >= limits.sender_count_max:
            why = f"{limits.sender_count_max} wait already"
            raise PoolRefused("too many transactions of one sender", why=why, hint="wait for a block")
        count = len(self._hashes) + 1 - limits.count_max
        size = self._bytes + len(transaction.raw) - limits.bytes_max
        victims: list[Hash32] = []
        candidates = self._yielding(transaction, account)
        while count > 0 or size > 0:
            victim = next(candidates, None)
            if victim is None:
                why = f"{len(self._hashes)} transactions, {self._bytes} bytes"
                raise PoolRefused("transaction pool is full", why=why, hint="wait for a block and send it again")
            victims.append(victim.hash)
            count -= 1
            size -= len(victim.raw)
        return victims

    def _yielding(self, transaction: Transaction, account: Account) -> Iterator[Transaction]:
        """Transactions of others that give way to this one, if a block could take it: first those that none could take."""
        member = self._is_member(transaction.sender)
        if transaction.nonce != self.next_nonce(transaction.sender, account):
            return
        if not member and len(self._ready) == len(self._senders):
            return
        for ready in (False, True) if member else (False,):
            for address, sender in self._senders.items():
                if address == transaction.sender or (address in self._ready) != ready:
                    continue
                if self._is_member(address) and (ready or not member):
                    continue
                for nonce in sorted(sender.entries, reverse=True):
                    yield sender.entries[nonce].transaction

    # ── Leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def take(self, gas_limit: int) -> tuple[Transaction, ...]:
        """What the next block should hold, all still waiting: nonces in order, members before strangers, one of each sender
        in turn, the higher tip first, then the first come."""
        heap = [self._rank(address, self._senders[address].account.nonce, 0) for address in self._ready]
        heapq.heapify(heap)
        taken: list[Transaction] = []
        gas, room = gas_limit, BLOCK_TRANSACTIONS_BYTES_MAX
        while heap and len(taken) < BLOCK_TRANSACTIONS_COUNT_MAX:
            _, turn, _, _, address, nonce = heapq.heappop(heap)
            transaction = self._senders[address].entries[nonce].transaction
            if transaction.gas > gas or len(transaction.raw) > room:
                continue  # nor may its later ones go
            gas -= transaction.gas
            room -= len(transaction.raw)
            taken.append(transaction)
            if nonce + 1 in self._senders[address].entries:
                heapq.heappush(heap, self._rank(address, nonce + 1, turn + 1))
        return tuple(taken)

    def _rank(self, address: Address, nonce: int, turn: int) -> tuple[bool, int, int, int, Address, int]:
        entry = self._senders[address].entries[nonce]
        tip = entry.transaction.max_priority_fee
        return not self._is_member(address), turn, -tip, entry.arrival, address, nonce

    def announce(self, bytes_max: int, count_max: int) -> tuple[bytes, ...]:
        """Raw transactions that a block could take, for peers that may have missed them."""
        raws: list[bytes] = []
        for address in self._ready:
            sender = self._senders[address]
            nonce = sender.account.nonce
            while nonce in sender.entries and len(raws) < count_max:
                raw = sender.entries[nonce].transaction.raw
                bytes_max -= len(raw)
                if bytes_max < 0:
                    return tuple(raws)
                raws.append(raw)
                nonce += 1
        return tuple(raws)

    def on_commit(self, raws: Iterable[bytes], accounts: Mapping[Address, Account]) -> None:
        """A block was committed: its transactions leave, and so do those that its accounts' new state forbids."""
        self._blocks += 1
        touched: dict[Address, None] = {}
        for raw in raws:
            hash32 = keccak256(raw)
            self._committed[hash32] = None
            transaction = self._hashes.get(hash32)
            if transaction is not None:
                sender = self._senders[transaction.sender]
                self._forget(sender, sender.entries[transaction.nonce])
                touched[transaction.sender] = None
        for address, account in accounts.items():
            self._accounts.pop(address, None)
            self._accounts[address] = account
            if address in self._senders:
                self._senders[address].account = account
                touched[address] = None
        for address in touched:
            self._settle(address)
        _trim(self._committed)
        _trim(self._accounts)
        if self._blocks % 64 == 0:
            old = self._blocks - LIFETIME_BLOCKS_MAX
            for entry in [e for s in self._senders.values() for e in s.entries.values() if e.born < old]:
                self.remove(entry.transaction.hash)

    def remove(self, hash32: Hash32) -> None:
        """Take a transaction out, if it is there."""
        transaction = self._hashes.get(hash32)
        if transaction is not None:
            sender = self._senders[transaction.sender]
            self._forget(sender, sender.entries[transaction.nonce])
            self._settle(transaction.sender)

    def _forget(self, sender: _Sender, entry: _Entry) -> None:
        del sender.entries[entry.transaction.nonce]
        sender.promised -= entry.cost
        del self._hashes[entry.transaction.hash]
        self._bytes -= len(entry.transaction.raw)

    def _settle(self, address: Address) -> None:
        """Drop what the account's state forbids, and note whether its next nonce is here."""
        sender = self._senders[address]
        for nonce in [n for n in sender.entries if n < sender.account.nonce]:
            self._forget(sender, sender.entries[nonce])
        if sender.promised > sender.account.balance:
            for nonce in sorted(sender.entries, reverse=True):
                if sender.promised > sender.account.balance:
                    self._forget(sender, sender.entries[nonce])
        self._ready.pop(address, None)
        if sender.account.nonce in sender.entries:
            self._ready[address] = None
        if not sender.entries:
            del self._senders[address]


def _check_funds(entry: _Entry, old: _Entry | None, promised: int, account: Account) -> None:
    others = promised - (old.cost if old is not None else 0)
    if others + entry.cost > account.balance:
        why = f"value and gas cost up to {entry.cost} wei, {others} are promised already, it has {account.balance}"
        raise PoolRefused("insufficient balance", why=why, hint="lower value, gas or gas price, or fund the account")


def _check_replacement(new: Transaction, old: Transaction) -> None:
    for price, paid in ((new.max_priority_fee, old.max_priority_fee), (new.max_fee, old.max_fee)):
        if price * 100 < paid * REPLACEMENT_PERCENT or price <= paid:
            raise PoolRefused(
                "replacement underpriced",
                why=f"nonce {new.nonce} waits already at {old.max_priority_fee} wei a gas",
                hint=f"pay at least {max(paid * REPLACEMENT_PERCENT // 100, paid) + 1} wei a gas, or use the next nonce",
            )


def _trim(table: dict[K, V]) -> None:
    while len(table) > RECENT_COUNT_MAX:
        del table[next(iter(table))]
