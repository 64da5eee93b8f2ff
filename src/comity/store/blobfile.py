"""One blob's file while it is written or read. Naming, listing and deleting: see `blobs`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from comity.record.types import Digest
from comity.store.chunks import CHUNK_BYTES, ChunkSealer
from comity.store.errors import StoreError, TooLarge, from_os
from comity.store.file import sync_folder, write_all
from comity.store.header import HEADER_BYTES, KEY_BYTES, NONCE_BYTES, Header

NEW = "new"
"""Folder, under the root, of what is being written."""
_NAME_BYTES = 16


def place(root: Path, digest: Digest) -> Path:
    """Where a blob's file stands. `digest` must be one (`as_digest`): that keeps `..` and `/` out of the path."""
    return root / digest[:2] / digest[2:]


class BlobReader:
    """A blob's file, open for reading. FileNotFoundError and OSError are the caller's to name."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        """Bytes of the file, header included."""

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        pieces = []
        try:
            while size > 0 and (piece := self._file.read(size)):
                pieces.append(piece)
                size -= len(piece)
        except OSError as error:
            raise from_os("could not read a blob", error) from None
        return b"".join(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class BlobWriter:
    """A blob that arrives in pieces: `write` each, then `commit`. Leaving its `with` block without keeps nothing.

    The digest and length are known only at the end, so the header's place is left empty and filled before the sync.
    """

    def __init__(self, root: Path, node_key: bytes, entropy: Callable[[int], bytes], bytes_max: int) -> None:
        self._root = root
        self._node_key = node_key
        self._entropy = entropy
        self._bytes_max = bytes_max
        self._data_key = entropy(KEY_BYTES)
        self._sealer = ChunkSealer(self._data_key)
        self._hasher = hashlib.sha256()
        self._length = 0
        self._held = bytearray()
        self._path = root / NEW / entropy(_NAME_BYTES).hex()
        self._handle = -1
        try:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            write_all(self._handle, bytes(HEADER_BYTES))
        except OSError as error:
            self.abort()
            raise from_os("could not begin a blob", error) from None

    def write(self, piece: bytes) -> None:
        """Add bytes; `TooLarge` or `StoreFull` ends the blob, and nothing of it is kept."""
        if self._handle < 0:
            raise StoreError("this blob is finished")
        self._length += len(piece)
        if self._length > self._bytes_max:
            self.abort()
            raise TooLarge("blob is too large", why=f"more than {self._bytes_max} bytes")
        self._hasher.update(piece)
        self._held += piece
        # Strictly more than a chunk: the last one, full or not, waits for `commit` to be marked as last.
        ready = max(0, len(self._held) - 1) // CHUNK_BYTES * CHUNK_BYTES
        for at in range(0, ready, CHUNK_BYTES):
            self._store(bytes(self._held[at : at + CHUNK_BYTES]), last=False)
        del self._held[:ready]

    def commit(self) -> Digest:
        """Make the blob durable under its digest. A blob that was here already is replaced by the same bytes, freshly sealed."""
        if self._handle < 0:
            raise StoreError("this blob is finished")
        digest = Digest(self._hasher.hexdigest())
        self._store(bytes(self._held), last=True)
        header = Header(self._length, self._data_key).seal(digest, self._node_key, self._entropy(NONCE_BYTES))
        path = place(self._root, digest)
        try:
            os.lseek(self._handle, 0, os.SEEK_SET)
            write_all(self._handle, header)
            os.fsync(self._handle)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._root)
            self._path.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            self.abort()
            raise from_os("could not store a blob", error) from None
        os.close(self._handle)
        self._handle = -1
        return digest

    def abort(self) -> None:
        """Keep nothing. Does nothing after `commit`."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._path.unlink(missing_ok=True)

    def _store(self, chunk: bytes, last: bool) -> None:
        try:
            write_all(self._handle, self._sealer.seal(chunk, last))
        except OSError as error:
            self.abort()
            raise from_os("could not store a blob", error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
