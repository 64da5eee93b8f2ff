"""From a record to a committed transaction: sign, ask the contract first, submit, wait for the block.

The only place that spends the organisation's account nonce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from comity.ledger import anchoring, contracts, transaction
from comity.ledger.types import Receipt
from comity.ledger.view import View
from comity.node.errors import Busy, Forbidden
from comity.record.digest import keccak256
from comity.record.envelope import Envelope
from comity.record.record import Record, digest, statement
from comity.record.types import Address, Digest, Hash32

COMMIT_S_MAX = 60.0
GAS_FACTOR = 1.5
GAS_SPARE = 150_000


class Signs(Protocol):
    """What the signer process does for an organisation."""

    async def record(self, payload: bytes) -> bytes: ...
    async def transaction(self, payload: bytes) -> bytes: ...


class Chains(Protocol):
    """What the executor process answers."""

    async def simulate(self, sender: Address, to: Address, data: bytes, timestamp: int) -> tuple[bool, int, bytes]: ...


class Anchors:
    """Sends this organisation's records and contract calls to the ledger, in order."""

    def __init__(
        self, *, address: Address, chain_id: int, view: View, signer: Signs, chain: Chains,
        now: Callable[[], int], submit: Callable[[bytes], Awaitable[Hash32]], next_nonce: Callable[[Address], Awaitable[int]],
    ) -> None:  # fmt: skip
        self.address, self._chain_id, self.view = address, chain_id, view
        self._signer, self._chain, self._submit, self._next_nonce = signer, chain, submit, next_nonce
        self._now = now
        self._lock = asyncio.Lock()
        self._waiting: dict[Hash32, asyncio.Future[Receipt]] = {}

    async def record(self, record: Record) -> Digest:
        """Anchor a record and return its digest once committed. An anchored digest is returned at once.

        Raises `Forbidden` with the contract's own words when it says no.
        """
        name = digest(record)
        if name in self.view.records:
            return name
        payload = statement(record)
        envelope = Envelope(payload, await self._signer.record(payload))
        to, data = anchoring.transaction_for(envelope, self.view.members_by_name)
        try:
            await self._send(to, data, what=f"{record.kind} {name[:12]}")
        except Forbidden:
            if name not in self.view.records:  # otherwise the same was asked twice at once, and the other came first
                raise
        return name

    async def call(self, contract: str, function: str, arguments: tuple[Any, ...]) -> Receipt:
        """Call a system contract and return the receipt once committed."""
        to = contracts.ADDRESS[contract]
        return await self._send(to, contracts.calldata(contract, function, *arguments), what=f"{contract}.{function}")

    async def _send(self, to: Address, data: bytes, *, what: str) -> Receipt:
        async with self._lock:
            succeeded, gas, output = await self._chain.simulate(self.address, to, data, self._now())
            if not succeeded:
                raise Forbidden(f"the ledger refuses {what}", why=contracts.error_text(output))
            payload = transaction.signing_payload(
                chain_id=self._chain_id, nonce=await self._next_nonce(self.address), to=to, data=data,
                gas=min(transaction.TRANSACTION_GAS_MAX, int(gas * GAS_FACTOR) + GAS_SPARE),
            )  # fmt: skip
            raw = transaction.assemble(payload, await self._signer.transaction(payload))
            future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            tx_hash = keccak256(raw)
            self._waiting[tx_hash] = future
            try:
                await self._submit(raw)
            except BaseException:
                self._waiting.pop(tx_hash, None)
                raise
        try:
            async with asyncio.timeout(COMMIT_S_MAX):
                receipt = await future
        except TimeoutError:
            raise Busy(
                f"{what} is not in a block after {COMMIT_S_MAX:.0f} s",
                why="no quorum of validators?",
                hint="comity doctor",
            ) from None
        finally:
            self._waiting.pop(tx_hash, None)
        if not receipt.succeeded:
            raise Forbidden(
                f"the ledger refused {what}", why="another record came first; the same call succeeded when it was tried"
            )
        return receipt

    def committed(self, receipts: Iterable[tuple[Hash32, Receipt]]) -> None:
        """Told of each block: wake whoever waits for a transaction in it."""
        for tx_hash, receipt in receipts:
            future = self._waiting.get(tx_hash)
            if future is not None and not future.done():
                future.set_result(receipt)
