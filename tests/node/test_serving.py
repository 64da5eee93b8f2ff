"""No durable receipt, no answer; what was asked is kept encrypted, and a wrong model never replaces a right one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from comity.ledger.view import View
from comity.node.answers import failure, status_of
from comity.node.errors import Busy, Forbidden, NotFound
from comity.node.room import Room
from comity.node.serving import Serving, _Loaded
from comity.record.digest import sha256
from comity.record.errors import BadSignature, ComityError
from comity.serve.errors import BadInference, NotReady, ReceiptNotDurable
from comity.serve.oip import Request, Tensor, signatures
from comity.serve.receipts import Receipts
from comity.store.errors import StoreFull
from comity.store.kv import LmdbStore
from support.consortium import Consortium

BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 30], "data": [0.5] * 30}]}, separators=(",", ":")
).encode()


class Log:
    """A log of receipts whose disk may be full."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.full = False

    def append_many(self, entries: Iterable[bytes]) -> None:
        if self.full:
            raise StoreFull("could not append", why="No space left on device")
        self.entries += entries

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self.entries))


class Model:
    """A session that answers one number."""

    def __init__(self, spec: Any) -> None:
        self.inputs, self.outputs = signatures(spec.inputs), signatures(spec.outputs)
        self.ready = True

    async def infer(self, request: Request) -> tuple[Tensor, ...]:
        return (Tensor("probability", "FP32", (1,), b"\x00\x00\x00\x3f"),)

    async def close(self) -> None:
        self.ready = False


class World:
    def __init__(self, kept: LmdbStore, log: Log) -> None:
        c = Consortium()
        self.service, self.model = c.service(), c.trained_model()
        c.service("empty")
        spec: Any = c.view.records[self.model].record.spec
        self.view: View = c.view
        self.log, self.counted, self.kept = log, list[str](), kept
        receipts = Receipts(log, org="northfield", now=lambda: 7, entropy=bytes, apart=asyncio.to_thread)
        self.serving = Serving(
            org="northfield", room=cast("Room", SimpleNamespace()), view=c.view, receipts=receipts, kept=kept,
            key=bytes(32), counted=self.counted.append,
        )  # fmt: skip
        self.serving._sessions[self.service] = _Loaded(self.model, spec.artefact, cast("Any", Model(spec)))


@asynccontextmanager
async def world(root: Path, map_bytes: int = 1 << 20) -> AsyncIterator[World]:
    with LmdbStore(root / "kept", ("predictions",), map_bytes) as kept:
        yield World(kept, Log())


def test_an_answer_has_a_receipt_and_what_was_asked_is_kept_unreadable(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            answer, receipt = await it.serving.infer("triage", BODY)
            assert answer["parameters"] == {"receipt": receipt}
            assert (it.serving.total, it.serving.pending, it.counted) == (1, 1, ["triage"])
            kept = it.serving.prediction(receipt[:12])
            assert kept is not None
            assert kept.inputs is not None
            assert json.loads(kept.inputs)["inputs"][0]["data"] == [0.5] * 30
            assert kept.receipt.request == sha256(kept.inputs)
            (sealed,) = [value for _, value in it.kept.items("predictions")]
            assert b"FP32" not in sealed
            for nothing in ("", "abc", "zz" * 6, "0" * 64):
                assert it.serving.prediction(nothing) is None

    asyncio.run(main())


def test_no_durable_receipt_no_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.log.full = True
            with pytest.raises(ReceiptNotDurable, match="no answer") as caught:
                await it.serving.infer("triage", BODY)
            assert failure(caught.value, "/v2/models/triage/infer").status_code == 503
            assert "No space left" in it.serving.trouble
            assert (it.serving.total, it.counted, it.log.entries) == (0, [], [])
            it.log.full = False
            await it.serving.infer("triage", BODY)
            assert (it.serving.trouble, it.serving.total) == ("", 1)

    asyncio.run(main())


def test_what_was_asked_cannot_be_kept_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:

            def full(*_: object) -> None:
                raise StoreFull("the map is full")

            monkeypatch.setattr(it.kept, "write", full)
            with pytest.raises(StoreFull) as caught:
                await it.serving.infer("triage", BODY)
            assert status_of(caught.value) == 503
            assert it.serving.trouble == "the map is full"
            assert it.log.entries == []

    asyncio.run(main())


def test_many_at_once_are_numbered_without_gap(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            found = await asyncio.gather(*(it.serving.infer("triage", BODY) for _ in range(50)))
            numbers = sorted(kept.receipt.sequence for _, ref in found if (kept := it.serving.prediction(ref)))
            assert numbers == list(range(50))

    asyncio.run(main())


def test_who_cannot_answer_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            assert it.serving.names() == ["triage"]
            with pytest.raises(NotFound, match="no service"):
                await it.serving.infer("absent", BODY)
            with pytest.raises(NotReady, match="no model ready"):
                await it.serving.infer("empty", BODY)
            with pytest.raises(BadInference):
                await it.serving.infer("triage", b"{}")
            await it.serving._sessions[it.service].session.close()
            with pytest.raises(NotReady):
                await it.serving.infer("triage", BODY)
            assert it.serving.names() == []
            assert it.serving.loaded == {}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "status"),
    [(Forbidden("x"), 403), (NotFound("x"), 404), (Busy("x"), 503), (NotReady("x"), 503), (BadInference("x"), 400),
     (ReceiptNotDurable("x"), 503), (StoreFull("x"), 503), (BadSignature("x"), 422), (ComityError("x"), 400)],
)  # fmt: skip
def test_each_error_has_its_status(error: ComityError, status: int) -> None:
    assert status_of(error) == status
    assert failure(error, "/v2/x").body == b'{"error":"x"}'
    assert json.loads(bytes(failure(error, "/v2x").body))["error"]["message"] == "x"
