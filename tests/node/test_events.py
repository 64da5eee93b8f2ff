"""News and log lines: a slow watcher loses the oldest and holds nobody; places are bounded and given back; lines are bounded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator

import pytest

from comity.node import events
from comity.node.events import LINES_MAX, QUEUE_MAX, TEXT_CHARACTERS_MAX, WATCHERS_MAX, Hub, Journal


async def opened(hub: Hub) -> tuple[AsyncIterator[tuple[str, str]], asyncio.Task[tuple[str, str]]]:
    news = hub.subscribe()

    async def first() -> tuple[str, str]:
        return await anext(news)

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0)
    return news, waiting


def test_a_slow_watcher_loses_the_oldest_news() -> None:
    async def main() -> None:
        hub = Hub()
        news, first = await opened(hub)
        for height in range(QUEUE_MAX + 10):
            hub.publish("block", {"height": height})
        assert await first == ("block", '{"height": 10}')
        assert await anext(news) == ("block", '{"height": 11}')
        await news.aclose()  # type: ignore[attr-defined]
        assert not hub._watchers

    asyncio.run(main())


def test_places_are_bounded_and_given_back() -> None:
    async def main() -> None:
        hub = Hub()
        held = [await opened(hub) for _ in range(WATCHERS_MAX)]
        late, refused = await opened(hub)
        assert (await refused)[0] == "full"
        await late.aclose()  # type: ignore[attr-defined]
        for _, waiting in held:
            waiting.cancel()
        await asyncio.gather(*(waiting for _, waiting in held), return_exceptions=True)
        assert not hub._watchers
        news, waiting = await opened(hub)
        hub.publish("inbox", {"count": 1})
        assert (await waiting)[0] == "inbox"
        await news.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_silence_is_broken_to_find_dead_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_S", 0.01)

    async def main() -> None:
        news, waiting = await opened(Hub())
        assert await waiting == ("ping", "{}")
        await news.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


@pytest.fixture
def journal() -> Journal:
    return Journal(lambda: 7.9)


def line(journal: Journal, level: int, text: str, name: str = "comity.replica") -> None:
    journal.handle(logging.LogRecord(name, level, "", 0, text, (), None))


def test_the_newest_lines_oldest_first_at_a_level(journal: Journal) -> None:
    for number in range(5):
        line(journal, logging.INFO, f"block {number}")
    line(journal, logging.ERROR, "no disk")
    assert [entry["text"] for entry in journal.lines(limit=2, level="info")] == ["block 4", "no disk"]
    assert journal.lines(limit=9, level="warning") == [
        {"time": 7, "level": "error", "source": "replica", "text": "no disk"}
    ]


def test_lines_are_few_and_short(journal: Journal) -> None:
    for number in range(LINES_MAX + 5):
        line(journal, logging.INFO, f"{number} " + "x" * 5000)
    found = journal.lines(limit=LINES_MAX * 2, level="debug")
    assert (len(found), found[0]["text"][:2]) == (LINES_MAX, "5 ")
    assert max(len(entry["text"]) for entry in found) == TEXT_CHARACTERS_MAX


def test_threads_may_log_while_somebody_looks(journal: Journal) -> None:
    for _ in range(LINES_MAX):
        line(journal, logging.INFO, "x")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            line(journal, logging.INFO, "y")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert len(journal.lines(limit=LINES_MAX, level="info")) == LINES_MAX
    finally:
        stop.set()
        writer.join()
