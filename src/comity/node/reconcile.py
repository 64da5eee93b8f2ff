"""The loop that makes this node match the ledger: view and local state in, actions out, each performed once at a time.

It decides nothing (planners do) and touches nothing (`perform` does): it wakes, plans, starts, and backs off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from comity.ledger.controller import Action
from comity.record.errors import ComityError

TICK_S = 1.0
BACKOFF_S_MIN = 0.25
BACKOFF_S_MAX = 30.0
RUNNING_MAX = 64

log = logging.getLogger("comity.reconcile")


@dataclass
class Failure:
    """Why an action did not succeed, and when it may be tried again (loop time)."""

    because: str
    attempts: int
    retry_at: float


@dataclass
class Reconciler:
    """Runs planners whenever the view or local state changed, and at least every second for their time-outs."""

    plan: Callable[[], Sequence[Action]]
    perform: Callable[[Action], Awaitable[None]]
    failures: dict[str, Failure] = field(default_factory=dict)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something changed; plan again soon."""
        self._event.set()

    @property
    def running(self) -> tuple[str, ...]:
        """The keys of the actions now being performed."""
        return tuple(self._running)

    async def run(self) -> None:
        """Until cancelled; then whatever still runs is cancelled too."""
        try:
            while True:
                self._event.clear()
                self._start(self.plan())
                try:
                    async with asyncio.timeout(TICK_S):
                        await self._event.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start(self, actions: Sequence[Action]) -> None:
        now = asyncio.get_running_loop().time()
        wanted = {action.key for action in actions}
        self.failures = {key: failure for key, failure in self.failures.items() if key in wanted}
        for action in actions:
            failure = self.failures.get(action.key)
            if action.key in self._running or len(self._running) >= RUNNING_MAX or (failure and failure.retry_at > now):
                continue
            self._running[action.key] = asyncio.create_task(self._perform(action), name=action.key)

    async def _perform(self, action: Action) -> None:
        try:
            await self.perform(action)
        except ComityError as error:
            self._failed(action.key, str(error))
        except Exception as error:
            log.exception("action %s", action.key)
            self._failed(action.key, repr(error))
        else:
            self.failures.pop(action.key, None)
            self.wake()
        finally:
            self._running.pop(action.key, None)

    def _failed(self, key: str, because: str) -> None:
        attempts = self.failures[key].attempts + 1 if key in self.failures else 1
        delay_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** (attempts - 1))
        self.failures[key] = Failure(because, attempts, asyncio.get_running_loop().time() + delay_s)
        log.info("action %s failed (attempt %d, again in %.1f s): %s", key, attempts, delay_s, because)
