"""What the study controller asks for, done: each work takes plain arguments and returns the plain outcome that `plan` reads.

It touches blobs, tables and sandboxed workers only through a `Room`, which the node gives. Which work, when: `plan`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from comity.learn import fixed, rules
from comity.learn.commitment import SALT_BYTES
from comity.learn.errors import LearnError, MalformedWeights, UnfitRule
from comity.learn.worker import CODE, TABLE_PREFIX
from comity.record.types import Digest

_T = TypeVar("_T")
HANDLER = "comity.learn.worker"
CALL_WALL_S = 600.0
WORKERS_MAX = 8


class Calls(Protocol):
    """A sandboxed worker (`compute.sandbox.Worker`)."""

    @property
    def alive(self) -> bool: ...
    async def call(
        self, body: Mapping[str, Any], parts: Mapping[str, bytes] | None = None, *, wall_s: float
    ) -> tuple[Mapping[str, Any], Mapping[str, bytes]]: ...
    async def stop(self) -> None: ...


class Room(Protocol):
    """What the node lends to the work."""

    async def blob(self, digest: Digest) -> bytes:
        """A blob that is held here, checked against its digest."""

    async def keep(self, data: bytes) -> Digest:
        """Keep a blob, and let other members fetch it."""

    async def table(self, dataset: Digest) -> bytes:
        """The bytes of one of our own datasets. They go nowhere but into a sandbox."""

    async def start(self, handler: str, inputs: Mapping[str, bytes]) -> Calls:
        """A sandboxed worker."""

    async def apart(self, function: Callable[[], _T]) -> _T:
        """Run what takes long beside the loop (a thread)."""

    def entropy(self, count: int) -> bytes:
        """Random bytes that nobody else knows."""


class StudyWork:
    """Performs the works by name. Keeps one warm worker a study, since starting numpy takes longer than a round."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._workers: dict[str, Calls] = {}

    async def perform(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome of a work. A failure that trying again will not mend is an outcome too: `{"failed": why}`."""
        work = self._WORKS.get(name)
        if work is None:
            raise LearnError(f"no work {name!r}")
        try:
            return await work(self, arguments)
        except (MalformedWeights, UnfitRule) as error:
            return {"failed": str(error)}

    async def initial(self, code: bytes, columns: Sequence[str], seed: int) -> bytes:
        """The weights blob that a study starts from: what its `init` returns."""
        worker = await self._room.start(HANDLER, {CODE: code})
        try:
            _, parts = await worker.call({"do": "init", "seed": seed, "columns": list(columns)}, wall_s=CALL_WALL_S)
        finally:
            await worker.stop()
        return _checked(parts["weights"])

    async def close(self, study: str = "") -> None:
        """Stop the worker of a study, or all."""
        for key in [key for key in self._workers if not study or key.startswith(study)]:
            await self._workers.pop(key).stop()

    async def _train(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        worker = await self._worker(arguments)
        base = await self._room.blob(Digest(arguments["base"]))
        request = {"do": "train", "seed": arguments["seed"], "round": arguments["round"]}
        body, parts = await worker.call(request, {"weights": base}, wall_s=CALL_WALL_S)
        rows = body.get("rows")
        if type(rows) is not int or rows < 1:
            return {"failed": "there is no row to train on"}
        update = await self._room.keep(_checked(parts["weights"]))
        return {"update": update, "weight": rows, "salt": self._room.entropy(SALT_BYTES)}

    async def _aggregate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Aggregate the revealed updates; those named in `refused` stay out with the reason given."""
        base = await self._room.blob(Digest(arguments["base"]))
        updates = {
            entry["org"]: rules.Update(entry["weight"], await self._room.blob(Digest(entry["update"])))
            for entry in arguments["updates"]
        }
        rule = rules.Rule(arguments["rule"]["name"], arguments["rule"]["f"])
        result = await self._room.apart(lambda: rules.aggregate(rule, base, updates))
        digest = await self._room.keep(result.blob)
        refused = [{"org": r.org, "because": r.because} for r in result.refused] + list(arguments["refused"])
        return {
            "aggregate": digest,
            "included": [entry for entry in arguments["updates"] if entry["org"] in result.included],
            "refused": sorted(refused, key=lambda entry: entry["org"]),
            "metrics": await self._metrics(arguments, result.blob),
        }

    async def _metrics(self, arguments: Mapping[str, Any], weights: bytes) -> dict[str, str]:
        """Figures on this site's own held-out rows, where it has some. They are its claim; nobody else can check them."""
        if not arguments["tables"]:
            return {}
        worker = await self._worker(arguments)
        body, _ = await worker.call({"do": "evaluate"}, {"weights": weights}, wall_s=CALL_WALL_S)
        return dict(body["metrics"])

    async def _export(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        worker = await self._worker(arguments)
        weights = await self._room.blob(Digest(arguments["weights"]))
        request = {"do": "export", "columns": arguments["columns"]}
        body, parts = await worker.call(request, {"weights": weights}, wall_s=CALL_WALL_S)
        artefact = await self._room.keep(parts["artefact"])
        return {"artefact": artefact, "inputs": body["inputs"], "outputs": body["outputs"]}

    async def _evaluate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Judge a proposed model on our own held-out rows, and say what our own export of its weights would be."""
        worker = await self._worker(arguments)
        parts = {name: await self._room.blob(Digest(arguments[name])) for name in ("weights", "artefact")}
        request = {"do": "judge", "columns": arguments["columns"]}
        body, exported = await worker.call(request, parts, wall_s=CALL_WALL_S)
        digest = hashlib.sha256(exported["artefact"]).hexdigest()
        return {"rows": body["rows"], "metrics": body["metrics"], "artefact": digest}

    async def _worker(self, arguments: Mapping[str, Any]) -> Calls:
        """The warm worker for this code and these tables; a dead one is replaced."""
        key = ":".join([arguments["study"], *arguments["tables"]])
        worker = self._workers.get(key)
        if worker is None or not worker.alive:
            worker = await self._start(arguments)
            rival = self._workers.get(key)
            if rival is not None and rival.alive:  # another work started one meanwhile
                await worker.stop()
                worker = rival
        self._workers.pop(key, None)
        self._workers[key] = worker  # the most recently used last
        while len(self._workers) > WORKERS_MAX:
            await self._workers.pop(next(iter(self._workers))).stop()
        return worker

    async def _start(self, arguments: Mapping[str, Any]) -> Calls:
        inputs = {CODE: await self._room.blob(Digest(arguments["code"]))}
        for number, dataset in enumerate(arguments["tables"]):
            inputs[f"{TABLE_PREFIX}{number:03}"] = await self._room.table(Digest(dataset))
        return await self._room.start(HANDLER, inputs)

    _WORKS: dict[str, Callable[[StudyWork, Mapping[str, Any]], Awaitable[dict[str, Any]]]] = {  # noqa: RUF012
        "train": _train,
        "aggregate": _aggregate,
        "export": _export,
        "evaluate": _evaluate,
    }


def _checked(blob: bytes) -> bytes:
    """A worker's answer is foreign: it must be a weights blob before it is kept."""
    fixed.decode(blob)
    return blob
