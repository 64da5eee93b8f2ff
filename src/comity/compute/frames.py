"""The frames that node and worker exchange over a pipe: a JSON body and named byte strings, each with its length first.

Nothing in a frame is executed or unpickled, and every length is checked before it is allocated. Not the process: `sandbox`.
Frame: "CMF1" ‖ header length (4 bytes, big-endian) ‖ header (JSON: body, parts = [[name, length]…]) ‖ the parts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from comity.compute.errors import MalformedFrame

MAGIC = b"CMF1"
PREFIX_BYTES = len(MAGIC) + 4
HEADER_BYTES_MAX = 1 << 20
PARTS_MAX = 128
NAME_CHARACTERS_MAX = 128
FRAME_BYTES_MAX = 1 << 28


@dataclass(frozen=True, slots=True)
class Frame:
    """A message. `body` is plain JSON; `parts` are byte strings by name."""

    body: Mapping[str, Any]
    parts: Mapping[str, bytes] = field(default_factory=dict)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. Raises `MalformedFrame` beyond the limits that the reader holds."""
    sizes = [[name, len(part)] for name, part in frame.parts.items()]
    header = json.dumps({"body": frame.body, "parts": sizes}, separators=(",", ":"), allow_nan=False).encode()
    _parse(header, FRAME_BYTES_MAX)
    return b"".join([MAGIC, len(header).to_bytes(4, "big"), header, *frame.parts.values()])


def read(exactly: Callable[[int], bytes], *, bytes_max: int = FRAME_BYTES_MAX) -> Frame:
    """Read one frame. `exactly(n)` returns n bytes or raises EOFError."""
    header = exactly(_header_length(exactly(PREFIX_BYTES)))
    body, sizes = _parse(header, bytes_max)
    return Frame(body, {name: exactly(size) for name, size in sizes})


async def read_async(exactly: Callable[[int], Awaitable[bytes]], *, bytes_max: int = FRAME_BYTES_MAX) -> Frame:
    """`read` for an asyncio stream."""
    header = await exactly(_header_length(await exactly(PREFIX_BYTES)))
    body, sizes = _parse(header, bytes_max)
    return Frame(body, {name: await exactly(size) for name, size in sizes})


def _header_length(prefix: bytes) -> int:
    length = int.from_bytes(prefix[len(MAGIC) :], "big")
    if prefix[: len(MAGIC)] != MAGIC:
        raise MalformedFrame("not a frame", why="magic is missing")
    if length > HEADER_BYTES_MAX:
        raise MalformedFrame("frame header is too long", why=f"{length} bytes, limit {HEADER_BYTES_MAX}")
    return length


def _parse(header: bytes, bytes_max: int) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    if len(header) > HEADER_BYTES_MAX:
        raise MalformedFrame("frame header is too long", why=f"{len(header)} bytes, limit {HEADER_BYTES_MAX}")
    try:
        document = json.loads(header, parse_constant=_refuse)
        body, parts = document["body"], document["parts"]
        sizes = [(name, size) for name, size in parts]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedFrame("frame header cannot be read", why=type(error).__name__) from error
    if not isinstance(body, dict) or len(document) != 2 or len(sizes) > PARTS_MAX:
        raise MalformedFrame("frame header is not body and parts")
    for name, size in sizes:
        if not isinstance(name, str) or len(name) > NAME_CHARACTERS_MAX or type(size) is not int or size < 0:
            raise MalformedFrame("frame part has no good name or length")
    if len({name for name, _ in sizes}) != len(sizes) or sum(size for _, size in sizes) > bytes_max:
        raise MalformedFrame("frame parts are too large, or share a name", why=f"limit {bytes_max} bytes")
    return body, sizes


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
