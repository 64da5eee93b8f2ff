"""Receipts: on disk before an answer, refused when the disk is, and provable under a root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record import merkle
from comity.record.digest import sha256
from comity.record.types import Digest
from comity.serve.errors import ReceiptNotDurable, ServeError
from comity.serve.receipts import Receipt, Receipts
from comity.store.wal import Log

SERVICE, OTHER, MODEL, NEXT, ARTEFACT = (Digest(c * 64) for c in "abcde")


class Disk:
    """A log that can fail."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.groups: list[int] = []
        self.broken = False

    def append_many(self, entries: object) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        group = list(entries)  # type: ignore[call-overload]
        self.groups.append(len(group))
        self.entries += group

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self.entries))


async def apart(work: Callable[[], None]) -> None:
    await asyncio.sleep(0)
    work()


def receipts(log: object) -> Receipts:
    return Receipts(log, org="lakeside", now=lambda: 1_700_000_000, entropy=lambda n: bytes([7]) * n, apart=apart)  # type: ignore[arg-type]


async def issue(them: Receipts, number: int = 0, service: Digest = SERVICE, model: Digest = MODEL) -> Receipt:
    body = b"%d" % number
    return await them.issue(
        service=service, model=model, artefact=ARTEFACT, request=body, parameters=b"{}", response=body
    )


def test_a_receipt_binds_everything_and_is_on_disk_when_it_is_given() -> None:
    async def main() -> None:
        disk = Disk()
        them = receipts(disk)
        receipt = await issue(them, 5)
        assert disk.entries == [receipt.encode()]
        assert Receipt.decode(receipt.encode()) == receipt
        assert (receipt.request, receipt.parameters, receipt.response) == (sha256(b"5"), sha256(b"{}"), sha256(b"5"))
        assert them.find(receipt.digest) == them.find(receipt.digest[:8]) == receipt
        assert them.find("0000") is None
        assert them.find("") is None

    asyncio.run(main())


def test_many_at_once_share_a_write() -> None:
    async def main() -> None:
        disk = Disk()
        them = receipts(disk)
        issued = await asyncio.gather(*(issue(them, i) for i in range(100)))
        assert sorted(r.sequence for r in issued) == list(range(100))
        assert len(disk.groups) < 5
        await them.close()

    asyncio.run(main())


def test_a_full_disk_means_no_answer_and_no_gap() -> None:
    async def main() -> None:
        disk = Disk()
        them = receipts(disk)
        await issue(them)
        disk.broken = True
        results = await asyncio.gather(*(issue(them, i) for i in range(5)), return_exceptions=True)
        assert all(isinstance(r, ReceiptNotDurable) for r in results)
        disk.broken = False
        assert (await issue(them)).sequence == 1
        assert them.total == 2

    asyncio.run(main())


def test_they_survive_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        with Log.open(tmp_path / "receipts") as log:
            first = [await issue(receipts_, i) for receipts_ in [receipts(log)] for i in range(3)]
        with Log.open(tmp_path / "receipts") as log:
            again = receipts(log)
            assert again.total == 3
            assert again.find(first[1].digest) == first[1]
            assert (await issue(again, 9)).sequence == 3

    asyncio.run(main())


def test_batches_are_runs_of_one_model_and_prove_each_receipt() -> None:
    async def main() -> None:
        them = receipts(Disk())
        issued = [await issue(them, i) for i in range(5)]
        issued += [await issue(them, i, model=NEXT) for i in range(2)]
        await issue(them, service=OTHER)
        batch, other = them.batches({})
        assert (batch.service, batch.model, batch.first, batch.count) == (SERVICE, MODEL, 0, 5)
        assert (other.service, other.count) == (OTHER, 1)
        for receipt in issued[:5]:
            proof = them.prove(receipt, batch.first, batch.count)
            assert proof.root == batch.root
            assert merkle.verify(batch.root, proof.receipt, proof.index, proof.size, proof.path)
        (rest,) = them.batches({SERVICE: 5, OTHER: 1})
        assert (rest.model, rest.first, rest.count) == (NEXT, 5, 2)
        assert them.batches({SERVICE: 7, OTHER: 1}) == ()
        with pytest.raises(ServeError):
            them.prove(issued[6], 0, 5)
        with pytest.raises(ServeError):
            them.prove(issued[0], 0, 50)

    asyncio.run(main())


def test_a_log_with_a_gap_is_not_used() -> None:
    async def main() -> None:
        disk = Disk()
        them = receipts(disk)
        for i in range(3):
            await issue(them, i)
        del disk.entries[1]
        with pytest.raises(ServeError, match="gap"):
            receipts(disk)

    asyncio.run(main())


@given(st.binary(max_size=200))
def test_noise_is_no_receipt(noise: bytes) -> None:
    with pytest.raises(ServeError):
        Receipt.decode(noise)


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"salt": "00"}, {"request": "xyz"}, {"sequence": -1}, {"time": "1"}, {"extra": 1}, {"org": 1}]
)
def test_a_changed_receipt_is_refused(change: dict[str, object]) -> None:
    from dataclasses import asdict

    from comity.record import canonical

    sound = Receipt(SERVICE, MODEL, ARTEFACT, SERVICE, SERVICE, SERVICE, "lakeside", 1, 0, "07" * 32)
    assert Receipt.decode(sound.encode()) == sound
    with pytest.raises(ServeError):
        Receipt.decode(canonical.encode(asdict(sound) | change))


def test_answers_that_arrive_while_the_disk_works_get_numbers_of_their_own() -> None:
    """Found by `make bench`: numbers were given out twice, the log had a gap, and the answers never came."""

    async def main() -> None:
        disk = Disk()
        them = receipts(disk)

        async def caller(name: int) -> list[int]:
            sequences = []
            for _ in range(5):
                sequences.append((await issue(them, name)).sequence)
                for _ in range(name % 3):
                    await asyncio.sleep(0)
            return sequences

        async with asyncio.timeout(5):
            issued = await asyncio.gather(*(caller(name) for name in range(8)))
        assert sorted(sequence for sequences in issued for sequence in sequences) == list(range(40))
        assert receipts(disk).total == 40

    asyncio.run(main())
