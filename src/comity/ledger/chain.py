"""The chain: builds blocks, checks them, commits them, and answers questions about its head.

One owner, no threads, no clock. Which block is to be committed is consensus' decision (`qbft`); format and rules: docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from comity.ledger import archive, state
from comity.ledger.archive import Archive
from comity.ledger.block import (
    BLOCK_BYTES_MAX,
    TRANSACTIONS_COUNT_MAX,
    encode_block,
    header_hash,
    join_blooms,
    receipts_root,
    transactions_root,
    validators_hash,
)
from comity.ledger.diff import StateDiff
from comity.ledger.errors import CorruptLedger, InvalidBlock, InvalidGenesis, InvalidTransaction
from comity.ledger.executor import CallResult, Environment, Executor, Message, estimate_gas
from comity.ledger.genesis import NOTHING, Genesis, Installation, genesis_block
from comity.ledger.light import verify_seals
from comity.ledger.run import Executed, Run, divergence
from comity.ledger.state import AccountProof, State
from comity.ledger.transaction import decode
from comity.ledger.types import (
    Account,
    Block,
    Header,
    Receipt,
    SealedBlock,
    Transaction,
    ValidatorSet,
)
from comity.record.errors import ComityError
from comity.record.types import Address, Hash32, Height
from comity.store.kv import Batch, KeyValue

TABLES = (*archive.TABLES, *state.TABLES)
"""The tables that a store for a chain must have."""
CHECKED_MAX = 8
"""Blocks checked at one height, kept so that a commit executes nothing twice."""

Rule = Callable[[Transaction], None]
"""Raises a `ComityError` for a transaction that no block may hold on top of the head."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit changed. `accounts`: after the block, each sender in it and each watched account that it changed."""

    sealed: SealedBlock
    hash: Hash32
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]
    accounts: dict[Address, Account]
    validators: ValidatorSet
    """The set that seals the next block."""


def _no_rule(_: Transaction) -> None:
    """The rule that refuses nothing."""


class Chain(Archive):
    """A replica's chain. The executor must be empty: everything in it comes from `store`, or from the genesis."""

    def __init__(
        self,
        store: KeyValue,
        executor: Executor,
        genesis: Genesis,
        *,
        installation: Installation = NOTHING,
        rule: Rule = _no_rule,
        validators: Callable[[Chain], ValidatorSet] | None = None,
    ) -> None:
        """Open the chain, or begin it. `validators` reads the set for the next block from the head; without, the genesis set.

        Raises `CorruptLedger` when the database does not give its head's state root, `InvalidGenesis` when that is another
        network's.
        """
        super().__init__(store, genesis.chain_id)
        self.genesis = genesis
        self._executor = executor
        self._state = State(executor)
        self._rule = rule
        self._set_of = validators
        self._checked: dict[Hash32, Executed] = {}
        self._live: Executed | None = None
        """A block above the head whose changes are in executor and tries; None when these are the head's."""
        head = self._stored_head()
        self.head = self._begin(installation) if head is None else self._open(head)
        """The last committed block."""
        self.validators = self._next_validators()
        """The set that seals the next block."""

    def _begin(self, installation: Installation) -> SealedBlock:
        sealed, diff = genesis_block(self.genesis, self._executor, installation)
        self._state.follow(diff)
        batch = Batch()
        state.persist(diff, batch)
        archive.persist(sealed, header_hash(sealed.block.header), (), (), batch)
        self._store.write(batch)
        return sealed

    def _open(self, head: SealedBlock) -> SealedBlock:
        if self.block(0).block.header.mix.hex() != self.genesis.digest:
            raise InvalidGenesis(
                "this ledger began with another genesis", hint="use an empty folder for another network"
            )
        self._state.load(self._store)
        root, wanted = self._state.root(), head.block.header.state_root
        if root != wanted:
            raise CorruptLedger(
                f"the ledger's state is not that of block {head.block.header.height}",
                why=f"root {root.hex()}, the header says {wanted.hex()}",
                hint="keep a copy as evidence, then remove the ledger folder and sync again",
            )
        return head

    # ── Growing ──────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def height(self) -> Height:
        """The head's height."""
        return self.head.block.header.height

    def build(
        self, timestamp: int, coinbase: Address, transactions: Iterable[Transaction]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]:
        """A block on the head with those transactions, in order, that can stand in it; it is checked already.

        Also the hashes of those that can stand in no block, with the reason; what merely does not fit, or waits for an
        earlier nonce, is in neither. `timestamp`: unix seconds, raised to the parent's.
        """
        self._rewind()
        timestamp = max(timestamp, self.head.block.header.timestamp)
        run = Run(self._executor, Environment(self.height + 1, timestamp, coinbase), self.genesis.gas_limit)
        refused: list[tuple[Hash32, str]] = []
        allowed = [
            t for t in transactions if self._allows(t, refused)
        ]  # the rule sees the head, so before any of them runs
        try:
            for transaction in allowed:
                account = self._executor.account(transaction.sender) or Account()
                if transaction.nonce > account.nonce or not run.fits(transaction):
                    continue
                try:
                    run.add(transaction)
                except InvalidTransaction as error:
                    refused.append((transaction.hash, str(error)))
        except BaseException:
            run.undo()
            raise
        self._state.follow(run.diff)
        executed = self._sealable(run, timestamp, coinbase)
        self._remember(executed)
        return executed.block, tuple(refused)

    def check(self, block: Block) -> None:
        """Execute a block on the head. Raises `InvalidBlock` with the reason; `Divergence` when only our results differ."""
        block_hash = header_hash(block.header)
        known = self._checked.get(block_hash)
        if known is not None and known.block == block:
            return
        self._rewind()
        self._check_header(block)
        transactions = self._decode(block)
        header = block.header
        run = Run(self._executor, Environment(header.height, header.timestamp, header.coinbase), self.genesis.gas_limit)
        try:
            for index, transaction in enumerate(transactions):
                if not run.fits(transaction):
                    raise InvalidBlock("the block's gas does not suffice", why=f"transaction {index}")
                try:
                    run.add(transaction)
                except InvalidTransaction as error:
                    raise InvalidBlock(f"transaction {index} may not run", why=str(error)) from None
        except BaseException:
            run.undo()
            raise
        self._state.follow(run.diff)
        executed = self._sealable(run, header.timestamp, header.coinbase)
        if executed.hash != block_hash:
            self._state.undo(run.diff)
            raise divergence(block.header, executed)
        self._remember(executed)

    def commit(self, sealed: SealedBlock, watch: Sequence[Address] = ()) -> Committed:
        """Make a sealed block the head, durably, in one write. Committing it again changes nothing and answers the same.

        Raises `InvalidSeals`, `InvalidBlock` or `Divergence`; then the chain is as before.
        """
        block_hash = header_hash(sealed.block.header)
        if sealed.block.header.height <= self.height:
            return self._again(sealed, block_hash, watch)
        verify_seals(self.genesis.chain_id, sealed.block.header, sealed.seals, self.validators)
        self.check(sealed.block)
        executed = self._checked[block_hash]
        self._replay(executed)
        batch = Batch()
        state.persist(executed.diff, batch)
        hashes = [transaction.hash for transaction in executed.transactions]
        archive.persist(sealed, block_hash, hashes, executed.receipts, batch)
        self._store.write(batch)
        self.head, self._live = sealed, None
        self._checked.clear()
        self.validators = self._next_validators()
        return self._committed(sealed, executed, watch)

    def _again(self, sealed: SealedBlock, block_hash: Hash32, watch: Sequence[Address]) -> Committed:
        height = sealed.block.header.height
        ours = self.block(height)
        if header_hash(ours.block.header) != block_hash:
            raise InvalidBlock("another block is committed at that height", why=f"height {height}")
        self._rewind()
        executed = Executed(ours.block, block_hash, self.transactions(height), self.receipts(height), StateDiff())
        return self._committed(ours, executed, watch)

    def _committed(self, sealed: SealedBlock, executed: Executed, watch: Sequence[Address]) -> Committed:
        told = {transaction.sender for transaction in executed.transactions}
        told.update(address for address in watch if address in executed.diff.accounts)
        accounts = {address: self._executor.account(address) or Account() for address in sorted(told)}
        return Committed(
            sealed, executed.hash, executed.transactions, executed.receipts, accounts, self.validators
        )  # fmt: skip

    # ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _check_header(self, block: Block) -> None:
        header, parent = block.header, self.head.block.header
        if header.parent != header_hash(parent) or header.height != parent.height + 1:
            raise InvalidBlock("the block does not follow the head", why=f"height {header.height} on {parent.height}")
        if header.timestamp < parent.timestamp:
            raise InvalidBlock("the block is older than its parent", why=f"{header.timestamp} < {parent.timestamp}")
        if header.gas_limit != self.genesis.gas_limit:
            raise InvalidBlock("the block has another gas limit than the chain", why=f"{header.gas_limit}")
        if header.extra != validators_hash(self.validators):
            raise InvalidBlock("the block names another validator set than the state")
        if any(header.mix):
            raise InvalidBlock("only block 0 names a genesis")
        if len(block.transactions) > TRANSACTIONS_COUNT_MAX or len(encode_block(block)) > BLOCK_BYTES_MAX:
            raise InvalidBlock("the block is too large", why=f"at most {BLOCK_BYTES_MAX} bytes")
        if header.transactions_root != transactions_root(block.transactions):
            raise InvalidBlock("the block's transactions are not those of its header")

    def _decode(self, block: Block) -> tuple[Transaction, ...]:
        transactions = []
        for index, raw in enumerate(block.transactions):
            try:
                transaction = decode(raw, chain_id=self.genesis.chain_id)
                self._rule(transaction)
            except ComityError as error:
                raise InvalidBlock(f"transaction {index} is not valid", why=str(error)) from None
            transactions.append(transaction)
        return tuple(transactions)

    def _allows(self, transaction: Transaction, refused: list[tuple[Hash32, str]]) -> bool:
        try:
            self._rule(transaction)
        except ComityError as error:
            refused.append((transaction.hash, str(error)))
            return False
        return True

    def _next_validators(self) -> ValidatorSet:
        return self.genesis.validators if self._set_of is None else self._set_of(self)

    # ── The live world: the head's, or one block above it ────────────────────────────────────────────────────────────
    def _sealable(self, run: Run, timestamp: int, coinbase: Address) -> Executed:
        """The block of a run, its header complete; executor and tries hold the run's changes."""
        receipts = tuple(run.receipts)
        raws = tuple(transaction.raw for transaction in run.transactions)
        header = Header(
            parent=header_hash(self.head.block.header),
            coinbase=coinbase,
            state_root=self._state.root(),
            transactions_root=transactions_root(raws),
            receipts_root=receipts_root(receipts),
            bloom=join_blooms(receipt.bloom for receipt in receipts),
            height=Height(self.height + 1),
            gas_limit=self.genesis.gas_limit,
            gas_used=run.gas_used,
            timestamp=timestamp,
            extra=validators_hash(self.validators),
        )
        return Executed(Block(header, raws), header_hash(header), tuple(run.transactions), receipts, run.diff)

    def _remember(self, executed: Executed) -> None:
        self._live = executed
        if len(self._checked) >= CHECKED_MAX:
            del self._checked[next(iter(self._checked))]
        self._checked[executed.hash] = executed

    def _rewind(self) -> None:
        """Make the live world the head's."""
        if self._live is not None:
            self._state.undo(self._live.diff)
            self._live = None

    def _replay(self, executed: Executed) -> None:
        """Make the live world that after a checked block."""
        if self._live is not executed:
            self._rewind()
            self._state.apply(executed.diff)
            self._live = executed

    # ── Questions about the head ─────────────────────────────────────────────────────────────────────────────────────
    def account(self, address: Address) -> Account | None:
        """The account, or None if it does not exist."""
        self._rewind()
        return self._executor.account(address)

    def code(self, address: Address) -> bytes:
        """An account's code; empty for none."""
        account = self.account(address)
        return b"" if account is None else self._executor.code(account.code_hash)

    def storage(self, address: Address, slot: int) -> int:
        """A slot's value."""
        self._rewind()
        return self._executor.storage(address, slot)

    def call(self, message: Message, timestamp: int | None = None) -> CallResult:
        """Run a message as if in the head block (eth_call), or as if in a next block of that time (unix seconds)."""
        self._rewind()
        environment = self._environment()
        if timestamp is not None:
            environment = replace(
                environment, height=environment.height + 1, timestamp=max(timestamp, environment.timestamp)
            )
        return self._executor.call(message, environment)

    def estimate_gas(self, message: Message) -> int:
        """The gas that lets a message succeed; `Reverted` with the reason if `message.gas` does not suffice."""
        self._rewind()
        return estimate_gas(self._executor, message, self._environment())

    def prove(self, address: Address, slots: Sequence[int] = ()) -> AccountProof:
        """An account and slots with proofs against the head's state root (eth_getProof)."""
        self._rewind()
        return self._state.prove(address, slots)

    def _environment(self) -> Environment:
        header = self.head.block.header
        return Environment(header.height, header.timestamp, header.coinbase)
