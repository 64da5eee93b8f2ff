"""Proves each guarantee of the sandbox on this very host by trying to break it, and writes the isolation report.

Run at start. A promise that does not hold is `SandboxRefused`: nothing runs with less. The trials themselves: `trial`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comity.compute.errors import ComputeError, SandboxRefused
from comity.compute.sandbox import Limits, Sandbox

_MEMORY_BYTES = 1 << 28
_OUTPUT_BYTES = 1 << 20
_PROCESSES = 4
_CPU_S = 5
_WALL_S = 30.0
_VARIABLES = {
    "LANG",
    "LC_CTYPE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PWD",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
}


async def probe(sandbox: Sandbox, foreign: Path) -> dict[str, bool | int | str]:
    """Try every guarantee. `foreign` is a readable file of this host that the sandbox must not see.

    Returns the `isolation` of a task's receipt. Raises `SandboxRefused` naming each promise that does not hold.
    """
    if not foreign.is_file():
        raise ComputeError("the probe needs a foreign file", why=f"{foreign.name} does not exist")
    limits = Limits(
        cpu_s=_CPU_S,
        memory_bytes=_MEMORY_BYTES,
        processes=_PROCESSES,
        file_bytes=4 * _OUTPUT_BYTES,
        outputs_bytes=_OUTPUT_BYTES,
    )
    try:
        worker = await sandbox.start("comity.compute.trial", {"probe": b"probe"}, limits)
        try:
            request = {"foreign": str(foreign.resolve()), "memory_bytes": _MEMORY_BYTES}
            found, _ = await worker.call(request, wall_s=_WALL_S)
        finally:
            await worker.stop()
    except ComputeError as error:
        raise SandboxRefused("the sandbox does not work on this host", why=str(error)) from error
    broken = _broken(found)
    if broken:
        raise SandboxRefused("the sandbox does not keep its promises on this host", why="; ".join(broken))
    return {
        "mechanism": "bubblewrap",
        "network": "own namespace without interfaces but lo",
        "files": "read-only runtime and named inputs",
        "outputs": "bounded file system in memory",
        "environment": "cleared",
        "processes": "own namespace, RLIMIT_NPROC",
        "memory": "RLIMIT_AS for each process, resident total watched",
        "cpu": "RLIMIT_CPU for each process, total watched",
        "privileges": "none, no new ones",
        "proved": True,
    }


def _broken(found: Mapping[str, Any]) -> list[str]:
    """The promises that the trials broke, in words."""
    checks = {
        "network is reachable": found["connected"] or set(found["interfaces"]) - {"lo"},
        "a foreign file can be read": found["foreign_read"] or found["passwords_read"],
        "inputs cannot be read": not found["input_read"],
        "files can be written outside the outputs": found["written_outside"],
        "outputs are not bounded": not 0 < found["written_bytes"] <= _OUTPUT_BYTES,
        "the environment leaks": set(found["environment"]) - _VARIABLES,
        "foreign processes are visible": found["processes_visible"] > 2,
        "processes are not bounded": found["forked"] >= _PROCESSES,
        "no process can be started": found["forked"] == 0,
        "memory is not bounded": found["mapped"],
        "processor time is not bounded": found["cpu_s"] != _CPU_S,
        "privileges can be regained": found["uid"] == 0 or found["privileges_regained"],
    }
    return [promise for promise, fails in checks.items() if fails]
