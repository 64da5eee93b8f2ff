"""Fails a test that leaves something behind: a child process, a listening socket, an asyncio task or a working thread.

Not a sandbox: it sees only this process and its children. What a wider fixture (module, session) starts belongs to that
fixture and must be gone when it ends. `tests/quality/test_leaks.py` shows each check failing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

GRACE_S = float(os.environ.get("COMITY_TEST_GRACE_S", "3"))
_POLL_S = 0.02
_CHILDREN_ALLOWED = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
_THREADS_ALLOWED = ("execnet", "pytest_timeout", "asyncio_", "AnyIO worker thread", "ThreadPoolExecutor-")

_events = {"spawn": 0, "bind": 0}
_tasks_left: list[str] = []
_kept: dict[str, set[str]] = {"child": set(), "socket": set(), "thread": set()}


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    # Looking through /proc costs milliseconds: only the tests that start something pay.
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"):
        _events["spawn"] += 1
    elif event == "socket.bind":
        _events["bind"] += 1


def children() -> dict[int, str]:
    """Living direct children of this process: process id → command line. Linux only; elsewhere empty."""
    found: dict[int, str] = {}
    parent = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # pid (comm) state ppid …; comm may hold spaces and brackets, so split after the last one.
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if ppid != parent or state in "ZX":
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # gone while we looked
        if not any(name in command for name in _CHILDREN_ALLOWED):
            found[int(entry.name)] = command
    return found


def listeners() -> set[str]:
    """The listening sockets of this process, by inode and address."""
    found: set[str] = set()
    folder = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")
    for entry in list(folder.iterdir()):
        try:
            status = os.fstat(int(entry.name))
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as twin:
                if twin.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    found.add(f"{status.st_ino} {twin.getsockname()}")
        except OSError:
            continue
    return found


def threads() -> set[str]:
    """Living threads that would outlive a test: not daemons, and not of a pool that ends with its owner."""
    return {
        f"{thread.ident} {thread.name}"
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread() and not thread.name.startswith(_THREADS_ALLOWED)
    }


def _look(*, all_kinds: bool = False) -> dict[str, set[str]]:
    processes = children() if all_kinds or _events["spawn"] else {}
    return {
        "child": {f"{pid} {command}" for pid, command in processes.items()},
        "socket": listeners() if all_kinds or _events["bind"] else set(),
        "thread": threads(),
    }


def _left() -> dict[str, set[str]]:
    """What there is that nobody keeps, after a grace in which things may still be ending."""
    deadline = time.monotonic() + GRACE_S
    while True:
        now = _look()
        left = {kind: now[kind] - _kept[kind] for kind in now}
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)


def _settle(left: dict[str, set[str]]) -> None:
    """End the processes that leaked and keep the rest in mind, so that one leak is one failure."""
    for name in left["child"]:
        pid = int(name.split()[0])
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue
    for kind in ("socket", "thread"):
        _kept[kind] |= left[kind]


@contextmanager
def kept() -> Iterator[dict[str, set[str]]]:
    """What starts inside belongs to a wider fixture, not to the test that runs; for its methods that start again."""
    before = _look(all_kinds=True)
    new: dict[str, set[str]] = {}
    try:
        yield new
    finally:
        now = _look(all_kinds=True)
        for kind, names in now.items():
            new[kind] = names - before[kind]
            _kept[kind] |= new[kind]


def _release(new: dict[str, set[str]]) -> None:
    for kind, names in new.items():
        _kept[kind] -= names
        _events.update(spawn=1, bind=1)  # look for all of it after this test


def _watch_tasks() -> None:
    """Note the tasks that are neither done nor being cancelled when `asyncio.run` sweeps its loop."""
    runners: Any = asyncio.runners
    sweep: Callable[[asyncio.AbstractEventLoop], None] = runners._cancel_all_tasks

    def noted(loop: asyncio.AbstractEventLoop) -> None:
        if sys.exc_info()[0] is None:  # a failing test leaves tasks as a consequence
            _tasks_left.extend(
                repr(task) for task in asyncio.all_tasks(loop) if not task.done() and not task.cancelling()
            )
        sweep(loop)

    runners._cancel_all_tasks = noted


def pytest_configure() -> None:
    """Install the watches once a process."""
    sys.addaudithook(_audit)
    _watch_tasks()


def pytest_collection_finish() -> None:
    """What imports started is not a test's."""
    for kind, names in _look(all_kinds=True).items():
        _kept[kind] |= names


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Count from here."""
    _tasks_left.clear()
    _events.update(spawn=0, bind=0)
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail when anything of this test, or of a wider fixture that ended with it, outlives it."""
    yield
    left = _left()
    _settle(left)
    words = [f"{kind} {name}" for kind, names in left.items() for name in sorted(names)]
    words += [f"task {name}" for name in _tasks_left]
    _tasks_left.clear()
    if words:
        pytest.fail(f"{item.name} left behind: " + "; ".join(words), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a wider fixture starts is that fixture's until it ends."""
    if fixturedef.scope == "function":
        return (yield)
    with kept() as new:
        value = yield
    if any(new.values()):
        # Finalizers run last in, first out: this one before the fixture's own end, after which its things must be gone.
        request.addfinalizer(lambda: _release(new))
    return value
