"""A real network of one organisation: real processes, sockets, signer and executor; people with every role, and with one each.

One a worker of xdist, started when the first test asks for it. Tests share it: they add to it and break nothing of it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from comity.node.home import ROLES, write_secret
from comity.shell.dev import Network, Organisation
from support.ports import free_base

ORG = "northfield"
ALL = "all"
TIMEOUT_S = 30.0
TABLE = b"radius,texture,label\n" + b"".join(b"%d.5,%d,%d\n" % (i, i * 7 % 13, i % 2) for i in range(40))


def token_of(name: str) -> str:
    """The token of the person who has the role `name`, or all of them."""
    return sha256(f"token of {name}".encode()).hexdigest()


@dataclass(frozen=True)
class Live:
    """A network that runs."""

    network: Network

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.network.port_of(ORG)}"

    @property
    def home(self) -> Path:
        return self.network.home(ORG).root

    @property
    def pid(self) -> int:
        """Of the node's main process."""
        return self.network.pid(ORG)

    def http(self, role: str = ALL, **rest: Any) -> httpx.Client:
        """A client with the token of a role; `""` for none."""
        headers = {"Authorization": f"Bearer {token_of(role)}"} if role else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, verify=False, **rest)

    def get(self, path: str, **query: Any) -> Any:
        """The `data` of a GET that must succeed."""
        with self.http() as http:
            answer = http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def post(self, path: str, body: Any = None, **rest: Any) -> Any:
        """The `data` of a POST that must succeed; `body` as JSON, or bytes as they are."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        with self.http() as http:
            answer = http.post(path, **given, **rest)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def add(self, name: str, table: bytes = TABLE) -> Any:
        """A dataset's Brief."""
        query = {"name": name, "purpose": "diagnosis", "licence": "research", "consent": "broad"}
        return self.post("/api/v1/datasets", table, params=query)

    def height(self) -> int:
        return int(self.get("/api/v1/status")["ledger"]["height"])

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.home / "logs").rglob("*.log")))


@contextmanager
def started(roles: Sequence[str] = (ALL, *ROLES), **settings: str) -> Iterator[Live]:
    """A network of its own for a `with` block; `settings` go into the node's environment."""
    root = Path(tempfile.mkdtemp(prefix="comity-live-"))
    environment = {f"COMITY_{name.upper()}": value for name, value in settings.items()}
    network = Network(
        root,
        organisations=(Organisation(ORG, "hospital"),),
        port=free_base(1),
        block_period_ms=100,
        empty_period_ms=60_000,
        environment=environment,
    )
    try:
        network.create()
        home = network.home(ORG)
        people = [
            {
                "person": f"{role}@test",
                "roles": list(ROLES) if role == ALL else [role],
                "sha256": sha256(token_of(role).encode()).hexdigest(),
            }
            for role in roles
        ]
        write_secret(home.tokens, json.dumps([*json.loads(home.tokens.read_text()), *people]))
        network.start()
        yield Live(network)
    finally:
        network.stop()
        shutil.rmtree(root, ignore_errors=True)
