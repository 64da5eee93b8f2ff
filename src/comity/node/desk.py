"""What a person asks of their organisation: each method makes records and has them anchored.

No HTTP here (`api`), no shapes (`present`), no decisions of its own: the contracts say no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol

from comity.data.commit import SALT_BYTES, commit
from comity.data.profile import profile
from comity.ledger.view import View
from comity.ledger.view_types import Anchored
from comity.node.anchors import Anchors
from comity.node.errors import BadRequest, Forbidden
from comity.node.local import LocalState
from comity.node.refs import resolve
from comity.record.record import Record
from comity.record.types import Digest
from comity.store.blobs import BlobStore

TABLE_BYTES_MAX = 1 << 30
CODE_BYTES_MAX = 1 << 20
DEFAULT_LIMITS = {"cpu_s": 60, "wall_s": 120, "memory_bytes": 2 << 30, "output_bytes": 64 << 20}


class Starts(Protocol):
    """Runs a study's `init` in the sandbox."""

    async def __call__(self, code: bytes, columns: Sequence[str], seed: int) -> bytes: ...


class Desk:
    """One organisation's desk. Every method returns the anchored record's digest, or raises a `ComityError` with the reason."""

    def __init__(
        self, *, org: str, view: View, anchors: Anchors, blobs: BlobStore, local: LocalState, initial: Starts,
        entropy: Callable[[int], bytes], changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.org, self.view = org, view
        self._anchors, self._blobs, self._local, self._initial = anchors, blobs, local, initial
        self._entropy, self._changed = entropy, changed

    def find(self, ref: str, *kinds: str) -> Anchored:
        return resolve(self.view, ref, org=self.org, kinds=kinds)

    async def add_blob(self, file: IO[bytes], *, bytes_max: int) -> tuple[Digest, int]:
        """Keep bytes that other members may fetch once a record names them (code, artefacts)."""
        digest = await asyncio.to_thread(self._blobs.put, file, bytes_max=bytes_max)
        self._local.share(digest)
        return digest, self._blobs.size(digest)

    async def add_dataset(
        self, file: IO[bytes], *, name: str, purposes: Sequence[str], licence: str, consent: str
    ) -> Digest:
        """Keep a table, encrypted and private, and anchor what may be known of it: shape, purposes, a salted commitment."""
        digest = await asyncio.to_thread(self._blobs.put, file, bytes_max=TABLE_BYTES_MAX)
        salt = self._entropy(SALT_BYTES)
        try:
            table = await asyncio.to_thread(self._blobs.get, digest)
            shape = await asyncio.to_thread(profile, table)
            commitment = await asyncio.to_thread(commit, salt, table)
            record = self._record("dataset", {
                "name": name, "version": self._next_version("dataset", name), "commitment": commitment,
                "bytes": len(table), "rows": shape.rows,
                "columns": [{"name": c.name, "type": c.type, "missing": c.missing} for c in shape.columns],
                "purposes": list(purposes), "licence": licence, "consent": consent,
            })  # fmt: skip
            anchored = await self._anchors.record(record)
        except BaseException:
            if not self._local.is_known(digest):
                self._blobs.delete(digest)
            raise
        self._local.add_dataset(anchored, digest, salt)
        self._changed()
        return anchored

    async def grant(self, *, dataset: str, to: str, purposes: Sequence[str], until: int) -> Digest:
        found = self.find(dataset, "dataset")
        self._own(found, "grant")
        if to != "*":
            self._member(to)
        return await self._anchor(
            "grant", {"dataset": found.digest, "grantee": to, "purposes": list(purposes), "until": until}
        )

    async def revoke(self, *, about: str, because: str) -> Digest:
        found = self.find(about)
        self._own(found, "revoke")
        return await self._anchor("revocation", {"about": found.digest, "because": because})

    async def study(
        self, *, name: str, code: Digest, datasets: Sequence[str], roster: Sequence[str], purpose: str, rule: dict[str, Any],
        rounds: int, quorum: int, round_timeout_s: int, seed: int,
    ) -> Digest:  # fmt: skip
        """Propose joint training: the code's `init` gives the first weights, here and in the sandbox."""
        source = await self._code(code)
        found = [self.find(ref, "dataset") for ref in datasets]
        for member in roster:
            self._member(member)
        columns = _features(found)
        weights = await self._initial(source, columns, seed)
        initial = await asyncio.to_thread(self._blobs.put, weights, bytes_max=len(weights))
        self._local.share(initial)
        return await self._anchor("study", {
            "name": name, "code": code, "code_lines": max(1, len(source.splitlines())), "initial": initial,
            "datasets": [a.digest for a in found], "roster": list(roster), "purpose": purpose, "rule": rule, "rounds": rounds,
            "quorum": quorum, "round_timeout_s": round_timeout_s, "privacy": "none", "seed": seed,
        })  # fmt: skip

    async def task(
        self,
        *,
        code: Digest,
        inputs: Sequence[str],
        purpose: str,
        arguments: dict[str, str],
        limits: dict[str, int] | None,
    ) -> Digest:
        await self._code(code)
        found = [self.find(ref, "dataset") for ref in inputs]
        return await self._anchor("task", {
            "code": code, "inputs": [a.digest for a in found], "purpose": purpose, "environment": "python", "arguments": arguments,
            "limits": {**DEFAULT_LIMITS, **{k: v for k, v in (limits or {}).items() if v is not None}},
            "nonce": len(self.view.of_kind("task")),
        })  # fmt: skip

    async def vote(self, *, about: str, choice: str, because: str, person: str) -> Digest:
        found = self.find(about, "study", "proposal")
        return await self._anchor("vote", {
            "on": found.record.kind, "about": found.digest, "choice": choice, "by": person, "because": because,
        })  # fmt: skip

    async def service(self, *, name: str, approvals: int, time_lock_s: int) -> Digest:
        return await self._anchor("service", {"name": name, "approvals": approvals, "time_lock_s": time_lock_s})

    async def propose_deployment(self, *, service: str, model: str) -> Digest:
        target, found = self.find(service, "service"), self.find(model, "model")
        current = self.view.services[target.digest].current
        return await self._anchor("proposal", {
            "action": "deploy", "service": target.digest, "model": found.digest, "previous": current.model if current else None,
        })  # fmt: skip

    async def propose_member(self, member: dict[str, Any]) -> Digest:
        return await self._anchor("proposal", {"action": "admit", "member": member})

    async def _anchor(self, kind: str, spec: dict[str, Any]) -> Digest:
        digest = await self._anchors.record(self._record(kind, spec))
        self._changed()
        return digest

    def _record(self, kind: str, spec: dict[str, Any]) -> Record:
        return Record.make(kind, self.org, spec)

    async def _code(self, digest: Digest) -> bytes:
        if not self._blobs.has(digest):
            raise BadRequest(f"no code `{digest[:12]}` here", hint="POST /api/v1/blobs with its bytes first")
        if self._blobs.size(digest) > CODE_BYTES_MAX:
            raise BadRequest(f"code is at most {CODE_BYTES_MAX} bytes")
        return await asyncio.to_thread(self._blobs.get, digest)

    def _own(self, anchored: Anchored, verb: str) -> None:
        if anchored.record.org != self.org:
            raise Forbidden(f"only {anchored.record.org} may {verb} its {anchored.record.kind} {anchored.digest[:12]}")

    def _member(self, name: str) -> None:
        if name not in self.view.members:
            raise BadRequest(
                f"no member `{name}`", why=f"members are {', '.join(self.view.members)}", hint="comity members"
            )

    def _next_version(self, kind: str, name: str) -> int:
        ours = [a for a in self.view.named(name) if a.kind == kind and a.org == self.org]
        return 1 + max((int(getattr(a.record.spec, "version", 0)) for a in ours), default=0)


def _features(datasets: Sequence[Anchored]) -> list[str]:
    """The columns that all datasets of a study share, in order, without the label. Raises `BadRequest` when they differ."""
    names = [[column.name for column in getattr(a.record.spec, "columns", ())] for a in datasets]
    for anchored, columns in zip(datasets, names, strict=True):
        if columns != names[0]:
            raise BadRequest(
                f"dataset {anchored.digest[:12]} has other columns than {datasets[0].digest[:12]}",
                hint="comity show both of them",
            )
    if "label" not in names[0]:
        raise BadRequest("a study reads tables with a column `label`", why=f"columns are {', '.join(names[0][:8])} …")
    return [name for name in names[0] if name != "label"]
