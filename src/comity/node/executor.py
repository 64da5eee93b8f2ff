"""The process that holds the chain: EVM, state and database, away from the node's event loop. `ChainClient` is the node's end.

One request after the other, in order; killed at any moment it opens again at the last committed head. Which block is next is
`runtime`'s question; the chain's rules are in `ledger.chain`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from comity.ledger import anchoring, archive, contracts, errors
from comity.ledger.archive import LogEntry, LogFilter, Place
from comity.ledger.chain import TABLES, Chain, Committed
from comity.ledger.errors import Divergence, InvalidBlock, LedgerError, Reverted
from comity.ledger.executor import CallResult, Message, RevmExecutor
from comity.ledger.genesis import Genesis
from comity.ledger.selfcheck import self_check
from comity.ledger.state import AccountProof
from comity.ledger.types import ZERO_ADDRESS, Account, Block, Receipt, SealedBlock, Transaction, ValidatorSet
from comity.node import wire
from comity.node.channel import Channel, serve
from comity.node.children import bind_to_parent, inherited
from comity.node.errors import ChildError
from comity.node.network import installation
from comity.record.errors import ComityError
from comity.record.types import Address, Hash32, Height
from comity.store.kv import LmdbStore


class Registry:
    """Members and validators at the head, folded from the genesis and the Members contract's events."""

    def __init__(self, genesis: Genesis) -> None:
        self.members: dict[str, Address] = {member.name: member.org for member in genesis.members}
        self._validators = set(genesis.validators.members)
        self._next = 1

    def follow(self, chain: Chain) -> ValidatorSet:
        """Read the blocks that came since, and give the set that seals the next one."""
        wanted = LogFilter(frozenset([contracts.ADDRESS["Members"]]))
        while self._next <= chain.height:
            last = min(self._next + archive.LOG_BLOCKS_MAX - 1, chain.height)
            for entry in chain.logs(self._next, last, wanted):
                event = contracts.decode_log(entry.log)
                if event is not None and event.name == "Admitted":
                    self.members[event.arguments["name"]] = event.arguments["org"]
                    self._validators |= {event.arguments["validator"]} - {ZERO_ADDRESS}
            self._next = last + 1
        return ValidatorSet(tuple(sorted(self._validators)))


class ChainService:
    """What the process answers: the methods of `Chain` that the node asks for, with values that can cross."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def head(self) -> tuple[SealedBlock, ValidatorSet]:
        return self._chain.head, self._chain.validators

    def build(
        self, timestamp: int, coinbase: Address, transactions: tuple[Transaction, ...]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]:
        return self._chain.build(timestamp, coinbase, transactions)

    def check(self, block: Block) -> str | None:
        try:
            self._chain.check(block)
        except (InvalidBlock, Divergence) as error:
            return str(error)
        return None

    def commit(self, sealed: SealedBlock, watch: tuple[Address, ...]) -> Committed:
        return self._chain.commit(sealed, watch)

    def accounts(self, addresses: tuple[Address, ...]) -> dict[Address, Account]:
        return {address: self._chain.account(address) or Account() for address in addresses}

    def code(self, address: Address) -> bytes:
        return self._chain.code(address)

    def storage(self, address: Address, slot: int) -> int:
        return self._chain.storage(address, slot)

    def call(self, message: Message, timestamp: int | None) -> CallResult:
        return self._chain.call(message, timestamp)

    def estimate_gas(self, message: Message) -> int:
        return self._chain.estimate_gas(message)

    def prove(self, address: Address, slots: tuple[int, ...]) -> AccountProof:
        return self._chain.prove(address, slots)

    def block(self, height: int) -> SealedBlock:
        return self._chain.block(height)

    def blocks(self, first: int, count: int, bytes_max: int) -> tuple[SealedBlock, ...]:
        return self._chain.blocks(first, count, bytes_max)

    def height_of(self, block_hash: Hash32) -> Height:
        return self._chain.height_of(block_hash)

    def transactions(self, height: int) -> tuple[Transaction, ...]:
        return self._chain.transactions(height)

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        return self._chain.receipts(height)

    def place(self, transaction_hash: Hash32) -> Place | None:
        return self._chain.place(transaction_hash)

    def transaction_proof(self, place: Place) -> list[bytes]:
        return self._chain.transaction_proof(place)

    def receipt_proof(self, place: Place) -> tuple[bytes, list[bytes]]:
        return self._chain.receipt_proof(place)

    def logs(self, first: int, last: int, wanted: LogFilter) -> list[LogEntry]:
        return self._chain.logs(first, last, wanted)


_HINTS: dict[str, dict[str, Any]] = {
    name: get_type_hints(method) for name, method in vars(ChainService).items() if not name.startswith("_")
}


class _Failure(msgspec.Struct, frozen=True):
    """An expected error, as it crosses."""

    kind: str
    what: str
    why: str
    hint: str
    output: bytes


def answer(service: ChainService, request: bytes) -> bytes:
    """One request `[method, arguments…]` to `[true, value]`, or to `[false, failure]` for an expected error."""
    name, *given = wire.unpack(request)
    hints = _HINTS[name]
    kinds = [kind for argument, kind in hints.items() if argument != "return"]
    try:
        arguments = [wire.convert(value, kind) for value, kind in zip(given, kinds, strict=True)]
        return wire.pack([True, getattr(service, name)(*arguments)])
    except ComityError as error:
        output = error.output if isinstance(error, Reverted) else b""
        failure = _Failure(type(error).__name__, error.what, error.why, error.hint, output)
        return wire.pack([False, msgspec.structs.asdict(failure)])


class ChainClient:
    """The chain, asked over a channel. Raises what `Chain` raises; `ChildGone` when the process is away, `Busy` when it is full."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def head(self) -> tuple[SealedBlock, ValidatorSet]:
        """The last committed block, and the set that seals the next one."""
        found: tuple[SealedBlock, ValidatorSet] = await self._ask("head")
        return found

    async def build(
        self, timestamp: int, coinbase: Address, transactions: Sequence[Transaction]
    ) -> tuple[Block, tuple[tuple[Hash32, str], ...]]:
        """See `Chain.build`."""
        built: tuple[Block, tuple[tuple[Hash32, str], ...]] = await self._ask(
            "build", timestamp, coinbase, transactions
        )
        return built

    async def check(self, block: Block) -> str | None:
        """None for a valid block, else why it is not."""
        found: str | None = await self._ask("check", block)
        return found

    async def commit(self, sealed: SealedBlock, watch: Sequence[Address] = ()) -> Committed:
        """See `Chain.commit`; may be asked again after a crash."""
        committed: Committed = await self._ask("commit", sealed, watch)
        return committed

    async def accounts(self, addresses: Sequence[Address]) -> dict[Address, Account]:
        """Each account; an empty one for an address that has none."""
        found: dict[Address, Account] = await self._ask("accounts", addresses)
        return found

    async def account(self, address: Address) -> Account:
        """One account; empty if there is none."""
        return (await self.accounts([address]))[address]

    async def code(self, address: Address) -> bytes:
        found: bytes = await self._ask("code", address)
        return found

    async def storage(self, address: Address, slot: int) -> int:
        found: int = await self._ask("storage", address, slot)
        return found

    async def call(self, message: Message, timestamp: int | None = None) -> CallResult:
        """Run a message on the head (eth_call), or in a next block of that time."""
        result: CallResult = await self._ask("call", message, timestamp)
        return result

    async def simulate(
        self, sender: Address, to: Address | None, data: bytes, timestamp: int
    ) -> tuple[bool, int, bytes]:
        """(succeeded, gas before refunds, output) of a call in a next block of that time."""
        result = await self.call(Message(sender, to, data), timestamp)
        return result.succeeded, result.gas_used + result.gas_refunded, result.output

    async def estimate_gas(self, message: Message) -> int:
        """See `Chain.estimate_gas`; raises `Reverted`."""
        gas: int = await self._ask("estimate_gas", message)
        return gas

    async def prove(self, address: Address, slots: Sequence[int] = ()) -> AccountProof:
        """See `Chain.prove`."""
        proof: AccountProof = await self._ask("prove", address, slots)
        return proof

    async def block(self, height: int) -> SealedBlock:
        """The block at a height; raises `UnknownBlock`."""
        found: SealedBlock = await self._ask("block", height)
        return found

    async def blocks(self, first: int, count: int, bytes_max: int) -> tuple[SealedBlock, ...]:
        """See `Archive.blocks`."""
        found: tuple[SealedBlock, ...] = await self._ask("blocks", first, count, bytes_max)
        return found

    async def height_of(self, block_hash: Hash32) -> Height:
        """The height of a committed block; raises `UnknownBlock`."""
        found: Height = await self._ask("height_of", block_hash)
        return found

    async def transactions(self, height: int) -> tuple[Transaction, ...]:
        found: tuple[Transaction, ...] = await self._ask("transactions", height)
        return found

    async def receipts(self, height: int) -> tuple[Receipt, ...]:
        found: tuple[Receipt, ...] = await self._ask("receipts", height)
        return found

    async def place(self, transaction_hash: Hash32) -> Place | None:
        """Where a transaction stands, or None."""
        found: Place | None = await self._ask("place", transaction_hash)
        return found

    async def transaction_proof(self, place: Place) -> list[bytes]:
        found: list[bytes] = await self._ask("transaction_proof", place)
        return found

    async def receipt_proof(self, place: Place) -> tuple[bytes, list[bytes]]:
        found: tuple[bytes, list[bytes]] = await self._ask("receipt_proof", place)
        return found

    async def logs(self, first: int, last: int, wanted: LogFilter) -> list[LogEntry]:
        """See `Archive.logs`; raises `TooMuch`."""
        found: list[LogEntry] = await self._ask("logs", first, last, wanted)
        return found

    async def _ask(self, name: str, *arguments: object) -> Any:
        succeeded, value = wire.unpack(await self._channel.request(wire.pack([name, *arguments])))
        if succeeded:
            return wire.convert(value, _HINTS[name]["return"])
        raise _error(wire.convert(value, _Failure))


def _error(failure: _Failure) -> ComityError:
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, LedgerError)):
        return ChildError(failure.what, why=failure.why or failure.kind, hint=failure.hint)
    if kind is Reverted:
        return Reverted(failure.what, why=failure.why, hint=failure.hint, output=failure.output)
    return kind(failure.what, why=failure.why, hint=failure.hint)


# ── The process ──────────────────────────────────────────────────────────────────────────────────────────────────────
def arguments(ledger: Path, genesis: Path) -> tuple[str, ...]:
    """The command line of the executor process, for `children.Child`."""
    return ("-m", "comity.node.executor", "--ledger", str(ledger), "--genesis", str(genesis), "--socket", "{fd}")


def open_chain(ledger: Path, genesis: Genesis) -> tuple[Chain, LmdbStore]:
    """The chain in a folder, with the system contracts, the anchoring rule and the validators that its members make."""
    store = LmdbStore(ledger, TABLES)
    registry = Registry(genesis)

    def rule(transaction: Transaction) -> None:
        anchoring.check(transaction, registry.members)

    self_check()
    engine = RevmExecutor(genesis.chain_id, genesis.gas_limit)
    return Chain(
        store, engine, genesis, installation=installation(genesis), rule=rule, validators=registry.follow
    ), store


def main(argv: list[str] | None = None) -> int:
    """`python -m comity.node.executor`: serve on an inherited socket until it closes."""
    bind_to_parent()
    parser = argparse.ArgumentParser(prog="comity.node.executor", description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    options = parser.parse_args(argv)
    try:
        chain, store = open_chain(options.ledger, Genesis.decode(options.genesis.read_bytes()))
    except ComityError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    with store, inherited(options.socket) as connection:
        service = ChainService(chain)
        serve(connection, lambda request: answer(service, request))
    return 0


if __name__ == "__main__":
    sys.exit(main())
