"""The commitment to the world: the account trie and the storage tries, kept in step with the executor and the database.

Live values are the executor's; this module hashes them, proves them, and turns a diff into database operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comity.ledger import rlp
from comity.ledger.diff import StateDiff
from comity.ledger.errors import CorruptLedger, MalformedRlp, TooMuch
from comity.ledger.executor import Executor
from comity.ledger.trie import EMPTY_ROOT, Trie
from comity.ledger.types import ZERO_HASH, Account
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Wei
from comity.store.kv import Batch, KeyValue

ACCOUNTS, SLOTS, CODES = "accounts", "slots", "codes"
TABLES = (ACCOUNTS, SLOTS, CODES)
PROOF_SLOTS_MAX = 1_024
_NO_CODE = keccak256(b"")
_ADDRESS_BYTES = 20
_LOAD_COUNT = 1_000
"""Entries a piece: a large database is never in memory twice."""


@dataclass(frozen=True, slots=True)
class SlotProof:
    """A slot's value, and the trie nodes from the storage root to it."""

    slot: int
    value: int
    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AccountProof:
    """An account under a state root (eth_getProof, EIP-1186); `account` is None where the nodes prove absence."""

    address: Address
    account: Account | None
    storage_root: Hash32
    nodes: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]


class State:
    """The tries over an executor's accounts and slots. `root` hashes only what changed since it was last asked."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._accounts = Trie()
        self._storage: dict[Address, Trie] = {}
        self._dirty: set[Address] = set()

    def load(self, store: KeyValue) -> None:
        """Fill an empty executor, and the tries, with everything in the database; `CorruptLedger` for malformed entries."""
        try:
            for diff in _stored(store):
                self.apply(diff)
        except (MalformedRlp, KeyError) as error:
            raise CorruptLedger("the ledger's state is malformed", why=str(error)) from None

    def follow(self, diff: StateDiff) -> None:
        """Take over changes that the executor made already."""
        for (address, slot), (_, value) in diff.slots.items():
            trie = self._storage.get(address)
            if trie is None:
                trie = self._storage[address] = Trie()
            trie.set(_slot_key(slot), rlp.encode_uint(value) if value else b"")
            self._dirty.add(address)
        self._dirty.update(diff.accounts)

    def apply(self, diff: StateDiff) -> None:
        """Make the changes in the executor and in the tries."""
        self._executor.apply(diff)
        self.follow(diff)

    def undo(self, diff: StateDiff) -> None:
        """Take the changes of `apply` or `follow` back, exactly."""
        self.apply(diff.inverse())

    def root(self) -> Hash32:
        """The state root (Yellow Paper 4.1)."""
        for address in self._dirty:
            account = self._executor.account(address)
            leaf = b"" if account is None else encode_account(account, self._storage_root(address))
            self._accounts.set(keccak256(address), leaf)
        self._dirty.clear()
        return self._accounts.root()

    def prove(self, address: Address, slots: Sequence[int] = ()) -> AccountProof:
        """The account and those slots with their proofs; `TooMuch` beyond `PROOF_SLOTS_MAX`."""
        if len(slots) > PROOF_SLOTS_MAX:
            raise TooMuch("too many slots in one proof", why=f"{len(slots)}, at most {PROOF_SLOTS_MAX}")
        self.root()
        trie = self._storage.get(address) or Trie()
        proofs = []
        for slot in slots:
            key = _slot_key(slot)
            value = rlp.as_uint(rlp.decode(trie.get(key) or b"\x80"), 256)
            proofs.append(SlotProof(slot, value, tuple(trie.prove(key))))
        return AccountProof(
            address,
            self._executor.account(address),
            trie.root(),
            tuple(self._accounts.prove(keccak256(address))),
            tuple(proofs),
        )

    def _storage_root(self, address: Address) -> Hash32:
        trie = self._storage.get(address)
        return EMPTY_ROOT if trie is None else trie.root()


def encode_account(account: Account, storage_root: Hash32) -> bytes:
    """The leaf of the account trie: `rlp([nonce, balance, storage root, code hash])`."""
    code_hash = _NO_CODE if account.code_hash == ZERO_HASH else account.code_hash
    return rlp.encode([account.nonce, account.balance, storage_root, code_hash])


def persist(diff: StateDiff, batch: Batch) -> None:
    """Add the diff's new values to a database batch."""
    for address, (_, account) in diff.accounts.items():
        if account is None:
            batch.delete(ACCOUNTS, address)
        else:
            batch.put(ACCOUNTS, address, rlp.encode([account.nonce, account.balance, account.code_hash]))
    for (address, slot), (_, value) in diff.slots.items():
        key = address + slot.to_bytes(32, "big")
        if value:
            batch.put(SLOTS, key, rlp.encode_uint(value))
        else:
            batch.delete(SLOTS, key)
    for code_hash, code in diff.codes.items():
        batch.put(CODES, code_hash, code)


def _slot_key(slot: int) -> bytes:
    return keccak256(slot.to_bytes(32, "big"))


def _stored(store: KeyValue) -> Iterator[StateDiff]:
    """The database's state as diffs from nothing, in pieces: code first, as accounts name it."""
    diff = StateDiff(codes={Hash32(code_hash): code for code_hash, code in store.items(CODES)})
    for code_hash, code in diff.codes.items():  # the state root covers the hash only
        if keccak256(code) != code_hash:
            raise CorruptLedger("a contract's code is not what its hash says", why=f"0x{code_hash.hex()}")
    for address, value in store.items(ACCOUNTS):
        nonce, balance, named = rlp.as_list(rlp.decode(value, bytes_max=128), 3)
        account = Account(rlp.as_uint(nonce), Wei(rlp.as_uint(balance, 256)), Hash32(rlp.as_bytes(named, 32)))
        diff.accounts[Address(address)] = (None, account)
        if len(diff.accounts) >= _LOAD_COUNT:
            yield diff
            diff = StateDiff()
    for key, value in store.items(SLOTS):
        slot = int.from_bytes(key[_ADDRESS_BYTES:], "big")
        diff.slots[Address(key[:_ADDRESS_BYTES]), slot] = (0, rlp.as_uint(rlp.decode(value, bytes_max=64), 256))
        if len(diff.slots) >= _LOAD_COUNT:
            yield diff
            diff = StateDiff()
    yield diff
