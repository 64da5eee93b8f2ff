"""Supervision of a node's own processes: started in order, restarted within bounds, stopped in reverse, dead with their parent.

`Children` is the parent's side; `bind_to_parent` and `inherited` are what a child calls first. What they say is in `channel`.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comity.node.channel import Channel
from comity.node.errors import ChildError, ChildGone, RestartsExhausted

_log = logging.getLogger(__name__)
LIFELINE_VARIABLE = "COMITY_LIFELINE_FD"
LOG_BYTES_MAX = 8 * 1024 * 1024
PR_SET_PDEATHSIG = 1
FD_ARGUMENT = "{fd}"
"""Stands in `Child.arguments` for the number of the inherited socket."""


@dataclass(frozen=True)
class Child:
    """One process: a Python module of ours with its arguments, and the channel that gets its socket at every start."""

    name: str
    arguments: tuple[str, ...]
    channel: Channel
    ready: Callable[[], Awaitable[object]] | None = None
    """Asked after each start; the child counts as started once it answers."""
    restarted: Callable[[], Awaitable[None]] | None = None
    """Called after each restart, never after the first start."""


@dataclass(frozen=True)
class Intensity:
    """At most `restarts_max` restarts in `window_s` seconds; then the child stays dead and `Children.failed` says so."""

    restarts_max: int = 5
    window_s: float = 60.0
    pause_s: float = 0.05
    ready_s: float = 60.0
    stop_s: float = 5.0


@dataclass
class _Running:
    child: Child
    process: asyncio.subprocess.Process
    watch: asyncio.Task[None] | None = None
    deaths: deque[float] = field(default_factory=deque)


class Children:
    """The processes of one node."""

    def __init__(
        self,
        logs: Path,
        *,
        intensity: Intensity | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_restart: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._logs = logs
        self._intensity = intensity or Intensity()
        self._clock = clock
        self._on_restart = on_restart
        self._running: dict[str, _Running] = {}
        self._stopping = False
        self._lifeline: tuple[int, int] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Holds a `RestartsExhausted` once a child is given up: the node must stop, loudly."""

    def pid(self, name: str) -> int:
        """The process id of a running child."""
        return self._running[name].process.pid

    def alive(self) -> dict[str, bool]:
        """Whether each child runs now."""
        return {name: running.process.returncode is None for name, running in self._running.items()}

    async def start(self, children: Sequence[Child]) -> None:
        """Start one after the other, each once the one before is ready. Stops all again if one cannot start."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lifeline = self._lifeline or os.pipe()
        try:
            for child in children:
                running = _Running(child, await self._spawn(child))
                self._running[child.name] = running
                await self._await_ready(running)
                running.watch = asyncio.create_task(self._supervise(running), name=f"child-{child.name}")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop in reverse order: close the channel, then SIGTERM, then SIGKILL. Safe to call twice."""
        self._stopping = True
        for running in reversed(self._running.values()):
            if running.watch is not None:
                running.watch.cancel()
                await asyncio.wait([running.watch])
            await running.child.channel.detach()
            await self._end(running.process)
        self._running.clear()
        if self._lifeline is not None:
            for descriptor in self._lifeline:
                os.close(descriptor)
            self._lifeline = None
        if not self.failed.done():
            self.failed.cancel()
        elif not self.failed.cancelled():
            self.failed.exception()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for stop in (process.terminate, process.kill):
            if process.returncode is not None:
                return
            try:
                stop()
                async with asyncio.timeout(self._intensity.stop_s):
                    await process.wait()
            except (ProcessLookupError, TimeoutError):
                continue

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        if self._lifeline is None:
            raise ChildError("the node is stopping")
        ours, theirs = socket.socketpair()
        arguments = [argument.replace(FD_ARGUMENT, str(theirs.fileno())) for argument in child.arguments]
        try:
            with self._log(child.name) as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(), self._lifeline[0]),
                    env={**os.environ, LIFELINE_VARIABLE: f"{self._lifeline[0]}:{os.getpid()}"},
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        await child.channel.attach(ours)
        return process

    def _log(self, name: str) -> _LogFile:
        return _LogFile(self._logs / f"{name}.log")

    async def _await_ready(self, running: _Running) -> None:
        if running.child.ready is None:
            return
        try:
            # Not `wait_for`, which in Python 3.11 swallows a cancellation that comes together with the answer.
            async with asyncio.timeout(self._intensity.ready_s):
                await running.child.ready()
        except (TimeoutError, ChildGone) as error:
            await self._end(running.process)
            name = running.child.name
            raise ChildError(
                f"the {name} did not start", why=self.last_words(name) or str(error), hint=f"see {name}.log"
            ) from None

    def last_words(self, name: str) -> str:
        """The last line of a child's log."""
        path = self._logs / f"{name}.log"
        lines = path.read_bytes()[-2000:].decode(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1] if lines else ""

    async def _supervise(self, running: _Running) -> None:
        child, bound = running.child, self._intensity
        while not self._stopping:
            code = await running.process.wait()
            await child.channel.detach()
            now = self._clock()
            running.deaths.append(now)
            while running.deaths[0] < now - bound.window_s:
                running.deaths.popleft()
            if len(running.deaths) > bound.restarts_max:
                self._give_up(child, code, len(running.deaths))
                return
            await asyncio.sleep(bound.pause_s * 2 ** (len(running.deaths) - 1))
            self._on_restart(child.name)
            _log.warning(
                "restarting the %s, which ended with code %d: %s", child.name, code, self.last_words(child.name)
            )
            running.process = await self._spawn(child)
            try:
                await self._await_ready(running)
            except ChildError:
                continue
            if child.restarted is not None:
                await child.restarted()

    def _give_up(self, child: Child, code: int, deaths: int) -> None:
        words = self.last_words(child.name)
        error = RestartsExhausted(
            f"the {child.name} died {deaths} times in {self._intensity.window_s:g} s, the last time with code {code}",
            why=words,
            hint=f"see {child.name}.log; comity doctor",
        )
        _log.error("%s", error)
        if not self.failed.done():
            self.failed.set_exception(error)


class _LogFile:
    """A log opened for appending, started afresh when it has grown too large."""

    def __init__(self, path: Path) -> None:
        large = path.exists() and path.stat().st_size > LOG_BYTES_MAX
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if large else os.O_APPEND), 0o600)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def follow_parent(parent_gone: Callable[[], object]) -> None:
    """For a node that `comity dev` started: hear, in a thread, when that parent is gone, however it went."""
    given = os.environ.pop(LIFELINE_VARIABLE, None)
    if given is None:
        return
    descriptor, _ = (int(part) for part in given.split(":"))

    def wait() -> None:
        while os.read(descriptor, 1):
            continue
        parent_gone()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def bind_to_parent() -> None:
    """Die when the node dies, however it dies: by signal where Linux has it, else when its pipe closes. Call first in a child."""
    given = os.environ.get(LIFELINE_VARIABLE)
    if given is None:
        return
    descriptor, parent = (int(part) for part in given.split(":"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the node stops us in order
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we were bound
        os._exit(1)
    threading.Thread(target=_wait_for_end, args=(descriptor,), name="lifeline", daemon=True).start()


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 1):
        continue
    os._exit(1)


def inherited(descriptor: int) -> socket.socket:
    """The socket that the node passed under this number."""
    return socket.socket(fileno=descriptor)
