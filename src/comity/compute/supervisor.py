"""Inside a sandbox, beside a task: starts it under its limits, watches all its processes together, collects its outputs.

Ours, so it outlives the task's limits; it never reads what the task wrote but as bytes of plain files. Outside: `task`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comity.compute.inside import INPUTS, OUTPUTS, Handle, confine

CODE_NAME = "task.py"
OUTPUTS_MAX = 64
OUTPUT_FILES_MAX = 4096
"""Directory entries, because empty files take no room of a bounded file system but do take the kernel's memory."""
_POLL_S = 0.02
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class _Use:
    """What all processes of the task used together, as seen so far."""

    cpu_s: float = 0.0
    memory_bytes: int = 0
    processes: int = 0
    seen: dict[tuple[int, str], float] = field(default_factory=dict)

    def observe(self) -> None:
        """Add up /proc. Our own process and the sandbox's init are left out."""
        resident = processes = 0
        for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of names under a fork bomb
            if not entry.isdigit() or int(entry) in (1, os.getpid()):
                continue
            try:
                words = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            self.seen[int(entry), words[19]] = (int(words[11]) + int(words[12])) * _TICK_S
            resident += int(words[21]) * _PAGE_BYTES
            processes += 1
        self.cpu_s = max(self.cpu_s, sum(self.seen.values()))
        self.memory_bytes = max(self.memory_bytes, resident)
        self.processes = max(self.processes, processes)


def load(_inputs: Path) -> Handle:
    """The handler: one request runs the task once. `body`: arguments, wall_s."""
    limits = json.loads(os.environ.pop("COMITY_LIMITS"))
    return lambda body, _parts: _run(body, limits)


def _run(body: Mapping[str, Any], limits: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become_task(body["arguments"], limits)
    use = _Use()
    because = ""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        use.observe()
        because = because or _limit_passed(use, limits, body["wall_s"], time.monotonic() - started)
        if because:
            _kill_all()
        time.sleep(_POLL_S)
    _kill_all()
    code = os.waitstatus_to_exitcode(status)
    because = because or _signal_means(code, limits, use)
    outputs, complaint = _collect(limits["outputs_bytes"])
    return {
        "exit": code,
        "because": because or complaint,
        "cpu_ms": round(1000 * max(use.cpu_s, usage.ru_utime + usage.ru_stime)),
        "wall_ms": round(1000 * (time.monotonic() - started)),
        "memory_peak_bytes": max(use.memory_bytes, usage.ru_maxrss * 1024),
    }, outputs


def _become_task(arguments: dict[str, str], limits: dict[str, Any]) -> None:
    try:
        os.chdir(OUTPUTS if limits["outputs_bytes"] else "/")
        confine(limits)
        os.closerange(3, 256)
        words = [f"{name}={value}" for name, value in sorted(arguments.items())]
        os.execv(sys.executable, [sys.executable, "-I", str(INPUTS / CODE_NAME), *words])  # noqa: S606 - no shell is the point
    finally:
        os._exit(126)


def _limit_passed(use: _Use, limits: dict[str, Any], wall_s: float, elapsed_s: float) -> str:
    if elapsed_s > wall_s:
        crowd = f" with {use.processes} processes" if use.processes > 1 else ""
        return f"{wall_s:g} s of wall time are used up{crowd}"
    if use.cpu_s > limits["cpu_s"]:
        return f"{limits['cpu_s']} s of processor time are used up"
    if use.memory_bytes > limits["memory_bytes"]:
        return f"its processes together hold more than {limits['memory_bytes']} bytes"
    if limits["outputs_bytes"]:
        room = os.statvfs(OUTPUTS)
        if room.f_files - room.f_ffree > OUTPUT_FILES_MAX:
            return f"it made more than {OUTPUT_FILES_MAX} files"
    return ""


def _signal_means(code: int, limits: dict[str, Any], use: _Use) -> str:
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and use.cpu_s >= limits["cpu_s"]):
        return f"{limits['cpu_s']} s of processor time are used up"
    if code == -signal.SIGXFSZ:
        return f"a file grew beyond {limits['file_bytes']} bytes"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else ""


def _kill_all() -> None:
    """Everything in this process namespace but its init and us; init reaps what is left."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


def _collect(bytes_max: int) -> tuple[dict[str, bytes], str]:
    """Plain files of /outputs by name. A link, device, pipe or folder is not followed and not an output."""
    if not bytes_max:
        return {}, ""
    room = os.statvfs(OUTPUTS)
    full = "the outputs are full" if room.f_bavail == 0 else ""
    names = sorted(path.name for path in OUTPUTS.iterdir())
    if len(names) > OUTPUTS_MAX:
        return {}, full or f"more than {OUTPUTS_MAX} outputs"
    outputs: dict[str, bytes] = {}
    for name in names:
        if not _NAME.match(name):
            return {}, f"{name[:64]!r} cannot name an output"
        try:
            descriptor = os.open(OUTPUTS / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return {}, f"output {name} is not a readable plain file"
        with os.fdopen(descriptor, "rb") as stream:
            size = os.fstat(descriptor).st_size
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}, f"output {name} is not a plain file"
            if sum(map(len, outputs.values())) + size > bytes_max:
                return {}, f"outputs exceed {bytes_max} bytes"
            outputs[name] = stream.read(bytes_max)
    return outputs, full
