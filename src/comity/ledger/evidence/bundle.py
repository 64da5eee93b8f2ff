"""The bundle's layout: names of its files, the manifest, the prediction, and the zip that carries it. Nothing is trusted here.

The manifest is a table of contents: it says where to look, and each thing found there must be proven (`facts`, `checks`).
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from comity.ledger.errors import BadEvidence
from comity.ledger.types import Receipt, SealedBlock
from comity.record import canonical
from comity.record.digest import sha256
from comity.record.errors import ComityError
from comity.record.merkle import PATH_NODES_MAX
from comity.record.types import Digest, Json

FILES_COUNT_MAX = 10_000
BUNDLE_BYTES_MAX = 256 << 20
NAME_CHARACTERS_MAX = 128
JSON_BYTES_MAX = 16 << 20
VERSION = 1
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    OSError,
)
"""All that zipfile raises for a damaged archive, and for a path that cannot be read."""

MANIFEST = "manifest.json"
GENESIS = "genesis.json"
PREDICTION = "prediction.json"

_Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Place = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,5})\Z")]
_Text = Annotated[str, Meta(max_length=64)]

Block = tuple[SealedBlock, tuple[Receipt, ...]]


class RoundEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A round of the study: its record, and the transactions that revealed its updates and attested its aggregate."""

    record: _Hex
    events: list[_Place]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the bundle holds, by link. Absent links are empty: a dataset's bundle has no service."""

    v: int
    target: _Hex
    kind: _Text
    """`prediction`, or the kind of the target record."""
    admissions: list[_Place] = []
    """Members that joined after genesis."""
    batch: _Hex | None = None
    service: _Hex | None = None
    proposal: _Hex | None = None
    ballots: list[_Hex] = []
    """Votes on the proposal."""
    execution: _Place | None = None
    model: _Hex | None = None
    study: _Hex | None = None
    approvals: list[_Hex] = []
    """Votes on the study."""
    rounds: list[RoundEntry] = []
    datasets: list[_Hex] = []
    grants: list[_Hex] = []
    revocations: list[_Hex] = []
    others: list[_Hex] = []
    """Records that the target refers to, when it stands in no longer chain."""

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest of its canonical JSON; BadEvidence for anything else."""
        try:
            manifest = msgspec.convert(decode_json(data), cls, strict=True)
        except msgspec.ValidationError as error:
            raise BadEvidence("the manifest is malformed", why=str(error)) from error
        if manifest.v != VERSION:
            raise BadEvidence(f"this is evidence of version {manifest.v}", why=f"version {VERSION} is known")
        return manifest

    def encode(self) -> bytes:
        return canonical.encode(msgspec.to_builtins(self))


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction's receipt and its way to the anchored root. The bytes of request and answer may be left out."""

    receipt: bytes
    """Canonical JSON {"v":1,"service","model","artefact","request","parameters","response","org","time","sequence","salt"}."""
    batch: Digest
    """The record that anchored the root."""
    index: int
    """Position of the receipt among the leaves."""
    path: tuple[Digest, ...]
    """RFC 9162 inclusion path, lowest sibling first."""
    request: bytes | None = None
    parameters: bytes | None = None
    response: bytes | None = None

    @property
    def digest(self) -> Digest:
        """SHA-256 of the receipt: how people name a prediction."""
        return sha256(self.receipt)

    def encode(self) -> bytes:
        """The canonical JSON of `prediction.json`."""
        value: dict[str, Any] = {
            "receipt": _to_base64(self.receipt),
            "batch": self.batch,
            "index": self.index,
            "path": list(self.path),
            "request": _to_base64(self.request),
            "parameters": _to_base64(self.parameters),
            "response": _to_base64(self.response),
        }
        return canonical.encode(value)

    @classmethod
    def decode(cls, data: bytes) -> Prediction:
        """What `encode` wrote; BadEvidence for anything else."""
        try:
            raw = msgspec.convert(decode_json(data), _PredictionFile, strict=True)
        except msgspec.ValidationError as error:
            raise BadEvidence("the prediction is malformed", why=str(error)) from error
        receipt = _from_base64(raw.receipt) or b""
        optional = (_from_base64(raw.request), _from_base64(raw.parameters), _from_base64(raw.response))
        path = tuple(Digest(node) for node in raw.path)
        return cls(receipt, Digest(raw.batch), raw.index, path, *optional)


class _PredictionFile(Struct, frozen=True, forbid_unknown_fields=True):
    receipt: str
    batch: _Hex
    index: Annotated[int, Meta(ge=0)]
    path: Annotated[list[_Hex], Meta(max_length=PATH_NODES_MAX)]
    request: str | None
    parameters: str | None
    response: str | None


def header_name(height: int) -> str:
    return f"headers/{height}.json"


def record_name(digest: str) -> str:
    return f"records/{digest}.json"


def event_name(place: str) -> str:
    return f"events/{place}.json"


def blob_name(digest: str) -> str:
    return f"blobs/{digest}"


def decode_json(data: bytes) -> Json:
    """Canonical JSON only, so that no byte of a file is without meaning; BadEvidence for anything else."""
    try:
        return canonical.decode(data, bytes_max=JSON_BYTES_MAX, canonical=True)
    except ComityError as error:
        raise BadEvidence("a file is not canonical JSON", why=str(error)) from error


def write_zip(files: Mapping[str, bytes]) -> bytes:
    """The bundle as one zip, the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read_zip(path: Path, *, files_max: int = FILES_COUNT_MAX, bytes_max: int = BUNDLE_BYTES_MAX) -> dict[str, bytes]:
    """The files of a zip, never more than the limits say whatever the zip claims; BadEvidence for what is no such zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > files_max:
                raise BadEvidence("the bundle holds too many files", why=f"{len(entries)}, at most {files_max}")
            files: dict[str, bytes] = {}
            left = bytes_max
            for entry in entries:
                if entry.filename in files or len(entry.filename) > NAME_CHARACTERS_MAX:
                    raise BadEvidence(
                        "the bundle names a file twice, or too long", why=entry.filename[:NAME_CHARACTERS_MAX]
                    )
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise BadEvidence("the bundle is compressed by another method than deflate", why=entry.filename)
                with archive.open(entry) as stream:
                    files[entry.filename] = stream.read(left + 1)
                left -= len(files[entry.filename])
                if left < 0:
                    raise BadEvidence("the bundle is too large", why=f"more than {bytes_max} bytes unpacked")
            return files
    except _ZIP_ERRORS as error:
        raise BadEvidence("the bundle is not a readable zip", why=str(error)) from error


def _to_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _from_base64(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadEvidence("a field is not base64", why=str(error)) from error
    if _to_base64(data) != text:  # unused bits of the last character
        raise BadEvidence("a field is not canonical base64")
    return data
