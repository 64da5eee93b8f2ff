"""Works in real sandboxed workers: the demo's study on real patients, and study code that misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

import comity.shell
from comity.compute.errors import WorkerEnded, WorkerFailed
from comity.compute.sandbox import Limits, Sandbox, Worker
from comity.learn import fixed, tables
from comity.learn.errors import StudyCodeFailed
from comity.learn.work import StudyWork
from comity.record.types import Digest

_T = TypeVar("_T")
STUDY = Path(comity.shell.__file__).parent / "examples" / "study.py"
SITES = ("north", "river", "lake")


class Room:
    """One site's room: its blobs, its table, real sandboxes."""

    def __init__(self, blobs: dict[str, bytes], rows: bytes = b"") -> None:
        self.blobs, self.rows = blobs, rows
        self.started: list[Worker] = []

    async def blob(self, digest: Digest) -> bytes:
        return self.blobs[digest]

    async def keep(self, data: bytes) -> Digest:
        digest = Digest(hashlib.sha256(data).hexdigest())
        self.blobs[digest] = data
        return digest

    async def table(self, dataset: Digest) -> bytes:
        return self.rows

    async def start(self, handler: str, inputs: Mapping[str, bytes]) -> Worker:
        self.started.append(await Sandbox.find().start(handler, inputs, Limits(cpu_s=60, memory_bytes=2 << 30)))
        return self.started[-1]

    async def apart(self, function: Callable[[], _T]) -> _T:
        return function()

    def entropy(self, count: int) -> bytes:
        return bytes(count)


def patients() -> tuple[list[bytes], tuple[Any, Any], list[str]]:
    """Wisconsin breast cancer, split by class with Dirichlet(0.5), and the rows that each site holds out, together."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    random = np.random.default_rng(12)
    parts: list[list[int]] = [[], [], []]
    for label in (0, 1):
        rows = random.permutation(np.where(y == label)[0])
        cuts = (np.cumsum(random.dirichlet([0.5] * 3)) * len(rows)).astype(int)[:-1]
        for part, chosen in zip(parts, np.split(rows, cuts), strict=True):
            part.extend(chosen.tolist())
    columns = [f"c{i}" for i in range(30)]
    files = []
    for part in parts:
        lines = [",".join([*columns, "label"])] + [
            ",".join([*map(repr, map(float, x[i])), str(y[i])]) for i in sorted(part)
        ]
        files.append("\n".join(lines).encode())
    held = [tables.read(file).held_out() for file in files]
    return files, (np.concatenate([h.x for h in held]), np.concatenate([h.y for h in held])), columns


def run(main: Awaitable[_T]) -> _T:
    async def whole() -> _T:
        return await main

    return asyncio.run(whole())


async def study(
    files: list[bytes], columns: list[str], rounds: int
) -> tuple[dict[str, bytes], list[StudyWork], str, str]:
    """Train in rounds; returns the shared blobs, each site's works, and digests of code and weights."""
    blobs: dict[str, bytes] = {}
    works = [StudyWork(Room(blobs, rows)) for rows in files]
    code = await Room(blobs).keep(STUDY.read_bytes())
    room = Room(blobs)
    base = await room.keep(await StudyWork(room).initial(blobs[code], columns, 7))
    for index in range(1, rounds + 1):
        common = {"study": "s", "code": code, "tables": ["d"], "base": base, "seed": 7}
        trained = [await work.perform("train", {**common, "round": index}) for work in works]
        updates = [
            {"org": o, "update": t["update"], "weight": t["weight"]} for o, t in zip(SITES, trained, strict=False)
        ]
        arguments = {**common, "rule": {"name": "multi-krum", "f": 0}, "updates": updates, "refused": []}
        results = [await work.perform("aggregate", arguments) for work in works]
        assert len({r["aggregate"] for r in results}) == 1
        assert not results[0]["refused"]
        base = results[0]["aggregate"]
    return blobs, works, code, base


def accuracy(weights: bytes, held: tuple[Any, Any]) -> float:
    namespace: dict[str, Any] = {}
    exec(compile(STUDY.read_bytes(), "study.py", "exec"), namespace)
    return float(namespace["evaluate"](fixed.to_floats(fixed.decode(weights)), *held)["accuracy"])


def test_three_hospitals_together_are_as_good_as_pooled() -> None:
    files, held, columns = patients()

    async def main() -> None:
        began = time.process_time()
        blobs, works, code, base = await study(files, columns, 20)
        together = accuracy(blobs[base], held)
        assert time.process_time() - began < 20 * 3 * 0.06, "more than 60 ms of our own time a site and round"
        artefacts = []
        try:
            exported = await works[0].perform(
                "export", {"study": "s", "code": code, "tables": [], "weights": base, "columns": columns}
            )
            assert exported["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 30]}]
            assert [o["name"] for o in exported["outputs"]] == ["probability", "label"]
            judged = {"study": "s", "code": code, "tables": ["d"], "columns": columns, "weights": base}
            for work in works:
                outcome = await work.perform("evaluate", {**judged, "artefact": exported["artefact"]})
                artefacts.append(outcome["artefact"])
                assert outcome["rows"] > 5
                assert 0.85 <= float(outcome["metrics"]["accuracy"]) <= 1
        finally:
            for work in works:
                await work.close()
        assert set(artefacts) == {exported["artefact"]}, "every site exports the same bytes"
        pooled = await study([b"\n".join([files[0], *(f.partition(b"\n")[2] for f in files[1:])])], columns, 20)
        await pooled[1][0].close()
        alone = []
        for file in files:
            found = await study([file], columns, 20)
            await found[1][0].close()
            alone.append(accuracy(found[0][found[3]], held))
        assert together > 0.95
        assert together > np.mean(alone) + 0.05
        assert together > accuracy(pooled[0][pooled[3]], held) - 0.03

    run(main())


async def one(
    code: bytes, request: dict[str, Any], parts: dict[str, bytes] | None = None, rows: bytes = b"a,label\n1,0\n2,1\n"
) -> Any:
    worker = await Sandbox.find().start(
        "comity.learn.worker", {"code.py": code, "table-000": rows}, Limits(cpu_s=5, memory_bytes=1 << 30)
    )
    try:
        return await worker.call(request, parts, wall_s=10)
    finally:
        await worker.stop()


WEIGHTS = fixed.encode(fixed.from_floats({"w": np.zeros(2)}))
TRAIN = {"do": "train", "seed": 1, "round": 1}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"def train(w, X, y, seed, round): raise RuntimeError('no')", "RuntimeError: no"),
        (b"def train(w, X, y, seed, round): return {'w': X * float('nan')}", "not finite"),
        (b"def train(w, X, y, seed, round): return [1]", "arrays by name"),
        (b"x = 1", "no function train"),
        (
            b"def train(w, X, y, seed, round):\n import socket\n socket.create_connection(('192.0.2.1', 80), 2)",
            "OSError",
        ),
        (b"def train(w, X, y, seed, round): open('/inputs/table-000', 'w')", "OSError|PermissionError"),
        (b"def train(w, X, y, seed, round):\n import os\n os.fork()", "BlockingIOError"),
        (b"def train(w, X, y, seed, round): return {'w': __import__('numpy').ones(1 << 33)}", "MemoryError"),
    ],
)
def test_study_code_that_misbehaves_is_contained_and_named(code: bytes, why: str) -> None:
    with pytest.raises(WorkerFailed) as caught:
        run(one(code, TRAIN, {"weights": WEIGHTS}))
    assert any(word in caught.value.why for word in why.split("|")), caught.value.why


def test_code_that_kills_its_process_ends_only_the_worker() -> None:
    with pytest.raises(WorkerEnded):
        run(one(b"def train(w, X, y, seed, round):\n import os\n os._exit(3)", TRAIN, {"weights": WEIGHTS}))


def test_what_the_code_prints_does_not_reach_the_wire() -> None:
    code = b"print('x' * 1000)\ndef train(w, X, y, seed, round):\n print('hello')\n return w"
    body, parts = run(one(code, TRAIN, {"weights": WEIGHTS}))
    assert (body["rows"], parts["weights"]) == (2, WEIGHTS)


def test_a_dead_worker_is_replaced() -> None:
    async def main() -> None:
        room = Room({}, b"a,label\n1,0\n2,1\n")
        work = StudyWork(room)
        code = await room.keep(b"def train(w, X, y, seed, round):\n import os\n if round == 1: os._exit(1)\n return w")
        arguments = {"study": "s", "code": code, "tables": ["d"], "base": await room.keep(WEIGHTS), "seed": 1}
        try:
            with pytest.raises(WorkerEnded):
                await work.perform("train", {**arguments, "round": 1})
            assert (await work.perform("train", {**arguments, "round": 2}))["weight"] == 2
            assert len(room.started) == 2
        finally:
            await work.close()

    run(main())


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (b"a,b\n1,2\n", "label"),
        (b"a,label\n1,0\n,1\n", "row 2, column 'a'"),
        (b"a,label\nx,0\n", "row 1"),
        (b"a,label\n", "empty"),
        (b"a,label\n1\n", "ragged"),
    ],
)
def test_tables_that_cannot_be_trained_on(table: bytes, why: str) -> None:
    with pytest.raises(StudyCodeFailed, match=why):
        tables.read(table)


def test_every_fifth_row_is_held_out() -> None:
    table = tables.read(b"a,label,b\n" + b"".join(b"%d,%d,7\n" % (i, i % 2) for i in range(11)))
    assert table.columns == ("a", "b")
    assert table.held_out().x[:, 0].tolist() == [4, 9]
    assert len(table.training().y) == 9
