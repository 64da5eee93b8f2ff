"""An organisation's folder: keys, genesis, ledger, blobs, local state, and the caller's credentials.

It knows where things lie and who may read them. What is in them belongs to the modules that open them.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comity.ledger.genesis import Genesis
from comity.node.config import write_file
from comity.node.errors import HomeBusy, NoHome
from comity.record.digest import sha256
from comity.record.keys import PrivateKey
from comity.record.types import Address

SECRET_BYTES = 32
ROLES = ("read", "operate", "approve", "predict")

Entropy = Callable[[str], bytes]
"""Gives 32 secret bytes for a named key: fresh ones in life, derived from the name under `comity dev`."""


def fresh(_: str) -> bytes:
    """Entropy for real keys."""
    return secrets.token_bytes(SECRET_BYTES)


@dataclass(frozen=True)
class Home:
    """The folder `root`; every path below it is named here and nowhere else."""

    root: Path

    @property
    def genesis(self) -> Path:
        return self.root / "genesis.json"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def local(self) -> Path:
        return self.root / "local"

    @property
    def votes(self) -> Path:
        return self.root / "signer" / "votes.log"

    @property
    def receipts(self) -> Path:
        return self.root / "local" / "receipts.log"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens.json"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    def key(self, name: str) -> bytes:
        """A 32-byte secret: `org`, `validator`, `peer` or `blobs`."""
        return bytes.fromhex((self.keys / f"{name}.key").read_text().strip())

    def address(self, name: str) -> Address:
        """The Ethereum address of the `org` or `validator` key."""
        return PrivateKey.from_bytes(self.key(name)).address

    def load_genesis(self) -> Genesis:
        try:
            return Genesis.decode(self.genesis.read_bytes())
        except FileNotFoundError:
            raise NoHome(f"no network in {self.root.name}", hint="comity init ORG, or comity join INVITE") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one node: a second one on the same keys would double-sign."""
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeBusy(
                    f"another node already runs from {self.root}", hint="comity status, or stop it first"
                ) from None
            yield


def create(root: Path, *, org: str, port: int, person: str = "operator", entropy: Entropy = fresh) -> Home:
    """Make an organisation's folder with fresh keys and a token for the command line. Refuses one that has keys already."""
    home = Home(root)
    if home.keys.exists():
        raise HomeBusy(
            f"{root} already holds an organisation", hint="choose another --org, or comity uninstall --org NAME"
        )
    for folder in (root, home.keys, home.ledger, home.blobs, home.local, home.votes.parent, home.logs):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("org", "validator", "peer", "blobs"):
        write_secret(home.keys / f"{name}.key", entropy(name).hex() + "\n")
    token = entropy("token").hex()
    tokens = [{"person": person, "roles": list(ROLES), "sha256": sha256(token.encode())}]
    write_secret(home.tokens, json.dumps(tokens))
    write_file(home.config, {"org": org, "person": person, "port": port})
    write_secret(
        home.credentials,
        json.dumps({"url": f"http://127.0.0.1:{port}", "token": token, "person": person, "genesis": ""}),
    )
    return home


def install_genesis(home: Home, genesis: Genesis, digest: str) -> None:
    """Make this home a node of that network; `digest` is the hash of block 0, which people compare."""
    home.genesis.write_bytes(genesis.encode())
    credentials = json.loads(home.credentials.read_text())
    write_secret(home.credentials, json.dumps({**credentials, "genesis": digest}))


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
