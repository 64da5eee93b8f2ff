"""Supervision with real processes: order, restarts, giving up, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comity.node.channel import Channel
from comity.node.children import Child, Children, Intensity
from comity.node.errors import ChildError, ChildGone, RestartsExhausted

pytestmark = pytest.mark.net

ECHO = """
import sys
sys.path.insert(0, {source!r})
from comity.node.channel import serve
from comity.node.children import bind_to_parent, inherited
bind_to_parent()
print("started", file=sys.stderr, flush=True)
def answer(request):
    if request == b"die":
        raise SystemExit("asked to die")
    return request
serve(inherited(int(sys.argv[1])), answer)
"""
SOURCE = str(Path(__file__).parents[2] / "src")
QUICK = Intensity(restarts_max=2, window_s=60, pause_s=0.01, ready_s=10, stop_s=3)


def echo(name: str, program: str = ECHO, **more: object) -> Child:
    channel = Channel(name)
    arguments = ("-c", program.format(source=SOURCE), "{fd}")
    return Child(name, arguments, channel, ready=lambda: channel.request(b"ready"), **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def ask(child: Child, request: bytes) -> bytes:
    """Ask until the child is back."""
    for _ in range(500):
        try:
            return await child.channel.request(request)
        except ChildGone:
            await asyncio.sleep(0.01)
    raise AssertionError(f"{child.name} never came back")


def test_start_restart_and_stop(tmp_path: Path) -> None:
    async def scene() -> None:
        seen: list[str] = []

        async def back() -> None:
            seen.append("back")

        children = Children(tmp_path, intensity=QUICK, on_restart=seen.append)
        first, second = echo("first", restarted=back), echo("second")
        await children.start([first, second])
        pids = [children.pid("first"), children.pid("second")]
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(ChildGone):
            while True:
                await first.channel.request(b"x")
        assert await ask(first, b"hello") == b"hello"
        assert await second.channel.request(b"untouched") == b"untouched"
        assert children.pid("first") != pids[0]
        async with asyncio.timeout(3):
            while seen != ["first", "back"]:
                await asyncio.sleep(0.005)
        last = children.pid("first")
        await children.stop()
        await children.stop()
        assert not any(alive(pid) for pid in [*pids, last])
        assert (tmp_path / "first.log").read_text().count("started") == 2

    asyncio.run(scene())


def test_it_gives_up_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        children = Children(tmp_path, intensity=QUICK)
        child = echo("mortal")
        await children.start([child])
        for _ in range(3):
            with pytest.raises(ChildGone):
                while True:
                    await ask(child, b"still there")
                    await child.channel.request(b"die")
        with pytest.raises(RestartsExhausted, match="3 times in 60 s") as caught:
            await asyncio.wait_for(asyncio.shield(children.failed), 5)
        assert "asked to die" in caught.value.why
        await children.stop()

    asyncio.run(scene())
    assert "mortal died 3 times" in caplog.text


def test_old_deaths_are_forgiven(tmp_path: Path) -> None:
    async def scene() -> None:
        now = [0.0]
        children = Children(tmp_path, intensity=QUICK, clock=lambda: now[0])
        child = echo("mortal")
        await children.start([child])
        for _ in range(4):
            pid = children.pid("mortal")
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(5):
                while children.pid("mortal") == pid:
                    await asyncio.sleep(0.01)
            await ask(child, b"back")
            now[0] += 61
        assert not children.failed.done()
        await children.stop()

    asyncio.run(scene())


@pytest.mark.parametrize("program", ["raise SystemExit('broken: no such key')", "import nothing_like_this"])
def test_one_that_cannot_start_stops_all(tmp_path: Path, program: str) -> None:
    async def scene() -> None:
        children = Children(tmp_path, intensity=QUICK)
        good, bad = echo("good"), echo("bad", program)
        with pytest.raises(ChildError, match="the bad did not start") as caught:
            await children.start([good, bad])
        assert caught.value.why.startswith(("broken: no such key", "ModuleNotFoundError"))
        assert not good.channel.attached

    asyncio.run(scene())


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = ECHO.replace("bind_to_parent()\n", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", 1)
    program = program.replace("serve(", "import time\nserve(").rstrip() + "\ntime.sleep(60)\n"

    async def scene() -> None:
        children = Children(tmp_path, intensity=Intensity(stop_s=0.2))
        child = echo("stubborn", program)
        await children.start([child])
        pid = children.pid("stubborn")
        await children.stop()
        assert not alive(pid)

    asyncio.run(scene())


PARENT = """
import asyncio, sys
sys.path.insert(0, {source!r})
from pathlib import Path
from comity.node.channel import Channel
from comity.node.children import Child, Children
async def main():
    children = Children(Path(sys.argv[1]))
    program = {program!r}
    made = [Child(name, ("-c", program, "{{fd}}"), Channel(name)) for name in ("one", "two")]
    for child in made:
        object.__setattr__(child, "ready", lambda child=child: child.channel.request(b"ready"))
    await children.start(made)
    print(children.pid("one"), children.pid("two"), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("by_pipe_alone", [False, True])
def test_nothing_survives_a_killed_parent(tmp_path: Path, by_pipe_alone: bool) -> None:
    """SIGKILL the node: by PR_SET_PDEATHSIG, or where there is none by the closing pipe, its children end within 2 s."""
    program = ECHO.format(source=SOURCE)
    if by_pipe_alone:
        program = "import sys; sys.platform = 'elsewhere'\n" + program.replace(
            "serve(inherited", "import time; time.sleep(60) if False else serve(inherited"
        )
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(source=SOURCE, program=program), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


def test_a_busy_child_also_dies_with_its_parent(tmp_path: Path) -> None:
    """One that never looks at its socket, as the executor in a long transaction."""
    program = ECHO.format(source=SOURCE).replace(
        "    return request\n", "    return request if request == b'ready' else spin()\n"
    )
    program = "def spin():\n    while True: pass\n" + program
    script = PARENT.format(source=SOURCE, program=program).replace(
        "    await asyncio.sleep(60)",
        "    [asyncio.ensure_future(c.channel.request(b'spin')) for c in made]; await asyncio.sleep(60)",
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(0.1)
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)
