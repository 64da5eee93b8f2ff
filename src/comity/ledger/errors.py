"""Every expected error of the ledger.

ComityError
└── LedgerError
    ├── MalformedRlp          bytes that are not canonical RLP, or exceed a limit
    ├── InvalidTransaction    bytes that are no transaction of this chain, or one that may not run now
    ├── InvalidBlock          a block that does not follow from its parent
    │   └── Divergence        our execution gives another result than the header says; carries the evidence
    ├── ContractError         a call, event or output that no system contract understands
    ├── InvalidAnchor         a transaction whose record is not what its arguments or its sender say
    ├── BadEvidence           a bundle that cannot be read as evidence at all
    ├── InvalidSeals          seals that are no quorum of the set
    ├── InvalidProof          trie nodes that do not prove what they should
    ├── InvalidGenesis        a genesis document that is malformed
    ├── Reverted              a call that the EVM reverted or halted
    ├── UnknownBlock          a height or hash that this replica does not hold
    ├── TooMuch               a query beyond its limit
    ├── CorruptLedger         the database does not give the root that its head says
    └── EngineError           the EVM library does not behave as measured
"""

from __future__ import annotations

from comity.record.errors import ComityError


class LedgerError(ComityError):
    """An expected failure of the ledger."""

    code = "ledger"


class MalformedRlp(LedgerError):
    """Bytes that are not canonical RLP, or exceed a limit."""

    code = "malformed-rlp"


class InvalidTransaction(LedgerError):
    """Bytes that are no transaction of this chain, or a transaction that may not run now."""

    code = "invalid-transaction"


class InvalidBlock(LedgerError):
    """A block that does not follow from its parent."""

    code = "invalid-block"
    exit_code = 4


class Divergence(InvalidBlock):
    """Our execution gives another result than the header says. `evidence` is a JSON document for people."""

    code = "divergence"

    def __init__(self, what: str, *, why: str = "", hint: str = "", evidence: dict[str, object]) -> None:
        super().__init__(what, why=why, hint=hint)
        self.evidence = evidence


class ContractError(LedgerError):
    """A call, an event or an output that no system contract understands."""

    code = "bad-contract-call"


class InvalidAnchor(LedgerError):
    """A transaction to a system contract whose record is not what its arguments or its sender say."""

    code = "invalid-anchor"


class BadEvidence(LedgerError):
    """A bundle that cannot be read as evidence at all, or that this node cannot make."""

    code = "bad-evidence"
    exit_code = 4


class InvalidSeals(LedgerError):
    """Seals that are no quorum of the validator set."""

    code = "invalid-seals"
    exit_code = 4


class InvalidProof(LedgerError):
    """Trie nodes that do not prove what they should."""

    code = "invalid-proof"
    exit_code = 4


class InvalidGenesis(LedgerError):
    """A genesis document that is malformed."""

    code = "invalid-genesis"


class Reverted(LedgerError):
    """A call that the EVM reverted or halted. `output` holds the revert data."""

    code = "reverted"

    def __init__(self, what: str, *, why: str = "", hint: str = "", output: bytes = b"") -> None:
        super().__init__(what, why=why, hint=hint)
        self.output = output


class UnknownBlock(LedgerError):
    """A height or hash that this replica does not hold."""

    code = "unknown-block"


class TooMuch(LedgerError):
    """A query beyond its limit."""

    code = "too-much"


class CorruptLedger(LedgerError):
    """The database does not give the state root that its head says."""

    code = "corrupt-ledger"
    exit_code = 4


class EngineError(LedgerError):
    """The EVM library does not behave as measured."""

    code = "engine"
    exit_code = 2
