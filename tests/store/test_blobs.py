"""Blobs: what goes in comes out, nothing else does, and nothing half written is ever seen."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record.digest import sha256
from comity.record.errors import BadDigest, ComityError
from comity.record.types import Digest
from comity.store.blobs import BlobStore
from comity.store.chunks import CHUNK_BYTES, SEALED_CHUNK_BYTES, ChunkOpener
from comity.store.errors import CorruptStore, NotStored, StoreError, StoreFull, TooLarge
from comity.store.header import HEADER_BYTES, WRAP_OFFSET, Header, open_header

KEY = bytes(range(32))
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", KEY)


def file_of(store: BlobStore, digest: Digest) -> Path:
    return store._root / digest[:2] / digest[2:]


def content(size: int) -> bytes:
    return bytes((number * 7 + number // 251) & 255 for number in range(size))


@pytest.mark.parametrize("size", SIZES)
def test_round_trip(store: BlobStore, size: int) -> None:
    data = content(size)
    digest = store.put(data)
    assert digest == sha256(data)
    assert store.get(digest) == data == b"".join(store.open(digest))
    assert store.size(digest) == size and store.has(digest) and list(store) == [digest]
    assert store.put(io.BytesIO(data)) == store.put(data[at : at + 1000] for at in range(0, size, 1000)) == digest
    assert store.get(digest) == data
    assert not list((store._root / "new").iterdir())


def test_the_disk_sees_ciphertext_and_never_the_same_twice(store: BlobStore) -> None:
    data = b"patient 4711 " * 5000
    first = file_of(store, store.put(data)).read_bytes()
    second = file_of(store, store.put(data)).read_bytes()
    assert b"patient" not in first
    assert first[HEADER_BYTES:] != second[HEADER_BYTES:] and len(first) == len(second)
    assert file_of(store, sha256(data)).stat().st_mode & 0o777 == 0o600


@given(st.binary(max_size=300), st.data())
def test_any_flipped_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: bytes, draw: st.DataObject) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"), KEY)
    digest = store.put(data)
    path = file_of(store, digest)
    stored = bytearray(path.read_bytes())
    stored[draw.draw(st.integers(0, len(stored) - 1))] ^= draw.draw(st.integers(1, 255))
    path.write_bytes(stored)
    with pytest.raises(CorruptStore):
        store.get(digest)


@pytest.mark.parametrize("change", ["cut", "cut a chunk", "add", "swap", "repeat", "empty"])
def test_chunks_cannot_be_moved_cut_or_added(store: BlobStore, change: str) -> None:
    digest = store.put(content(3 * CHUNK_BYTES))
    path = file_of(store, digest)
    stored = path.read_bytes()
    head, body = stored[:HEADER_BYTES], stored[HEADER_BYTES:]
    a, b, c = (body[at : at + SEALED_CHUNK_BYTES] for at in range(0, len(body), SEALED_CHUNK_BYTES))
    path.write_bytes(
        {
            "cut": stored[:-1],
            "cut a chunk": head + a + b,
            "add": stored + c,
            "swap": head + b + a + c,
            "repeat": head + a + a + c,
            "empty": b"",
        }[change]
    )
    with pytest.raises(CorruptStore):
        store.get(digest)


def test_a_blob_cut_at_a_chunk_is_found_even_with_a_header_that_fits(store: BlobStore) -> None:
    """Whoever holds the node's key could write such a header; the last-chunk flag still tells."""
    digest = store.put(content(2 * CHUNK_BYTES))
    path = file_of(store, digest)
    stored = path.read_bytes()
    header = open_header(stored[:HEADER_BYTES], digest, KEY)
    shorter = Header(CHUNK_BYTES, header.data_key).seal(digest, KEY, bytes(12))
    path.write_bytes(shorter + stored[HEADER_BYTES : HEADER_BYTES + SEALED_CHUNK_BYTES])
    with pytest.raises(CorruptStore, match="chunk 0"):
        store.get(digest)


def test_a_blob_under_another_name_or_key_does_not_open(store: BlobStore) -> None:
    first, second = store.put(b"first"), store.put(b"other")
    file_of(store, first).write_bytes(file_of(store, second).read_bytes())
    with pytest.raises(CorruptStore):
        store.get(first)
    with pytest.raises(CorruptStore, match="node's key"):
        BlobStore(store._root, bytes(32)).get(second)


def test_delete_shreds_the_key_first(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.put(b"secret")
    path = file_of(store, digest)
    before = path.read_bytes()

    def stop(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "stop here")

    monkeypatch.setattr(Path, "unlink", stop)
    with pytest.raises(StoreError):
        store.delete(digest)
    shredded = path.read_bytes()
    assert shredded[WRAP_OFFSET:HEADER_BYTES] == bytes(HEADER_BYTES - WRAP_OFFSET)
    assert shredded[HEADER_BYTES:] == before[HEADER_BYTES:]
    with pytest.raises(CorruptStore):
        store.get(digest)
    monkeypatch.undo()
    assert store.delete(digest) and not store.has(digest)
    assert not store.delete(digest)
    with pytest.raises(NotStored):
        store.get(digest)


def test_limits_keep_nothing(store: BlobStore) -> None:
    endless = (bytes(1000) for _ in iter(int, 1))
    with pytest.raises(TooLarge):
        store.put(endless, bytes_max=200_000)
    digest = store.put(bytes(5000), bytes_max=5000)
    with pytest.raises(TooLarge):
        store.get(digest, bytes_max=4999)
    assert list(store) == [digest] and not list((store._root / "new").iterdir())


def test_a_full_disk_or_a_broken_source_keeps_nothing(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        yield bytes(100_000)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put(broken())

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFull) as caught:
        store.put(b"x")
    assert caught.value.hint
    monkeypatch.undo()
    assert not list(store) and not list((store._root / "new").iterdir())


def test_a_finished_writer_takes_no_more(store: BlobStore) -> None:
    with store.writer() as writer:
        writer.write(b"x")
        digest = writer.commit()
        with pytest.raises(StoreError):
            writer.write(b"y")
        with pytest.raises(StoreError):
            writer.commit()
    assert store.get(digest) == b"x"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "ab", "AB" * 32, "ab" * 31 + "/x", "ab" * 32 + "\n"])
def test_only_digests_name_blobs(store: BlobStore, name: str) -> None:
    for act in (store.get, store.has, store.size, store.delete):
        with pytest.raises(BadDigest):
            act(Digest(name))


def test_the_key_must_be_32_bytes(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        BlobStore(tmp_path, b"short")


@given(
    st.binary(max_size=2 * HEADER_BYTES)
    | st.binary(min_size=HEADER_BYTES - 4, max_size=HEADER_BYTES - 4).map(lambda rest: b"CBL1" + rest)
)
def test_any_header_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptStore):
        open_header(data, sha256(b""), KEY)


@given(st.binary(max_size=100), st.integers(0, 2**40), st.booleans())
def test_any_chunk_is_refused(sealed: bytes, number: int, last: bool) -> None:
    assert ChunkOpener(KEY).open(number, sealed, last) is None


@given(st.binary(max_size=200))
def test_any_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"), KEY)
    digest = store.put(b"")
    file_of(store, digest).write_bytes(data)
    with contextlib.suppress(ComityError):
        assert store.get(digest) == b""


_PUTTER = """
import sys
from pathlib import Path
from comity.store.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]), bytes(range(32)))
for number in range(1_000_000):
    print(store.put(b"%d" % number * 30_000), flush=True)
"""


def test_sigkill_leaves_whole_blobs_and_orphans_go_at_open(tmp_path: Path) -> None:
    putter = subprocess.Popen([sys.executable, "-c", _PUTTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert putter.stdout is not None
    with putter.stdout:
        acknowledged = [putter.stdout.readline().strip() for _ in range(5)]
        putter.send_signal(signal.SIGKILL)
        acknowledged += putter.stdout.read().split()
    putter.wait(30)
    (tmp_path / "new" / "orphan").write_bytes(b"half")
    store = BlobStore(tmp_path, KEY)
    assert not list((tmp_path / "new").iterdir())
    assert set(acknowledged) <= set(store)
    for digest in store:
        assert sha256(store.get(digest)) == digest
