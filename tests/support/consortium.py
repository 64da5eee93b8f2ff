"""Four organisations on one executor: sends calls and records, seals each block with the validators' keys, folds a view.

The real EVM, the real contracts, the real records; no consensus, no sockets. One block a call of `block`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from comity.ledger import anchoring, contracts, transaction
from comity.ledger.block import (
    bloom_of,
    header_hash,
    join_blooms,
    receipts_root,
    seal_hash,
    transactions_root,
    validators_hash,
)
from comity.ledger.executor import Environment, Message, RevmExecutor
from comity.ledger.genesis import Genesis, Installation, Member, genesis_block
from comity.ledger.trie import EMPTY_ROOT
from comity.ledger.types import (
    ZERO_ADDRESS,
    Account,
    Block,
    Header,
    Receipt,
    SealedBlock,
    Seals,
    Transaction,
    ValidatorSet,
)
from comity.ledger.view import View
from comity.record.digest import keccak256, sha256
from comity.record.envelope import Envelope
from comity.record.keys import PrivateKey
from comity.record.record import Record
from comity.record.types import Address, Digest, Hash32, Height

CHAIN_ID = 31337
START = 1_767_225_600
GAS_LIMIT = 1 << 26
ORGS = ("northfield", "riverside", "lakeside", "health-office")
HOSPITALS = ORGS[:3]


class Refused(Exception):
    """The contract reverted, with its reason."""


@dataclass
class Consortium:
    """The network. `time` is the time of the next block."""

    names: Sequence[str] = ORGS
    without_validator: frozenset[str] = frozenset()
    time: int = START
    follow: bool = True
    """Whether the view follows: not when a test sends what the block rule would refuse."""
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    blocks: list[tuple[SealedBlock, tuple[Receipt, ...]]] = field(default_factory=list)
    gas: dict[str, int] = field(default_factory=dict)
    """The most gas that each function used in a transaction."""

    def __post_init__(self) -> None:
        for name in (*self.names, "stranger", "newcomer"):
            self.keys[name] = PrivateKey.from_seed(f"org {name}")
        validators = [PrivateKey.from_seed(f"validator {name}") for name in (*self.names, "newcomer")]
        self.validator_keys = {key.address: key for key in validators}
        self.members = [
            Member(n, self.address(n), self.validator_of(n), f"127.0.0.1:{7401 + 10 * i}")
            for i, n in enumerate(self.names)
        ]
        self.genesis = Genesis(CHAIN_ID, self.time, tuple(self.members), gas_limit=GAS_LIMIT)
        self.executor = RevmExecutor(CHAIN_ID, GAS_LIMIT)
        self.view = View(self.members)
        self._install()

    @property
    def validators(self) -> ValidatorSet:
        """Those that seal the next block."""
        return ValidatorSet(tuple(sorted(m.validator for m in self.view.members.values() if m.validator is not None)))

    def validator_of(self, name: str) -> Address | None:
        return None if name in self.without_validator else PrivateKey.from_seed(f"validator {name}").address

    def address(self, name: str) -> Address:
        return self.keys[name].address

    def _install(self) -> None:
        setting_up = contracts.initialise(self.members)
        installation = Installation(contracts.CODES, contracts.ADDRESS["Members"], setting_up)
        sealed, _ = genesis_block(self.genesis, self.executor, installation)
        self.blocks.append((sealed, ()))
        self.genesis_hash = header_hash(sealed.block.header)

    def _environment(self, height: int) -> Environment:
        return Environment(height, self.time, ZERO_ADDRESS)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def read(self, contract: str, function: str, *arguments: Any) -> Any:
        """The first value that a view function returns."""
        message = Message(ZERO_ADDRESS, contracts.ADDRESS[contract], contracts.calldata(contract, function, *arguments))
        result = self.executor.call(message, self._environment(len(self.blocks)))
        if not result.succeeded:
            raise Refused(contracts.error_text(result.output))
        return contracts.decode_output(contract, function, result.output)[0]

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def transaction(self, org: str, to: Address, data: bytes, ahead: int = 0) -> Transaction:
        """A signed transaction with the sender's next nonce plus `ahead`."""
        key = self.keys[org]
        account = self.executor.account(key.address) or Account()
        nonce, gas = account.nonce + ahead, transaction.TRANSACTION_GAS_MAX
        payload = transaction.signing_payload(chain_id=CHAIN_ID, nonce=nonce, to=to, gas=gas, data=data)
        raw = transaction.assemble(payload, key.sign(keccak256(payload)))
        return transaction.decode(raw, chain_id=CHAIN_ID)

    def block(self, *transactions: Transaction) -> list[str]:
        """One block with these; the reason of each revert, or "" for success."""
        receipts: list[Receipt] = []
        reasons, used = [], 0
        environment = self._environment(len(self.blocks))
        for tx in transactions:
            result = self.executor.execute(tx, environment).result
            used += result.gas_used
            bloom = bloom_of(result.logs)
            receipts.append(
                Receipt(tx.type, result.succeeded, used, bloom, result.logs, result.gas_used, None, result.output)
            )
            reasons.append("" if result.succeeded else contracts.error_text(result.output))
            if result.succeeded and tx.to is not None and tx.to in contracts.NAME_AT:
                call = contracts.decode_call(tx.to, tx.data)
                name = f"{call.name}.{call.function}"
                self.gas[name] = max(self.gas.get(name, 0), result.gas_used)
        self._seal(transactions, receipts)
        self.time += 1
        return reasons

    def _seal(self, transactions: Sequence[Transaction], receipts: Sequence[Receipt]) -> None:
        height = Height(len(self.blocks))
        header = Header(
            parent=header_hash(self.blocks[-1][0].block.header),
            coinbase=ZERO_ADDRESS,
            state_root=EMPTY_ROOT,
            transactions_root=transactions_root([t.raw for t in transactions]),
            receipts_root=receipts_root(receipts),
            bloom=join_blooms(r.bloom for r in receipts),
            height=height,
            gas_limit=GAS_LIMIT,
            gas_used=receipts[-1].cumulative_gas if receipts else 0,
            timestamp=self.time,
            extra=validators_hash(self.validators),
        )
        signed = seal_hash(CHAIN_ID, height, 0, header_hash(header))
        seals = tuple(self.validator_keys[a].sign(signed) for a in self.validators.members)
        sealed = SealedBlock(Block(header, tuple(t.raw for t in transactions)), Seals(0, seals))
        self.blocks.append((sealed, tuple(receipts)))
        if self.follow:
            self.view.apply(sealed, receipts, transactions)

    def send(self, org: str, contract: str, function: str, *arguments: Any) -> None:
        """One call in a block of its own; Refused with the contract's reason."""
        self._one(
            self.transaction(org, contracts.ADDRESS[contract], contracts.calldata(contract, function, *arguments))
        )

    def _one(self, tx: Transaction) -> None:
        (reason,) = self.block(tx)
        if reason:
            raise Refused(reason)

    def envelope(self, org: str, kind: str, spec: dict[str, Any]) -> Envelope:
        return Envelope.sign(Record.make(kind, org, spec), self.keys[org])

    def anchoring(self, org: str, kind: str, spec: dict[str, Any], ahead: int = 0) -> Transaction:
        """The transaction that anchors a record, which passes the block rule."""
        to, data = anchoring.transaction_for(self.envelope(org, kind, spec), self.view.members_by_name)
        tx = self.transaction(org, to, data, ahead)
        assert anchoring.check(tx, self.view.members_by_name) is not None
        return tx

    def anchor(self, org: str, kind: str, spec: dict[str, Any]) -> Digest:
        """Anchor a record in a block of its own; Refused with the contract's reason."""
        self._one(self.anchoring(org, kind, spec))
        return self.envelope(org, kind, spec).digest

    def wait(self, seconds: int) -> None:
        self.time += seconds

    # ── stories ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def dataset(self, org: str, name: str = "breast", **changes: Any) -> Digest:
        spec = {
            "name": name, "version": 1, "commitment": sha256(org.encode()), "bytes": 1000, "rows": 100, "columns": [],
            "purposes": ["diagnosis"], "licence": "CC-BY-4.0", "consent": "broad",
        }  # fmt: skip
        return self.anchor(org, "dataset", spec | changes)

    def study_spec(
        self, datasets: Sequence[Digest], roster: Sequence[str] = HOSPITALS, **changes: Any
    ) -> dict[str, Any]:
        spec = {
            "name": "breast-mlp", "code": sha256(b"code"), "code_lines": 42, "initial": sha256(b"initial"),
            "datasets": list(datasets), "roster": list(roster), "purpose": "diagnosis", "rule": {"name": "mean", "f": 0},
            "rounds": 2, "quorum": 2, "round_timeout_s": 60, "privacy": "none", "seed": 7,
        }  # fmt: skip
        return spec | changes

    def vote(self, org: str, on: str, about: Digest, choice: str = "approve", because: str = "") -> Digest:
        spec = {"on": on, "about": about, "choice": choice, "by": f"someone@{org}", "because": because}
        return self.anchor(org, "vote", spec)

    def active_study(self, roster: Sequence[str] = HOSPITALS, **changes: Any) -> Digest:
        names = [f"breast-{o}" for o in roster]
        held = [self.view.named(name) for name in names]
        datasets = [h[0].digest if h else self.dataset(o, name=n) for o, n, h in zip(roster, names, held, strict=True)]
        study = self.anchor(roster[0], "study", self.study_spec(datasets, roster, **changes))
        for org in roster[1:]:
            self.vote(org, "study", study)
        return study

    @staticmethod
    def update(index: int, org: str) -> tuple[Hash32, Hash32]:
        """(update digest, salt) of an organisation in a round."""
        return keccak256(f"update {index} {org}".encode()), keccak256(f"salt {index} {org}".encode())

    def commit(self, study: Digest, index: int, org: str) -> None:
        update, salt = self.update(index, org)
        commitment = bytes.fromhex(sha256(update + salt + self.address(org)))
        self.send(org, "Studies", "commit", bytes.fromhex(study), index, commitment)

    def reveal(self, study: Digest, index: int, org: str, weight: int = 100) -> None:
        self.send(org, "Studies", "reveal", bytes.fromhex(study), index, *self.update(index, org), weight)

    def aggregate(self, study: Digest, index: int, blob: bytes, org: str | None = None, **changes: Any) -> Digest:
        """The elected proposer (or `org`) posts the round's aggregate."""
        state = self.view.studies[study]
        assert state.round is not None
        it = state.round
        base = state.finals[-1].aggregate if state.finals else sha256(b"initial")
        spec = {
            "study": study, "index": index, "attempt": it.attempt, "base": base, "aggregate": sha256(blob),
            "included": [{"org": o, "update": r.update, "weight": r.weight} for o, r in sorted(it.reveals.items())],
            "refused": [], "metrics": {"loss": "0.081"},
        }  # fmt: skip
        return self.anchor(org or str(it.proposer), "round", spec | changes)

    def attest(self, study: Digest, index: int, org: str, record: Digest | None = None) -> None:
        """Attest `record`, or the one that is posted."""
        it = self.view.studies[study].round
        posted = record or (it.record if it else None) or sha256(b"none")
        self.send(org, "Studies", "attest", bytes.fromhex(study), index, bytes.fromhex(posted))

    def run_round(self, study: Digest, index: int, blob: bytes, roster: Sequence[str] = HOSPITALS) -> None:
        """A whole round without trouble."""
        for org in roster:
            self.commit(study, index, org)
        for org in roster:
            self.reveal(study, index, org)
        self.aggregate(study, index, blob)
        for org in ORGS[:3]:
            self.attest(study, index, org)

    def model_spec(self, study: Digest, weights: bytes, artefact: bytes) -> dict[str, Any]:
        last = self.view.studies[study].finals[-1].record
        tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 30]}
        return {
            "name": "breast-mlp", "version": 1, "study": study, "round": last, "weights": sha256(weights),
            "artefact": sha256(artefact), "format": "onnx", "inputs": [tensor], "outputs": [tensor | {"name": "y"}],
        }  # fmt: skip

    def trained_model(self, name: str = "breast-mlp", **changes: Any) -> Digest:
        """A study of two rounds, concluded."""
        study = self.active_study(name=name, **changes)
        for index in range(1, self.view.studies[study].rounds + 1):
            self.run_round(study, index, b"aggregate %d" % index)
        last = b"aggregate %d" % self.view.studies[study].rounds
        return self.anchor(ORGS[0], "model", self.model_spec(study, last, b"onnx") | {"name": name})

    def service(self, name: str = "triage", approvals: int = 3, time_lock_s: int = 5) -> Digest:
        return self.anchor(ORGS[0], "service", {"name": name, "approvals": approvals, "time_lock_s": time_lock_s})

    def propose(
        self, service: Digest, model: Digest, previous: Digest | None = None, org: str = ORGS[0], nonce: int = 0
    ) -> Digest:
        spec = {"action": "deploy", "service": service, "model": model, "previous": previous, "nonce": nonce}
        return self.anchor(org, "proposal", spec)

    def deploy(
        self, service: Digest, model: Digest, previous: Digest | None = None, voters: Sequence[str] = ORGS[:3]
    ) -> Digest:
        proposal = self.propose(service, model, previous)
        for org in voters:
            self.vote(org, "proposal", proposal)
        self.wait(10)
        self.send(ORGS[0], "Governance", "execute", bytes.fromhex(proposal))
        return proposal
