"""News for watchers: a small fan-out of events to bounded queues, and the newest log lines.

A watcher that is too slow loses the oldest news; it never holds the node.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

QUEUE_MAX = 64
WATCHERS_MAX = 256
KEEPALIVE_S = 15.0
LINES_MAX = 5000
TEXT_CHARACTERS_MAX = 2000


class Hub:
    """Publishes (event, data) to every subscriber."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[tuple[str, str]]] = set()

    def publish(self, event: str, data: dict[str, Any]) -> None:
        text = json.dumps(data)
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((event, text))

    async def subscribe(self) -> AsyncIterator[tuple[str, str]]:
        """Events from now on; `ping` when there was none for a while, so that dead connections are found."""
        if len(self._watchers) >= WATCHERS_MAX:
            yield "full", "{}"
            return
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(QUEUE_MAX)
        self._watchers.add(queue)
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_S):
                        item = await queue.get()
                except TimeoutError:
                    item = ("ping", "{}")
                yield item
        finally:
            self._watchers.discard(queue)


class Journal(logging.Handler):
    """The newest log lines in memory, for `comity logs` and the console."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._lines: deque[tuple[int, int, str, str]] = deque(maxlen=LINES_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        source = record.name.removeprefix("comity.")
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self._lines.append((int(self._now()), record.levelno, source, text[:TEXT_CHARACTERS_MAX]))

    def lines(self, *, limit: int, level: str) -> list[dict[str, Any]]:
        """The newest `limit` lines at `level` or above, oldest first."""
        least = logging.getLevelNamesMapping()[level.upper()]
        now = list(self._lines)  # at once: other threads log while we look
        found = [line for line in now if line[1] >= least][-limit:]
        return [
            {"time": t, "level": logging.getLevelName(n).lower(), "source": s, "text": text} for t, n, s, text in found
        ]
