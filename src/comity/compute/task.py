"""A task: its record, code and inputs in; what its receipt must say out. Not the sandbox itself: see `sandbox`.

Whatever the program does — crash, fork, fill, print without end — the outcome is a value with the reason in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from comity.compute.errors import ComputeError, WorkerEnded
from comity.compute.sandbox import Limits, Sandbox
from comity.compute.supervisor import CODE_NAME
from comity.record.kinds import Task
from comity.record.types import Digest

ENVIRONMENT = "python"
"""The one environment of this version: the Python that runs the node, with the packages beside it."""

CODE_BYTES_MAX = 1 << 20
CPU_S_MAX = 86_400
WALL_S_MAX = 86_400
MEMORY_BYTES_MAX = 1 << 38
OUTPUT_BYTES_MAX = 1 << 28
PROCESSES = 64
FILES_OPEN = 256
LOG_BYTES_MAX = 1 << 20
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The content of a task's receipt. Blobs are bytes here: the node stores them and puts their digests in the record."""

    done: bool
    exit: int
    because: str
    """Why it did not end by itself with 0; empty when it did."""
    outputs: Mapping[str, bytes]
    log: bytes
    cpu_ms: int
    wall_ms: int
    memory_peak_bytes: int

    @property
    def log_digest(self) -> Digest:
        return Digest(hashlib.sha256(self.log).hexdigest())


async def run(sandbox: Sandbox, task: Task, code: bytes, inputs: Mapping[str, bytes]) -> Outcome:
    """Run `code` (Python) once with `inputs` as files in /inputs, the working folder /outputs, arguments as `name=value`.

    Raises `ComputeError` when the task asks for what it may not have, `SandboxRefused` when this host cannot isolate it.
    """
    limits = _limits(task)
    if hashlib.sha256(code).hexdigest() != task.code or len(code) > CODE_BYTES_MAX:
        raise ComputeError("the code is not what the task names", why="digest or size differs")
    if CODE_NAME in inputs:
        raise ComputeError(f"an input may not be called {CODE_NAME}")
    worker = await sandbox.start("comity.compute.supervisor", {**inputs, CODE_NAME: code}, limits, supervisor=True)
    try:
        request = {"arguments": dict(task.arguments), "wall_s": task.limits.wall_s}
        wall_s, bytes_max = task.limits.wall_s + _GRACE_S, task.limits.output_bytes
        body, outputs = await worker.call(request, wall_s=wall_s, bytes_max=bytes_max)
    except WorkerEnded as error:
        return _outcome({"exit": 137, "because": error.why or error.what}, {}, worker.log)
    finally:
        await worker.stop()
    return _outcome(body, outputs, worker.log)


def _limits(task: Task) -> Limits:
    if task.environment != ENVIRONMENT:
        raise ComputeError(f"no environment {task.environment!r} here", hint=f"this node has {ENVIRONMENT}")
    asked = task.limits
    for name, value, most in (
        ("cpu_s", asked.cpu_s, CPU_S_MAX),
        ("wall_s", asked.wall_s, WALL_S_MAX),
        ("memory_bytes", asked.memory_bytes, MEMORY_BYTES_MAX),
        ("output_bytes", asked.output_bytes, OUTPUT_BYTES_MAX),
    ):
        if value > most:
            raise ComputeError(f"the task asks for too much {name}", why=f"{value}, at most {most}")
    return Limits(
        cpu_s=asked.cpu_s,
        memory_bytes=asked.memory_bytes,
        processes=PROCESSES,
        files_open=FILES_OPEN,
        file_bytes=asked.output_bytes,
        outputs_bytes=asked.output_bytes,
        log_bytes=LOG_BYTES_MAX,
    )


def _outcome(body: Mapping[str, object], outputs: Mapping[str, bytes], log: bytes) -> Outcome:
    exit_status = _whole(body.get("exit"))
    because = str(body.get("because", ""))[:500]
    if because:
        log += b"\n" if log and not log.endswith(b"\n") else b""
        log += f"comity: ended: {because}\n".encode()
    done = exit_status == 0 and not because
    return Outcome(
        done=done,
        exit=max(-255, min(255, exit_status)),
        because=because or ("" if done else f"exit {exit_status}"),
        outputs=outputs if done else {},
        log=log,
        cpu_ms=max(0, _whole(body.get("cpu_ms"))),
        wall_ms=max(0, _whole(body.get("wall_ms"))),
        memory_peak_bytes=max(0, _whole(body.get("memory_peak_bytes"))),
    )


def _whole(value: object) -> int:
    return value if type(value) is int else 0
