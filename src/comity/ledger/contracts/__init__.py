"""The system contracts as Python sees them: where they stand, their code, and their calls, events and errors in and out of bytes.

Not what a record's call looks like: see `ledger.anchoring`. The Solidity is in `solidity/`, the compiled artefacts in `artefacts/`,
and `scripts/build_contracts.py` makes the one from the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol

from eth_abi.abi import decode as _abi_decode
from eth_abi.abi import encode as _abi_encode
from eth_abi.exceptions import DecodingError, EncodingError

from comity.ledger.errors import ContractError
from comity.ledger.types import ZERO_ADDRESS, Log
from comity.record.digest import keccak256
from comity.record.types import Address

NAMES = ("Members", "Records", "Grants", "Governance", "Studies", "Services")
_BASE = 0xC0000001

CALLDATA_BYTES_MAX = 131_072
"""What `decode_call` looks at; the largest record is 64 KiB."""
NAME_BYTES_MAX = 32
NAMES_CACHED_MAX = 4_096

_PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "a value outside its enumeration",
    0x32: "an index out of bounds",
    0x41: "too much memory asked for",
}


@dataclass(frozen=True, slots=True)
class SystemContract:
    """One contract, installed at genesis as runtime code."""

    name: str
    address: Address
    code: bytes
    """Runtime bytecode."""
    abi: tuple[Mapping[str, Any], ...]
    """Solidity's JSON ABI."""


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded call. Values: bytes for bytesN and bytes, `Address` for address, int, bool, str, tuple for arrays."""

    name: str
    """The contract."""
    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log of a system contract; values as in `Call`."""

    contract: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A founder. `validator` is None for an organisation that runs no validator."""

    name: str
    org: Address
    validator: Address | None = None
    endpoint: str = ""


class Founder(Protocol):
    """What `initialise` needs of a member: `Member`, or one of the genesis document."""

    @property
    def name(self) -> str: ...
    @property
    def org(self) -> Address: ...
    @property
    def validator(self) -> Address | None: ...
    @property
    def endpoint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """A function or an event of the ABI."""

    contract: str
    name: str
    inputs: tuple[tuple[str, str, bool], ...]
    """(name, type, indexed)."""
    outputs: tuple[str, ...]
    selector: bytes
    mutates: bool

    def types(self, indexed: bool | None = None) -> list[str]:
        return [t for _, t, i in self.inputs if indexed is None or i == indexed]


def _type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type(c) for c in parameter["components"]) + ")" + kind.removeprefix("tuple")


def _entry(contract: str, item: Mapping[str, Any]) -> _Entry:
    inputs = tuple((p["name"], _type(p), p.get("indexed", False)) for p in item["inputs"])
    signature = f"{item['name']}({','.join(t for _, t, _ in inputs)})"
    return _Entry(
        contract,
        item["name"],
        inputs,
        tuple(_type(p) for p in item.get("outputs", ())),
        keccak256(signature.encode()),
        item.get("stateMutability") == "nonpayable",
    )


def _load(position: int, name: str) -> SystemContract:
    artefact = json.loads((files(__package__) / "artefacts" / f"{name}.json").read_text())
    address = Address((_BASE + position).to_bytes(20, "big"))
    return SystemContract(name, address, bytes.fromhex(artefact["code"][2:]), tuple(artefact["abi"]))


SYSTEM: tuple[SystemContract, ...] = tuple(_load(i, name) for i, name in enumerate(NAMES))
"""All system contracts, in the order of their addresses."""
ADDRESS: Mapping[str, Address] = {c.name: c.address for c in SYSTEM}
CODES: Mapping[Address, bytes] = {c.address: c.code for c in SYSTEM}
"""What genesis installs."""
NAME_AT: Mapping[Address, str] = {c.address: c.name for c in SYSTEM}

_FUNCTIONS = {(c.name, i["name"]): _entry(c.name, i) for c in SYSTEM for i in c.abi if i["type"] == "function"}
_BY_SELECTOR = {(e.contract, e.selector[:4]): e for e in _FUNCTIONS.values()}
_EVENTS = {(c.name, e.selector): e for c in SYSTEM for i in c.abi if i["type"] == "event" for e in [_entry(c.name, i)]}


def _function(name: str, function: str) -> _Entry:
    entry = _FUNCTIONS.get((name, function))
    if entry is None:
        raise ContractError(f"the contract {name} has no function {function}")
    return entry


def calldata(name: str, function: str, *arguments: Any) -> bytes:
    """The calldata of `name.function(*arguments)`: selector and ABI encoding (Contract ABI Specification).

    Raises ContractError when the function is unknown or an argument has the wrong type or range.
    """
    entry = _function(name, function)
    try:
        return entry.selector[:4] + _abi_encode(entry.types(), arguments)
    except (EncodingError, TypeError, ValueError) as error:
        raise ContractError(f"{name}.{function} does not take these arguments", why=str(error)) from error


def decode_output(name: str, function: str, output: bytes) -> tuple[Any, ...]:
    """The values that a call returned, in order. Raises ContractError when `output` is not such a tuple."""
    return _decode(list(_function(name, function).outputs), output, f"the output of {name}.{function}")


def function_of(to: Address, data: bytes) -> tuple[str, str]:
    """(contract, function) that a call asks for, its arguments unseen; ContractError when there is none."""
    entry = _called(to, data)
    return entry.contract, entry.name


def _called(to: Address, data: bytes) -> _Entry:
    name = NAME_AT.get(to)
    if name is None:
        raise ContractError(f"0x{to.hex()} is not a system contract")
    entry = _BY_SELECTOR.get((name, data[:4]))
    if entry is None:
        raise ContractError(f"the contract {name} has no function 0x{data[:4].hex()}")
    return entry


def decode_call(to: Address, data: bytes) -> Call:
    """What a transaction to a system contract asks for.

    Raises ContractError when `to` is no system contract, the selector is unknown, the data is malformed or over
    CALLDATA_BYTES_MAX, or is not the one canonical encoding of its arguments.
    """
    entry = _called(to, data)
    name = entry.contract
    if len(data) > CALLDATA_BYTES_MAX:
        raise ContractError(
            f"a call of {len(data)} bytes to {name} is too long", why=f"the limit is {CALLDATA_BYTES_MAX}"
        )
    values = _decode(entry.types(), data[4:], f"the call of {name}.{entry.name}")
    if calldata(name, entry.name, *values) != data:
        raise ContractError(f"the call of {name}.{entry.name} is not canonically encoded")
    return Call(name, entry.name, {n: v for (n, _, _), v in zip(entry.inputs, values, strict=True)})


def decode_log(log: Log) -> Event | None:
    """The event of a system contract, or None for any other log."""
    name = NAME_AT.get(log.address)
    if name is None or not log.topics:
        return None
    entry = _EVENTS.get((name, log.topics[0]))
    if entry is None:
        return None
    what = f"the event {name}.{entry.name}"
    indexed = entry.types(indexed=True)
    if len(log.topics) != 1 + len(indexed):
        raise ContractError(f"{what} has {len(log.topics)} topics")
    topics = iter([_decode([t], topic, what)[0] for t, topic in zip(indexed, log.topics[1:], strict=True)])
    data = iter(_decode(entry.types(indexed=False), log.data, what))
    return Event(name, entry.name, {n: next(topics) if i else next(data) for n, _, i in entry.inputs})


def initialise(members: Iterable[Founder]) -> bytes:
    """The calldata of `Members.initialize`, which genesis calls from the zero address."""
    return calldata(
        "Members", "initialize", [(m.name, m.org, m.validator or ZERO_ADDRESS, m.endpoint) for m in members]
    )


def error_text(output: bytes) -> str:
    """Why a call was reverted, as a sentence for people, from its return data."""
    try:
        if output[:4] == bytes.fromhex("08c379a0"):  # Error(string)
            return str(_abi_decode(["string"], output[4:])[0])
        if output[:4] == bytes.fromhex("4e487b71"):  # Panic(uint256)
            code = int(_abi_decode(["uint256"], output[4:])[0])
            return _PANICS.get(code, f"panic 0x{code:02x}")
    except (DecodingError, ValueError, OverflowError):
        pass
    return f"reverted with 0x{output[:68].hex()}" if output else "reverted without a reason"


@lru_cache(NAMES_CACHED_MAX)
def name32(name: str) -> bytes:
    """A slug as the contracts hold it: ASCII, right-padded to 32 bytes. Raises ContractError when it does not fit."""
    raw = name.encode()
    if not raw or len(raw) > NAME_BYTES_MAX or not raw.isascii() or b"\0" in raw:
        raise ContractError(f"the name {name!r} does not fit", why="a name on the ledger is 1 to 32 ASCII characters")
    return raw.ljust(NAME_BYTES_MAX, b"\0")


def name_of(raw: bytes) -> str:
    """The slug in a bytes32. Raises ContractError when it holds no ASCII text."""
    try:
        return raw.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise ContractError(f"0x{raw.hex()} is no name") from error


def _decode(types: list[str], data: bytes, what: str) -> tuple[Any, ...]:
    try:
        values = _abi_decode(types, data)
    except (DecodingError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ContractError(f"{what} is malformed", why=str(error)) from error
    return tuple(_native(t, v) for t, v in zip(types, values, strict=True))


def _native(kind: str, value: Any) -> Any:
    """Addresses as our 20 bytes rather than as hexadecimal text, also inside arrays."""
    if kind == "address":
        return Address(bytes.fromhex(value[2:]))
    if kind.endswith("]"):
        return tuple(_native(kind[: kind.rindex("[")], v) for v in value)
    return value
