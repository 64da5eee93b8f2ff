"""Why a call failed, in words: `Error(string)`, `Panic(uint256)`, or the selector of a custom error.

Not the decoding of custom errors, which needs an ABI: see `contracts`.
"""

from __future__ import annotations

TEXT_BYTES_MAX = 1024
_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_PANICS = {
    0x00: "generic panic",
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x21: "value outside of its enum",
    0x22: "malformed storage byte array",
    0x31: "pop of an empty array",
    0x32: "index out of bounds",
    0x41: "too much memory",
    0x51: "call of an uninitialised function",
}


def reason(output: bytes) -> str:
    """The revert data of Solidity in words; hexadecimal for what we do not know."""
    if not output:
        return "reverted without a reason"
    selector, body = output[:4], output[4:]
    if selector == _ERROR and (text := _string(body)) is not None:
        return text
    if selector == _PANIC and len(body) == 32:
        code = int.from_bytes(body, "big")
        return f"panic 0x{code:02x}: {_PANICS.get(code, 'unknown')}"
    if len(selector) == 4 and len(body) % 32 == 0:
        return f"custom error 0x{selector.hex()}"
    return f"reverted with 0x{output[:TEXT_BYTES_MAX].hex()}"


def _string(body: bytes) -> str | None:
    """An ABI-encoded string (offset 32, length, text), or None if it is not well-formed."""
    if len(body) < 64 or int.from_bytes(body[:32], "big") != 32:
        return None
    size = int.from_bytes(body[32:64], "big")
    if size > len(body) - 64:
        return None
    return body[64 : 64 + min(size, TEXT_BYTES_MAX)].decode("utf-8", "replace")
