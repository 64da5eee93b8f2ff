"""The chain: what is built passes, what is changed does not, and a crash anywhere leaves a whole block or none."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import light
from comity.ledger.archive import LogFilter, created_address
from comity.ledger.block import header_hash, transactions_root, validators_hash
from comity.ledger.chain import TABLES, Chain
from comity.ledger.errors import (
    CorruptLedger,
    Divergence,
    InvalidBlock,
    InvalidGenesis,
    InvalidSeals,
    InvalidTransaction,
    Reverted,
    TooMuch,
    UnknownBlock,
)
from comity.ledger.executor import Message
from comity.ledger.state import State, encode_account
from comity.ledger.trie import verify_proof
from comity.ledger.types import ZERO_HASH, Account, Block, SealedBlock, Transaction, ValidatorSet
from comity.record.digest import keccak256
from comity.record.types import Hash32, Wei
from comity.store.errors import StoreError
from comity.store.kv import Batch
from comity.store.memory import MemoryStore
from support.accounts import address, raw, signed
from support.ledger import (
    ALICE,
    BOB,
    GENESIS,
    STORE,
    STORE_CODE,
    VALIDATORS,
    executor,
    grow,
    open_chain,
    seal,
    send,
    store,
)

COINBASE = VALIDATORS[0].address


def _root(chain: Chain) -> Hash32:
    chain._rewind()
    return chain._state.root()


def test_grows_and_answers() -> None:
    chain = open_chain()
    assert chain.storage(STORE, 1) == 7, "the installing call ran"
    told = grow(
        chain,
        send(chain, "alice", STORE, data=store(9, 2)),
        send(chain, "alice", None, 1, data=bytes.fromhex("5f5ff3"), gas=60_000),
    )
    assert (chain.height, told.hash) == (1, header_hash(chain.head.block.header))
    assert told.accounts == {ALICE: Account(2, Wei(10**18))}
    assert told.validators == GENESIS.validators
    assert chain.storage(STORE, 2) == 9
    assert chain.code(STORE) == STORE_CODE
    assert (chain.code(ALICE), chain.account(address("nobody"))) == (b"", None)
    assert chain.block(1) == chain.head
    assert chain.height_of(told.hash) == 1
    place = chain.place(told.transactions[1].hash)
    assert place is not None
    assert chain.transaction(place) == told.transactions[1]
    receipt = chain.receipt(place)
    assert receipt == replace(told.receipts[1], output=b"")
    assert receipt.contract == created_address(ALICE, 1)
    assert chain.place(ZERO_HASH) is None
    assert chain.call(Message(BOB, STORE, store(1, 1))).succeeded
    assert chain.estimate_gas(Message(BOB, address("new"), value=1)) == 21_000
    with pytest.raises(Reverted):
        chain.estimate_gas(Message(BOB, None, bytes.fromhex("5f5ffd")))


def test_proofs_verify_against_the_header_alone() -> None:
    chain = open_chain()
    told = grow(chain, send(chain, "alice", STORE, data=store(9, 2)), send(chain, "bob", ALICE, value=1))
    header = chain.head.block.header
    place = chain.place(told.transactions[1].hash)
    assert place is not None
    light.verify_transaction(header, 1, told.transactions[1].raw, chain.transaction_proof(place))
    encoded, proof = chain.receipt_proof(place)
    assert light.verify_receipt(header, 1, encoded, proof).succeeded
    found = chain.prove(STORE, [1, 2, 3])
    account = found.account
    assert account is not None
    assert light.verify_account(header, STORE, found.nodes) == encode_account(account, found.storage_root)
    assert [slot.value for slot in found.slots] == [7, 9, 0]
    for slot in found.slots:
        value = verify_proof(found.storage_root, keccak256(slot.slot.to_bytes(32, "big")), slot.nodes)
        assert int.from_bytes(value or b"", "big") == slot.value
    absent = chain.prove(address("nobody"))
    assert absent.account is None
    assert light.verify_account(header, address("nobody"), absent.nodes) is None
    with pytest.raises(TooMuch):
        chain.prove(STORE, range(2_000))


def test_another_replica_agrees() -> None:
    ours, theirs = open_chain(), open_chain()
    assert ours.head == theirs.head
    for n in range(3):
        block, _ = ours.build(
            1_001 + n, COINBASE, [send(ours, "alice", STORE, data=store(n, n)), send(ours, "bob", ALICE, value=n)]
        )
        theirs.check(block)
        assert replace(theirs.commit(seal(block)), sealed=seal(block)) == ours.commit(seal(block))
    assert ours.head == theirs.head
    assert _root(ours) == _root(theirs) == ours.head.block.header.state_root


def test_checked_but_not_committed_leaves_nothing() -> None:
    chain, other = open_chain(), open_chain()
    blocks = [other.build(1_001 + n, COINBASE, [send(other, "alice", STORE, data=store(n, 1))])[0] for n in range(12)]
    root = _root(chain)
    for block in blocks:
        chain.check(block)
        assert chain.storage(STORE, 1) == 7
        assert (chain.account(ALICE) or Account()).nonce == 0
        assert _root(chain) == root
    chain.check(blocks[1])
    chain.commit(seal(blocks[0]))  # checked long ago, and forgotten since
    assert chain.storage(STORE, 1) == 0
    assert _root(chain) == chain.head.block.header.state_root


def test_a_commit_executes_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = open_chain()
    block, _ = chain.build(1_001, COINBASE, [send(chain, "alice", STORE, data=store(1, 1))])

    def never(*_: Any) -> None:
        raise AssertionError("executed again")

    monkeypatch.setattr(chain._executor, "execute", never)
    chain.check(block)
    assert chain.storage(STORE, 1) == 7
    chain.commit(seal(block))
    assert chain.storage(STORE, 1) == 1


def test_committing_twice_answers_the_same() -> None:
    chain = open_chain()
    first = grow(chain, send(chain, "alice", BOB, value=1))
    again = chain.commit(chain.head)
    assert (again.hash, again.accounts, again.validators) == (first.hash, first.accounts, first.validators)
    other, _ = open_chain().build(1_500, COINBASE, [])
    with pytest.raises(InvalidBlock, match="another block"):
        chain.commit(seal(other))


def _block(chain: Chain, **changes: Any) -> Block:
    block, _ = chain.build(1_001, COINBASE, [send(chain, "alice", STORE, data=store(3, 3))])
    return replace(block, header=replace(block.header, **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parent": ZERO_HASH}, "follow"),
        ({"height": 2}, "follow"),
        ({"timestamp": 999}, "older"),
        ({"gas_limit": 1}, "gas limit"),
        ({"extra": ZERO_HASH}, "validator set"),
        ({"mix": Hash32(b"\1" * 32)}, "genesis"),
        ({"transactions_root": ZERO_HASH}, "not those"),
    ],
)
def test_bad_headers(changes: dict[str, Any], reason: str) -> None:
    chain = open_chain()
    block = _block(chain, **changes)
    root = _root(chain)
    with pytest.raises(InvalidBlock, match=reason) as caught:
        chain.check(block)
    assert not isinstance(caught.value, Divergence)
    with pytest.raises((InvalidBlock, InvalidSeals)):
        chain.commit(seal(block))
    assert _root(chain) == root
    assert chain.height == 0


@pytest.mark.parametrize(
    "changes", [{"state_root": ZERO_HASH}, {"receipts_root": ZERO_HASH}, {"gas_used": 1}, {"bloom": b"\1" * 256}]
)
def test_divergence_carries_evidence_and_undoes(changes: dict[str, Any]) -> None:
    chain = open_chain()
    block = _block(chain, **changes)
    root = _root(chain)
    for act in (lambda: chain.check(block), lambda: chain.commit(seal(block))):
        with pytest.raises(Divergence) as caught:
            act()
        assert set(caught.value.evidence["differs"]) == set(changes)  # type: ignore[call-overload]
        assert len(caught.value.evidence["transactions"]) == 1  # type: ignore[arg-type]
    assert _root(chain) == root
    grow(chain, send(chain, "alice", BOB, value=1))


def test_a_known_header_with_other_transactions_is_refused() -> None:
    chain = open_chain()
    block, _ = chain.build(1_001, COINBASE, [send(chain, "alice", BOB, value=1)])
    swapped = Block(block.header, (send(chain, "alice", BOB, value=2).raw,))
    with pytest.raises(InvalidBlock):
        chain.check(swapped)
    with pytest.raises(InvalidBlock):
        chain.commit(seal(swapped))
    assert chain.height == 0


def _holding(chain: Chain, raws: list[bytes]) -> Block:
    """A block that a liar makes: the right transactions root, whatever is in it."""
    block, _ = chain.build(1_001, COINBASE, [])
    root = transactions_root(raws)
    return Block(replace(block.header, transactions_root=root), tuple(raws))


@pytest.mark.parametrize(
    ("raws", "reason"),
    [
        ([b"\x02\xc0"], "transaction 0 is not valid"),
        ([raw("alice", 1, BOB)], "may not run"),
        ([raw("alice", 0, BOB), raw("alice", 0, BOB)], "transaction 1 may not run"),
        ([raw("alice", 0, BOB, value=10**18 + 1)], "balance"),
        ([raw("alice", 0, BOB, chain_id=1)], "another chain"),
        ([raw("alice", n, BOB, gas=1 << 24) for n in range(5)], "Divergence"),
    ],
)
def test_bad_transactions(raws: list[bytes], reason: str) -> None:
    chain = open_chain()
    root = _root(chain)
    with pytest.raises(InvalidBlock) as caught:
        chain.check(_holding(chain, raws))
    assert reason in f"{type(caught.value).__name__}: {caught.value}"
    assert _root(chain) == root
    assert (chain.account(ALICE) or Account()).nonce == 0


def test_gas_must_fit_the_block() -> None:
    """Each may use 2^24 and really does: the fifth finds no room in 2^26."""
    chain = open_chain()
    burn = [signed("alice", n, None, data=b"\xfe", gas=1 << 24) for n in range(5)]
    block, refused = chain.build(1_001, COINBASE, burn)
    assert (len(block.transactions), refused) == (4, ())
    with pytest.raises(InvalidBlock, match="gas does not suffice"):
        chain.check(_holding(chain, [t.raw for t in burn]))


def test_build_leaves_out_and_says_why() -> None:
    chain = open_chain()
    grow(chain, send(chain, "alice", BOB))
    good, gap = send(chain, "alice", BOB), send(chain, "alice", BOB, 5)
    stale, poor = signed("alice", 0, BOB), signed("carol", 0, BOB, value=1)
    block, refused = chain.build(500, COINBASE, [gap, stale, poor, good])
    assert block.transactions == (good.raw,)
    assert block.header.timestamp == 1_001, "never before the parent"
    assert {h for h, _ in refused} == {stale.hash, poor.hash}
    chain.check(block)


def test_the_rule_sees_the_head_and_holds_for_all() -> None:
    seen: list[int] = []

    def rule(transaction: Transaction) -> None:
        seen.append(chain.storage(STORE, 1))
        if transaction.to == BOB:
            raise InvalidTransaction("nobody sends to bob")

    chain = open_chain(rule=rule)
    allowed = [send(chain, "alice", STORE, n, data=store(50 + n, 1)) for n in range(2)]
    refused = send(chain, "bob", BOB)
    block, reasons = chain.build(1_001, COINBASE, [*allowed, refused])
    assert (len(block.transactions), reasons) == (2, ((refused.hash, "nobody sends to bob"),))
    open_chain(rule=lambda _: None).check(block)
    assert set(seen) == {7}
    with pytest.raises(InvalidBlock, match="nobody sends to bob"):
        chain.check(_holding(chain, [refused.raw]))


def test_seals_must_be_a_quorum_of_the_next_set() -> None:
    chain = open_chain()
    block, _ = chain.build(1_001, COINBASE, [])
    for keys in (VALIDATORS[:2], [*VALIDATORS[:2], VALIDATORS[0]]):
        with pytest.raises(InvalidSeals):
            chain.commit(seal(block, keys))
    assert chain.height == 0
    chain.commit(seal(block, VALIDATORS[1:]))


def test_the_validator_set_may_come_from_the_state() -> None:
    full = GENESIS.validators

    def validators(chain: Chain) -> ValidatorSet:
        return ValidatorSet(full.members[: 4 if chain.storage(STORE, 1) == 7 else 3])

    chain = open_chain(validators=validators)
    told = grow(chain, send(chain, "alice", STORE, data=store(1, 1)))
    assert len(told.validators) == 3
    assert chain.head.block.header.extra == validators_hash(full)
    block, _ = chain.build(1_002, COINBASE, [])
    assert block.header.extra == validators_hash(told.validators)
    with pytest.raises(InvalidSeals):
        chain.commit(seal(block))
    chain.commit(seal(block, VALIDATORS[:3]))


def test_watched_accounts_are_told_when_they_change() -> None:
    chain = open_chain()
    block, _ = chain.build(1_001, COINBASE, [send(chain, "alice", BOB, value=5)])
    told = chain.commit(seal(block), watch=[BOB, STORE])
    assert set(told.accounts) == {ALICE, BOB}


# ── Disk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_reopens_where_it_was() -> None:
    disk = MemoryStore(TABLES)
    chain = open_chain(disk)
    for n in range(4):
        grow(
            chain,
            send(chain, "alice", STORE, data=store(n, n % 2)),
            send(chain, "bob", None, data=b"\x5f\x5f\xf3", gas=60_000),
        )
    again = open_chain(disk)
    assert (again.head, _root(again)) == (chain.head, _root(chain))
    assert again._executor.accounts() == chain._executor.accounts()
    assert [again.storage(STORE, slot) for slot in range(3)] == [2, 3, 0]
    grow(again, send(again, "alice", BOB))
    assert again.height == 5


class _Faulty(MemoryStore):
    """Loses power in the middle of the n-th write."""

    def __init__(self, fail_at: int, seed: int) -> None:
        super().__init__(TABLES)
        self.left, self.rng = fail_at, random.Random(seed)

    def write(self, batch: Batch) -> None:
        self.left -= 1
        if self.left == 0:
            self.begin(batch)
            self.crash(self.rng)
            raise StoreError("power lost")
        super().write(batch)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fail_at", range(1, 6))
def test_a_crash_leaves_a_whole_block_or_none(fail_at: int, seed: int) -> None:
    disk = _Faulty(fail_at, seed)
    height = -1
    with pytest.raises(StoreError):
        chain = open_chain(disk)
        while True:
            height = chain.height
            grow(chain, send(chain, "alice", STORE, data=store(chain.height, 1)))
    again = open_chain(disk)
    assert again.height in {max(height, 0), height + 1}
    assert _root(again) == again.head.block.header.state_root
    grow(again, send(again, "alice", BOB))


def test_a_failed_write_can_be_tried_again() -> None:
    disk = _Faulty(2, 0)
    chain = open_chain(disk)
    block, _ = chain.build(1_001, COINBASE, [send(chain, "alice", STORE, data=store(1, 1))])
    disk.rng = random.Random(1)
    disk.crash = lambda coin: setattr(disk, "_under_way", None)  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        chain.commit(seal(block))
    assert (chain.height, chain.storage(STORE, 1)) == (0, 7)
    chain.commit(seal(block))
    assert (chain.height, chain.storage(STORE, 1)) == (1, 1)


@pytest.mark.parametrize("table", ["accounts", "slots", "codes"])
def test_a_changed_database_is_noticed(table: str) -> None:
    disk = MemoryStore(TABLES)
    grow(open_chain(disk), signed("alice", 0, STORE, data=store(9, 9)))
    key, value = next(iter(disk.items(table)))
    for wrong in (value[:-1] + bytes([value[-1] ^ 1]), b"\x81", None):
        batch = Batch()
        if wrong is None:
            batch.delete(table, key)
        else:
            batch.put(table, key, wrong)
        disk.write(batch)
        with pytest.raises(CorruptLedger):
            open_chain(disk)
    batch = Batch()
    batch.put(table, key, value)
    disk.write(batch)
    open_chain(disk)


def test_another_genesis_is_refused() -> None:
    disk = MemoryStore(TABLES)
    open_chain(disk)
    with pytest.raises(InvalidGenesis, match="another genesis"):
        Chain(disk, executor(), replace(GENESIS, timestamp=1_001))


# ── Questions ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_logs() -> None:
    chain = open_chain()
    told = [grow(chain, send(chain, "alice", STORE, data=store(n, n)), send(chain, "alice", BOB, 1)) for n in range(3)]
    topic = Hash32((32).to_bytes(32, "big"))
    everything = chain.logs(0, 10, LogFilter())
    assert [(e.height, e.transaction, e.block_hash) for e in everything] == [
        (n + 1, told[n].transactions[0].hash, told[n].hash) for n in range(3)
    ]
    assert chain.logs(2, 2, LogFilter(frozenset({STORE}), (frozenset({topic}),))) == everything[1:2]
    second = (frozenset[Hash32](), frozenset({topic}))
    for nothing in (LogFilter(frozenset({BOB})), LogFilter(topics=(frozenset({ZERO_HASH}),)), LogFilter(topics=second)):
        assert chain.logs(0, 10, nothing) == []
    with pytest.raises(TooMuch):
        chain.logs(0, 10_000, LogFilter())


def test_unknown_blocks() -> None:
    chain = open_chain()
    for height in (-1, 1, 1 << 70):
        with pytest.raises(UnknownBlock):
            chain.block(height)
    with pytest.raises(UnknownBlock):
        chain.height_of(ZERO_HASH)


def test_blocks_by_bytes_and_count() -> None:
    chain = open_chain()
    for _ in range(4):
        grow(chain)
    assert [s.block.header.height for s in chain.blocks(1, 2, 1 << 20)] == [1, 2]
    assert len(chain.blocks(3, 9, 1)) == 1
    assert [s.block.header.height for s in chain.blocks(3, 9, 1 << 20)] == [3, 4]
    assert chain.blocks(5, 9, 1 << 20) == ()


# ── A random life, against a reference ───────────────────────────────────────────────────────────────────────────────
STEP = st.tuples(
    st.sampled_from(["build", "check", "commit", "ask", "reopen"]), st.integers(0, 3), st.integers(0, 3), st.booleans()
)


@given(st.lists(STEP, max_size=14))
def test_any_order_of_questions(steps: list[tuple[str, int, int, bool]]) -> None:
    """Whatever is built, checked or asked in between, state and root are those of the committed blocks alone."""
    disk = MemoryStore(TABLES)
    chain, plain = open_chain(disk), open_chain()
    last: Block | None = None
    for act, value, slot, priced in steps:
        if act in ("build", "check"):
            maker = chain if act == "build" else plain
            fee = {"max_fee": 2, "max_priority_fee": 1} if priced else {}
            last, _ = maker.build(
                1_001 + value, COINBASE, [send(maker, "alice", STORE, data=store(value, slot), **fee)]
            )
            chain.check(last)
        elif act == "commit" and last is not None and last.header.height == chain.height + 1:
            sealed: SealedBlock = seal(last)
            assert chain.commit(sealed).accounts == plain.commit(sealed).accounts
        elif act == "reopen":
            chain = open_chain(disk)
        else:
            assert chain.storage(STORE, slot) == plain.storage(STORE, slot)
    assert (chain.head, _root(chain)) == (plain.head, _root(plain))
    fresh = State(executor())
    fresh.load(disk)
    assert fresh.root() == chain.head.block.header.state_root
