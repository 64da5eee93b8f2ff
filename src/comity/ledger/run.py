"""One block under execution: its transactions one after the other, what they left, and how that differs from a header.

The rules of blocks are `chain`'s; those of one transaction the executor's.
"""

from __future__ import annotations

from dataclasses import dataclass

from comity.ledger.block import BLOCK_BYTES_MAX, TRANSACTIONS_COUNT_MAX, bloom_of, header_hash
from comity.ledger.diff import StateDiff
from comity.ledger.errors import Divergence
from comity.ledger.executor import Environment, Executor
from comity.ledger.types import Block, Header, Receipt, Transaction
from comity.record.types import Hash32

_HEADER_BYTES_MAX = 1_024
_PREFIX_BYTES_MAX = 5


@dataclass(frozen=True, slots=True)
class Executed:
    """A block that was executed on the head, and what it changed."""

    block: Block
    hash: Hash32
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]
    diff: StateDiff


class Run:
    """The transactions of one block, executed one after the other."""

    def __init__(self, executor: Executor, environment: Environment, gas_limit: int) -> None:
        self._executor = executor
        self._environment = environment
        self._gas_limit = gas_limit
        self._bytes = _HEADER_BYTES_MAX
        self.transactions: list[Transaction] = []
        self.receipts: list[Receipt] = []
        self.diff = StateDiff()
        self.gas_used = 0

    def fits(self, transaction: Transaction) -> bool:
        """Whether the block has room (gas, bytes, count) for it."""
        return (
            transaction.gas <= self._gas_limit - self.gas_used
            and self._bytes + len(transaction.raw) + _PREFIX_BYTES_MAX <= BLOCK_BYTES_MAX
            and len(self.transactions) < TRANSACTIONS_COUNT_MAX
        )

    def add(self, transaction: Transaction) -> None:
        """Execute it; `InvalidTransaction` and no change when it may not run."""
        outcome = self._executor.execute(transaction, self._environment)
        result = outcome.result
        self.diff.absorb(outcome.diff)
        self.gas_used += result.gas_used
        self._bytes += len(transaction.raw) + _PREFIX_BYTES_MAX
        self.transactions.append(transaction)
        self.receipts.append(
            Receipt(
                type=transaction.type,
                succeeded=result.succeeded,
                cumulative_gas=self.gas_used,
                bloom=bloom_of(result.logs),
                logs=result.logs,
                gas_used=result.gas_used,
                contract=result.contract,
                output=result.output,
            )
        )

    def undo(self) -> None:
        """Take all of it back."""
        self._executor.apply(self.diff.inverse())


def divergence(theirs: Header, executed: Executed) -> Divergence:
    """The fields that differ, and each receipt as we have it: enough to find the transaction on two replicas."""
    ours = executed.block.header
    fields = ("state_root", "receipts_root", "bloom", "gas_used")
    differing = {
        name: {"header": _shown(getattr(theirs, name)), "here": _shown(getattr(ours, name))}
        for name in fields
        if getattr(theirs, name) != getattr(ours, name)
    }
    evidence: dict[str, object] = {
        "block": header_hash(theirs).hex(),
        "height": int(theirs.height),
        "differs": differing,
        "transactions": [
            {"hash": t.hash.hex(), "succeeded": r.succeeded, "gas_used": r.gas_used, "logs": len(r.logs)}
            for t, r in zip(executed.transactions, executed.receipts, strict=True)
        ],
        "accounts": [address.hex() for address in sorted(executed.diff.accounts)],
    }
    return Divergence(
        f"block {theirs.height} gives another result here", why=f"{', '.join(differing)} differ", evidence=evidence
    )


def _shown(value: bytes | int) -> str | int:
    return value.hex() if isinstance(value, bytes) else value
