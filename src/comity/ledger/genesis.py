"""The document that a network begins with, and the block 0 that follows from it. Format: docs/ledger.md.

Not the system contracts: whoever starts the chain hands them in as an `Installation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from comity.ledger.block import NO_BLOOM, validators_hash
from comity.ledger.diff import StateDiff
from comity.ledger.errors import EngineError, InvalidGenesis
from comity.ledger.executor import Environment, Executor
from comity.ledger.state import State
from comity.ledger.trie import EMPTY_ROOT
from comity.ledger.types import (
    ZERO_ADDRESS,
    ZERO_HASH,
    ZERO_WEI,
    Account,
    Block,
    Header,
    SealedBlock,
    Seals,
    Transaction,
    ValidatorSet,
)
from comity.record import canonical
from comity.record.digest import keccak256, sha256, to_hash32
from comity.record.errors import ComityError
from comity.record.keys import from_hex, to_hex
from comity.record.types import Address, Digest, Hash32, Height, Json, Wei

SCHEMA = "comity/genesis/v1"
GENESIS_BYTES_MAX = 1 << 20
MEMBERS_MAX = 256
GAS_LIMIT = 1 << 26
GAS_LIMIT_MIN, GAS_LIMIT_MAX = 1 << 24, 1 << 30
PERIOD_MS_MIN, PERIOD_MS_MAX = 50, 3_600_000
CHAIN_ID_MAX = 2**31 - 1
"""So that an EIP-155 v fits everywhere."""
ENDPOINT_CHARACTERS_MAX = 253
_WEI = re.compile(r"[1-9][0-9]{0,77}")
_NAME = re.compile(r"[a-z][a-z0-9-]{1,31}")
_FIELDS = {"schema", "chain_id", "timestamp", "gas_limit", "block_period_ms", "empty_period_ms", "members", "alloc"}
_MEMBER_FIELDS = {"name", "org", "validator", "endpoint", "roles"}


@dataclass(frozen=True, slots=True)
class Member:
    """A founding organisation. `validator` is None for one that runs no validator; `endpoint` is where its peer listens."""

    name: str
    org: Address
    validator: Address | None
    endpoint: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Genesis:
    """What every member must agree on before block 1. Raises `InvalidGenesis` when a value is out of its range."""

    chain_id: int
    timestamp: int
    """Unix seconds."""
    members: tuple[Member, ...]
    block_period_ms: int = 1_000
    empty_period_ms: int = 30_000
    gas_limit: int = GAS_LIMIT
    alloc: Mapping[Address, Wei] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _within("chain_id", self.chain_id, 1, CHAIN_ID_MAX)
        _within("timestamp", self.timestamp, 0, canonical.INTEGER_MAX)
        _within("gas_limit", self.gas_limit, GAS_LIMIT_MIN, GAS_LIMIT_MAX)
        _within("block_period_ms", self.block_period_ms, PERIOD_MS_MIN, PERIOD_MS_MAX)
        _within("empty_period_ms", self.empty_period_ms, self.block_period_ms, PERIOD_MS_MAX)
        _within("number of members", len(self.members), 1, MEMBERS_MAX)
        for member in self.members:
            if not _NAME.fullmatch(member.name) or not all(map(_NAME.fullmatch, member.roles)):
                raise InvalidGenesis("a member's name or role is no slug", why=repr(member.name[:40]))
            if len(member.endpoint) > ENDPOINT_CHARACTERS_MAX or not member.endpoint.isascii():
                raise InvalidGenesis("a member's endpoint is no host:port", why=repr(member.endpoint[:40]))
        keys = [m.org for m in self.members] + [m.validator for m in self.members if m.validator is not None]
        if len(set(keys)) != len(keys) or len({m.name for m in self.members}) != len(self.members):
            raise InvalidGenesis("two members share a name or a key")
        if not self.validators.members:
            raise InvalidGenesis("no member runs a validator")
        for balance in self.alloc.values():
            _within("an allocated balance", balance, 1, 2**256 - 1)

    @cached_property
    def validators(self) -> ValidatorSet:
        """The set that seals until the contracts say otherwise: one vote each."""
        return ValidatorSet(tuple(sorted({m.validator for m in self.members if m.validator is not None})))

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the canonical document: `mixHash` of header 0."""
        return sha256(self.encode())

    def encode(self) -> bytes:
        """The canonical JSON (RFC 8785). Balances are decimal strings, addresses 0x and 40 lower-case digits."""
        members: list[Any] = [
            {
                "name": m.name,
                "org": to_hex(m.org),
                "validator": None if m.validator is None else to_hex(m.validator),
                "endpoint": m.endpoint,
                "roles": list(m.roles),
            }
            for m in self.members
        ]
        return canonical.encode(
            {
                "schema": SCHEMA,
                "chain_id": self.chain_id,
                "timestamp": self.timestamp,
                "gas_limit": self.gas_limit,
                "block_period_ms": self.block_period_ms,
                "empty_period_ms": self.empty_period_ms,
                "members": members,
                "alloc": {to_hex(address): str(balance) for address, balance in self.alloc.items()},
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Genesis:
        """The genesis of canonical JSON; `InvalidGenesis` for anything else."""
        try:
            document = canonical.decode(data, bytes_max=GENESIS_BYTES_MAX, depth_max=4, canonical=True)
            fields = _object(document, _FIELDS)
            if fields.pop("schema") != SCHEMA:
                raise InvalidGenesis("genesis is of another schema", why=f"this reads {SCHEMA}")
            members = tuple(_member(item) for item in _array(fields.pop("members")))
            alloc = _alloc(fields.pop("alloc"))
            return cls(members=members, alloc=alloc, **fields)
        except InvalidGenesis:
            raise
        except ComityError as error:
            raise InvalidGenesis("genesis is malformed", why=str(error)) from None


@dataclass(frozen=True, slots=True)
class Installation:
    """What stands on the chain before its first block: code, and one call from the zero address that sets it up."""

    codes: Mapping[Address, bytes] = field(default_factory=dict)
    to: Address = ZERO_ADDRESS
    data: bytes = b""


NOTHING = Installation()


def genesis_block(
    genesis: Genesis, executor: Executor, installation: Installation = NOTHING
) -> tuple[SealedBlock, StateDiff]:
    """Block 0, made on an empty executor, and the state that it leaves there. No seals: who holds the document holds the block.

    Raises `InvalidGenesis` when the installing call fails.
    """
    if executor.accounts():
        raise EngineError("block 0 needs an empty executor")
    diff = StateDiff()
    for address, balance in genesis.alloc.items():
        diff.accounts[address] = (None, Account(0, balance))
    for address, code in installation.codes.items():
        code_hash = keccak256(code)
        diff.codes[code_hash] = code
        diff.accounts[address] = (None, Account(1, genesis.alloc.get(address, ZERO_WEI), code_hash))
    executor.apply(diff)
    if installation.data:
        outcome = executor.execute(_installing(genesis, installation), Environment(0, genesis.timestamp, ZERO_ADDRESS))
        if not outcome.result.succeeded:
            raise InvalidGenesis("the system contracts refuse this genesis", why=outcome.result.reason)
        diff.absorb(outcome.diff)
    state = State(executor)
    state.follow(diff)
    return SealedBlock(Block(_header(genesis, state.root()), ()), Seals(0, ())), diff


def _installing(genesis: Genesis, installation: Installation) -> Transaction:
    """The one transaction without a signature; it stands in no block."""
    return Transaction(
        type=0,
        nonce=0,
        gas=genesis.gas_limit,
        to=installation.to,
        value=ZERO_WEI,
        data=installation.data,
        max_fee=ZERO_WEI,
        max_priority_fee=ZERO_WEI,
        access_list=(),
        raw=b"",
        hash=ZERO_HASH,
        sender=ZERO_ADDRESS,
    )


def _header(genesis: Genesis, state_root: Hash32) -> Header:
    return Header(
        parent=ZERO_HASH,
        coinbase=ZERO_ADDRESS,
        state_root=state_root,
        transactions_root=EMPTY_ROOT,
        receipts_root=EMPTY_ROOT,
        bloom=NO_BLOOM,
        height=Height(0),
        gas_limit=genesis.gas_limit,
        gas_used=0,
        timestamp=genesis.timestamp,
        extra=validators_hash(genesis.validators),
        mix=to_hash32(genesis.digest),
    )


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _within(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidGenesis(f"{name} is out of its range", why=f"{str(value)[:80]}, from {low} to {high}")


def _object(value: Json, fields: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != fields:
        raise InvalidGenesis("genesis is malformed", why=f"an object must have exactly {', '.join(sorted(fields))}")
    return dict(value)


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MEMBERS_MAX:
        raise InvalidGenesis("genesis is malformed", why=f"members and roles are lists of at most {MEMBERS_MAX}")
    return value


def _member(item: Json) -> Member:
    member = _object(item, _MEMBER_FIELDS)
    validator = member["validator"]
    return Member(
        name=_text(member["name"]),
        org=from_hex(_text(member["org"])),
        validator=None if validator is None else from_hex(_text(validator)),
        endpoint=_text(member["endpoint"]),
        roles=tuple(_text(role) for role in _array(member["roles"])),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidGenesis("genesis is malformed", why=f"{str(value)[:40]} stands where a text must")
    return value


def _alloc(value: Json) -> dict[Address, Wei]:
    if not isinstance(value, dict):
        raise InvalidGenesis("genesis is malformed", why="alloc must be an object of balances by address")
    balances = {}
    for address, text in value.items():
        if not _WEI.fullmatch(_text(text)):
            raise InvalidGenesis("a balance is no decimal number of wei", why=repr(text))
        balances[from_hex(address)] = Wei(int(_text(text)))
    return balances
