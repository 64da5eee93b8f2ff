"""Blocks as bytes: plain Ethereum headers (Cancun, 20 fields), roots, blooms, receipts, and the seals that travel beside.

Not validity: see `chain` for what a block must hold and `light` for what seals must show. Format: docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comity.ledger import rlp, trie
from comity.ledger.errors import MalformedRlp
from comity.ledger.types import Block, Header, Log, Receipt, SealedBlock, Seals, ValidatorSet
from comity.record.digest import keccak256
from comity.record.keys import ADDRESS_BYTES, SIGNATURE_BYTES
from comity.record.types import Address, Hash32, Height

SEAL_DOMAIN = b"comity-seal-v1"
BLOCK_BYTES_MAX = 4 << 20
SEALED_BYTES_MAX = BLOCK_BYTES_MAX + (1 << 20)
TRANSACTIONS_COUNT_MAX = 10_000
SIGNATURES_COUNT_MAX = 1_024
TOPICS_COUNT_MAX = 4
BLOOM_BYTES = 256
_HASH_BYTES = 32
_FIELDS = 20
_NO_UNCLES = keccak256(b"\xc0")
_NO_NONCE = bytes(8)
_ZERO = bytes(_HASH_BYTES)
NO_BLOOM = bytes(BLOOM_BYTES)


def encode_header(header: Header) -> bytes:
    """The header's RLP: 20 fields of Cancun, those that this chain does not use being constants."""
    return rlp.encode(
        [
            header.parent,
            _NO_UNCLES,
            header.coinbase,
            header.state_root,
            header.transactions_root,
            header.receipts_root,
            header.bloom,
            0,  # difficulty
            header.height,
            header.gas_limit,
            header.gas_used,
            header.timestamp,
            header.extra,
            header.mix,
            _NO_NONCE,
            0,  # base fee (EIP-1559)
            trie.EMPTY_ROOT,  # withdrawals (EIP-4895)
            0,  # blob gas used (EIP-4844)
            0,  # excess blob gas
            _ZERO,  # parent beacon block root (EIP-4788)
        ]
    )


def header_hash(header: Header) -> Hash32:
    """The block's hash: Keccak-256 of the header's RLP, as everywhere in Ethereum."""
    return keccak256(encode_header(header))


def decode_header(data: bytes) -> Header:
    """The header that `encode_header` wrote; `MalformedRlp` for all other bytes."""
    header = _header(rlp.decode(data, bytes_max=1024))
    if encode_header(header) != data:
        raise MalformedRlp("header has a constant field with another value")
    return header


def _header(item: rlp.Item) -> Header:
    fields = rlp.as_list(item, _FIELDS)

    def hash_at(index: int) -> Hash32:
        return Hash32(rlp.as_bytes(fields[index], _HASH_BYTES))

    return Header(
        parent=hash_at(0),
        coinbase=Address(rlp.as_bytes(fields[2], ADDRESS_BYTES)),
        state_root=hash_at(3),
        transactions_root=hash_at(4),
        receipts_root=hash_at(5),
        bloom=rlp.as_bytes(fields[6], BLOOM_BYTES),
        height=Height(rlp.as_uint(fields[8])),
        gas_limit=rlp.as_uint(fields[9]),
        gas_used=rlp.as_uint(fields[10]),
        timestamp=rlp.as_uint(fields[11]),
        extra=hash_at(12),
        mix=hash_at(13),
    )


def encode_block(block: Block) -> bytes:
    """`rlp([header, [raw transaction, …]])`; each raw transaction is a byte string, legacy ones too."""
    return rlp.wrap(rlp.encode_bytes(encode_header(block.header)) + rlp.encode(block.transactions))


def decode_block(data: bytes) -> Block:
    """The block that `encode_block` wrote; its roots are not checked here."""
    return _block(rlp.decode(data, bytes_max=BLOCK_BYTES_MAX, depth_max=2))


def _block(item: rlp.Item) -> Block:
    header, transactions = rlp.as_list(item, 2)
    raws = rlp.as_list(transactions)
    if len(raws) > TRANSACTIONS_COUNT_MAX:
        raise MalformedRlp("block has too many transactions", why=f"{len(raws)}, at most {TRANSACTIONS_COUNT_MAX}")
    return Block(decode_header(rlp.as_bytes(header)), tuple(rlp.as_bytes(raw) for raw in raws))


def encode_seals(seals: Seals) -> bytes:
    """`rlp([round, [signature, …]])`."""
    return rlp.encode([seals.round, seals.signatures])


def decode_seals(data: bytes) -> Seals:
    """The seals that `encode_seals` wrote; whose they are is `light.verify_seals`' question."""
    round_, signatures = rlp.as_list(rlp.decode(data, bytes_max=1 << 20, depth_max=2), 2)
    items = rlp.as_list(signatures)
    if len(items) > SIGNATURES_COUNT_MAX:
        raise MalformedRlp("too many seals", why=f"{len(items)}, at most {SIGNATURES_COUNT_MAX}")
    return Seals(rlp.as_uint(round_, 32), tuple(rlp.as_bytes(item, SIGNATURE_BYTES) for item in items))


def encode_sealed(sealed: SealedBlock) -> bytes:
    """`rlp([block, seals])`, both as byte strings, so that each can be kept and sent as it is."""
    return rlp.encode([encode_block(sealed.block), encode_seals(sealed.seals)])


def decode_sealed(data: bytes) -> SealedBlock:
    """The sealed block that `encode_sealed` wrote."""
    block, seals = rlp.as_list(rlp.decode(data, bytes_max=SEALED_BYTES_MAX, depth_max=1), 2)
    return SealedBlock(decode_block(rlp.as_bytes(block)), decode_seals(rlp.as_bytes(seals)))


def seal_hash(chain_id: int, height: int, round_: int, block_hash: Hash32) -> Hash32:
    """What a commit seal signs: keccak256("comity-seal-v1" ‖ rlp([chain_id, height, round, header hash]))."""
    return keccak256(SEAL_DOMAIN + rlp.encode([chain_id, height, round_, block_hash]))


def validators_hash(validators: ValidatorSet) -> Hash32:
    """What a header's `extra` holds: keccak256(rlp([[address, weight], …])) in ascending order of address."""
    return keccak256(rlp.encode(list(zip(validators.members, validators.weights, strict=True))))


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def encode_receipt(receipt: Receipt) -> bytes:
    """The receipt's consensus form (EIP-2718): the type byte unless legacy, then `rlp([status, gas, bloom, logs])`."""
    logs: list[rlp.Encodable] = [[log.address, log.topics, log.data] for log in receipt.logs]
    body = rlp.encode([int(receipt.succeeded), receipt.cumulative_gas, receipt.bloom, logs])
    return body if receipt.type == 0 else bytes([receipt.type]) + body


def decode_receipt(data: bytes) -> Receipt:
    """The receipt of its consensus form. `gas_used` and `contract` are not in it: `chain` fills them."""
    if not data:
        raise MalformedRlp("receipt is empty")
    kind = 0 if data[0] >= 0xC0 else data[0]
    if kind > 2:
        raise MalformedRlp(f"receipt type {kind} is not of this chain")
    body = rlp.decode(data if kind == 0 else data[1:], depth_max=4)
    status, gas, bloom, logs = rlp.as_list(body, 4)
    receipt = Receipt(
        type=kind,
        succeeded=rlp.as_uint(status, 8) == 1,
        cumulative_gas=rlp.as_uint(gas),
        bloom=rlp.as_bytes(bloom, BLOOM_BYTES),
        logs=tuple(_log(item) for item in rlp.as_list(logs)),
    )
    if encode_receipt(receipt) != data:
        raise MalformedRlp("receipt has a status other than 0 and 1, or a type byte of 0")
    return receipt


def _log(item: rlp.Item) -> Log:
    address, topics, data = rlp.as_list(item, 3)
    names = rlp.as_list(topics)
    if len(names) > TOPICS_COUNT_MAX:
        raise MalformedRlp("log has too many topics", why=f"{len(names)}, at most {TOPICS_COUNT_MAX}")
    return Log(
        Address(rlp.as_bytes(address, ADDRESS_BYTES)),
        tuple(Hash32(rlp.as_bytes(topic, _HASH_BYTES)) for topic in names),
        rlp.as_bytes(data),
    )


def bloom_of(logs: Iterable[Log]) -> bytes:
    """The 2048-bit filter of the addresses and topics of `logs` (Yellow Paper 4.3.1)."""
    bits = 0
    for log in logs:
        bits |= _bloom_bits(log.address)
        for topic in log.topics:
            bits |= _bloom_bits(topic)
    return bits.to_bytes(BLOOM_BYTES, "big")


def bloom_may_hold(bloom: bytes, item: bytes) -> bool:
    """Whether an address or topic may be among those of `bloom`; false is certain."""
    bits = _bloom_bits(item)
    return int.from_bytes(bloom, "big") & bits == bits


def _bloom_bits(item: bytes) -> int:
    hashed = keccak256(item)
    bits = 0
    for index in (0, 2, 4):
        bits |= 1 << (int.from_bytes(hashed[index : index + 2], "big") & 0x7FF)
    return bits


def join_blooms(blooms: Iterable[bytes]) -> bytes:
    """The union of filters: a block's, of its receipts'."""
    bits = 0
    for bloom in blooms:
        bits |= int.from_bytes(bloom, "big")
    return bits.to_bytes(BLOOM_BYTES, "big")


def transactions_root(transactions: Sequence[bytes]) -> Hash32:
    """The trie root over rlp(index) → raw transaction."""
    return trie.ordered_root(transactions)


def receipts_root(receipts: Sequence[Receipt]) -> Hash32:
    """The trie root over rlp(index) → encoded receipt."""
    return trie.ordered_root([encode_receipt(receipt) for receipt in receipts])
