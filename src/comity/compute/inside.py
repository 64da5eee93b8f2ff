"""The first program inside a sandbox: gives up what it may still do, then answers frames with a handler until its pipe closes.

It runs before any foreign code, so that limits and identity are set by code we wrote. The outside half: see `sandbox`.
A handler is a module with `load(inputs: Path) -> Handle`; it is named by the sandbox's caller, and imports no frame code.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from comity.compute import frames
from comity.compute.frames import Frame

INPUTS = Path("/inputs")
OUTPUTS = Path("/outputs")
_PR_SET_DUMPABLE = 4
Handle: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, bytes]], tuple[Mapping[str, Any], Mapping[str, bytes]]]
"""A request's body and parts in; the answer's body and parts out."""

_ERROR_CHARACTERS_MAX = 2000


def main(arguments: list[str]) -> None:
    """`arguments`: the handler's module, and the limits as JSON."""
    module, limits = arguments[0], json.loads(arguments[1])
    requests, answers = _wire()
    if limits.pop("supervisor"):
        # The supervisor of a task outlives the limits of the program it starts; it applies them in the child.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        os.environ["COMITY_LIMITS"] = json.dumps(limits)
    else:
        confine(limits)
    _serve(importlib.import_module(module).load(INPUTS), requests, answers)


def confine(limits: dict[str, Any]) -> None:
    """Set every resource limit for good, and become a user who owns nothing."""
    for name, value in (
        ("RLIMIT_CPU", limits["cpu_s"]),
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", limits["files_open"]),
        ("RLIMIT_NPROC", limits["processes"]),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
    ):
        # One second between the soft and the hard processor limit, so that SIGXCPU names the cause before SIGKILL comes.
        hard = value + 1 if name == "RLIMIT_CPU" else value
        resource.setrlimit(getattr(resource, name), (value, hard))
    uid = limits["uid"]
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def _wire() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipe to ourselves: what the program prints goes to the log, and its stdin is empty."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests, answers


def _serve(handle: Handle, requests: BinaryIO, answers: BinaryIO) -> None:
    def exactly(count: int) -> bytes:
        data = requests.read(count)
        if len(data) != count:
            raise EOFError
        return data

    while True:
        try:
            request = frames.read(exactly)
        except EOFError:
            return
        try:
            answer = frames.encode(Frame(*handle(request.body, request.parts)))
        except Exception as error:  # the program is foreign: whatever it raises is its answer
            traceback.print_exc(file=sys.stderr)
            text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS_MAX]
            answer = frames.encode(Frame({"failed": text}))
        answers.write(answer)
        answers.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
