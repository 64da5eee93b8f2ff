"""The executor: exact diffs, exact undo, cold starts, fees, reasons; and no trace of what is only asked."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import journal, selfcheck
from comity.ledger.archive import created_address
from comity.ledger.diff import StateDiff
from comity.ledger.errors import EngineError, InvalidTransaction, Reverted
from comity.ledger.executor import Environment, Message, Outcome, RevmExecutor, estimate_gas
from comity.ledger.state import State
from comity.ledger.types import ZERO_HASH, Account, Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Wei
from support.accounts import address, signed

ALICE, BOB, COINBASE = address("alice"), address("bob"), address("coinbase")
ENVIRONMENT = Environment(1, 1_000, COINBASE)
RICH = Wei(10**18)


def contract(name: str) -> Address:
    return Address(keccak256(name.encode())[:20])


def executor(codes: dict[str, str] | None = None, balance: Wei = RICH) -> RevmExecutor:
    """Alice, and contracts by name with runtime code in hexadecimal."""
    made = RevmExecutor(31337, 1 << 26)
    diff = StateDiff({ALICE: (None, Account(0, balance))})
    for name, text in (codes or {}).items():
        code = bytes.fromhex(text.replace(" ", ""))
        diff.codes[keccak256(code)] = code
        diff.accounts[contract(name)] = (None, Account(1, Wei(0), keccak256(code)))
    made.apply(diff)
    return made


def run(
    made: RevmExecutor, to: Address | None, data: bytes = b"", environment: Environment = ENVIRONMENT, **fields: Any
) -> Outcome:
    account = made.account(ALICE) or Account()
    return made.execute(signed("alice", account.nonce, to, data=data, **fields), environment)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


STORE = "5f35 6020 35 55 00"  # storage[second word] = first word: PUSH0 CALLDATALOAD PUSH1 32 CALLDATALOAD SSTORE


def test_self_check() -> None:
    selfcheck.self_check()


def test_self_check_refuses_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "version", lambda _: "0.3.8")
    with pytest.raises(EngineError, match="version"):
        selfcheck.self_check()


@pytest.mark.parametrize("name", ["_GAS_FIRST", "_GAS_CREATE", "_CODE"])
def test_self_check_can_fail(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(selfcheck, name, {"_CODE": b"\0"}.get(name, 1))
    with pytest.raises(EngineError, match="as measured"):
        selfcheck.self_check()


def test_transfer_with_fee() -> None:
    made = executor()
    outcome = run(made, BOB, value=5, max_fee=7, max_priority_fee=3)
    assert outcome.result.gas_used == 21_000
    assert outcome.diff.accounts == {
        ALICE: (Account(0, RICH), Account(1, Wei(RICH - 5 - 63_000))),
        BOB: (None, Account(0, Wei(5))),
        COINBASE: (None, Account(0, Wei(63_000))),
    }
    assert made.account(COINBASE) == Account(0, Wei(63_000))


def test_zero_price_touches_no_coinbase() -> None:
    assert set(run(executor(), BOB, value=5).diff.accounts) == {ALICE, BOB}


def test_sender_without_an_account_may_send_for_nothing() -> None:
    made = RevmExecutor(31337, 1 << 26)
    outcome = run(made, BOB)
    assert outcome.diff.accounts == {ALICE: (None, Account(1))}


def test_storage_costs_are_those_of_a_cold_start_every_time() -> None:
    made = executor({"store": STORE})
    gas = [run(made, contract("store"), word(value) + word(1)).result.gas_used for value in (5, 6, 6, 0, 7)]
    calldata = 21_000 + 62 * 4 + 2 * 16
    operations = 2 + 3 + 3 + 3
    assert gas[:3] == [calldata + operations + cost for cost in (22_100, 5_000, 2_200)]
    assert gas[3] == gas[1] - 12 - min(
        4_800, (gas[1] - 12) // 5
    )  # cleared: a zero byte of calldata less, and EIP-3529's refund
    assert gas[4] == gas[0]


def test_old_coinbase_and_access_list_are_cold_again() -> None:
    """revm loads both without a journal entry; what stays warm would make gas depend on history."""
    probe = "5f35 31 00"  # BALANCE of the word in calldata
    made = executor({"probe": probe, "store": STORE})
    other = address("other")
    cold = run(made, contract("probe"), word(int.from_bytes(other, "big"))).result.gas_used
    warm = run(
        made, contract("probe"), word(int.from_bytes(other, "big")), replace(ENVIRONMENT, coinbase=other)
    ).result.gas_used
    assert cold - warm == 2_500
    listed = ((other, (1,)),)
    run(made, contract("probe"), word(int.from_bytes(other, "big")), access_list=listed, kind=1)
    assert run(made, contract("probe"), word(int.from_bytes(other, "big"))).result.gas_used == cold
    before = run(made, contract("store"), word(1) + word(9)).result.gas_used
    with_list = run(
        made, contract("store"), word(2) + word(9), access_list=((contract("store"), (9,)),), kind=1
    ).result.gas_used
    assert with_list == before - 17_100 - 2_100 + 2_400 + 1_900
    assert run(made, contract("store"), word(3) + word(9)).result.gas_used == before - 17_100


def test_call_depth_limit_is_exact() -> None:
    """A contract that calls itself and counts: storage[0] = depth reached. 1,025 frames: the transaction's and 1,024 below."""
    # storage[0]++ ; CALL(gas, self, 0, 0, 0, 0, 0)
    loop = "5f54 6001 01 5f 55 5f5f5f5f5f 30 5a f1 00"
    made = executor({"loop": loop})
    message = Message(ALICE, contract("loop"), gas=1 << 40)
    big = RevmExecutor(31337, 1 << 41)
    diff = StateDiff({ALICE: (None, Account(0, RICH))})
    code = bytes.fromhex(loop.replace(" ", ""))
    diff.codes[keccak256(code)] = code
    diff.accounts[contract("loop")] = (None, Account(1, Wei(0), keccak256(code)))
    big.apply(diff)
    transaction = replace(signed("alice", 0, contract("loop")), gas=1 << 40)
    outcome = big.execute(transaction, ENVIRONMENT)
    assert outcome.diff.slots == {(contract("loop"), 0): (0, 1_025)}
    assert made.call(replace(message, gas=1 << 24), ENVIRONMENT).succeeded


def test_created_code_is_not_padded() -> None:
    made = executor()
    code = bytes.fromhex("602a5f5260205ff3")
    init = b"\x67" + code + bytes.fromhex("5f5260086018f3")
    outcome = run(made, None, init)
    created = created_address(ALICE, 0)
    assert outcome.result.contract == created
    assert outcome.result.output == code
    assert outcome.diff.codes == {keccak256(code): code}
    assert made.call(Message(ALICE, created), ENVIRONMENT).output == word(42)
    made.apply(outcome.diff.inverse())
    assert made.call(Message(ALICE, created), ENVIRONMENT).output == b""


def test_created_and_destroyed_in_one_transaction_takes_its_balance_along() -> None:
    """EIP-6780; the address held money before, so it must vanish from the state, not keep the old account."""
    made = executor()
    created = created_address(ALICE, 1)
    run(made, created, value=77)
    outcome = run(made, None, bytes.fromhex("30ff"))  # SELFDESTRUCT to itself
    assert outcome.diff.accounts[created] == (Account(0, Wei(77)), None)
    assert made.account(created) is None
    assert made.call(Message(ALICE, BOB), ENVIRONMENT).succeeded
    made.apply(outcome.diff.inverse())
    assert made.account(created) == Account(0, Wei(77))


def test_transient_storage_ends_with_the_transaction() -> None:
    made = executor({"t": "5f5c 5f 55 6001 5f 5d 00"})  # storage[0] = tload(0); tstore(0, 1)
    assert run(made, contract("t")).diff.slots == {}
    assert run(made, contract("t")).diff.slots == {}


REVERTS = [
    ("5f5ffd", "reverted without a reason"),
    ("fe", "halted: InvalidFEOpcode"),
    ("6001 5f fd", "reverted with 0x00"),
    ("634e487b71 5f52 6011 6020 52 6024 601c fd", "panic 0x11: arithmetic overflow or underflow"),
    ("63deadbeef 5f52 6004 601c fd", "custom error 0xdeadbeef"),
    ("6308c379a0 5f52 6020 6020 52 6002 6040 52 617879 6060 52 6044 601c fd", "custom error 0x08c379a0"),
    ("6308c379a0 5f52 6020 6020 52 6002 6040 52 617879 60f01b 6060 52 6064 601c fd", "xy"),
]


@pytest.mark.parametrize(("code", "reason"), REVERTS)
def test_reasons(code: str, reason: str) -> None:
    made = executor({"bad": code})
    outcome = run(made, contract("bad"), value=9, max_fee=1, max_priority_fee=1)
    assert not outcome.result.succeeded
    assert outcome.result.logs == ()
    assert outcome.result.reason == reason
    # The transfer is undone; nonce and fee are not.
    assert made.account(contract("bad")) == Account(1, Wei(0), keccak256(bytes.fromhex(code.replace(" ", ""))))
    assert made.account(ALICE) == Account(1, Wei(RICH - outcome.result.gas_used))
    with pytest.raises(Reverted) as caught:
        estimate_gas(made, Message(ALICE, contract("bad")), ENVIRONMENT)
    assert caught.value.why == reason


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"value": RICH + 1}, "balance"),
        ({"gas": 50_000, "max_fee": RICH}, "balance"),
        ({"value": RICH, "max_fee": 1}, "balance"),
    ],
)
def test_what_may_not_run_changes_nothing(fields: dict[str, Any], why: str) -> None:
    made = executor()
    state = _state(made)
    root = state.root()
    with pytest.raises(InvalidTransaction, match=why):
        run(made, BOB, **fields)
    for nonce in (1, 5):
        with pytest.raises(InvalidTransaction, match="nonce"):
            made.execute(signed("alice", nonce, BOB), ENVIRONMENT)
    assert made.account(ALICE) == Account(0, RICH)
    assert _state(made).root() == root
    assert run(made, BOB, value=RICH).result.succeeded


def test_contracts_do_not_send() -> None:
    made = executor()
    made.apply(StateDiff({ALICE: (None, Account(0, RICH, keccak256(b"\0")))}, codes={keccak256(b"\0"): b"\0"}))
    with pytest.raises(InvalidTransaction, match="3607"):
        run(made, BOB)
    with pytest.raises(InvalidTransaction, match="refuses"):
        made.call(Message(ALICE, BOB), ENVIRONMENT)


def test_base_fee_below_cap() -> None:
    with pytest.raises(InvalidTransaction, match="base fee"):
        run(executor(), BOB, environment=replace(ENVIRONMENT, base_fee=1))


def test_gas_price_is_seen_by_who_can_hold_the_gas_twice() -> None:
    price = "3a 5f 55 33 31 6001 55 00"  # storage[0] = GASPRICE; storage[1] = BALANCE(CALLER)
    gas = 100_000
    for balance, seen in ((2 * gas * 3, 3), (2 * gas * 3 - 1, 0)):
        made = executor({"price": price}, Wei(balance))
        outcome = run(made, contract("price"), gas=gas, max_fee=3, max_priority_fee=3)
        slots = {slot: new for (_, slot), (_, new) in outcome.diff.slots.items()}
        assert slots.get(0, 0) == seen
        assert slots[1] == balance - gas * 3
        assert (made.account(ALICE) or Account()).balance == balance - outcome.result.gas_used * 3


def test_calls_leave_no_trace() -> None:
    made = executor({"store": STORE})
    run(made, contract("store"), word(5) + word(1))
    state = _state(made)
    before = (state.root(), made.accounts(), made.storage(contract("store"), 1))
    message = Message(ALICE, contract("store"), word(6) + word(1), 3)
    first = made.call(message, ENVIRONMENT)
    assert first.succeeded
    assert made.call(message, ENVIRONMENT) == first
    estimate = estimate_gas(made, message, ENVIRONMENT)
    assert first.gas_used <= estimate <= first.gas_used * 65 // 64
    assert (_state(made).root(), made.accounts(), made.storage(contract("store"), 1)) == before
    assert made.call(Message(ALICE, None, bytes.fromhex("5f5ff3")), ENVIRONMENT).contract is not None
    assert made._evm.journal_str.startswith(journal.EMPTY)
    with pytest.raises(InvalidTransaction):
        made.call(replace(message, value=RICH + 1), ENVIRONMENT)


def test_estimate_counts_what_a_frame_keeps_back() -> None:
    """An inner call that needs nearly all of 64/63 of the gas used: running with the gas used is not enough."""
    inner = "6103e8 5b 6001 90 03 80 6003 57 00"  # 1,000 turns of a loop
    outer = f"5f5f5f5f5f 73{contract('inner').hex()} 5a f1 6022 57 5f5ffd 5b 00"
    made = executor({"inner": inner, "outer": outer})
    message = Message(ALICE, contract("outer"))
    used = made.call(message, ENVIRONMENT).gas_used
    assert not made.call(replace(message, gas=used), ENVIRONMENT).succeeded
    gas = estimate_gas(made, message, ENVIRONMENT)
    assert used < gas <= used * 33 // 32
    assert made.call(replace(message, gas=gas), ENVIRONMENT).succeeded


def test_environment_is_seen() -> None:
    view = "43 5f 55 42 6001 55 41 6002 55 44 6003 55 45 6004 55 48 6005 55 46 6006 55 4a 6007 55 00"
    made = executor({"view": view})
    outcome = run(made, contract("view"), environment=Environment(7, 99, COINBASE))
    seen = {slot: new for (_, slot), (_, new) in outcome.diff.slots.items()}
    assert seen == {
        0: 7,
        1: 99,
        2: int.from_bytes(COINBASE, "big"),
        4: 1 << 26,
        6: 31337,
        7: 1,
    }  # mix and base fee are 0


def _state(made: RevmExecutor) -> State:
    """The commitment to what the executor holds now, from scratch; slots 0 to 3 of every account."""
    state = State(made)
    diff = StateDiff()
    for who, account in made._accounts.items():
        diff.accounts[who] = (None, account)
        for slot in range(4):
            diff.slots[who, slot] = (0, made.storage(who, slot))
    state.follow(diff)
    return state


START, HEAD = "JournaledState { state: {", "0x" + "a" * 40 + ": "

# Contracts for random histories: store, create, destroy, send on, revert half-way, transient.
ZOO = {
    "store": STORE,
    "forward": f"5f5f5f5f 34 73{BOB.hex()} 5a f1 00",
    "factory": "6460ff60005260 5f52 600a 6016 5f f0 5f 55 00",
    "child": "69 30ff0000000000000000 5f52 6002 6016 34 f0 5f 55 00",
    "half": f"6001 5f 55 5f5f5f5f6001 73{BOB.hex()} 5a f1 5f5ffd",
    "killer": f"73{BOB.hex()} ff",
}
SMALL = st.integers(0, 3)
STEP = st.tuples(
    st.sampled_from([*ZOO, "bob", "new", "coinbase"]),
    SMALL,
    SMALL,
    SMALL,
    st.sampled_from([30_000, 200_000]),
    st.integers(0, 2),
)


def _step(made: RevmExecutor, step: tuple[str, int, int, int, int, int]) -> Transaction:
    name, value, slot, amount, gas, price = step
    to = {"bob": BOB, "coinbase": COINBASE, "new": None}.get(name, contract(name))
    data = bytes.fromhex("30ff") if to is None and slot else b"" if to is None else word(value) + word(slot)
    account = made.account(ALICE) or Account()
    gas = max(gas, 60_000) if to is None else gas
    return signed("alice", account.nonce, to, data=data, value=amount, gas=gas, max_fee=price, max_priority_fee=price)


@given(st.lists(STEP, min_size=1, max_size=8))
def test_undo_restores_every_state(steps: list[tuple[str, int, int, int, int, int]]) -> None:
    made = executor(ZOO)
    state = _state(made)
    roots, diffs, total = [state.root()], [], StateDiff()
    for step in steps:
        outcome = made.execute(_step(made, step), ENVIRONMENT)
        state.follow(outcome.diff)
        assert state.root() == _state(made).root(), "what the diff says must be what the EVM holds"
        total.absorb(outcome.diff)
        diffs.append(outcome.diff)
        roots.append(state.root())
    state.undo(total)
    assert state.root() == roots[0] == _state(made).root()
    state.apply(total)
    assert state.root() == roots[-1] == _state(made).root()
    for diff, root in zip(reversed(diffs), reversed(roots[:-1]), strict=True):
        state.undo(diff)
        assert state.root() == root == _state(made).root()


@given(st.lists(STEP, min_size=1, max_size=6), st.integers(0, 2**32))
def test_history_does_not_show(steps: list[tuple[str, int, int, int, int, int]], seed: int) -> None:
    """The same transactions on an EVM that lived, and on one that was made from the state: the same outcomes."""
    lived = executor(ZOO)
    rng = random.Random(seed)
    for step in steps:
        fresh = RevmExecutor(31337, 1 << 26)
        diff = StateDiff({who: (None, account) for who, account in lived._accounts.items()}, codes=dict(lived._codes))
        diff.codes.pop(ZERO_HASH, None)
        for who in lived._accounts:
            for slot in range(4):
                diff.slots[who, slot] = (0, lived.storage(who, slot))
        fresh.apply(diff)
        transaction = _step(lived, step)
        environment = replace(ENVIRONMENT, coinbase=rng.choice([COINBASE, BOB, contract("store")]))
        assert lived.execute(transaction, environment) == fresh.execute(transaction, environment)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "JournaledState { state: {nonsense}, transient_storage: {}",
        "JournaledState { state: {0x" + "a" * 40 + ": X}, transient_storage: ",
    ],
)
def test_another_journal_text_is_an_engine_error(text: str) -> None:
    with pytest.raises(EngineError):
        list(journal.touched(text))


def test_absorb_drops_what_came_back() -> None:
    a, b = Account(1), Account(2)
    diff = StateDiff({ALICE: (a, b)}, {(ALICE, 1): (0, 5)})
    diff.absorb(StateDiff({ALICE: (b, a)}, {(ALICE, 1): (5, 0), (ALICE, 2): (0, 1)}))
    assert (diff.accounts, diff.slots) == ({}, {(ALICE, 2): (0, 1)})
    assert bool(diff) and not StateDiff()
    diff.absorb(diff.inverse())
    assert not diff
