"""`comity dev`: a consortium on this machine. Each organisation is its own process tree, ports, folder and keys.

The same node as in production, with the same authentication; only the keys are derived from names, hence worthless.
`Network` is also what the demo, the fault tests and the benchmarks start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from comity.ledger.genesis import Genesis, Member
from comity.node.children import LIFELINE_VARIABLE
from comity.node.home import Home, create, install_genesis
from comity.record.errors import ComityError
from comity.record.keys import PrivateKey
from comity.record.types import Address, Wei
from comity.shell.credentials import load
from comity.shell.sdk import Client

PORT_STEP = 10
READY_S_MAX = 60.0
STOP_S_MAX = 8.0


@dataclass(frozen=True)
class Organisation:
    """A member of the development network."""

    name: str
    role: str


ORGANISATIONS = (
    Organisation("northfield", "hospital"),
    Organisation("riverside", "hospital"),
    Organisation("lakeside", "hospital"),
    Organisation("health-office", "regulator"),
)


class DevError(ComityError):
    """The development network could not start."""

    code = "dev"


def dev_entropy(org: str, name: str) -> bytes:
    """The dev key called `name` of `org`: derived from the names, so that tutorials repeat; worthless anywhere else."""
    return PrivateKey.from_seed(f"comity dev {org} {name}").to_bytes()


@dataclass
class Network:
    """Nodes of several organisations below one folder, as real processes.

    `root/<org>` is each organisation's home; node i listens on `port + 10·i` (peers one above).
    """

    root: Path
    organisations: Sequence[Organisation] = ORGANISATIONS
    port: int = 7400
    block_period_ms: int = 1000
    empty_period_ms: int = 30_000
    chain_id: int = 31337
    environment: dict[str, str] = field(default_factory=dict)
    alloc: Mapping[Address, Wei] = field(default_factory=dict)
    digest: str = ""
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lifeline: tuple[int, int] | None = None
    """Closes when we end, however we end: then the nodes stop too."""

    def create(self) -> None:
        """Make every home and the genesis they share."""
        homes = {org.name: self._create(org.name) for org in self.organisations}
        genesis = Genesis(
            chain_id=self.chain_id,
            timestamp=int(time.time()),
            block_period_ms=self.block_period_ms,
            empty_period_ms=self.empty_period_ms,
            members=tuple(self._member(org, homes[org.name]) for org in self.organisations),
            alloc=self.alloc,
        )
        from comity.node.network import genesis_hash

        self.digest = genesis_hash(genesis).hex()
        for home in homes.values():
            install_genesis(home, genesis, self.digest)

    def _create(self, name: str) -> Home:
        home = create(
            self.root / name,
            org=name,
            port=self.port_of(name),
            person=f"dev@{name}",
            entropy=lambda key: dev_entropy(name, key),
        )
        (home.root / "DEV").touch()
        return home

    def _member(self, org: Organisation, home: Home) -> Member:
        return Member(
            name=org.name, org=home.address("org"), validator=home.address("validator"),
            endpoint=f"127.0.0.1:{self.port_of(org.name) + 1}", roles=(org.role,),
        )  # fmt: skip

    def port_of(self, name: str) -> int:
        return self.port + PORT_STEP * [org.name for org in self.organisations].index(name)

    def home(self, name: str) -> Home:
        return Home(self.root / name)

    def client(self, name: str) -> Client:
        """An SDK client with that organisation's own credentials."""
        return Client.connect(name, home=self.root)

    def start(self, *names: str) -> None:
        """Start the named nodes, or all, and return when each answers and sees its started peers."""
        chosen = names or tuple(org.name for org in self.organisations)
        for name in chosen:
            _check_free(self.port_of(name))
            _check_free(self.port_of(name) + 1)
        for name in chosen:
            self._spawn(name)
        deadline = time.monotonic() + READY_S_MAX
        for name in chosen:
            self._wait_ready(name, deadline)

    def _spawn(self, name: str) -> None:
        home = self.home(name)
        if self._lifeline is None:
            self._lifeline = os.pipe()
        environment = {
            **os.environ, **self.environment, "COMITY_HOME": str(self.root), "PYTHONUNBUFFERED": "1",
            LIFELINE_VARIABLE: f"{self._lifeline[0]}:{os.getpid()}",
        }  # fmt: skip
        home.logs.mkdir(exist_ok=True)
        with (home.logs / "node.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "comity.shell.cli", "--org", name, "up"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
                pass_fds=(self._lifeline[0],),
            )  # fmt: skip

    def _wait_ready(self, name: str, deadline: float) -> None:
        peers = len(self._processes) - 1
        last: object = None
        while time.monotonic() < deadline:
            if self._processes[name].poll() is not None:
                raise DevError(f"the node of {name} stopped at its start", why=self.log_tail(name))
            with contextlib.suppress(ComityError):
                last = self.client(name).status().peers
                if last.connected >= peers:
                    return
            time.sleep(0.1)
        raise DevError(
            f"the node of {name} was not ready within {READY_S_MAX:.0f} s", why=f"{last} {self.log_tail(name)}"
        )

    def log_tail(self, name: str, lines: int = 6) -> str:
        path = self.home(name).logs / "node.log"
        return " | ".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a node's main process and wait for its end; its children must end by themselves."""
        process = self._processes.pop(name)
        process.send_signal(how)
        process.wait(STOP_S_MAX)

    def stop(self) -> None:
        """Stop every node: politely, then not. Impatient signals are not heard meanwhile."""
        processes, self._processes = list(self._processes.values()), {}
        with _deaf():
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            deadline = time.monotonic() + STOP_S_MAX
            for process in processes:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            lifeline, self._lifeline = self._lifeline, None
            for descriptor in lifeline or ():
                os.close(descriptor)

    def __enter__(self) -> Self:
        self.create()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevError(
                f"port {port} is taken",
                why=f"{error.strerror}; by {_owner(port)}",
                hint="choose another base with --port",
            ) from error


def _owner(port: int) -> str:
    """The process that listens on a port, as /proc tells it, or `another process`."""
    needle = f":{port:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if Path("/proc/net/tcp").exists() else []:
        fields = line.split()
        if needle.strip() in fields[1] + " " and fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            for entry in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == f"socket:[{fields[9]}]":
                        pid = entry.parts[2]
                        return f"process {pid} ({Path('/proc', pid, 'comm').read_text().strip()})"
    return "another process"


@contextlib.contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """Where the network lives: the folder to keep, or a temporary one that goes with it."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    path = Path(tempfile.mkdtemp(prefix="comity-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(*, port: int = 7400, keep: Path | None = None) -> None:
    """Keep the development network up until Ctrl-C; with `keep`, in a folder that stays and can be started again."""
    with folder(keep) as root, interruptible():
        network = Network(root, port=port)
        if not (root / network.organisations[0].name).exists():
            network.create()
        else:
            network.digest = str(load(network.organisations[0].name, home=root).genesis)
        try:
            network.start()
            for line in banner(network):
                print(line, flush=True)  # noqa: T201
            print(f"  export COMITY_HOME={root}\n  comity --org {network.organisations[0].name} status", flush=True)  # noqa: T201
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            network.stop()


def banner(network: Network) -> list[str]:
    """The table of a network that runs, with a one-time console link for the first organisation."""
    lines = [
        f"comity dev · {len(network.organisations)} organisations on this machine · DEV KEYS, worthless in production",
        f"  {'organisation':16}{'node':20}{'role':22}console",
    ]
    for index, org in enumerate(network.organisations):
        address = f"127.0.0.1:{network.port_of(org.name)}"
        console = f"{network.client(org.name).login()}   (opens once)" if index == 0 else ""
        lines.append(f"  {org.name:16}{address:20}{org.role + ', validator':22}{console}".rstrip())
    ledger = network.client(network.organisations[0].name).status().ledger
    lines.append(
        f"  ledger {ledger.chain_id} · height {ledger.height} · {network.block_period_ms / 1000:g} s blocks · "
        f"quorum {ledger.quorum} of {ledger.validators} · genesis {ledger.genesis[:12]}…"
    )
    return lines


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for a while, where this thread may decide that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that nothing stays behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
