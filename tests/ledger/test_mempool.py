"""The mempool: what it admits, replaces, evicts and hands to a block."""

from __future__ import annotations

import random

import pytest

from comity.ledger import mempool
from comity.ledger.errors import InvalidTransaction
from comity.ledger.mempool import Limits, Mempool, PoolRefused
from comity.ledger.types import Account, Transaction
from comity.record.types import Address, Wei
from support.transfers import ALICE, BOB, GAS, tx

LIMIT = 10 * GAS
RICH = Account(0, Wei(10**18))


def pool_of(*transactions: Transaction, limits: Limits | None = None) -> Mempool:
    pool = Mempool(limits)
    for transaction in transactions:
        pool.add(transaction, RICH, LIMIT)
    return pool


def refusal(pool: Mempool, transaction: Transaction, account: Account = RICH) -> PoolRefused:
    before = list(pool)
    with pytest.raises(PoolRefused) as caught:
        pool.add(transaction, account, LIMIT)
    assert list(pool) == before
    return caught.value


def test_nonces_leave_in_order_the_higher_tip_first_then_the_first_come() -> None:
    late = tx(0, BOB, tip=5)
    first, second = tx(0, ALICE), tx(1, ALICE, tip=9)
    third = tx(0, Address(b"c" * 20))
    pool = pool_of(second, third, first, late)
    assert pool.take(LIMIT) == (late, third, first, second)
    assert pool.take(2 * GAS) == (late, third)
    assert len(pool) == 4


def test_a_gap_waits() -> None:
    pool = pool_of(tx(1), tx(2))
    assert pool.take(LIMIT) == ()
    before = pool.ready
    pool.add(tx(0), RICH, LIMIT)
    assert (before, pool.ready) == (False, True)
    assert [t.nonce for t in pool.take(LIMIT)] == [0, 1, 2]
    assert pool.next_nonce(ALICE, RICH) == 3


def test_refusals_say_why_and_what_would_pass() -> None:
    pool = pool_of(tx(0), limits=Limits(count_max=3, sender_count_max=2, gap_max=4))
    assert "known" in str(refusal(pool, tx(0)))
    low = refusal(pool, tx(3), Account(5, Wei(0)))
    assert "nonce too low" in str(low)
    assert low.hint == "sign it again with nonce 5"
    assert "too far ahead" in str(refusal(pool, tx(5)))
    assert "above the block's limit" in str(refusal(pool, tx(1, gas=LIMIT + 1)))
    assert "too large" in str(refusal(pool, tx(1, size=mempool.BLOCK_TRANSACTIONS_BYTES_MAX + 1)))
    assert "insufficient balance" in str(refusal(pool, tx(1, value=11), Account(0, Wei(10))))
    assert "insufficient balance" in str(refusal(pool, tx(1, tip=1), Account(0, Wei(GAS - 1))))
    pool.add(tx(1), RICH, LIMIT)
    assert "of one sender" in str(refusal(pool, tx(2)))
    pool.add(tx(0, BOB), RICH, LIMIT)
    assert "pool is full" in str(refusal(pool, tx(1, BOB)))
    assert "pool is full" in str(refusal(pool_of(tx(0), limits=Limits(bytes_max=150)), tx(1)))


def stranger(index: int) -> Address:
    return Address(index.to_bytes(20, "big"))


def test_a_full_pool_drops_what_no_block_could_take() -> None:
    """Else anybody could close the ledger for hours, for nothing, with transactions that wait for a nonce."""
    pool = pool_of(tx(0, BOB), *(tx(5, stranger(i)) for i in range(9)), limits=Limits(count_max=10))
    assert "pool is full" in str(refusal(pool, tx(1)))  # nor could a block take this one
    pool.add(tx(0), RICH, LIMIT)
    pool.add(tx(1), RICH, LIMIT)
    assert len(pool) == 10
    assert [t.sender for t in pool.take(LIMIT)] == [BOB, ALICE, ALICE]


def test_strangers_give_way_to_members_and_senders_take_turns() -> None:
    pool = Mempool(Limits(count_max=10), is_member=lambda address: address in (ALICE, BOB))
    for transaction in [tx(n, stranger(1), tip=9) for n in range(5)] + [tx(n) for n in range(5)]:
        pool.add(transaction, RICH, LIMIT)
    assert "pool is full" in str(refusal(pool, tx(0, stranger(2), tip=99)))
    pool.add(tx(0, BOB), RICH, LIMIT)
    assert len(pool) == 10
    taken = [(t.sender, t.nonce) for t in pool.take(LIMIT)]
    assert taken == [(ALICE, 0), (BOB, 0), *((ALICE, n) for n in range(1, 5)), *((stranger(1), n) for n in range(4))]
    members_only = Mempool(Limits(count_max=2), is_member=lambda _: True)
    for nonce in range(2):
        members_only.add(tx(nonce), RICH, LIMIT)
    assert "pool is full" in str(refusal(members_only, tx(0, BOB)))


def test_what_is_refused_after_all_drops_nobody() -> None:
    def rule(transaction: Transaction) -> None:
        if transaction.sender == ALICE:
            raise InvalidTransaction("not here")

    pool = Mempool(Limits(count_max=1), rule=rule)
    pool.add(tx(5, BOB), RICH, LIMIT)
    with pytest.raises(InvalidTransaction):
        pool.add(tx(0), RICH, LIMIT)
    assert list(pool) == [tx(5, BOB)]


def test_promises_of_one_sender_add_up() -> None:
    pool = Mempool()
    account = Account(0, Wei(10))
    pool.add(tx(0, value=6), account, LIMIT)
    assert "6 are promised already" in str(refusal(pool, tx(1, value=5), account))
    pool.add(tx(1, value=4), account, LIMIT)


def test_a_replacement_pays_a_tenth_more() -> None:
    pool = pool_of(tx(0, tip=100))
    assert "underpriced" in str(refusal(pool, tx(0, tip=109)))
    better = tx(0, tip=110)
    pool.add(better, RICH, LIMIT)
    assert pool.take(LIMIT) == (better,)
    assert len(pool) == 1
    free = pool_of(tx(0))
    assert "underpriced" in str(refusal(free, tx(0, value=1)))
    free.add(tx(0, tip=1), RICH, LIMIT)


def test_the_chains_rule_is_asked() -> None:
    def rule(_: Transaction) -> None:
        raise InvalidTransaction("not here")

    pool = Mempool(rule=rule)
    with pytest.raises(InvalidTransaction):
        pool.add(tx(), RICH, LIMIT)
    assert len(pool) == 0


def test_a_block_takes_its_transactions_and_what_became_impossible() -> None:
    pool = pool_of(tx(0), tx(1), tx(2, value=5), tx(3, value=5), tx(0, BOB))
    pool.on_commit([tx(0).raw], {ALICE: Account(2, Wei(5))})
    assert list(pool) == [tx(2, value=5), tx(0, BOB)]
    assert pool.is_known(tx(0).hash)
    assert tx(0).hash not in pool
    assert "known" in str(refusal(pool, tx(0)))


def test_an_account_looked_up_before_the_block_does_not_bring_a_used_nonce_back() -> None:
    pool = Mempool()
    pool.on_commit([tx(0).raw], {ALICE: Account(1, Wei(0))})
    assert "nonce too low" in str(refusal(pool, tx(0, tip=1), RICH))
    pool.add(tx(1), RICH, LIMIT)
    assert pool.ready


def test_announcing_is_bounded() -> None:
    pool = pool_of(*(tx(n) for n in range(9)), tx(5, BOB))
    assert pool.announce(10_000, 100) == tuple(tx(n).raw for n in range(9))
    assert len(pool.announce(350, 100)) == 3
    assert len(pool.announce(10_000, 4)) == 4


def test_what_nobody_takes_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "LIFETIME_BLOCKS_MAX", 10)
    monkeypatch.setattr(mempool, "RECENT_COUNT_MAX", 5)
    pool = pool_of(tx(7))
    for index in range(64):
        pool.on_commit([bytes([index])], {})
    assert len(pool) == 0


def test_random_histories_keep_the_books() -> None:
    """After any history: sizes agree, no nonce twice, `take` is executable from the accounts, promises are covered."""
    for seed in range(30):
        rng = random.Random(seed)
        pool = Mempool(Limits(count_max=25, sender_count_max=8, gap_max=6))
        senders = [Address(bytes([n]) * 20) for n in range(1, 5)]
        accounts = {s: Account(0, Wei(3_000_000)) for s in senders}
        for _ in range(200):
            sender = rng.choice(senders)
            account = accounts[sender]
            move = rng.random()
            if move < 0.75:
                nonce = account.nonce + rng.randint(-1, 7)
                new = tx(max(0, nonce), sender, tip=rng.choice((0, 1, 10, 20)), value=rng.randint(0, 900_000))
                try:
                    pool.add(new, account, LIMIT)
                except PoolRefused:
                    continue
            elif move < 0.85 and len(pool):
                pool.remove(rng.choice(list(pool)).hash)
            else:
                taken = pool.take(rng.randint(0, LIMIT))
                for each in taken:
                    before = accounts[each.sender]
                    assert each.nonce == before.nonce
                    accounts[each.sender] = Account(before.nonce + 1, Wei(rng.randint(0, 3_000_000)))
                pool.on_commit([t.raw for t in taken], {t.sender: accounts[t.sender] for t in taken})
            keys = [(t.sender, t.nonce) for t in pool]
            assert len(keys) == len(set(keys)) == len(pool) <= 25
            assert all(t.nonce >= accounts[t.sender].nonce for t in pool)
            for s in senders:
                promised = sum(t.gas * t.max_fee + t.value for t in pool if t.sender == s)
                assert promised <= accounts[s].balance
            assert pool.ready == any((s, accounts[s].nonce) in keys for s in senders)
