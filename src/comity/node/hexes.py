"""Ethereum JSON-RPC's two encodings: quantities (0x, no leading zeros) and data (0x, whole bytes), strict both ways.

And the shapes of blocks, transactions, receipts and logs in them (ethereum/execution-apis). Which are served is `rpc`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from comity.ledger import trie
from comity.ledger.archive import LogEntry
from comity.ledger.block import encode_block, header_hash
from comity.ledger.state import AccountProof
from comity.ledger.types import Account, Block, Log, Receipt, Transaction
from comity.node.errors import BadRequest
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32

DATA_BYTES_MAX = 2 << 20
_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_NO_UNCLES = keccak256(b"\xc0")
_NO_CODE = keccak256(b"")
ZERO_32 = "0x" + "00" * 32


def quantity(value: int) -> str:
    """A number as JSON-RPC writes it."""
    return hex(value)


def data(value: bytes) -> str:
    """Bytes as JSON-RPC writes them."""
    return "0x" + value.hex()


def parse_quantity(value: object, what: str, bits: int = 256) -> int:
    """A quantity. Raises `BadRequest` that names `what`."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or int(value, 16) >> bits:
        raise BadRequest(
            f"{what} is no quantity", why=f"{str(value)[:80]!r}", hint="0x and hexadecimal digits without leading zeros"
        )
    return int(value, 16)


def parse_data(value: object, what: str, size: int | None = None) -> bytes:
    """Bytes, of exactly `size` if given. Raises `BadRequest` that names `what`."""
    if not isinstance(value, str) or len(value) > 2 * DATA_BYTES_MAX + 2 or not _DATA.fullmatch(value):
        raise BadRequest(
            f"{what} is no data", why=f"{str(value)[:80]!r}", hint="0x and an even number of hexadecimal digits"
        )
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise BadRequest(f"{what} is {len(raw)} bytes", why=f"{size} are wanted")
    return raw


def parse_address(value: object, what: str = "the address") -> Address:
    return Address(parse_data(value, what, 20))


def block_json(block: Block, transactions: Sequence[Transaction] | None) -> dict[str, Any]:
    """A block; with its transactions in full, or (None) their hashes."""
    header = block.header
    block_hash = header_hash(header)
    listed: list[Any]
    if transactions is None:
        listed = [data(keccak256(raw)) for raw in block.transactions]
    else:
        listed = [transaction_json(t, (block_hash, header.height, i)) for i, t in enumerate(transactions)]
    return {
        "number": quantity(header.height),
        "hash": data(block_hash),
        "parentHash": data(header.parent),
        "nonce": "0x0000000000000000",
        "sha3Uncles": data(_NO_UNCLES),
        "logsBloom": data(header.bloom),
        "transactionsRoot": data(header.transactions_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipts_root),
        "miner": data(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": data(header.extra),
        "size": quantity(len(encode_block(block))),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": data(header.mix),
        "baseFeePerGas": "0x0",
        "withdrawalsRoot": data(trie.EMPTY_ROOT),
        "withdrawals": [],
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": ZERO_32,
        "uncles": [],
        "transactions": listed,
    }


def transaction_json(transaction: Transaction, place: tuple[Hash32, int, int] | None) -> dict[str, Any]:
    """A transaction; `place`: (block hash, height, index), None while it waits."""
    v, r, s = transaction.signature
    shape: dict[str, Any] = {
        "type": quantity(transaction.type),
        "hash": data(transaction.hash),
        "nonce": quantity(transaction.nonce),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to is not None else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(transaction.max_priority_fee if transaction.type == 2 else transaction.max_fee),
        "input": data(transaction.data),
        "v": quantity(v),
        "r": quantity(r),
        "s": quantity(s),
        "blockHash": data(place[0]) if place else None,
        "blockNumber": quantity(place[1]) if place else None,
        "transactionIndex": quantity(place[2]) if place else None,
    }
    if transaction.type > 0:
        shape["yParity"] = quantity(v)
        shape["accessList"] = [
            {"address": data(address), "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    if transaction.type == 2:
        shape["maxFeePerGas"] = quantity(transaction.max_fee)
        shape["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee)
    return shape


def receipt_json(
    receipt: Receipt, transaction: Transaction, place: tuple[Hash32, int, int], first_log: int
) -> dict[str, Any]:
    """A receipt; `first_log` is the index within the block of its first log."""
    block_hash, height, index = place
    return {
        "type": quantity(receipt.type),
        "status": quantity(int(receipt.succeeded)),
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block_hash),
        "blockNumber": quantity(height),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to is not None else None,
        "contractAddress": data(receipt.contract) if receipt.contract is not None else None,
        "cumulativeGasUsed": quantity(receipt.cumulative_gas),
        "gasUsed": quantity(receipt.gas_used),
        "effectiveGasPrice": quantity(
            min(transaction.max_priority_fee, transaction.max_fee) if transaction.type == 2 else transaction.max_fee
        ),
        "logsBloom": data(receipt.bloom),
        "logs": [log_json(log, place, transaction.hash, first_log + i) for i, log in enumerate(receipt.logs)],
    }


def log_json(log: Log, place: tuple[Hash32, int, int], transaction_hash: Hash32, position: int) -> dict[str, Any]:
    block_hash, height, index = place
    return {
        "address": data(log.address),
        "topics": [data(topic) for topic in log.topics],
        "data": data(log.data),
        "blockHash": data(block_hash),
        "blockNumber": quantity(height),
        "transactionHash": data(transaction_hash),
        "transactionIndex": quantity(index),
        "logIndex": quantity(position),
        "removed": False,
    }


def entry_json(entry: LogEntry) -> dict[str, Any]:
    """A log found by eth_getLogs."""
    place = (entry.block_hash, entry.height, entry.transaction_index)
    return log_json(entry.log, place, entry.transaction, entry.log_index)


def proof_json(proof: AccountProof) -> dict[str, Any]:
    """eth_getProof (EIP-1186)."""
    account = proof.account or Account()
    return {
        "address": data(proof.address),
        "accountProof": [data(node) for node in proof.nodes],
        "balance": quantity(account.balance),
        "nonce": quantity(account.nonce),
        "codeHash": data(account.code_hash if any(account.code_hash) else _NO_CODE),
        "storageHash": data(proof.storage_root),
        "storageProof": [
            {
                "key": data(slot.slot.to_bytes(32, "big")),
                "value": quantity(slot.value),
                "proof": [data(n) for n in slot.nodes],
            }
            for slot in proof.slots
        ],
    }
