"""What stands on every Comity network before its first block, and the digest by which people know a network."""

from __future__ import annotations

from comity.ledger import contracts
from comity.ledger.block import header_hash
from comity.ledger.executor import RevmExecutor
from comity.ledger.genesis import Genesis, Installation, genesis_block
from comity.ledger.types import ZERO_ADDRESS
from comity.record.types import Hash32


def installation(genesis: Genesis) -> Installation:
    """The system contracts, and the call that tells Members who the founders are."""
    founders = [contracts.Member(m.name, m.org, m.validator or ZERO_ADDRESS, m.endpoint) for m in genesis.members]
    codes = {contract.address: contract.code for contract in contracts.SYSTEM}
    return Installation(codes, contracts.ADDRESS["Members"], contracts.initialise(founders))


def genesis_hash(genesis: Genesis) -> Hash32:
    """The hash of block 0: all that anyone needs to know to verify everything else."""
    sealed, _ = genesis_block(genesis, RevmExecutor(genesis.chain_id, genesis.gas_limit), installation(genesis))
    return header_hash(sealed.block.header)
