"""Recursive Length Prefix (Yellow Paper, appendix B): one encoding per value, and nothing else is accepted.

Not schemas: `transaction` and `block` say which items must stand where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from comity.ledger.errors import MalformedRlp

Item: TypeAlias = "bytes | list[Item]"
Encodable: TypeAlias = "bytes | int | Sequence[Encodable]"

DOCUMENT_BYTES_MAX = 16 << 20
DEPTH_MAX = 16
_SHORT = [bytes([n]) for n in range(256)]


def encode(item: Encodable) -> bytes:
    """The RLP of bytes, of a non-negative integer (big-endian, no leading zero), or of a sequence of these."""
    if isinstance(item, bytes):
        return encode_bytes(item)
    if isinstance(item, int):
        return encode_uint(item)
    return wrap(b"".join([encode(child) for child in item]))


def encode_bytes(data: bytes) -> bytes:
    """The RLP of a byte string."""
    size = len(data)
    if size == 1 and data[0] < 0x80:
        return data
    if size < 56:
        return _SHORT[0x80 + size] + data
    width = (size.bit_length() + 7) // 8
    return _SHORT[0xB7 + width] + size.to_bytes(width, "big") + data


def encode_uint(number: int) -> bytes:
    """The RLP of an integer: the string of its big-endian bytes, zero being the empty string."""
    if number < 0:
        raise ValueError("RLP has no negative integers")
    if 0 < number < 0x80:
        return _SHORT[number]
    return encode_bytes(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def wrap(payload: bytes) -> bytes:
    """A list around items that are encoded already."""
    size = len(payload)
    if size < 56:
        return _SHORT[0xC0 + size] + payload
    width = (size.bit_length() + 7) // 8
    return _SHORT[0xF7 + width] + size.to_bytes(width, "big") + payload


def span(data: bytes, position: int, end: int) -> tuple[bool, int, int]:
    """The item that starts at `position`: (is a list, where its payload starts, where it ends); `MalformedRlp` beyond `end`."""
    if position >= end:
        raise MalformedRlp("RLP ends where an item must start")
    first = data[position]
    if first < 0x80:
        return False, position, position + 1
    is_list = first >= 0xC0
    size = first - (0xC0 if is_list else 0x80)
    start = position + 1
    if size > 55:
        width = size - 55
        start += width
        if start > end:
            raise MalformedRlp("RLP length is cut short")
        size = int.from_bytes(data[position + 1 : start], "big")
        if size < 56 or data[position + 1] == 0:
            raise MalformedRlp("RLP length is not in its shortest form")
    elif size == 1 and not is_list and start < end and data[start] < 0x80:
        raise MalformedRlp("RLP byte below 0x80 must stand for itself")
    if size > end - start:
        raise MalformedRlp("RLP item is cut short", why=f"{size} bytes announced, {end - start} there")
    return is_list, start, start + size


def decode(data: bytes, *, bytes_max: int = DOCUMENT_BYTES_MAX, depth_max: int = DEPTH_MAX) -> Item:
    """The one item that `data` encodes; `MalformedRlp` unless it is canonical, complete and within the limits.

    `depth_max` bounds nested lists. An item of n bytes gives at most n Python objects.
    """
    if len(data) > bytes_max:
        raise MalformedRlp("RLP is too large", why=f"{len(data)} bytes, at most {bytes_max}")
    is_list, start, stop = span(data, 0, len(data))
    if stop != len(data):
        raise MalformedRlp("bytes follow the RLP item", why=f"{len(data) - stop} bytes")
    return _list(data, start, stop, depth_max) if is_list else bytes(data[start:stop])


def _list(data: bytes, position: int, end: int, depth: int) -> list[Item]:
    if depth <= 0:
        raise MalformedRlp("RLP is nested too deeply")
    items: list[Item] = []
    while position < end:
        is_list, start, stop = span(data, position, end)
        items.append(_list(data, start, stop, depth - 1) if is_list else data[start:stop])
        position = stop
    return items


def as_bytes(item: Item, size: int | None = None) -> bytes:
    """`item` as a byte string, of `size` bytes if given."""
    if not isinstance(item, bytes):
        raise MalformedRlp("a list stands where a byte string must")
    if size is not None and len(item) != size:
        raise MalformedRlp("byte string has the wrong length", why=f"{len(item)} bytes, not {size}")
    return item


def as_list(item: Item, size: int | None = None) -> list[Item]:
    """`item` as a list, of `size` items if given."""
    if not isinstance(item, list):
        raise MalformedRlp("a byte string stands where a list must")
    if size is not None and len(item) != size:
        raise MalformedRlp("list has the wrong length", why=f"{len(item)} items, not {size}")
    return item


def as_uint(item: Item, bits: int = 64) -> int:
    """`item` as an integer below 2^bits without leading zeros."""
    data = as_bytes(item)
    if len(data) * 8 > bits:
        raise MalformedRlp("integer is too large", why=f"{len(data)} bytes, at most {bits // 8}")
    if data[:1] == b"\0":
        raise MalformedRlp("integer has a leading zero")
    return int.from_bytes(data, "big")
