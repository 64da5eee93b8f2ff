"""What a person asks of their organisation: each method makes records and has them anchored.

No HTTP here (`api`), no shapes (`present`), no decisions of its own: the contracts say no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import IO, Any, Protocol

import msgspec

from comity.data.commit import SALT_BYTES, commit
from comity.data.profile import profile
from comity.learn import rules
from comity.ledger.view import View
from comity.ledger.view_types import Anchored
from comity.node.anchors import Anchors
from comity.node.errors import BadRequest, Conflict, Forbidden
from comity.node.local import LocalState
from comity.node.refs import resolve
from comity.record.record import Record, digest
from comity.record.types import Digest
from comity.store.blobs import READ_BYTES_MAX, BlobStore

TABLE_BYTES_MAX = READ_BYTES_MAX
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
        self._adding = asyncio.Lock()
        """One dataset at a time: versions of a name follow each other, and who fails deletes nobody else's rows."""

    def find(self, ref: str, *kinds: str) -> Anchored:
        return resolve(self.view, ref, org=self.org, kinds=kinds)

    async def add_blob(self, file: IO[bytes], *, bytes_max: int) -> tuple[Digest, int]:
        """Keep bytes that other members may fetch once a record names them (code, artefacts)."""
        blob = await asyncio.to_thread(self._blobs.put, file, bytes_max=bytes_max)
        self._local.share(blob)
        return blob, self._blobs.size(blob)

    async def add_dataset(
        self, file: IO[bytes], *, name: str, purposes: Sequence[str], licence: str, consent: str
    ) -> Digest:
        """Keep a table, encrypted and private, and anchor what may be known of it: shape, purposes, a salted commitment."""
        async with self._adding:
            blob = await asyncio.to_thread(self._blobs.put, file, bytes_max=TABLE_BYTES_MAX)
            salt = self._entropy(SALT_BYTES)
            try:
                table = await asyncio.to_thread(self._blobs.get, blob)
                shape = await asyncio.to_thread(profile, table)
                if self._local.is_shared(blob):
                    raise Conflict(
                        "these bytes are public already",
                        why=f"blob {blob[:12]} was given to everybody",
                        hint="a dataset is private",
                    )
                commitment = await asyncio.to_thread(commit, salt, table)
                record = self._record("dataset", {
                    "name": name, "version": self._next_version("dataset", name), "commitment": commitment,
                    "bytes": len(table), "rows": shape.rows,
                    "columns": [{"name": c.name, "type": c.type, "missing": c.missing} for c in shape.columns],
                    "purposes": list(purposes), "licence": licence, "consent": consent,
                })  # fmt: skip
            except BaseException:
                if not self._local.is_known(blob):
                    self._blobs.delete(blob)
                raise
            # Known here first: killed after the ledger has the record, we still hold its rows and its salt.
            self._local.add_dataset(digest(record), blob, salt)
            try:
                anchored = await self._anchors.record(record)
            except Forbidden:
                # The ledger said no. After any other trouble the record may yet come.
                if (unused := self._local.forget_dataset(digest(record))) is not None:
                    self._blobs.delete(unused)
                raise
        self._changed()
        return anchored

    def sweep(self) -> int:
        """Delete the blobs that nothing needs; how many. For the start of a node, before it takes requests."""
        return sum(self._blobs.delete(blob) for blob in self._local.orphans(list(self._blobs)))

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
        for dataset in found:
            if dataset.org not in roster:  # who is on the roster grants by approving
                self._granted(dataset, purpose)
        rules.check(rules.Rule(rule["name"], rule["f"]), quorum)
        spec = {
            "name": name, "code": code, "code_lines": max(1, len(source.splitlines())), "initial": code,
            "datasets": [a.digest for a in found], "roster": list(roster), "purpose": purpose, "rule": rule, "rounds": rounds,
            "quorum": quorum, "round_timeout_s": round_timeout_s, "privacy": "none", "seed": seed,
        }  # fmt: skip
        self._record("study", spec)  # refuses what no study can say before any code runs
        weights = await self._initial(source, _features(found), seed)
        initial = await asyncio.to_thread(self._blobs.put, weights, bytes_max=len(weights))
        self._local.share(initial)
        return await self._anchor("study", {**spec, "initial": initial})

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
        if len(owners := {a.org for a in found}) > 1:
            raise BadRequest(
                "a task reads the data of one organisation",
                why=f"these are of {', '.join(sorted(owners))}",
                hint="one task each",
            )
        return await self._anchor("task", {
            "code": code, "inputs": [a.digest for a in found], "purpose": purpose, "environment": "python", "arguments": arguments,
            "limits": {**DEFAULT_LIMITS, **(limits or {})},
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
        return await self._propose({
            "action": "deploy", "service": target.digest, "model": found.digest, "previous": current.model if current else None,
        })  # fmt: skip

    async def propose_member(self, member: dict[str, Any]) -> Digest:
        return await self._propose({"action": "admit", "member": member})

    async def _propose(self, spec: dict[str, Any]) -> Digest:
        """The same words again are the same proposal while it is open, and another one once it is over."""
        first = self._record("proposal", spec | {"nonce": 0})
        ours = [p for p in self.view.proposals.values() if p.org == self.org and p.is_over]
        over = [msgspec.structs.replace(self.view.records[p.digest].record.spec, nonce=0) for p in ours]
        return await self._anchor("proposal", spec | {"nonce": over.count(first.spec)})

    async def _anchor(self, kind: str, spec: dict[str, Any]) -> Digest:
        anchored = await self._anchors.record(self._record(kind, spec))
        self._changed()
        return anchored

    def _record(self, kind: str, spec: dict[str, Any]) -> Record:
        return Record.make(kind, self.org, spec)

    async def _code(self, code: Digest) -> bytes:
        if not self._blobs.has(code):
            raise BadRequest(
                f"no code `{code[:12]}` here",
                why="its bytes never came",
                hint="POST /api/v1/blobs with its bytes first",
            )
        if self._blobs.size(code) > CODE_BYTES_MAX:
            raise BadRequest("the code is too large", why=f"at most {CODE_BYTES_MAX} bytes", hint="send less")
        return await asyncio.to_thread(self._blobs.get, code)

    def _own(self, anchored: Anchored, verb: str) -> None:
        if anchored.record.org != self.org:
            raise Forbidden(
                f"only {anchored.org} may {verb} its {anchored.kind} {anchored.digest[:12]}",
                why=f"this is {self.org}",
                hint=f"ask {anchored.org}",
            )

    def _granted(self, dataset: Anchored, purpose: str) -> None:
        """The ledger would refuse too; here the words can name what there is."""
        if self.view.covers(dataset.digest, self.org, purpose):
            return
        title = f"{getattr(dataset.record.spec, 'name', '')}@{getattr(dataset.record.spec, 'version', '')}"
        grants = [
            f"grant {g.digest[:12]}: {', '.join(g.purposes)}"
            + ("" if g.valid_at(self.view.time) else ", no longer valid")
            for g in self.view.grants.values()
            if g.dataset == dataset.digest and g.grantee in (self.org, "*")
        ]
        raise Forbidden(
            f"{dataset.org} does not grant `{title}` for purpose `{purpose}`",
            why="; ".join(grants) or "it has granted nothing to us",
            hint=f"ask for it: comity request {dataset.org}/{title} --purpose {purpose}",
        )

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
    if not datasets:
        raise BadRequest("a study reads at least one dataset", why="`datasets` is empty", hint="comity ls dataset")
    names = [[column.name for column in getattr(a.record.spec, "columns", ())] for a in datasets]
    for anchored, columns in zip(datasets, names, strict=True):
        if columns != names[0]:
            raise BadRequest(
                f"dataset {anchored.digest[:12]} has other columns than {datasets[0].digest[:12]}",
                why=_unlike(columns, names[0]),
                hint="comity show both of them",
            )
    if "label" not in names[0]:
        raise BadRequest(
            "a study reads tables with a column `label`",
            why=f"columns are {', '.join(names[0][:8])} …",
            hint="name the column that is to be learned `label`",
        )
    return [name for name in names[0] if name != "label"]


def _unlike(columns: Sequence[str], others: Sequence[str]) -> str:
    """The first column in which two tables differ."""
    for number, (one, other) in enumerate(zip_longest(columns, others), 1):
        if one != other:
            return f"column {number} is {one!r} and {other!r}"
    return "they are alike"
