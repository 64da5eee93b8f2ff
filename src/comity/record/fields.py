"""The exact field types that record kinds are made of, each a msgspec constraint.

Not the kinds themselves: see `kinds`. Patterns use \\A and \\Z because `$` would let a trailing line feed through.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from comity.record.canonical import INTEGER_MAX
from comity.record.types import Digest

NAME_PATTERN = r"\A[a-z][a-z0-9-]{1,31}\Z"
_DIGEST_PATTERN = r"\A[0-9a-f]{64}\Z"
_ADDRESS_PATTERN = r"\A0x[0-9a-f]{40}\Z"
_KEY_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
_DECIMAL_PATTERN = r"\A-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?\Z"
_WEI_PATTERN = r"\A(0|[1-9][0-9]{0,77})\Z"
# Controls, line separators and bidirectional overrides could show other words than were signed.
_TEXT_PATTERN = "\\A[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]*\\Z"

RecordDigest = Annotated[Digest, Meta(pattern=_DIGEST_PATTERN, extra={"form": "record", "names": "record"})]
"""The digest of a record: it goes into `refs`."""
BlobDigest = Annotated[Digest, Meta(pattern=_DIGEST_PATTERN, extra={"form": "blob", "names": "blob"})]
"""SHA-256 of a blob's plaintext."""
HashDigest = Annotated[Digest, Meta(pattern=_DIGEST_PATTERN, extra={"form": "digest"})]
"""A commitment or a Merkle root: neither a record nor a blob."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN, extra={"form": "name"})]
"""A slug: organisations, datasets, apps, studies, models, services, purposes, rules, resources, units."""
Grantee = Annotated[str, Meta(pattern=r"\A(\*|[a-z][a-z0-9-]{1,31})\Z", extra={"form": "name or *"})]
AddressHex = Annotated[str, Meta(pattern=_ADDRESS_PATTERN, extra={"form": "address"})]
Key = Annotated[str, Meta(pattern=_KEY_PATTERN, extra={"form": "key"})]
"""A key of a map that people chose: an output's file name, an argument, a metric."""
Decimal = Annotated[str, Meta(pattern=_DECIMAL_PATTERN, extra={"form": "decimal"})]
WeiText = Annotated[str, Meta(pattern=_WEI_PATTERN, extra={"form": "wei"})]

Line = Annotated[str, Meta(pattern=_TEXT_PATTERN, min_length=1, max_length=255, extra={"form": "line"})]
"""One visible line."""
Reason = Annotated[str, Meta(pattern=_TEXT_PATTERN, max_length=1024, extra={"form": "reason"})]
"""Why someone decided; may be empty."""
ArgumentText = Annotated[str, Meta(max_length=4096, extra={"form": "argument"})]
Endpoint = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,255}\Z", extra={"form": "endpoint"})]
"""Where a member's node listens, `host:port`."""

Count = Annotated[int, Meta(ge=0, le=INTEGER_MAX, extra={"form": "count"})]
Positive = Annotated[int, Meta(ge=1, le=INTEGER_MAX, extra={"form": "positive"})]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1, extra={"form": "version"})]
UnixTime = Annotated[int, Meta(ge=0, le=INTEGER_MAX, extra={"form": "time"})]
Rounds = Annotated[int, Meta(ge=1, le=2**32 - 1, extra={"form": "uint32 ≥ 1"})]
Attempt = Annotated[int, Meta(ge=0, le=2**32 - 1, extra={"form": "uint32"})]
Seconds = Annotated[int, Meta(ge=0, le=2**32 - 1, extra={"form": "seconds"})]
Quorum = Annotated[int, Meta(ge=1, le=255, extra={"form": "1..255"})]
Faults = Annotated[int, Meta(ge=0, le=127, extra={"form": "0..127"})]
ExitStatus = Annotated[int, Meta(ge=-255, le=255, extra={"form": "-255..255"})]
Dimension = Annotated[int, Meta(ge=-1, le=2**31 - 1, extra={"form": "dimension"})]
"""-1 is a dimension that the request chooses (Open Inference Protocol)."""
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
"""Tensor datatypes of the Open Inference Protocol, version 2."""

COLUMNS_MAX = 512
PURPOSES_MAX = 16
INPUTS_MAX = 64
ROSTER_MAX = 128
TENSORS_MAX = 64
DIMENSIONS_MAX = 8
ENTRIES_MAX = 64
"""Entries of a map: arguments, outputs, metrics, isolation."""

_IN_WORDS = {
    NAME_PATTERN: "a name (2 to 32 of a-z, 0-9 and -, a letter first)",
    _DIGEST_PATTERN: "a digest (64 lower-case hexadecimal characters)",
    _ADDRESS_PATTERN: "an address (0x and 40 lower-case hexadecimal characters)",
    _KEY_PATTERN: "a key (1 to 64 of letters, digits, `.`, `_` and -)",
    _DECIMAL_PATTERN: "a decimal number in quotes",
    _WEI_PATTERN: "a whole number of wei in quotes",
    _TEXT_PATTERN: "text without control characters",
}


def in_words(problem: str) -> str:
    """What msgspec says of a value, with each pattern put as a person would."""
    for pattern, words in _IN_WORDS.items():
        problem = problem.replace(f"`str` matching regex {pattern!r}", words)
    return problem
