"""Blobs on disk: named by the SHA-256 of their plaintext, encrypted in chunks, there whole or not at all.

Layout: `<root>/<first 2 hex>/<other 62>`, each file a header (`header`) and chunks (`chunks`); `<root>/new` holds what is
being written. Not who may read: the node asks grants first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from comity.record.digest import as_digest
from comity.record.types import Digest
from comity.store.blobfile import NEW, BlobReader, BlobWriter, place
from comity.store.chunks import CHUNK_BYTES, SEALED_CHUNK_BYTES, ChunkOpener, count, sealed_bytes
from comity.store.errors import CorruptStore, NotStored, StoreError, TooLarge, from_os
from comity.store.file import sync_folder
from comity.store.header import HEADER_BYTES, KEY_BYTES, WRAP_OFFSET, Header, open_header

BLOB_BYTES_MAX = 16 * 1024**3
READ_BYTES_MAX = 256 * 1024 * 1024
"""What `get` brings into memory at most, unless told otherwise."""


@runtime_checkable
class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


Source = bytes | bytearray | memoryview | Readable | Iterable[bytes]


class BlobStore:
    """An organisation's blobs, under one 32-byte node key. One process at a time opens a root (`node.home` locks it)."""

    def __init__(
        self,
        root: Path,
        key: bytes,
        *,
        bytes_max: int = BLOB_BYTES_MAX,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if len(key) != KEY_BYTES:
            raise StoreError("blob key has the wrong length", why=f"{len(key)} bytes, not {KEY_BYTES}")
        self._root = root
        self._key = bytes(key)
        self._bytes_max = bytes_max
        self._entropy = entropy
        try:
            (root / NEW).mkdir(mode=0o700, parents=True, exist_ok=True)
            for orphan in (root / NEW).iterdir():  # writes that a crash cut short
                orphan.unlink()
            sync_folder(root)
        except OSError as error:
            raise from_os(f"could not open the blobs at {root}", error) from None

    def put(self, source: Source, *, bytes_max: int | None = None) -> Digest:
        """Store bytes, a binary stream, or pieces of bytes; durable on return. `TooLarge` above `bytes_max` keeps nothing."""
        with self.writer(bytes_max=bytes_max) as writer:
            for piece in _pieces(source):
                writer.write(piece)
            return writer.commit()

    def writer(self, *, bytes_max: int | None = None) -> BlobWriter:
        """For bytes that arrive over time: `write` each piece, then `commit`; leaving its `with` block before keeps nothing."""
        limit = self._bytes_max if bytes_max is None else min(bytes_max, self._bytes_max)
        return BlobWriter(self._root, self._key, self._entropy, limit)

    def get(self, digest: Digest, *, bytes_max: int = READ_BYTES_MAX) -> bytes:
        """The whole blob, checked against its digest; `NotStored`, `CorruptStore`, or `TooLarge` above `bytes_max`."""
        if (size := self.size(digest)) > bytes_max:
            raise TooLarge(
                f"blob {digest[:12]} is too large", why=f"{size} bytes, at most {bytes_max}", hint="read it in chunks"
            )
        return b"".join(self.open(digest))

    def open(self, digest: Digest) -> Iterator[bytes]:
        """The blob in chunks of up to 64 KiB, each authentic as it comes; the end raises `CorruptStore` if the digest differs."""
        with self._file(digest) as file:
            header = self._header(file, digest)
            opener, last, hasher = ChunkOpener(header.data_key), count(header.length) - 1, hashlib.sha256()
            for number in range(last + 1):
                chunk = opener.open(number, file.read(SEALED_CHUNK_BYTES), number == last)
                if chunk is None:
                    raise _damaged(digest, f"chunk {number} of {last + 1} fails its check")
                hasher.update(chunk)
                if number == last and hasher.hexdigest() != digest:
                    raise _damaged(digest, "its bytes have another digest")
                yield chunk

    def has(self, digest: Digest) -> bool:
        """Whether a blob of this digest is here. Whether it is sound, `open` tells."""
        return self._path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Length of the plaintext in bytes; `NotStored` or `CorruptStore`."""
        with self._file(digest) as file:
            return self._header(file, digest).length

    def delete(self, digest: Digest) -> bool:
        """Erase a blob: first its key is overwritten and synced, then the file goes. False when it was not here.

        Where a disk keeps old sectors (SSD, copy-on-write), what remains is ciphertext, and perhaps its wrapped key.
        """
        path = self._path(digest)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise from_os(f"could not delete blob {digest[:12]}", error) from None
        try:
            os.pwrite(handle, bytes(HEADER_BYTES - WRAP_OFFSET), WRAP_OFFSET)
            os.fsync(handle)
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise from_os(f"could not delete blob {digest[:12]}", error) from None
        finally:
            os.close(handle)
        return True

    def __iter__(self) -> Iterator[Digest]:
        """Digests of all blobs here, ascending."""
        for folder in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                yield as_digest(folder.name + path.name)

    def _path(self, digest: Digest) -> Path:
        return place(self._root, as_digest(digest))

    def _file(self, digest: Digest) -> BlobReader:
        path = self._path(digest)
        try:
            return BlobReader(path)
        except FileNotFoundError:
            raise NotStored(f"blob {digest[:12]} is not here", hint="fetch it from a member that holds it") from None
        except OSError as error:
            raise from_os(f"could not read blob {digest[:12]}", error) from None

    def _header(self, file: BlobReader, digest: Digest) -> Header:
        header = open_header(file.read(HEADER_BYTES), digest, self._key)
        if file.size != HEADER_BYTES + sealed_bytes(header.length):
            raise _damaged(digest, f"its file has {file.size} bytes, not {HEADER_BYTES + sealed_bytes(header.length)}")
        return header


def _pieces(source: Source) -> Iterable[bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        return (bytes(source),)
    if isinstance(source, Readable):
        return _blocks(source)
    return source


def _blocks(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def _damaged(digest: Digest, why: str) -> CorruptStore:
    return CorruptStore(f"blob {digest[:12]} is damaged", why=why, hint="delete it and fetch it from another member")
