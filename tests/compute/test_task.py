"""Tasks: a good one's outcome, and bad ones contained and named."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from comity.compute import task
from comity.compute.errors import ComputeError, SandboxRefused
from comity.compute.sandbox import Sandbox
from comity.compute.task import Outcome
from comity.record import kinds


def make(code: bytes, **over: Any) -> kinds.Task:
    limits = {"cpu_s": 5, "wall_s": 10, "memory_bytes": 1 << 28, "output_bytes": 1 << 20, **over.pop("limits", {})}
    spec = {
        "code": hashlib.sha256(code).hexdigest(), "inputs": [], "purpose": "test", "environment": "python",
        "limits": limits, "arguments": {}, "nonce": 0, **over,
    }  # fmt: skip
    built = kinds.build("task", spec)
    assert isinstance(built, kinds.Task)
    return built


def run(code: str, inputs: dict[str, bytes] | None = None, **over: Any) -> Outcome:
    data = code.encode()
    return asyncio.run(task.run(Sandbox.find(), make(data, **over), data, inputs or {}))


def test_a_task_reads_its_inputs_and_writes_its_outputs() -> None:
    code = "import sys\nprint(sys.argv[1:])\nopen('sum', 'w').write(str(sum(map(int, open('/inputs/numbers')))))"
    outcome = run(code, {"numbers": b"1\n2\n3\n"}, arguments={"b": "2", "a": "1"})
    assert outcome == Outcome(
        True, 0, "", {"sum": b"6"}, b"['a=1', 'b=2']\n", outcome.cpu_ms, outcome.wall_ms, outcome.memory_peak_bytes
    )
    assert outcome.wall_ms > 0
    assert 1 << 20 < outcome.memory_peak_bytes < 1 << 28
    assert outcome.log_digest == hashlib.sha256(outcome.log).hexdigest()


def test_a_failing_task_keeps_its_exit_and_its_traceback() -> None:
    outcome = run("open('half', 'w').write('x')\nraise ValueError('broken')")
    assert (outcome.done, outcome.exit, outcome.outputs) == (False, 1, {})
    assert b"ValueError: broken" in outcome.log


BAD: dict[str, tuple[str, dict[str, int], tuple[str, ...]]] = {
    "fork bomb": (
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        {"wall_s": 2, "cpu_s": 2},
        ("time are used up", "memory", "bytes"),
    ),
    "memory hog": ("x = bytearray(1 << 30)", {}, ("exit 1",)),
    "memory hog by many": (
        "import os, time\nfor _ in range(8):\n  if os.fork() == 0:\n    x = b'1' * (60 << 20); time.sleep(60)\ntime.sleep(60)",
        {},
        ("together hold more",),
    ),
    "endless output": ("while True: print('x' * 100000)", {}, ("printed more than",)),
    "disk filler": (
        "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 16)); f.flush()",
        {},
        ("exit 1", "full", "grew beyond"),
    ),
    "many files": ("i = 0\nwhile True: open(f'f{i}', 'w'); i += 1", {}, ("files", "outputs", "exit 1")),
    "endless loop": ("while True: pass", {"cpu_s": 1}, ("processor time",)),
    "sleeper": ("import time; time.sleep(60)", {"wall_s": 1}, ("wall time",)),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", {}, ("SIGSEGV",)),
    "link as output": ("import os; os.symlink('/inputs/task.py', 'stolen')", {}, ("not a readable plain file",)),
    "pipe as output": ("import os; os.mkfifo('pipe')", {}, ("plain file",)),
    "bad name": ("open('a b', 'w')", {}, ("cannot name an output",)),
    "too many outputs": ("for i in range(65): open(f'o{i}', 'w')", {}, ("more than 64 outputs",)),
    "kills everything": (
        "import os, signal, time; os.kill(-1, signal.SIGKILL); time.sleep(60)",
        {"wall_s": 3},
        ("SIGKILL", "wall time", "exit"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tasks_are_contained_and_named(name: str) -> None:
    code, limits, because = BAD[name]
    outcome = run(code, limits=limits)
    assert not outcome.done
    assert not outcome.outputs
    assert any(word in outcome.because for word in because), outcome.because
    assert len(outcome.log) <= task.LOG_BYTES_MAX + 600


def test_zombies_and_daemons_end_with_the_task() -> None:
    code = (
        "import os, time\n"
        "for _ in range(20):\n"
        "  if os.fork() == 0: os._exit(0)\n"
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0: time.sleep(600)\n"
        "  os._exit(0)\n"
        "open('ok', 'w').write('1')"
    )
    outcome = run(code)
    assert outcome.outputs == {"ok": b"1"}
    assert outcome.wall_ms < 5000


def test_no_network_no_foreign_files_no_environment() -> None:
    # Only the way to Python's own folders may exist, wherever this checkout lies.
    ours = {str(parent) for place in (sys.prefix, sys.base_prefix) for parent in Path(place).resolve().parents}
    foreign = sorted({"/etc/passwd", "/root/.bashrc", "/home", "/tmp", "/var", "/etc/hostname"} - ours)
    code = (
        "import os, socket\n"
        "found = [name for _, name in socket.if_nameindex()]\n"
        "try: socket.create_connection(('192.0.2.1', 80), 2); found.append('connected')\n"
        "except OSError: pass\n"
        f"found += [p for p in {foreign} if os.path.exists(p)]\n"
        "found += [k for k in os.environ if 'COMITY' in k or 'TOKEN' in k]\n"
        "open('found', 'w').write(' '.join(found))"
    )
    os.environ["SECRET_TOKEN"] = "x"
    try:
        assert run(code).outputs == {"found": b"lo"}
    finally:
        del os.environ["SECRET_TOKEN"]


def test_what_a_task_may_not_ask() -> None:
    code = b"pass"
    asks: list[tuple[kinds.Task, bytes, dict[str, bytes]]] = [
        (make(code, environment="r-4"), code, {}),
        (make(code, limits={"memory_bytes": 1 << 40}), code, {}),
        (make(code), b"other", {}),
        (make(code), code, {"task.py": b""}),
    ]
    for spec, given, inputs in asks:
        with pytest.raises(ComputeError):
            asyncio.run(task.run(Sandbox.find(), spec, given, inputs))
    for name in ("", "../x", "a/b", ".hidden", "A"):
        with pytest.raises(SandboxRefused):
            asyncio.run(task.run(Sandbox.find(), make(code), code, {name: b""}))
