"""Values of the ledger as msgpack, between a node and its executor: dataclasses as maps, integers of any size.

For our own processes only: nothing here is signed or hashed. Between nodes the ledger's RLP is spoken.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_BIG = 1
"""The msgpack extension of an integer beyond 64 bits: its bytes, big-endian, signed."""
_ENCODER = msgspec.msgpack.Encoder()


def pack(value: object) -> bytes:
    """The msgpack of dataclasses, tuples, maps, bytes, texts and integers."""
    return _ENCODER.encode(_plain(value))


def unpack(data: bytes) -> Any:
    """The plain values again; give them to `convert`."""
    return _DECODER.decode(data)


def convert(value: Any, kind: type[_T] | Any) -> _T:
    """Plain values as the given type. Raises `msgspec.ValidationError`."""
    converted: _T = msgspec.convert(value, kind, builtin_types=(bytes,))
    return converted


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is bytes or kind is str or kind is bool or value is None:
        return value
    if isinstance(value, int):
        number = int(value)
        small = -(2**63) <= number < 2**64
        return (
            number
            if small
            else msgspec.msgpack.Ext(_BIG, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))
        )
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{kind.__name__} does not cross between processes")


def _extension(code: int, data: memoryview) -> int:
    if code != _BIG:
        raise ValueError(f"unknown msgpack extension {code}")
    return int.from_bytes(data, "big", signed=True)


_DECODER = msgspec.msgpack.Decoder(ext_hook=_extension)
