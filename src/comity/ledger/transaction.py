"""Signed transactions of type 0 (legacy), 1 (EIP-2930) and 2 (EIP-1559): bytes to values, and values to bytes to sign.

What a transaction may do *now* (nonce, balance) is the executor's question; what one block may hold is the chain's.
"""

from __future__ import annotations

from collections.abc import Sequence

from comity.ledger import rlp
from comity.ledger.errors import InvalidTransaction, MalformedRlp
from comity.ledger.types import Transaction
from comity.record.digest import keccak256
from comity.record.errors import BadSignature
from comity.record.keys import ADDRESS_BYTES, ORDER, SIGNATURE_BYTES, recover
from comity.record.types import Address, Wei

TRANSACTION_GAS_MAX = 1 << 24
"""The chain's cap on a transaction's gas (EIP-7825), so that none holds the executor for long."""
TRANSACTION_BYTES_MAX = 1 << 20
INIT_CODE_BYTES_MAX = 49_152
"""EIP-3860."""
NONCE_MAX = 2**64 - 2
"""EIP-2681."""
GAS_TRANSACTION = 21_000
GAS_CREATE = 32_000
GAS_INIT_CODE_WORD = 2
GAS_ZERO_BYTE = 4
GAS_BYTE = 16
GAS_ACCESS_ADDRESS = 2_400
GAS_ACCESS_SLOT = 1_900
_FIELDS = {0: 9, 1: 11, 2: 12}
_REFUSED = {
    3: "blob transactions (EIP-4844): this chain carries no blobs",
    4: "set-code transactions (EIP-7702): the chain's rules are Cancun",
}

AccessList = Sequence[tuple[Address, Sequence[int]]]


def decode(raw: bytes, *, chain_id: int, unprotected: bool = False, gas_max: int = TRANSACTION_GAS_MAX) -> Transaction:
    """The transaction of `raw`, its sender recovered; `InvalidTransaction` with the reason otherwise.

    `unprotected` admits legacy transactions without a chain id (before EIP-155); it and `gas_max` are for the public tests.
    """
    if not raw:
        raise InvalidTransaction("transaction is empty")
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction("transaction is too large", why=f"{len(raw)} bytes, at most {TRANSACTION_BYTES_MAX}")
    kind = 0 if raw[0] >= 0xC0 else raw[0]
    if kind not in _FIELDS or raw[0] == 0:
        raise InvalidTransaction(
            f"transaction type {raw[0]} is not of this chain", why=_REFUSED.get(raw[0], "types 0, 1 and 2 are")
        )
    try:
        fields, unsigned = _fields(raw, kind)
        transaction = _assemble(raw, kind, fields, unsigned, chain_id, unprotected)
    except MalformedRlp as error:
        raise InvalidTransaction("transaction is malformed", why=str(error)) from None
    except BadSignature as error:
        raise InvalidTransaction("transaction has no valid signature", why=str(error)) from None
    check(transaction, gas_max)
    return transaction


def _fields(raw: bytes, kind: int) -> tuple[list[rlp.Item], bytes]:
    """The fields, and the slice of `raw` that the signature covers (without type byte and list prefix)."""
    position = 0 if kind == 0 else 1
    is_list, start, end = rlp.span(raw, position, len(raw))
    if not is_list or end != len(raw):
        raise MalformedRlp("it is not one RLP list")
    count = _FIELDS[kind]
    fields: list[rlp.Item] = []
    position = start
    covered = start
    while position < end:
        if len(fields) == count:
            raise MalformedRlp("it has too many fields", why=f"type {kind} has {count}")
        if len(fields) == count - 3:
            covered = position
        nested, inner, stop = rlp.span(raw, position, end)
        fields.append(rlp.decode(raw[position:stop], depth_max=3) if nested else raw[inner:stop])
        position = stop
    if len(fields) != count:
        raise MalformedRlp("it has too few fields", why=f"{len(fields)}, type {kind} has {count}")
    return fields, raw[start:covered]


def _assemble(
    raw: bytes, kind: int, fields: list[rlp.Item], unsigned: bytes, chain_id: int, unprotected: bool
) -> Transaction:
    v, r, s = rlp.as_uint(fields[-3]), rlp.as_uint(fields[-2], 256), rlp.as_uint(fields[-1], 256)
    if kind == 0:
        parity, suffix = _legacy_parity(v, chain_id, unprotected)
        signed = rlp.wrap(unsigned + suffix)
        body = fields[:6]
    else:
        claimed = rlp.as_uint(fields[0], 256)
        if claimed != chain_id:
            raise MalformedRlp("it is for another chain", why=f"chain {claimed}, this is {chain_id}")
        parity = v
        signed = raw[:1] + rlp.wrap(unsigned)
        body = fields[1:]
    if not (0 < r < ORDER and 0 < s < ORDER) or parity > 1:
        raise MalformedRlp("its signature is out of range")
    sender = recover(keccak256(signed), r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity]))
    fees = 2 if kind == 2 else 1
    to = rlp.as_bytes(body[2 + fees])
    if len(to) not in (0, ADDRESS_BYTES):
        raise MalformedRlp("its receiver is not an address", why=f"{len(to)} bytes")
    return Transaction(
        type=kind,
        nonce=rlp.as_uint(body[0]),
        gas=rlp.as_uint(body[1 + fees]),
        to=Address(to) if to else None,
        value=Wei(rlp.as_uint(body[3 + fees], 256)),
        data=rlp.as_bytes(body[4 + fees]),
        max_fee=Wei(rlp.as_uint(body[fees], 256)),
        max_priority_fee=Wei(rlp.as_uint(body[1], 256)),
        access_list=_access_list(body[5 + fees]) if kind else (),
        raw=raw,
        hash=keccak256(raw),
        sender=sender,
        signature=(v, r, s),
    )


def _legacy_parity(v: int, chain_id: int, unprotected: bool) -> tuple[int, bytes]:
    """Parity, and what EIP-155 appends to the signed list."""
    if v in (27, 28):
        if not unprotected:
            raise MalformedRlp("it names no chain", why="legacy transactions must be protected by EIP-155")
        return v - 27, b""
    parity = v - 35 - 2 * chain_id
    if parity not in (0, 1):
        raise MalformedRlp("it is for another chain", why=f"v is {v}, this is chain {chain_id}")
    return parity, rlp.encode_uint(chain_id) + b"\x80\x80"


def _access_list(item: rlp.Item) -> tuple[tuple[Address, tuple[int, ...]], ...]:
    entries = []
    for entry in rlp.as_list(item):
        address, slots = rlp.as_list(entry, 2)
        keys = tuple(int.from_bytes(rlp.as_bytes(slot, 32), "big") for slot in rlp.as_list(slots))
        entries.append((Address(rlp.as_bytes(address, ADDRESS_BYTES)), keys))
    return tuple(entries)


def check(transaction: Transaction, gas_max: int = TRANSACTION_GAS_MAX) -> None:
    """The rules that need no state: fees, nonce, gas cap, init code size, intrinsic gas."""
    if transaction.gas > gas_max:
        raise InvalidTransaction("gas is above the chain's cap", why=f"{transaction.gas}, at most {gas_max}")
    if transaction.nonce > NONCE_MAX:
        raise InvalidTransaction("nonce is too high", why="EIP-2681")
    if transaction.max_priority_fee > transaction.max_fee:
        raise InvalidTransaction("priority fee is above the fee cap")
    if transaction.gas * transaction.max_fee >= 2**256:
        raise InvalidTransaction("gas times price is beyond 256 bits")
    if transaction.to is None and len(transaction.data) > INIT_CODE_BYTES_MAX:
        raise InvalidTransaction(
            "init code is too large", why=f"{len(transaction.data)} bytes, at most {INIT_CODE_BYTES_MAX} (EIP-3860)"
        )
    needed = intrinsic_gas(transaction.to, transaction.data, transaction.access_list)
    if transaction.gas < needed:
        raise InvalidTransaction("gas does not cover the transaction itself", why=f"{transaction.gas}, needs {needed}")


def intrinsic_gas(to: Address | None, data: bytes, access_list: AccessList = ()) -> int:
    """What a transaction costs before its first instruction (Yellow Paper 6.2, EIP-2028, 2930, 3860)."""
    zeros = data.count(0)
    gas = GAS_TRANSACTION + GAS_ZERO_BYTE * zeros + GAS_BYTE * (len(data) - zeros)
    if to is None:
        gas += GAS_CREATE + GAS_INIT_CODE_WORD * ((len(data) + 31) // 32)
    for _, slots in access_list:
        gas += GAS_ACCESS_ADDRESS + GAS_ACCESS_SLOT * len(slots)
    return gas


def signing_payload(
    *,
    chain_id: int,
    nonce: int,
    to: Address | None,
    gas: int,
    data: bytes = b"",
    value: int = 0,
    max_fee: int = 0,
    max_priority_fee: int = 0,
    access_list: AccessList = (),
    kind: int = 2,
) -> bytes:
    """What a key signs (the Keccak-256 of it): legacy with EIP-155 (`kind` 0), EIP-2930 (1) or EIP-1559 (2).

    For kinds 0 and 1 `max_fee` is the gas price. Give the bytes to `assemble` together with the signature.
    """
    body: list[rlp.Encodable] = [gas, to or b"", value, data]
    accesses: rlp.Encodable = [
        [address, [slot.to_bytes(32, "big") for slot in slots]] for address, slots in access_list
    ]
    if kind == 0:
        return rlp.encode([nonce, max_fee, *body, chain_id, b"", b""])
    if kind == 1:
        return b"\x01" + rlp.encode([chain_id, nonce, max_fee, *body, accesses])
    if kind == 2:
        return b"\x02" + rlp.encode([chain_id, nonce, max_priority_fee, max_fee, *body, accesses])
    raise InvalidTransaction(f"transaction type {kind} is not of this chain")


def assemble(payload: bytes, signature: bytes) -> bytes:
    """The raw transaction of a `signing_payload` and the 65-byte signature r‖s‖v over its Keccak-256."""
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature("signature has the wrong length", why=f"{len(signature)} bytes, not {SIGNATURE_BYTES}")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    prefix, body = (b"", payload) if payload[:1] >= b"\xc0" else (payload[:1], payload[1:])
    items = rlp.as_list(rlp.decode(body, bytes_max=TRANSACTION_BYTES_MAX))
    if prefix:
        return prefix + rlp.encode([*items, signature[64], r, s])
    chain_id = rlp.as_uint(rlp.as_list(items, 9)[6], 256)
    return rlp.encode([*items[:6], 35 + 2 * chain_id + signature[64], r, s])
