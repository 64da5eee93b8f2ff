"""The ledger's vocabulary. Values only: encoding is in `block` and `transaction`, behaviour in `chain` and `qbft`."""

from __future__ import annotations

from dataclasses import dataclass, field

from comity.record.types import Address, Hash32, Height, Wei

ZERO_ADDRESS = Address(bytes(20))
ZERO_HASH = Hash32(bytes(32))
ZERO_WEI = Wei(0)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the state trie holds it (Yellow Paper 4.1)."""

    nonce: int = 0
    balance: Wei = ZERO_WEI
    code_hash: Hash32 = ZERO_HASH
    """Keccak-256 of the code; ZERO_HASH stands for no code."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A signed transaction of type 0 (legacy), 1 (EIP-2930) or 2 (EIP-1559), with its recovered sender."""

    type: int
    nonce: int
    gas: int
    to: Address | None
    value: Wei
    data: bytes
    max_fee: Wei
    """Legacy and 2930: the gas price."""
    max_priority_fee: Wei
    access_list: tuple[tuple[Address, tuple[int, ...]], ...]
    raw: bytes
    hash: Hash32
    sender: Address
    signature: tuple[int, int, int] = (0, 0, 0)
    """(v or y parity as on the wire, r, s)."""


@dataclass(frozen=True, slots=True)
class Header:
    """A Cancun block header. Fields not listed are constants of the chain (see `block`)."""

    parent: Hash32
    coinbase: Address
    state_root: Hash32
    transactions_root: Hash32
    receipts_root: Hash32
    bloom: bytes
    height: Height
    gas_limit: int
    gas_used: int
    timestamp: int
    """Unix seconds."""
    extra: Hash32
    """Keccak-256 of the validator set that seals this block."""
    mix: Hash32 = ZERO_HASH
    """SHA-256 of the canonical genesis in block 0; zero elsewhere."""


@dataclass(frozen=True, slots=True)
class Block:
    header: Header
    transactions: tuple[bytes, ...]
    """Raw signed transactions, in order."""


@dataclass(frozen=True, slots=True)
class Seals:
    """The quorum that made a block final: 65-byte signatures over `block.seal_hash`, sorted by signer."""

    round: int
    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SealedBlock:
    block: Block
    seals: Seals


@dataclass(frozen=True, slots=True)
class Log:
    address: Address
    topics: tuple[Hash32, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """An Ethereum receipt (EIP-2718 typed) with what JSON-RPC adds."""

    type: int
    succeeded: bool
    cumulative_gas: int
    bloom: bytes
    logs: tuple[Log, ...]
    gas_used: int = 0
    contract: Address | None = None
    output: bytes = b""
    """Return or revert data; not part of the consensus encoding and not persisted in the receipts root."""


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """Validators in canonical (ascending) order, each with a weight; equal weights are proof of authority."""

    members: tuple[Address, ...]
    weights: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", (1,) * len(self.members))
        if tuple(sorted(set(self.members))) != self.members or len(self.members) != len(self.weights):
            raise ValueError("validators must be distinct, ascending, and one weight each")

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, address: object) -> bool:
        return address in self.members

    @property
    def total(self) -> int:
        return sum(self.weights)

    def weight(self, addresses: set[Address] | frozenset[Address]) -> int:
        """The weight of those of `addresses` that are validators."""
        return sum(w for a, w in zip(self.members, self.weights, strict=True) if a in addresses)

    def is_quorum(self, addresses: set[Address] | frozenset[Address]) -> bool:
        """More than two thirds of the weight: ⌊(2n−1)/3⌋+1 of n equal validators (arXiv 2002.03613)."""
        return 3 * self.weight(addresses) > 2 * self.total

    def is_honest_one(self, addresses: set[Address] | frozenset[Address]) -> bool:
        """At least a third of the weight, so that one of them is honest: f+1 of n equal validators, f = ⌊(n−1)/3⌋."""
        return 3 * self.weight(addresses) >= self.total
