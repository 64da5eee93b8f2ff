"""How a node's folder comes to be: found a network of one's own, or join one whose genesis somebody gave us."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from comity.ledger.genesis import Genesis, Member
from comity.node.errors import BadRequest
from comity.node.home import Home, create, install_genesis
from comity.node.network import genesis_hash
from comity.record.keys import to_hex

CHAIN_ID = 43110
GENESIS_BYTES_MAX = 1 << 20


def init(root: Path, *, org: str, port: int, person: str) -> str:
    """Found a network of one organisation, which others may join; returns the genesis digest that they should compare."""
    home = create(root, org=org, port=port, person=person)
    member = Member(org, home.address("org"), home.address("validator"), f"127.0.0.1:{port + 1}", ("founder",))
    genesis = Genesis(CHAIN_ID, int(time.time()), (member,))
    digest = genesis_hash(genesis).hex()
    install_genesis(home, genesis, digest)
    return digest


def join(root: Path, document: bytes, digest: str, *, org: str, port: int, person: str) -> dict[str, Any]:
    """Prepare a node for somebody's network: keys of our own, their genesis. Returns what a member needs to propose us.

    Raises `BadRequest` when the document is not the one of `digest`, the only thing that must be trusted.
    """
    genesis = Genesis.decode(document[: GENESIS_BYTES_MAX + 1])
    found = genesis_hash(genesis).hex()
    if found != digest:
        raise BadRequest(
            "this genesis is not the one you expect", why=f"its digest is {found}", hint="ask a member for both again"
        )
    if any(member.name == org for member in genesis.members):
        raise BadRequest(f"`{org}` is a founder of this network already", hint="choose another name")
    home: Home = create(root, org=org, port=port, person=person)
    install_genesis(home, genesis, digest)
    return {
        "name": org,
        "org": to_hex(home.address("org")),
        "validator": to_hex(home.address("validator")),
        "endpoint": f"127.0.0.1:{port + 1}",
    }
