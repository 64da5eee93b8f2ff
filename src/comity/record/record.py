"""A record: kind, organisation, spec, and its one byte form, an in-toto Statement v1 in canonical JSON.

Not its signature: see `envelope`. The format stands in docs/records.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from re import compile as _compile
from typing import Any

from comity.record import canonical, kinds
from comity.record.digest import sha256
from comity.record.errors import MalformedRecord, UnknownKind
from comity.record.fields import NAME_PATTERN
from comity.record.kinds import Spec, Subject
from comity.record.types import Digest, Json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_BYTES_MAX = 64 * 1024
PAYLOAD_DEPTH_MAX = 12
_NAME = _compile(NAME_PATTERN)
_PREDICATE_TYPE = _compile(r"\Aurn:comity:([a-z]{1,32}):v([1-9][0-9]{0,3})\Z")


@dataclass(frozen=True, slots=True)
class Record:
    """A valid record. Build it with `make` or `parse`: the constructor checks nothing."""

    kind: str
    org: str
    spec: Spec
    refs: tuple[Digest, ...]

    @classmethod
    def make(cls, kind: str, org: str, spec: Spec | Mapping[str, Any]) -> Record:
        """A record of `org` from a spec struct or a plain dict, or `MalformedRecord` or `UnknownKind`."""
        record = cls._checked(kind, org, spec)
        statement(record)
        return record

    @classmethod
    def _checked(cls, kind: str, org: object, spec: object) -> Record:
        if not isinstance(org, str) or _NAME.match(org) is None:
            hint = "2 to 32 of a-z, 0-9 and -, a letter first"
            raise MalformedRecord("not an organisation's name", why=repr(org)[:80], hint=hint)
        built = kinds.build(kind, dict(spec) if isinstance(spec, Mapping) else spec)
        return cls(kind, org, built, tuple(kinds.references(built)))

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What the record is about, as derived from its spec."""
        return tuple(self.spec.subjects())


def predicate_type(kind: str) -> str:
    """`urn:comity:<kind>:v1`."""
    return f"urn:comity:{kind}:v{kinds.VERSION}"


def statement(record: Record) -> bytes:
    """The payload: the canonical in-toto Statement, at most `PAYLOAD_BYTES_MAX` bytes, or `MalformedRecord`."""
    value = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in record.subjects],
        "predicateType": predicate_type(record.kind),
        "predicate": {"org": record.org, "refs": list(record.refs), "spec": kinds.to_json(record.spec)},
    }
    payload = canonical.encode(value, depth_max=PAYLOAD_DEPTH_MAX)
    if len(payload) > PAYLOAD_BYTES_MAX:
        why = f"{len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}"
        raise MalformedRecord(f"{record.kind} is too large for a record", why=why)
    return payload


def digest(record: Record) -> Digest:
    """The record's name: SHA-256 of its payload."""
    return sha256(statement(record))


def parse(payload: bytes) -> Record:
    """The record of a payload. Subject and refs are derived again; `MalformedRecord` for any byte that differs."""
    value = canonical.decode(payload, bytes_max=PAYLOAD_BYTES_MAX, depth_max=PAYLOAD_DEPTH_MAX)
    outer = _members(value, "statement", ("_type", "predicate", "predicateType", "subject"))
    if outer["_type"] != STATEMENT_TYPE:
        raise MalformedRecord("not an in-toto Statement v1", why=f"_type is {str(outer['_type'])[:64]!r}")
    predicate = _members(outer["predicate"], "predicate", ("org", "refs", "spec"))
    record = Record._checked(_kind(outer["predicateType"]), predicate["org"], predicate["spec"])
    if predicate["refs"] != list(record.refs):
        raise MalformedRecord("refs are not those that the spec names")
    if statement(record) != payload:
        raise MalformedRecord("not the record's one byte form", why="subject or JSON form differs from the spec's")
    return record


def _members(value: Json, what: str, names: tuple[str, ...]) -> dict[str, Json]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise MalformedRecord(f"{what} must be an object of {', '.join(names)}")
    return value


def _kind(predicate_type: Json) -> str:
    found = _PREDICATE_TYPE.match(predicate_type) if isinstance(predicate_type, str) else None
    if found is None:
        raise UnknownKind("not a Comity record", why=f"predicateType is {str(predicate_type)[:64]!r}")
    kind, version = found[1], int(found[2])
    kinds.spec_type(kind)
    if version != kinds.VERSION:
        raise UnknownKind(f"version {version} of kind `{kind}` is unknown", hint="a newer Comity may know it")
    return kind
