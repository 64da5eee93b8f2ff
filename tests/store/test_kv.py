"""Both stores keep one contract: order, snapshots, atomic batches; the one on disk also survives SIGKILL and a full disk."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.store.errors import CorruptStore, StoreError, StoreFull, TooLarge
from comity.store.kv import KEY_BYTES_MAX, Batch, KeyValue, LmdbStore
from comity.store.memory import MemoryStore

TABLES = ("first", "second")
MAP_BYTES = 16 * 1024 * 1024


@pytest.fixture(params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    if request.param == "memory":
        yield MemoryStore(TABLES)
        return
    with LmdbStore(tmp_path / "kv", TABLES, MAP_BYTES) as lmdb:
        yield lmdb


def batch(*pairs: tuple[bytes, bytes | None], table: str = "first") -> Batch:
    made = Batch()
    for key, value in pairs:
        if value is None:
            made.delete(table, key)
        else:
            made.put(table, key, value)
    return made


def test_put_get_delete(store: KeyValue) -> None:
    store.write(batch((b"a", b"1"), (b"b", b""), (b"a", b"2"), (b"c", b"3"), (b"c", None), (b"gone", None)))
    assert [store.get("first", key) for key in (b"a", b"b", b"c", b"", b"x" * 600)] == [b"2", b"", None, None, None]
    assert store.get("second", b"a") is None
    store.write(Batch())


KEYS = st.binary(min_size=1, max_size=3).map(lambda key: bytes(byte & 3 or 255 for byte in key))


@given(st.sets(KEYS, max_size=20), st.one_of(st.just(b""), KEYS), st.one_of(st.just(b""), KEYS), st.booleans())
def test_order_prefix_start_reverse(
    tmp_path_factory: pytest.TempPathFactory, keys: set[bytes], prefix: bytes, start: bytes, reverse: bool
) -> None:
    pairs = batch(*((key, key + b"!") for key in keys))
    wanted = sorted(
        (key for key in keys if key.startswith(prefix) and (not start or (key <= start if reverse else key >= start))),
        reverse=reverse,
    )
    memory = MemoryStore(TABLES)
    with LmdbStore(tmp_path_factory.mktemp("kv"), TABLES, 1 << 20) as lmdb:
        for store in (memory, lmdb):
            store.write(pairs)
            assert [key for key, _ in store.items("first", prefix, start, reverse)] == wanted
            assert all(value == key + b"!" for key, value in store.items("first", prefix, start, reverse))


def test_an_iterator_keeps_its_snapshot(store: KeyValue) -> None:
    store.write(batch((b"a", b"1"), (b"b", b"1"), (b"c", b"1")))
    items = store.items("first")
    assert next(items) == (b"a", b"1")
    store.write(batch((b"b", None), (b"c", b"2"), (b"d", b"2")))
    assert list(items) == [(b"b", b"1"), (b"c", b"1")]
    assert list(store.items("first")) == [(b"a", b"1"), (b"c", b"2"), (b"d", b"2")]


def test_a_batch_with_an_unknown_table_writes_nothing(store: KeyValue) -> None:
    bad = batch((b"a", b"1"))
    bad.put("third", b"a", b"1")
    with pytest.raises(StoreError, match="third"):
        store.write(bad)
    assert store.get("first", b"a") is None
    with pytest.raises(StoreError):
        store.get("third", b"a")


def test_key_and_value_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (b"", b"x" * (KEY_BYTES_MAX + 1)):
        with pytest.raises(TooLarge):
            batch((key, b""))
        with pytest.raises(TooLarge):
            batch((key, None))
    monkeypatch.setattr("comity.store.kv.VALUE_BYTES_MAX", 3)
    with pytest.raises(TooLarge):
        batch((b"a", b"long"))


def test_a_full_map_is_an_error_with_a_hint_and_loses_nothing(tmp_path: Path) -> None:
    with LmdbStore(tmp_path / "kv", TABLES, 1 << 20) as store:
        store.write(batch((b"kept", b"1")))
        with pytest.raises(StoreFull) as caught:
            store.write(batch((b"kept", b"2"), (b"big", bytes(2 << 20))))
        assert "map" in caught.value.hint
        assert list(store.items("first")) == [(b"kept", b"1")]
        store.write(batch((b"kept", b"3")))
    with LmdbStore(tmp_path / "kv", TABLES, 1 << 20) as store:
        assert store.get("first", b"kept") == b"3"


_FILL = """
import resource, signal, sys
from pathlib import Path
from comity.store.errors import StoreFull
from comity.store.kv import Batch, LmdbStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LmdbStore(Path(sys.argv[1]), ["first"], 64 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for number in range(1000):
    batch = Batch()
    batch.put("first", b"%04d" % number, bytes(20_000))
    try:
        store.write(batch)
    except StoreFull as error:
        assert store.get("first", b"%04d" % number) is None
        print(number, error.hint)
        sys.exit(0)
sys.exit("never full")
"""


def test_a_disk_that_takes_no_more_is_store_full(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: LMDB gets EFBIG where it would get ENOSPC."""
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(tmp_path / "kv")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    written = int(done.stdout.split()[0])
    with LmdbStore(tmp_path / "kv", ["first"], 64 << 20) as store:
        assert len(list(store.items("first"))) == written > 0


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "kv").mkdir()
    (tmp_path / "kv" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStore):
        LmdbStore(tmp_path / "kv", TABLES, MAP_BYTES)


_WRITER = """
import sys
from pathlib import Path
from comity.store.kv import Batch, LmdbStore
store = LmdbStore(Path(sys.argv[1]), ["first", "second"], 16 << 20)
for number in range(1_000_000):
    batch = Batch()
    for part in range(20):
        batch.put("first", b"%02d" % part, b"%d" % number)
    batch.put("second", b"last", b"%d" % number)
    store.write(batch)
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_sigkill_loses_nothing_acknowledged_and_halves_no_batch(tmp_path: Path, lines: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "kv")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout:
        for _ in range(lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    writer.wait(30)
    acknowledged = int(rest[-1]) if rest else lines - 1
    with LmdbStore(tmp_path / "kv", TABLES, MAP_BYTES) as store:
        last = int(store.get("second", b"last") or b"-1")
        assert last >= acknowledged
        assert {int(value) for _, value in store.items("first")} == {last}
        store.write(batch((b"after", b"1")))


@pytest.mark.parametrize("seed", range(8))
def test_memory_crash_keeps_a_batch_whole_or_not_at_all(seed: int) -> None:
    store = MemoryStore(TABLES)
    store.write(batch((b"a", b"1"), (b"b", b"1")))
    store.begin(batch((b"a", b"2"), (b"b", b"2")))
    assert store.get("first", b"a") == b"1"
    with pytest.raises(StoreError):
        store.begin(Batch())
    store.crash(random.Random(seed))
    kept = {value for _, value in store.items("first")}
    assert kept == ({b"2"} if random.Random(seed).random() < 0.5 else {b"1"})
    with pytest.raises(StoreError):
        store.finish()
    store.write(batch((b"a", b"3")))
