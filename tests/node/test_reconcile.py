"""The loop: each action once at a time, back-off on failure, forgotten when no longer wanted."""

from __future__ import annotations

import asyncio
from collections import Counter

from comity.ledger.controller import Action, Work
from comity.node.errors import Busy
from comity.node.reconcile import Reconciler


def run(reconciler: Reconciler, seconds: float) -> None:
    async def main() -> None:
        task = asyncio.create_task(reconciler.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_an_action_under_way_is_not_started_again() -> None:
    started: Counter[str] = Counter()

    async def perform(action: Action) -> None:
        started[action.key] += 1
        reconciler.wake()
        await asyncio.sleep(10)

    reconciler = Reconciler(lambda: [Work("train 1", "train"), Work("train 2", "train")], perform)
    run(reconciler, 0.3)
    assert started == {"train 1": 1, "train 2": 1}


def test_success_plans_again_at_once() -> None:
    done: list[str] = []

    async def perform(action: Action) -> None:
        done.append(action.key)

    reconciler = Reconciler(lambda: [Work(f"step {len(done)}", "step")] if len(done) < 5 else [], perform)
    run(reconciler, 0.3)
    assert done == [f"step {i}" for i in range(5)]


def test_failure_backs_off_and_is_told() -> None:
    attempts: list[float] = []

    async def perform(action: Action) -> None:
        attempts.append(asyncio.get_running_loop().time())
        reconciler.wake()
        raise Busy("the disk is full", why="0 bytes free")

    reconciler = Reconciler(lambda: [Work("anchor", "anchor")], perform)
    run(reconciler, 0.2)
    assert len(attempts) == 1
    assert reconciler.failures["anchor"].because == "the disk is full (0 bytes free)"


def test_an_unexpected_error_does_not_end_the_loop() -> None:
    seen: list[str] = []

    async def perform(action: Action) -> None:
        seen.append(action.key)
        if action.key == "bad":
            raise ValueError("bug")

    reconciler = Reconciler(lambda: [Work("bad", "x"), Work("good", "x")] if len(seen) < 2 else [], perform)
    run(reconciler, 0.2)
    assert set(seen) == {"bad", "good"}


def test_a_failure_that_nobody_wants_any_more_is_forgotten() -> None:
    wanted = [Work("old", "x")]

    async def perform(action: Action) -> None:
        wanted.clear()
        reconciler.wake()
        raise Busy("no")

    reconciler = Reconciler(lambda: list(wanted), perform)

    async def main() -> None:
        task = asyncio.create_task(reconciler.run())
        await asyncio.sleep(0.1)
        reconciler.wake()
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert reconciler.failures == {}
