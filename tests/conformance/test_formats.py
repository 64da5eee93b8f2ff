"""ethereum/tests TrieTests, RLPTests and TransactionTests (Cancun): every case passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comity.ledger import rlp
from comity.ledger.errors import InvalidTransaction, MalformedRlp
from comity.ledger.transaction import decode, intrinsic_gas
from comity.ledger.trie import Trie, verify_proof
from comity.record.digest import keccak256
from support.shared import archive, shared_data

pytestmark = pytest.mark.data
ARCHIVE = "ethereum-tests/trie-rlp-tx-tests.tar.xz"
FORKS = ("Cancun", "Shanghai", "London")
"""The newest rules that a case was filled for; malformed bytes are malformed under all."""
TRIES = ("trietest", "trieanyorder", "trietest_secureTrie", "trieanyorder_secureTrie", "hex_encoded_securetrie_test")
TRANSACTION_SUITES = {
    "ttAddress": 4, "ttData": 7, "ttEIP1559": 9, "ttEIP2028": 2, "ttEIP2930": 7, "ttEIP3860": 4, "ttGasLimit": 10, "ttGasPrice": 4,
    "ttNonce": 10, "ttRSValue": 29, "ttSignature": 34, "ttVValue": 28, "ttValue": 3, "ttWrongRLP": 59,
}  # fmt: skip


def _file(folder: str, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(archive(shared_data(ARCHIVE))[folder][name])
    return value


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


@pytest.mark.parametrize("file", TRIES)
def test_trie(file: str) -> None:
    for name, test in _file("TrieTests", file).items():
        trie, expected = Trie(), dict[bytes, bytes]()
        pairs = test["in"].items() if isinstance(test["in"], dict) else test["in"]
        for text, value in pairs:
            key = keccak256(_bytes(text)) if "secure" in file.lower() else _bytes(text)
            trie.set(key, b"" if value is None else _bytes(value))
            expected[key] = b"" if value is None else _bytes(value)
        assert "0x" + trie.root().hex() == test["root"], name
        for key, item in expected.items():
            assert trie.get(key) == item
            assert verify_proof(trie.root(), key, trie.prove(key)) == (item or None)


def _encodable(value: Any) -> rlp.Encodable:
    if isinstance(value, str):
        return int(value[1:]) if value.startswith("#") else value.encode()
    if isinstance(value, int):
        return value
    return [_encodable(item) for item in value]


def _decoded(value: Any) -> rlp.Item:
    """What decoding gives for the same: integers are byte strings by then."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    item = _encodable(value)
    assert isinstance(item, int | bytes)
    return item.to_bytes((item.bit_length() + 7) // 8, "big") if isinstance(item, int) else item


def test_rlp() -> None:
    tests = _file("RLPTests", "rlptest")
    assert len(tests) > 20
    for name, test in tests.items():
        out = _bytes(test["out"] if test["out"].startswith("0x") else "0x" + test["out"])
        assert rlp.encode(_encodable(test["in"])) == out, name
        assert rlp.decode(out) == _decoded(test["in"]), name


@pytest.mark.parametrize(("folder", "file"), [("RLPTests", "invalidRLPTest"), ("RLPTests/RandomRLPTests", "example")])
def test_rlp_from_bytes(folder: str, file: str) -> None:
    for name, test in _file(folder, file).items():
        data = _bytes(test["out"])
        if test["in"] == "INVALID":
            with pytest.raises(MalformedRlp):
                rlp.decode(data, depth_max=1_000)
        else:
            assert rlp.encode(rlp.decode(data, depth_max=1_000)) == data, name


@pytest.mark.parametrize("suite", TRANSACTION_SUITES)
def test_transactions(suite: str) -> None:
    count = 0
    for file, data in archive(shared_data(ARCHIVE))[f"TransactionTests/{suite}"].items():
        for test in json.loads(data).values():
            rules = test["result"]
            result, raw = next(rules[fork] for fork in FORKS if fork in rules), _bytes(test["txbytes"])
            count += 1
            if "exception" in result:
                with pytest.raises(InvalidTransaction):
                    decode(raw, chain_id=1, unprotected=True, gas_max=2**64 - 1)
                continue
            found = decode(raw, chain_id=1, unprotected=True, gas_max=2**64 - 1)
            assert found.sender == _bytes(result["sender"]), file
            assert found.hash == _bytes(result["hash"]), file
            assert intrinsic_gas(found.to, found.data, found.access_list) == int(result["intrinsicGas"], 16), file
    assert count == TRANSACTION_SUITES[suite]
