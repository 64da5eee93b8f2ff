"""What execution changed: exact old and new values, so that applying and undoing are the same walk.

Not how it came about: `journal` reads it from the EVM, `state` commits to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from comity.ledger.types import Account
from comity.record.types import Address, Hash32

AccountChange: TypeAlias = "tuple[Account | None, Account | None]"
"""(before, after); None where no account exists."""


@dataclass(slots=True)
class StateDiff:
    """The accounts and slots that differ, each with its value before and after."""

    accounts: dict[Address, AccountChange] = field(default_factory=dict)
    slots: dict[tuple[Address, int], tuple[int, int]] = field(default_factory=dict)
    codes: dict[Hash32, bytes] = field(default_factory=dict)
    """Code that appeared, by its Keccak-256. It is never undone: nothing names it then."""

    def absorb(self, later: StateDiff) -> None:
        """Add a diff that was made on top of this one; what came back to its first value is dropped."""
        for address, (before, after) in later.accounts.items():
            first = self.accounts.get(address, (before, before))[0]
            if first == after:
                self.accounts.pop(address, None)
            else:
                self.accounts[address] = (first, after)
        for slot, (old, new) in later.slots.items():
            original = self.slots.get(slot, (old, old))[0]
            if original == new:
                self.slots.pop(slot, None)
            else:
                self.slots[slot] = (original, new)
        self.codes.update(later.codes)

    def inverse(self) -> StateDiff:
        """The diff that takes this one back."""
        return StateDiff(
            {address: (after, before) for address, (before, after) in self.accounts.items()},
            {slot: (new, old) for slot, (old, new) in self.slots.items()},
        )

    def __bool__(self) -> bool:
        return bool(self.accounts or self.slots)
