"""Sends signed transactions to a node and watches its blocks: how many a second were committed, and how soon each was.

Bounded: so many transactions, so many connections, so long. A transaction counts when a block that the node serves holds it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from benchmarks.rpc import Rpc, RpcError, batch, hashes

BATCH = 100
CONNECTIONS = 2
POLL_S = 0.02
WAIT_S_MAX = 120.0


@dataclass(frozen=True)
class Target:
    """Where to send: a node's JSON-RPC URL and its token."""

    name: str
    url: str
    token: str = ""

    def open(self) -> Rpc:
        return Rpc(self.url, self.token)


class Watcher:
    """Follows the head on a connection of its own, noting when each transaction was first seen in a block."""

    def __init__(self, target: Target) -> None:
        self.seen: dict[str, float] = {}
        self.blocks = 0
        self.failure: Exception | None = None
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watcher", daemon=True)
        with target.open() as rpc:
            self._height = int(rpc.call("eth_blockNumber"), 16)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            with self._target.open() as rpc:
                while not self._stop.wait(POLL_S):
                    while (block := rpc.call("eth_getBlockByNumber", hex(self._height + 1), False)) is not None:
                        now = time.perf_counter()
                        self._height += 1
                        self.blocks += 1
                        for name in block["transactions"]:
                            self.seen[name] = now
        except Exception as error:  # carried to the thread that waits
            self.failure = error

    def wait(self, names: Sequence[str]) -> None:
        """Return when a block holds each of them; `RpcError` when that takes too long."""
        deadline = time.monotonic() + WAIT_S_MAX
        for name in names:
            while name not in self.seen:
                if self.failure is not None:
                    raise self.failure
                if time.monotonic() > deadline:
                    raise RpcError(f"{sum(n not in self.seen for n in names)} of {len(names)} never reached a block")
                time.sleep(POLL_S)


@dataclass(frozen=True)
class Load:
    """What a load showed. Times in seconds; `delays` from the request's start to the block's sight, sorted."""

    count: int
    wall_s: float
    blocks: int
    delays: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return self.count / self.wall_s

    def quantile(self, q: float) -> float:
        """The delay that a share `q` of the transactions did not pass."""
        return self.delays[min(len(self.delays) - 1, int(q * len(self.delays)))]


def saturate(target: Target, raws: Sequence[bytes]) -> Load:
    """Send all as fast as they are taken, in batches over a few connections; each account's stay on one, in order."""
    lanes: list[list[bytes]] = [list(raws[lane::CONNECTIONS]) for lane in range(CONNECTIONS)]
    bodies = [
        [(batch(lane[i : i + BATCH]), len(lane[i : i + BATCH])) for i in range(0, len(lane), BATCH)] for lane in lanes
    ]
    sent: dict[str, float] = {}

    def drive(lane: list[tuple[bytes, int]]) -> None:
        with target.open() as rpc:
            for body, count in lane:
                begun = time.perf_counter()
                for name in hashes(rpc.post(body), count):
                    sent[name] = begun

    with Watcher(target) as watcher, ThreadPoolExecutor(CONNECTIONS) as pool:
        begun = time.perf_counter()
        for future in [pool.submit(drive, lane) for lane in bodies]:
            future.result()
        watcher.wait(list(sent))
    return _load(sent, watcher, begun)


def trickle(target: Target, raws: Sequence[bytes], per_second: float) -> Load:
    """Send one by one at a steady rate far below capacity: the delay is then the consensus's, not a queue's."""
    sent: dict[str, float] = {}
    with Watcher(target) as watcher, target.open() as rpc:
        start = time.perf_counter()
        for index, raw in enumerate(raws):
            pause(start + index / per_second)
            begun = time.perf_counter()
            sent[rpc.call("eth_sendRawTransaction", "0x" + raw.hex())] = begun
        watcher.wait(list(sent))
    return _load(sent, watcher, start)


def pause(
    until: float, *, now: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Sleep until the clock shows `until`."""
    if (left := until - now()) > 0:
        sleep(left)


def _load(sent: dict[str, float], watcher: Watcher, begun: float) -> Load:
    last = max(watcher.seen[name] for name in sent)
    return Load(
        count=len(sent),
        wall_s=last - begun,
        blocks=watcher.blocks,
        delays=tuple(sorted(watcher.seen[name] - at for name, at in sent.items())),
    )
