"""Blocks as people read them: who proposed and sealed, what each transaction called, and which record it anchored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from comity.ledger import block as blocks
from comity.ledger import contracts, light, transaction
from comity.ledger.anchoring import envelope_in
from comity.ledger.types import Receipt, SealedBlock, Transaction, ValidatorSet
from comity.node import present
from comity.node.errors import NotFound
from comity.node.node import Node, validators_at
from comity.record.errors import ComityError
from comity.record.keys import to_hex
from comity.record.types import Address

Json = dict[str, Any]
_TEXT_TYPES = ("kind", "purpose")


async def summary(node: Node, height: int) -> Json:
    """One line of the ledger page."""
    return _summary(node, await _sealed(node, height))


async def page(node: Node, height: int) -> Json:
    """One block, its transactions decoded."""
    sealed = await _sealed(node, height)
    receipts = await node.chain.receipts(height)
    header = sealed.block.header
    found = await asyncio.to_thread(_decoded, sealed, node.genesis.chain_id)
    return {
        "block": _summary(node, sealed),
        "state_root": _hex(header.state_root), "transactions_root": _hex(header.transactions_root),
        "receipts_root": _hex(header.receipts_root), "gas_limit": header.gas_limit,
        "sealed_by": [{"validator": to_hex(a), "org": _org_of(node, a)} for a in _sealers(node, sealed)],
        "transactions": [_transaction(node, tx, receipt) for tx, receipt in zip(found, receipts, strict=True)],
    }  # fmt: skip


async def _sealed(node: Node, height: int) -> SealedBlock:
    found = await node.chain.blocks(height, 1, blocks.BLOCK_BYTES_MAX)
    if not found:
        raise NotFound(f"no block {height}", hint="comity ledger")
    return found[0]


def _decoded(sealed: SealedBlock, chain_id: int) -> list[Transaction]:
    return [transaction.decode(raw, chain_id=chain_id) for raw in sealed.block.transactions]


def _sealers(node: Node, sealed: SealedBlock) -> list[Address]:
    if sealed.block.header.height == 0:
        return []
    header = sealed.block.header
    validators = ValidatorSet(tuple(sorted(validators_at(node.view, header.height))))
    return sorted(light.verify_seals(node.genesis.chain_id, header, sealed.seals, validators))


def _summary(node: Node, sealed: SealedBlock) -> Json:
    header = sealed.block.header
    return {
        "height": int(header.height), "hash": _hex(blocks.header_hash(header)), "parent": _hex(header.parent),
        "time": header.timestamp,
        "proposer": _org_of(node, header.coinbase), "round": sealed.seals.round, "seals": len(sealed.seals.signatures),
        "validators": len(validators_at(node.view, header.height)), "transactions": len(sealed.block.transactions),
        "gas_used": header.gas_used,
    }  # fmt: skip


def _org_of(node: Node, validator: Address) -> str | None:
    return next((m.name for m in node.view.members.values() if m.validator == validator), None)


def _transaction(node: Node, tx: Transaction, receipt: Receipt) -> Json:
    call, record = None, None
    try:
        call = contracts.decode_call(tx.to, tx.data) if tx.to in contracts.NAME_AT and tx.to is not None else None
    except ComityError:
        call = None
    if call is not None and receipt.succeeded:
        envelope = envelope_in(call)
        record = present.maybe_brief(node.view, envelope.digest) if envelope else None
    events = [event for log in receipt.logs if (event := contracts.decode_log(log))]
    sender = node.view.name_of(tx.sender)
    return {
        "hash": _hex(tx.hash), "sender": to_hex(tx.sender), "org": sender if sender in node.view.members else None,
        "to": to_hex(tx.to) if tx.to else None, "succeeded": receipt.succeeded, "gas_used": receipt.gas_used,
        "contract": call.name if call else None, "function": call.function if call else None,
        "arguments": _plain(call.arguments) if call else None, "record": record,
        "events": [{"contract": e.contract, "name": e.name, "arguments": _plain(e.arguments)} for e in events],
    }  # fmt: skip


def _plain(arguments: Mapping[str, Any]) -> Json:
    """Arguments as JSON: names as text, other bytes in hexadecimal, whole numbers as they are."""
    return {name: _value(name, value) for name, value in arguments.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_value(name, item) for item in value]
    if isinstance(value, bytes):
        stripped = value.rstrip(b"\0")
        return stripped.decode("ascii") if name in _TEXT_TYPES and stripped.isascii() else _hex(value)
    return value


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
