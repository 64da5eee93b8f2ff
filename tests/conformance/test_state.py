"""ethereum/tests GeneralStateTests for Cancun: state root and logs hash of every case, but blob transactions.

known_misses.toml names each case that fails, and why. A new miss fails here, and so does a known miss that passes.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comity.ledger import rlp
from comity.ledger.diff import StateDiff
from comity.ledger.errors import InvalidTransaction
from comity.ledger.executor import Environment, RevmExecutor
from comity.ledger.state import State
from comity.ledger.transaction import decode
from comity.ledger.types import ZERO_HASH, Account, Log
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Wei
from support.shared import archive, shared_data

pytestmark = pytest.mark.data
ARCHIVE = "ethereum-tests/state-tests.tar.xz"
KNOWN = tomllib.loads((Path(__file__).parent / "known_misses.toml").read_text())
CASES: dict[str, int] = KNOWN["cases"]
BLOBS: dict[str, int] = KNOWN["blobs"]
MISSES = {name for group in KNOWN["miss"] for name in group["tests"]}
GAS_MAX = 2**64 - 1


def _hex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _prestate(pre: dict[str, Any]) -> StateDiff:
    diff = StateDiff()
    for name, fields in pre.items():
        address, code = Address(_hex(name)), _hex(fields["code"])
        code_hash = keccak256(code) if code else ZERO_HASH
        account = Account(int(fields["nonce"], 16), Wei(int(fields["balance"], 16)), code_hash)
        if code:
            diff.codes[code_hash] = code
        if account != Account():
            diff.accounts[address] = (None, account)
        for slot, value in fields["storage"].items():
            diff.slots[address, int(slot, 16)] = (0, int(value, 16))
    return diff


def _passes(test: dict[str, Any], post: dict[str, Any]) -> bool:
    env = test["env"]
    gas_limit = int(env["currentGasLimit"], 16)
    executor = RevmExecutor(1, gas_limit)
    state = State(executor)
    state.apply(_prestate(test["pre"]))
    before = state.root()
    environment = Environment(
        int(env["currentNumber"], 16),
        int(env["currentTimestamp"], 16),
        Address(_hex(env["currentCoinbase"])),
        _hex(env["currentRandom"]),
        int(env["currentBaseFee"], 16),
    )
    logs: tuple[Log, ...] = ()
    diff = StateDiff()
    try:
        transaction = decode(_hex(post["txbytes"]), chain_id=1, unprotected=True, gas_max=GAS_MAX)
        if transaction.gas > gas_limit:
            raise InvalidTransaction("it does not fit the block")
        outcome = executor.execute(transaction, environment)
    except InvalidTransaction:
        pass
    else:
        logs, diff = outcome.result.logs, outcome.diff
        state.follow(diff)
    root = state.root()
    state.undo(diff)
    assert state.root() == before, "undo must be exact"
    return root == _hex(post["hash"]) and _logs_hash(logs) == _hex(post["logs"])


def _logs_hash(logs: tuple[Log, ...]) -> Hash32:
    items: list[rlp.Encodable] = [[log.address, log.topics, log.data] for log in logs]
    return keccak256(rlp.encode(items))


@pytest.mark.parametrize("suite", CASES)
def test_suite(suite: str) -> None:
    missed, blobs, cases = set(), 0, 0
    for file, data in archive(shared_data(ARCHIVE))[suite].items():
        for name, test in json.loads(data).items():
            for index, post in enumerate(test["post"].get("Cancun", ())):
                if post["txbytes"].startswith("0x03"):
                    blobs += 1
                    continue
                cases += 1
                if not _passes(test, post):
                    missed.add(f"{suite}/{file}/{name}/{index}")
    assert missed == {name for name in MISSES if name.startswith(f"{suite}/")}
    assert (cases, blobs) == (CASES[suite], BLOBS.get(suite, 0))


def test_every_suite_of_the_archive_runs() -> None:
    assert set(archive(shared_data(ARCHIVE))) == set(CASES)
