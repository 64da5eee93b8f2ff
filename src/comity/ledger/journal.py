"""Reads the debug text of revm 8's journal, the only place where pyrevm 0.3.7 shows which slots a transaction changed.

All of it is numbers and hexadecimal, so no contract can write into its structure. Any other form is an `EngineError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from comity.ledger.errors import EngineError
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32

NO_CODE: Hash32 = keccak256(b"")
EMPTY = "JournaledState { state: {}, transient_storage: {}, logs: [], depth: 0, journal: [[]], "
"""How the text begins when nothing is left in the journal."""
_START = "JournaledState { state: {"
_END = "}, transient_storage: "
_ACCOUNT = re.compile(
    r"(?:, )?0x([0-9a-f]{40}): Account \{ info: AccountInfo \{ "
    r"balance: (\d+), nonce: (\d+), code_hash: 0x([0-9a-f]{64}), code: "
)
_STORAGE = " }, storage: {"
_STATUS = re.compile(r"\}, status: AccountStatus\(([A-Za-z0-9| ]+)\) \}")
_SLOT = re.compile(r"(\d+): StorageSlot \{ previous_or_original_value: (\d+), present_value: (\d+) \}")
_CODE = re.compile(r"Some\(Bytecode \{ bytecode: 0x([0-9a-f]*), state: (?:Raw|Analysed \{ len: (\d+), )")


@dataclass(frozen=True, slots=True)
class Entry:
    """An account that a transaction touched, as it is now. `slots`: (slot, value before the transaction, value now)."""

    address: Address
    balance: int
    nonce: int
    code_hash: Hash32
    code: bytes | None
    """Only of an account that was created; without the 33 zero bytes that revm pads analysed code with."""
    slots: list[tuple[int, int, int]]
    created: bool
    destroyed: bool


def touched(text: str) -> Iterator[Entry]:
    """The touched accounts in the debug text of a journal that held nothing before the transaction."""
    if not text.startswith(_START):
        raise EngineError("the EVM's journal text is not as measured", why=text[:80])
    position = len(_START)
    end = text.find(_END, position - 1)
    if end < 0:
        raise EngineError("the EVM's journal text has no end", why=text[-80:])
    while position < end:
        head = _ACCOUNT.match(text, position, end)
        storage = text.find(_STORAGE, position, end)
        status = _STATUS.search(text, storage, end + 1) if head and storage >= 0 else None
        if head is None or status is None:
            raise EngineError("the EVM's journal text is not as measured", why=text[position : position + 120])
        position = status.end()
        flags = status[1].split(" | ")
        if "Touched" in flags:
            yield _entry(text, head, storage, status.start(), flags)


def _entry(text: str, head: re.Match[str], storage: int, stop: int, flags: list[str]) -> Entry:
    code_hash = Hash32(bytes.fromhex(head[4]))
    created = "Created" in flags
    slots = _SLOT.findall(text, storage, stop) if stop > storage + len(_STORAGE) else []
    return Entry(
        address=Address(bytes.fromhex(head[1])),
        balance=int(head[2]),
        nonce=int(head[3]),
        code_hash=code_hash,
        code=_code(text, head.end(), storage, code_hash) if created and code_hash != NO_CODE else None,
        slots=[(int(slot), int(old), int(new)) for slot, old, new in slots],
        created=created,
        destroyed="SelfDestructed" in flags,
    )


def _code(text: str, start: int, stop: int, code_hash: Hash32) -> bytes:
    match = _CODE.match(text, start, stop)
    if match is None:
        raise EngineError("created code is not in the EVM's journal text", why=text[start : start + 80])
    code = bytes.fromhex(match[1])
    if match[2] is not None:
        code = code[: int(match[2])]
    if keccak256(code) != code_hash:
        raise EngineError("created code does not have the hash that the EVM's journal gives it")
    return code
