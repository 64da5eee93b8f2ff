"""Datasets at the desk: the salt is on disk before the ledger hears of it, and no failure costs anybody else's rows."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from comity.ledger.view import View
from comity.node.anchors import Anchors
from comity.node.desk import Desk
from comity.node.errors import BadRequest, Busy, Conflict, Forbidden
from comity.node.local import TABLES, LocalState
from comity.record.digest import sha256
from comity.record.errors import MalformedRecord
from comity.record.record import Record, digest
from comity.record.types import Digest
from comity.store.blobs import BlobStore
from comity.store.memory import MemoryStore
from support.consortium import ORGS, Consortium

N, R, L, H = ORGS
TABLE = b"radius,label\n1.5,0\n2.5,1\n"
BLOB = sha256(TABLE)


class Ledger:
    """Stands for `Anchors`: notes what was asked, and does what the test says."""

    def __init__(self) -> None:
        self.asked: list[Record] = []
        self.then: Callable[[Record], Awaitable[None]] | None = None

    async def record(self, record: Record) -> Digest:
        self.asked.append(record)
        if self.then is not None:
            await self.then(record)
        return digest(record)


class Office:
    """A desk with everything around it."""

    def __init__(self, root: Path, view: View | None = None) -> None:
        self.ledger = Ledger()
        self.blobs = BlobStore(root, bytes(32))
        self.local = LocalState(MemoryStore(TABLES))
        self.started: list[bytes] = []
        self.changes = 0
        self.desk = Desk(
            org=N, view=view or Consortium().view, anchors=cast("Anchors", self.ledger), blobs=self.blobs, local=self.local,
            initial=self._initial, entropy=lambda count: bytes(count), changed=self._changed,
        )  # fmt: skip

    async def _initial(self, code: bytes, columns: Sequence[str], seed: int) -> bytes:
        self.started.append(code)
        return b"weights"

    def _changed(self) -> None:
        self.changes += 1

    async def add(self, table: bytes = TABLE, name: str = "breast") -> Digest:
        return await self.desk.add_dataset(
            io.BytesIO(table), name=name, purposes=["diagnosis"], licence="CC-BY-4.0", consent="broad"
        )


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_rows_and_salt_are_kept_before_the_ledger_hears_of_them(office: Office) -> None:
    async def look(record: Record) -> None:
        assert office.local.datasets()[digest(record)].blob == BLOB
        assert office.blobs.has(BLOB)

    office.ledger.then = look
    anchored = asyncio.run(office.add())
    assert list(office.local.datasets()) == [anchored]
    assert office.changes == 1
    assert not office.local.is_shared(BLOB)


def test_what_the_ledger_refuses_is_forgotten(office: Office) -> None:
    async def no(_: Record) -> None:
        raise Forbidden("no")

    office.ledger.then = no
    with pytest.raises(Forbidden):
        asyncio.run(office.add())
    assert not office.local.datasets()
    assert not office.blobs.has(BLOB)


@pytest.mark.parametrize("trouble", [Busy("no quorum"), asyncio.CancelledError(), OSError("gone")])
def test_what_may_still_come_is_kept(office: Office, trouble: BaseException) -> None:
    async def late(_: Record) -> None:
        raise trouble

    office.ledger.then = late
    with pytest.raises(type(trouble)):
        asyncio.run(office.add())
    assert [held.blob for held in office.local.datasets().values()] == [BLOB]
    assert office.blobs.has(BLOB)


def test_a_second_upload_that_fails_costs_the_first_nothing(office: Office) -> None:
    async def both() -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(_: Record) -> None:
            inside.set()
            await go_on.wait()

        office.ledger.then = slowly
        first = asyncio.create_task(office.add())
        await inside.wait()
        second = asyncio.create_task(office.add(name="Not A Name"))
        await asyncio.sleep(0.01)
        go_on.set()
        await first
        with pytest.raises(MalformedRecord):
            await second

    asyncio.run(both())
    assert office.blobs.get(BLOB) == TABLE


def test_two_of_one_name_get_two_versions(tmp_path: Path) -> None:
    consortium = Consortium()
    office = Office(tmp_path, consortium.view)

    async def anchor(record: Record) -> None:
        await asyncio.sleep(0.01)
        from comity.record import kinds

        consortium.anchor(N, "dataset", kinds.to_json(record.spec))

    async def both() -> None:
        office.ledger.then = anchor
        await asyncio.gather(office.add(), office.add(TABLE + b"3.5,1\n"))

    asyncio.run(both())
    assert sorted(getattr(record.spec, "version", 0) for record in office.ledger.asked) == [1, 2]


def test_public_bytes_become_no_dataset_and_a_dataset_no_public_bytes(office: Office) -> None:
    asyncio.run(office.desk.add_blob(io.BytesIO(TABLE + b"3,1\n"), bytes_max=1000))
    with pytest.raises(Conflict, match="public already"):
        asyncio.run(office.add(TABLE + b"3,1\n"))
    assert office.blobs.has(sha256(TABLE + b"3,1\n"))
    asyncio.run(office.add())
    with pytest.raises(Forbidden, match="is a dataset"):
        asyncio.run(office.desk.add_blob(io.BytesIO(TABLE), bytes_max=1000))
    assert not office.local.is_shared(BLOB)


def test_the_sweep_takes_what_nothing_needs(office: Office) -> None:
    asyncio.run(office.add())
    code, _ = asyncio.run(office.desk.add_blob(io.BytesIO(b"code"), bytes_max=10))
    orphan = office.blobs.put(b"half a step", bytes_max=100)
    assert office.desk.sweep() == 1
    assert [office.blobs.has(blob) for blob in (BLOB, code, orphan)] == [True, True, False]
    assert office.desk.sweep() == 0


def test_a_study_that_cannot_be_runs_no_code(tmp_path: Path) -> None:
    consortium = Consortium()
    columns = [{"name": name, "type": "number", "missing": 0} for name in ("radius", "label")]
    ours = consortium.dataset(N, columns=columns)
    theirs = consortium.dataset(R, name="other", columns=columns[1:])
    bare = consortium.dataset(N, name="bare", columns=columns[:1])
    office = Office(tmp_path, consortium.view)
    code, _ = asyncio.run(office.desk.add_blob(io.BytesIO(b"def init(): ...\n"), bytes_max=100))
    sound = {
        "name": "joint", "code": code, "datasets": [ours], "roster": [N], "purpose": "diagnosis",
        "rule": {"name": "mean", "f": 0}, "rounds": 1, "quorum": 1, "round_timeout_s": 60, "seed": 1,
    }  # fmt: skip

    def study(**change: object) -> Digest:
        return asyncio.run(office.desk.study(**{**sound, **change}))  # type: ignore[arg-type]

    for change, said in (
        ({"rounds": 0}, "valid study"), ({"rule": {"name": "best", "f": 0}}, "aggregation rule"), ({"datasets": []}, "valid study"),
        ({"datasets": [ours, theirs], "roster": [N, R]}, "other columns"), ({"datasets": [bare]}, "`label`"),
        ({"roster": ["nobody"]}, "no member"),
        ({"code": "0" * 64}, "no code"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=said):
            study(**change)
    assert not office.started
    study()
    assert office.started == [b"def init(): ...\n"]
    assert getattr(office.ledger.asked[-1].spec, "initial", "") == sha256(b"weights")


def test_a_study_of_data_that_nobody_granted_says_whom_to_ask(tmp_path: Path) -> None:
    consortium = Consortium()
    theirs = consortium.dataset(R, name="other")
    consortium.anchor(R, "grant", {"dataset": theirs, "grantee": N, "purposes": ["diagnosis"], "until": 2**40})
    office = Office(tmp_path, consortium.view)
    code, _ = asyncio.run(office.desk.add_blob(io.BytesIO(b"def init(): ..."), bytes_max=100))
    with pytest.raises(Forbidden) as caught:
        asyncio.run(
            office.desk.study(
                name="ads", code=code, datasets=[theirs], roster=[N], purpose="advertising", rule={"name": "mean", "f": 0},
                rounds=1, quorum=1, round_timeout_s=60, seed=1,
            )
        )  # fmt: skip
    assert caught.value.what == "riverside does not grant `other@1` for purpose `advertising`"
    assert "diagnosis" in caught.value.why
    assert caught.value.hint == "ask for it: comity request riverside/other@1 --purpose advertising"
    assert not office.started


def test_a_task_reads_one_organisation_and_only_owners_give(tmp_path: Path) -> None:
    consortium = Consortium()
    ours, theirs = consortium.dataset(N), consortium.dataset(R, name="other")
    office = Office(tmp_path, consortium.view)
    code, _ = asyncio.run(office.desk.add_blob(io.BytesIO(b"1"), bytes_max=10))

    def task(*inputs: Digest) -> Digest:
        return asyncio.run(
            office.desk.task(code=code, inputs=inputs, purpose="diagnosis", arguments={}, limits={"cpu_s": 5})
        )

    task(theirs)
    with pytest.raises(BadRequest, match="one organisation"):
        task(ours, theirs)
    with pytest.raises(Forbidden, match="only riverside may grant"):
        asyncio.run(office.desk.grant(dataset=theirs, to="*", purposes=["diagnosis"], until=2**40))
    with pytest.raises(Forbidden, match="only riverside may revoke"):
        asyncio.run(office.desk.revoke(about=theirs, because=""))


def test_the_same_proposal_is_another_one_once_the_last_is_over(tmp_path: Path) -> None:
    consortium = Consortium()
    service, model = consortium.service(), consortium.trained_model()
    office = Office(tmp_path, consortium.view)

    def propose() -> int:
        asyncio.run(office.desk.propose_deployment(service=service, model=model))
        return int(getattr(office.ledger.asked[-1].spec, "nonce", -1))

    assert propose() == propose() == 0
    proposal = consortium.propose(service, model)
    assert propose() == 0, "it is open: asking again is the same proposal"
    for org in (N, R):
        consortium.vote(org, "proposal", proposal, choice="refuse", because="no")
    assert propose() == 1
