"""The log under every power failure: what was acknowledged stays, what was not is whole or gone, damage is told."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record.errors import ComityError
from comity.store import wal
from comity.store.errors import CorruptStore, StoreError, StoreFull, StoreLocked, TooLarge
from comity.store.wal import Log
from support.faulty import FaultyFile, PowerCut


def memory(content: bytes = b"") -> FaultyFile:
    return FaultyFile(random.Random(1), content)


def written(*groups: list[bytes]) -> bytes:
    file = memory()
    log = Log(file)
    for group in groups:
        log.append_many(group)
    return file.durable


@given(st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=6))
def test_round_trip(groups: list[list[bytes]]) -> None:
    log = Log(memory(written(*groups)))
    assert list(log) == [entry for group in groups for entry in group]
    assert len(log) == len(list(log))


def test_on_disk_locked_private_and_compacted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Log.open(path) as log:
        log.append(b"one")
        log.append_many([b"two", b""])
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(StoreLocked):
            Log.open(path)
        log.compact([b"two"])
        with pytest.raises(StoreLocked):
            Log.open(path)
        log.append(b"three")
        log.compact([])
        log.append(b"four")
    with Log.open(path) as log:
        assert list(log) == [b"four"]
    with pytest.raises(StoreError):
        log.append(b"closed")


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_power_failure_at_any_operation(seed: int, operation: int) -> None:
    rng = random.Random(seed)
    file = FaultyFile(rng)
    log, acknowledged, under_way = Log(file), list[bytes](), list[bytes]()
    file.cut_power_at(operation)
    with contextlib.suppress(PowerCut):
        for number in range(12):
            if number % 5 == 4:
                under_way = acknowledged[-2:]
                log.compact(under_way)
            else:
                group = [rng.randbytes(rng.choice([0, 5, 700, 2000])) for _ in range(rng.randint(1, 3))]
                under_way = acknowledged + group
                log.append_many(group)
            acknowledged = under_way
    again = Log(file.crash())
    found = list(again)
    assert found in (acknowledged, under_way)
    again.append(b"next")
    assert list(again) == [*found, b"next"]


@given(st.integers(0, 2**16), st.integers(1, 3))
def test_power_failure_while_the_tail_is_cut(seed: int, operation: int) -> None:
    whole = written([b"a" * 600], [b"b" * 600])
    file = FaultyFile(random.Random(seed), whole[:-300])
    file.cut_power_at(operation)
    with contextlib.suppress(PowerCut):
        Log(file)
    assert list(Log(file.crash())) == [b"a" * 600]


@given(st.integers(0, 10_000))
def test_any_cut_of_the_last_frame_is_a_torn_tail(cut: int) -> None:
    first, both = written([b"first"]), written([b"first"], [b"x" * 900, b"y"])
    log = Log(memory(both[: len(first) + cut % (len(both) - len(first))]))
    assert list(log) == [b"first"]


@given(st.data())
def test_damage_before_the_last_frame_is_told(data: st.DataObject) -> None:
    """A log that silently forgot votes would sign them again, otherwise."""
    first = written([b"first"])
    content = bytearray(written([b"first"], [b"second", b"third"]))
    content[data.draw(st.integers(0, len(first) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptStore, match="lost entries"):
        Log(memory(bytes(content)))


def test_a_stale_frame_at_another_place_does_not_count() -> None:
    first = written([b"first"])
    assert list(Log(memory(first + first))) == [b"first"]


def test_a_full_disk_costs_the_entry_and_not_the_log() -> None:
    file = memory()
    log = Log(file)
    log.append(b"one")
    file.space_bytes = file.size() + 10
    with pytest.raises(StoreFull):
        log.append(b"two")
    file.space_bytes = None
    log.append(b"three")
    assert list(log) == list(Log(memory(file.durable))) == [b"one", b"three"]


def test_after_a_failed_fsync_nothing_is_acknowledged_until_reopened() -> None:
    file = memory()
    log = Log(file)
    log.append(b"one")
    file.sync_fails = True
    with pytest.raises(StoreError):
        log.append(b"two")
    with pytest.raises(StoreError, match="not writable"):
        log.append(b"three")
    assert list(log) == [b"one"]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "ENTRY_BYTES_MAX", 10)
    monkeypatch.setattr(wal, "GROUP_BYTES_MAX", 40)
    log = Log(memory())
    with pytest.raises(TooLarge):
        log.append(b"x" * 11)
    with pytest.raises(TooLarge):
        log.append_many([b"x" * 10] * 3)
    log.append(b"x" * 10)
    assert list(log) == [b"x" * 10]
    with pytest.raises(CorruptStore):
        Log(memory(bytes(200)))


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"CWL1" + rest))
def test_any_file_opens_or_is_refused(content: bytes) -> None:
    with contextlib.suppress(ComityError):
        list(Log(memory(content)))


@given(st.binary(max_size=60))
def test_a_frame_with_a_good_check_and_a_bad_body_is_refused(body: bytes) -> None:
    content = wal._HEADER.pack(b"CWL1", len(body), wal._check(0, body)) + body
    with contextlib.suppress(CorruptStore):
        list(Log(memory(content)))
