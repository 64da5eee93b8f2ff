"""Inside a sandbox: tries to break each promise, and says how it went. Asked and judged by `probe`."""

from __future__ import annotations

import mmap
import os
import resource
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from comity.compute.inside import OUTPUTS, Handle

_CHUNK_BYTES = 1 << 16


def load(inputs: Path) -> Handle:
    """The handler: one request runs every trial. `body`: foreign (a file outside), memory_bytes."""
    return lambda body, _parts: (_try_all(body, inputs), {})


def _try_all(body: Mapping[str, Any], inputs: Path) -> dict[str, Any]:
    foreign = Path(body["foreign"])
    written = _fill(OUTPUTS / "big")
    return {
        "interfaces": [name for _, name in socket.if_nameindex()],
        "connected": _succeeds(_connect),
        "foreign_read": _succeeds(foreign.read_bytes),
        "passwords_read": _succeeds(Path("/etc/passwd").read_bytes),
        "input_read": (inputs / "probe").read_bytes().decode() == "probe",
        "written_outside": [
            str(path) for path in _places(inputs, foreign) if _succeeds(partial(path.write_bytes, b"x"))
        ],
        "written_bytes": written,
        "environment": sorted(os.environ),
        "processes_visible": _processes_visible(),
        "forked": _fork_until_refused(),
        "mapped": _succeeds(lambda: mmap.mmap(-1, body["memory_bytes"])),
        "cpu_s": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "uid": os.getuid(),
        "privileges_regained": _succeeds(lambda: os.setuid(0)),
    }


def _places(inputs: Path, foreign: Path) -> list[Path]:
    here = Path(__file__)
    return [
        Path("/x"),
        Path("/dev/x"),
        Path("/tmp/x"),  # noqa: S108 - to be refused
        inputs / "x",
        inputs / "probe",
        here,
        here.with_name("x"),
        foreign,
    ]


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError, ValueError):
        return False
    return True


def _connect() -> None:
    """192.0.2.1 is reserved for documentation (RFC 5737); without a route the kernel refuses at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))


def _fill(path: Path) -> int:
    """Bytes that fit before the file system or the file limit says no."""
    written = 0
    try:
        with path.open("wb", buffering=0) as stream:
            while True:
                count = stream.write(bytes(_CHUNK_BYTES))
                written += count or 0
    except OSError:
        return written
    finally:
        path.unlink(missing_ok=True)


def _processes_visible() -> int:
    """How many process ids below 64 answer a signal: init of the sandbox and we are two."""
    count = 0
    for pid in range(1, 64):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        count += 1
    return count


def _fork_until_refused() -> int:
    """Children that could be made at one time; all are ended again."""
    read, write = os.pipe()
    children: list[int] = []
    try:
        while len(children) < 256:
            child = os.fork()
            if child == 0:
                os.close(write)
                os.read(read, 1)  # returns when the parent closes its end
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    os.close(write)
    for child in children:
        os.waitpid(child, 0)
    os.close(read)
    return len(children)
