"""Proves at start that the installed pyrevm behaves as measured: one known contract, three transactions, exact diffs.

A node calls `self_check` before it opens its chain. The public state tests are in tests/conformance.
"""

from __future__ import annotations

from importlib.metadata import version

from comity.ledger.diff import StateDiff
from comity.ledger.errors import EngineError
from comity.ledger.executor import Environment, Message, Outcome, RevmExecutor
from comity.ledger.types import ZERO_HASH, ZERO_WEI, Account, Log, Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Wei

PYREVM_VERSION = "0.3.7"
_SENDER = Address(b"\xaa" * 20)
_COINBASE = Address(b"\xc0" * 20)
_CREATED = Address(bytes.fromhex("3c952d36207c0d52743a646e7ac2649009bd358e"))
_BALANCE = 10**18
_PRICE = 3
_CODE = bytes.fromhex("5f355f5560055f52600560205fa100")
"""SSTORE(0, first word of calldata); LOG1 of a word that holds 5, under topic 5; STOP."""
_INIT = b"\x6e" + _CODE + bytes.fromhex("5f52600f6011f3")
_REVERT = bytes.fromhex("60205ffd")
# By hand from EIP-2028, 2929, 3529, 3860 and the Yellow Paper's appendix G.
_GAS_CREATE = 53_000 + 2 + 356 + 17 + 3_000
_GAS_FIRST = 21_000 + 140 + 22_100 + 1_032
_GAS_AGAIN = _GAS_FIRST - 17_100
_ENVIRONMENT = Environment(1, 1, _COINBASE)


def self_check() -> None:
    """`EngineError` unless version, gas, diffs, logs, cold starts and undo are exactly those that were measured."""
    _same("the version", version("pyrevm"), PYREVM_VERSION)
    executor = RevmExecutor(1, 1 << 26)
    executor.apply(StateDiff({_SENDER: (None, Account(0, Wei(_BALANCE)))}))
    created = executor.execute(_transaction(0, None, _INIT), _ENVIRONMENT)
    _check_creation(created)
    for _ in range(2):  # the second time after an undo: exactly the same must happen
        first = executor.execute(_transaction(1, _CREATED, (7).to_bytes(32, "big")), _ENVIRONMENT)
        _check_call(first, _GAS_FIRST, (0, 7))
        again = executor.execute(_transaction(2, _CREATED, (9).to_bytes(32, "big")), _ENVIRONMENT)
        _check_call(again, _GAS_AGAIN, (7, 9))
        _same("a slot", executor.storage(_CREATED, 0), 9)
        executor.apply(again.diff.inverse())
        executor.apply(first.diff.inverse())
        _same("an undone slot", executor.storage(_CREATED, 0), 0)
    refused = executor.call(Message(_SENDER, None, _REVERT), _ENVIRONMENT)
    _same("revert data", (refused.succeeded, refused.output), (False, bytes(32)))
    executor.apply(created.diff.inverse())
    _same("the number of accounts after undoing all", executor.accounts(), 1)


def _check_creation(outcome: Outcome) -> None:
    result, diff = outcome.result, outcome.diff
    _same("creation", (result.succeeded, result.contract, result.output), (True, _CREATED, _CODE))
    _same("creation's gas", result.gas_used, _GAS_CREATE)
    code_hash = keccak256(_CODE)
    fee = _GAS_CREATE * _PRICE
    expected = {
        _SENDER: (Account(0, Wei(_BALANCE)), Account(1, Wei(_BALANCE - fee))),
        _CREATED: (None, Account(1, ZERO_WEI, code_hash)),
        _COINBASE: (None, Account(0, Wei(fee))),
    }
    _same("creation's diff", (diff.accounts, diff.slots, diff.codes), (expected, {}, {code_hash: _CODE}))


def _check_call(outcome: Outcome, gas: int, slot: tuple[int, int]) -> None:
    _same("a call's success and gas", (outcome.result.succeeded, outcome.result.gas_used), (True, gas))
    word = Hash32((5).to_bytes(32, "big"))
    _same("a call's logs", outcome.result.logs, (Log(_CREATED, (word,), word),))
    _same("a call's slots", outcome.diff.slots, {(_CREATED, 0): slot})
    _same("a call's accounts", set(outcome.diff.accounts), {_SENDER, _COINBASE})
    moved = {
        address: (after or Account()).balance - (before or Account()).balance
        for address, (before, after) in outcome.diff.accounts.items()
    }
    _same("a call's fee", moved, {_SENDER: -gas * _PRICE, _COINBASE: gas * _PRICE})


def _transaction(nonce: int, to: Address | None, data: bytes) -> Transaction:
    return Transaction(0, nonce, 200_000, to, ZERO_WEI, data, Wei(_PRICE), Wei(_PRICE), (), b"", ZERO_HASH, _SENDER)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise EngineError(
            f"the EVM does not behave as measured: {what}",
            why=f"{str(found)[:300]}, expected {str(expected)[:300]}",
            hint=f"install pyrevm=={PYREVM_VERSION}",
        )
