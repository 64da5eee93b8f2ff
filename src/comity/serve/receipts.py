"""Prediction receipts: what binds model, request, parameters and answer; their durable log; their Merkle batches and proofs.

No durable receipt, no answer. A receipt holds digests only; the bytes behind them are the caller's to keep, encrypted.
A batch's leaves are the receipts' canonical bytes, in order of sequence. Anchoring the root: `plan`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from comity.record import canonical, merkle
from comity.record.digest import as_digest, sha256
from comity.record.errors import ComityError
from comity.record.types import Digest
from comity.serve.errors import ReceiptNotDurable, ServeError

VERSION = 1
SALT_BYTES = 32
RECEIPT_BYTES_MAX = 4096
QUEUE_MAX = 4096
BATCH_MAX = 65_536
PREFIX_CHARACTERS_MIN = 4


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is promised about one answer. `sequence` counts the answers of this organisation for this service, from 0."""

    service: Digest
    model: Digest
    artefact: Digest
    request: Digest
    """SHA-256 of the canonical bytes of `{"inputs": …}` as they were sent."""
    parameters: Digest
    """SHA-256 of the canonical bytes of the rest of the request."""
    response: Digest
    """SHA-256 of the canonical bytes of the answer without its own receipt."""
    org: str
    time: int
    """Unix seconds."""
    sequence: int
    salt: str
    """32 random bytes in hexadecimal: without them the anchored root says nothing about the answer."""
    v: int = VERSION

    def encode(self) -> bytes:
        """The canonical bytes: a leaf of its batch."""
        return canonical.encode(asdict(self))

    @property
    def digest(self) -> Digest:
        return sha256(self.encode())

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Read a receipt strictly. Raises `ServeError`."""
        try:
            value: Any = canonical.decode(data, bytes_max=RECEIPT_BYTES_MAX, depth_max=2, canonical=True)
            receipt = cls(**value)
            for name in ("service", "model", "artefact", "request", "parameters", "response"):
                as_digest(getattr(receipt, name))
            sound = isinstance(receipt.org, str) and len(bytes.fromhex(receipt.salt)) == SALT_BYTES
            counts = type(receipt.time) is int and type(receipt.sequence) is int and receipt.sequence >= 0
        except (ComityError, TypeError, ValueError) as error:
            raise ServeError("not a prediction receipt", why=str(error)[:200]) from None
        if receipt.v != VERSION or not sound or not counts:
            raise ServeError("not a prediction receipt of version 1")
        return receipt


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive receipts of one service and model: what one anchored root covers."""

    service: Digest
    model: Digest
    first: int
    count: int
    root: Digest
    oldest: int
    """Unix seconds of its first receipt."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a receipt is in a batch: RFC 9162 inclusion, checked by `merkle.verify(root, receipt, index, size, path)`."""

    receipt: bytes
    index: int
    size: int
    root: Digest
    path: tuple[Digest, ...]


class Log(Protocol):
    """`store.wal.Log`: on disk when `append_many` returns."""

    def append_many(self, entries: Iterable[bytes]) -> None: ...
    def __iter__(self) -> Any: ...


class Receipts:
    """Issues receipts, many with one fsync, and answers for those it issued."""

    def __init__(
        self, log: Log, *, org: str, now: Callable[[], int], entropy: Callable[[int], bytes],
        apart: Callable[[Callable[[], None]], Awaitable[None]],
    ) -> None:  # fmt: skip
        """`apart` runs a blocking function beside the loop. Reads the whole log: raises what the log raises."""
        self._log, self._org, self._now, self._entropy, self._apart = log, org, now, entropy, apart
        self._of: dict[Digest, list[Receipt]] = {}
        self._place: dict[Digest, tuple[Digest, int]] = {}
        self._next: dict[Digest, int] = {}
        self._waiting: list[tuple[Receipt, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        for entry in log:
            self._keep(Receipt.decode(entry))

    @property
    def total(self) -> int:
        """Receipts on disk."""
        return len(self._place)

    async def issue(
        self, *, service: Digest, model: Digest, artefact: Digest, request: bytes, parameters: bytes, response: bytes
    ) -> Receipt:
        """Returns once the receipt is on disk; raises `ReceiptNotDurable` otherwise, and then the answer must be withheld."""
        if len(self._waiting) >= QUEUE_MAX:
            raise ReceiptNotDurable("too many answers wait for their receipts", why=f"at most {QUEUE_MAX}")
        sequence = self._next.get(service, 0)
        self._next[service] = sequence + 1
        receipt = Receipt(
            service, model, artefact, sha256(request), sha256(parameters), sha256(response),
            self._org, self._now(), sequence, self._entropy(SALT_BYTES).hex(),
        )  # fmt: skip
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((receipt, written))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await asyncio.shield(written)
        return receipt

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._flushing is not None:
            await self._flushing

    async def _flush(self) -> None:
        """Whatever gathered while the last fsync ran goes to disk with the next one."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                try:
                    entries = [receipt.encode() for receipt, _ in group]
                    await self._apart(lambda entries=entries: self._log.append_many(entries))  # type: ignore[misc]
                except (ComityError, OSError) as error:
                    self._refuse([*group, *self._waiting], error)
                    return
                for receipt, written in group:
                    self._keep(receipt)
                    if not written.done():
                        written.set_result(None)
        finally:
            self._flushing = None

    def _refuse(self, group: Sequence[tuple[Receipt, asyncio.Future[None]]], error: Exception) -> None:
        """Nothing of the group is on disk; their sequence numbers are free again."""
        self._waiting = []
        for service in {receipt.service for receipt, _ in group}:
            self._next[service] = len(self._of.get(service, ()))
        for _, written in group:
            if not written.done():
                written.set_exception(
                    ReceiptNotDurable("the receipt could not be kept, so there is no answer", why=str(error))
                )

    def _keep(self, receipt: Receipt) -> None:
        kept = self._of.setdefault(receipt.service, [])
        if receipt.sequence != len(kept):
            raise ServeError("the log of receipts has a gap", why=f"{receipt.sequence} follows {len(kept) - 1}")
        kept.append(receipt)
        self._place[receipt.digest] = (receipt.service, receipt.sequence)
        # Answers that wait for the next fsync hold numbers beyond this one: never give those out again.
        self._next[receipt.service] = max(self._next.get(receipt.service, 0), len(kept))

    def find(self, prefix: str) -> Receipt | None:
        """The receipt whose digest begins so; None when there is none, or more than one."""
        if len(prefix) < PREFIX_CHARACTERS_MIN:
            return None
        exact = self._place.get(Digest(prefix))
        places = [exact] if exact else [place for digest, place in self._place.items() if digest.startswith(prefix)]
        return self._of[places[0][0]][places[0][1]] if len(places) == 1 else None

    def batches(self, anchored: Mapping[Digest, int]) -> tuple[Batch, ...]:
        """What no root covers yet: by service, the first run of one model after the `anchored` count of receipts."""
        found = []
        for service, receipts in self._of.items():
            start = anchored.get(service, 0)
            run = receipts[start : start + BATCH_MAX]
            if run:
                end = next((i for i, receipt in enumerate(run) if receipt.model != run[0].model), len(run))
                root = merkle.root([receipt.encode() for receipt in run[:end]])
                found.append(Batch(service, run[0].model, start, end, root, run[0].time))
        return tuple(found)

    def prove(self, receipt: Receipt, first: int, count: int) -> Proof:
        """The proof that a receipt is in the batch `first … first + count`. Raises `ServeError` when it is not."""
        if not first <= receipt.sequence < first + count:
            raise ServeError("the receipt is not in that batch")
        leaves = [r.encode() for r in self._of[receipt.service][first : first + count]]
        index = receipt.sequence - first
        if len(leaves) != count or leaves[index] != receipt.encode():
            raise ServeError("the log does not hold that batch")
        return Proof(leaves[index], index, count, merkle.root(leaves), merkle.prove(leaves, index))
