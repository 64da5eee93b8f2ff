"""Runs transactions on the EVM (pyrevm 0.3.7, Cancun) and gives the exact state diff of each, by the method of docs/ledger.md.

It holds the live accounts and slots; what commits to them and keeps them on disk is `state`, what makes blocks is `chain`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env, TxEnv

from comity.ledger import journal, revert
from comity.ledger.diff import StateDiff
from comity.ledger.errors import EngineError, InvalidTransaction, Reverted
from comity.ledger.transaction import TRANSACTION_GAS_MAX, AccessList, intrinsic_gas
from comity.ledger.types import ZERO_HASH, Account, Log, Transaction
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Wei

SPEC = "CANCUN"
ESTIMATE_TOLERANCE_BITS = 6
"""An estimate is at most 1/64 too high."""
_FAILURE = re.compile(r"(?:Revert|Halt) \{.*(?:output: 0x([0-9a-f]*)|reason: (.*), gas_used: \d+) \}$", re.DOTALL)
_EMPTY_ACCOUNT = Account()


@dataclass(frozen=True, slots=True)
class Environment:
    """The block that a transaction runs in. `base_fee` is 0 on this chain; the public tests use others."""

    height: int
    timestamp: int
    coinbase: Address
    mix: bytes = ZERO_HASH
    base_fee: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A call that is no transaction: eth_call and eth_estimateGas."""

    sender: Address
    to: Address | None
    data: bytes = b""
    value: int = 0
    gas: int = TRANSACTION_GAS_MAX
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a message did. `reason` says in words why it failed."""

    succeeded: bool
    output: bytes
    gas_used: int
    gas_refunded: int
    logs: tuple[Log, ...]
    contract: Address | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A transaction's result and everything that it changed."""

    result: CallResult
    diff: StateDiff


class Executor(Protocol):
    """An EVM with its live state. Not thread-safe, and deterministic: equal state and input give equal outcomes."""

    def account(self, address: Address) -> Account | None: ...

    def code(self, code_hash: Hash32) -> bytes: ...

    def storage(self, address: Address, slot: int) -> int: ...

    def accounts(self) -> int: ...

    def apply(self, diff: StateDiff) -> None: ...

    def execute(self, transaction: Transaction, environment: Environment) -> Outcome: ...

    def call(self, message: Message, environment: Environment) -> CallResult: ...


class RevmExecutor:
    """`Executor` over one pyrevm EVM. The whole state is in memory: ½ KB an account, 0.1 KB a slot."""

    def __init__(self, chain_id: int, gas_limit: int) -> None:
        """`gas_limit` is the chain's block gas limit: what the GASLIMIT instruction gives."""
        self._gas_limit = gas_limit
        environment = Env(cfg=CfgEnv(chain_id=chain_id), block=BlockEnv(gas_limit=gas_limit, prevrandao=ZERO_HASH))
        self._evm = EVM(env=environment, gas_limit=gas_limit, spec_id=SPEC)
        self._environment: Environment | None = None
        self._accounts: dict[Address, Account] = {}
        self._codes: dict[Hash32, bytes] = {ZERO_HASH: b""}

    # ── State ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def account(self, address: Address) -> Account | None:
        """The account, or None if it does not exist."""
        return self._accounts.get(address)

    def code(self, code_hash: Hash32) -> bytes:
        """The code of that Keccak-256; `ZERO_HASH` stands for none."""
        return self._codes[code_hash]

    def storage(self, address: Address, slot: int) -> int:
        """The value of a slot; 0 where nothing is."""
        mark = self._evm.snapshot()
        value = int(self._evm.storage(_hex(address), slot))
        self._evm.revert(mark)
        return value

    def accounts(self) -> int:
        """How many accounts exist."""
        return len(self._accounts)

    def apply(self, diff: StateDiff) -> None:
        """Put the new values of a diff in place; its inverse takes it back."""
        self._codes.update(diff.codes)
        for address, (_, after) in diff.accounts.items():
            self._put(address, after)
        evm = self._evm
        for (address, slot), (_, value) in diff.slots.items():
            # The insert goes to the database; it also loads the account into the journal, which the revert takes back.
            mark = evm.snapshot()
            evm.insert_account_storage(_hex(address), slot, value)
            evm.revert(mark)

    def _put(self, address: Address, account: Account | None) -> None:
        if account is None:
            self._accounts.pop(address, None)
            account = _EMPTY_ACCOUNT  # the EVM holds an empty account for none (EIP-161)
        else:
            self._accounts[address] = account
        self._insert(address, account)

    def _insert(self, address: Address, account: Account) -> None:
        code = None if account.code_hash == ZERO_HASH else self._codes[account.code_hash]
        code_hash = None if code is None else account.code_hash
        info = AccountInfo(  # type: ignore[call-arg]  # pyrevm's stub forgets `balance`
            nonce=account.nonce, balance=account.balance, code_hash=code_hash, code=code
        )
        self._evm.insert_account_info(_hex(address), info)

    # ── Execution ────────────────────────────────────────────────────────────────────────────────────────────────────
    def execute(self, transaction: Transaction, environment: Environment) -> Outcome:
        """Run a transaction, leaving its changes in the live state; `apply(outcome.diff.inverse())` undoes it.

        Raises `InvalidTransaction`, and changes nothing, when it may not run on this state.
        """
        sender, gas = transaction.sender, transaction.gas
        before = self._accounts.get(sender)
        account = before or _EMPTY_ACCOUNT
        price = _admit(transaction, account, environment)
        charged = Account(account.nonce + 1, Wei(account.balance - gas * price), account.code_hash)
        creates = transaction.to is None
        if not creates:  # `deploy` buys gas and counts the nonce itself, `message_call` does not
            self._insert(sender, charged)
        message = Message(sender, transaction.to, transaction.data, transaction.value, gas, transaction.access_list)
        # pyrevm asks `message_call` for gas × price once more, after we took it. Who cannot hold it twice sees GASPRICE 0.
        seen = price if creates or charged.balance >= gas * price + transaction.value else 0
        try:
            result, text = self._run(message, environment, seen)
        except (InvalidTransaction, EngineError):
            self._insert(sender, account)
            raise
        diff = self._diff(text)
        used, tip = result.gas_used, price - environment.base_fee
        if creates:
            self._credit(diff, environment.coinbase, -used * environment.base_fee)
        else:
            diff.accounts.setdefault(sender, (before, charged))  # a call that fails touches nobody
            self._credit(diff, sender, (gas - used) * price)
            self._credit(diff, environment.coinbase, used * tip)
        self._settle(diff)
        self.apply(diff)
        return Outcome(result, diff)

    def call(self, message: Message, environment: Environment) -> CallResult:
        """Run a message on the live state and leave no trace. `InvalidTransaction` when the EVM refuses to run it."""
        return self._run(message, environment, 0)[0]

    def _run(self, message: Message, environment: Environment, price: int) -> tuple[CallResult, str]:
        """The result, and the journal's text. The journal is empty again afterwards, so the next run starts cold."""
        evm = self._evm
        self._enter(environment)
        mark = evm.snapshot()
        self._warm(message.access_list, environment.coinbase)
        evm.commit()  # depth back to 0: the limit of 1,024 calls counts from there
        created, output, failure = None, b"", ""
        try:
            if message.to is None:
                created = evm.deploy(_hex(message.sender), message.data, message.value, message.gas, price)
                output = self._output(created)
            else:
                output = evm.message_call(
                    _hex(message.sender), _hex(message.to), message.data, message.value, message.gas, price
                )
        except RuntimeError as error:
            failure = str(error)
        result, text = evm.result, evm.journal_str
        evm.snapshot()  # a revert needs a depth to come back from
        evm.revert(mark)
        if message.access_list:
            evm.set_tx_env(TxEnv())
        if result is None:
            raise InvalidTransaction("the EVM refuses the transaction", why=failure)
        logs = tuple(_log(log) for log in result.logs) if not failure else ()
        reason = ""
        if failure:
            output, reason = _failure(failure)
        contract = Address(bytes.fromhex(created[2:])) if created else None
        return CallResult(not failure, output, result.gas_used, result.gas_refunded, logs, contract, reason), text

    def _enter(self, environment: Environment) -> None:
        if environment == self._environment:
            return
        self._evm.set_block_env(
            BlockEnv(
                number=environment.height,
                coinbase=_hex(environment.coinbase),
                timestamp=environment.timestamp,
                difficulty=0,
                prevrandao=environment.mix,
                basefee=0,
                gas_limit=self._gas_limit,
                excess_blob_gas=0,
            )
        )
        self._environment = environment

    def _warm(self, access_list: AccessList, coinbase: Address) -> None:
        """Load what revm would load without a journal entry (EIP-2930, EIP-3651), so that it does not stay warm for ever."""
        evm = self._evm
        evm.basic(_hex(coinbase))
        if access_list:
            evm.set_tx_env(TxEnv(access_list=[(_hex(address), list(slots)) for address, slots in access_list]))
            for address, slots in access_list:
                evm.basic(_hex(address))
                for slot in slots:
                    evm.storage(_hex(address), slot)

    def _output(self, created: str) -> bytes:
        """The code that a deployment left, without revm's padding."""
        code = bytes(self._evm.get_code(created) or b"")
        code_hash = self._evm.basic(created).code_hash
        for candidate in (code, code[:-33]):
            if not code or keccak256(candidate) == code_hash:
                return candidate
        raise EngineError("deployed code does not have its hash")

    def _diff(self, text: str) -> StateDiff:
        diff = StateDiff()
        for entry in journal.touched(text):
            before = self._accounts.get(entry.address)
            if entry.created and entry.destroyed:  # EIP-6780: gone with the transaction that made it
                diff.accounts[entry.address] = (before, None)
                continue
            code_hash = ZERO_HASH if entry.code_hash == journal.NO_CODE else entry.code_hash
            if entry.code is not None:
                diff.codes[code_hash] = entry.code
            diff.accounts[entry.address] = (before, Account(entry.nonce, Wei(entry.balance), code_hash))
            for slot, old, new in entry.slots:
                if old != new:
                    diff.slots[entry.address, slot] = (old, new)
        return diff

    def _credit(self, diff: StateDiff, address: Address, amount: int) -> None:
        if amount == 0:
            return
        current = self._accounts.get(address)
        before, after = diff.accounts.get(address, (current, current or _EMPTY_ACCOUNT))
        if after is not None:  # what is destroyed with this transaction takes its fees along
            diff.accounts[address] = (before, Account(after.nonce, Wei(after.balance + amount), after.code_hash))

    def _settle(self, diff: StateDiff) -> None:
        """Empty accounts do not exist (EIP-161), and what did not change is no change."""
        for address, (before, after) in list(diff.accounts.items()):
            if after == _EMPTY_ACCOUNT:
                diff.accounts[address] = (before, None)
                after = None
            if before == after:
                del diff.accounts[address]


def estimate_gas(executor: Executor, message: Message, environment: Environment) -> int:
    """The gas that lets `message` succeed, at most 1/64 too high; `Reverted` if `message.gas` does not suffice."""
    first = executor.call(message, environment)
    if not first.succeeded:
        raise Reverted("the call fails", why=first.reason, output=first.output)

    def suffices(gas: int) -> bool:
        trial = Message(message.sender, message.to, message.data, message.value, gas, message.access_list)
        return executor.call(trial, environment).succeeded

    low = max(first.gas_used, intrinsic_gas(message.to, message.data, message.access_list))
    if suffices(low):
        return low
    high = message.gas
    likely = (low + first.gas_refunded) * 64 // 63  # a frame keeps 1/64 of its gas back (EIP-150)
    if likely < high and suffices(likely):
        high = likely
    while high - low > high >> ESTIMATE_TOLERANCE_BITS:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _admit(transaction: Transaction, sender: Account, environment: Environment) -> int:
    """The effective gas price (EIP-1559) of a transaction that may run on this account."""
    if transaction.nonce != sender.nonce:
        raise InvalidTransaction("nonce is not the account's next", why=f"{transaction.nonce}, next is {sender.nonce}")
    if sender.code_hash != ZERO_HASH:
        raise InvalidTransaction("sender is a contract", why="EIP-3607")
    if transaction.max_fee < environment.base_fee:
        raise InvalidTransaction("fee cap is below the base fee")
    cost = transaction.gas * transaction.max_fee + transaction.value
    if sender.balance < cost:
        raise InvalidTransaction("balance does not cover the transaction", why=f"{sender.balance} wei, needs {cost}")
    return min(transaction.max_fee, environment.base_fee + transaction.max_priority_fee)


def _failure(text: str) -> tuple[bytes, str]:
    """(revert data, reason) from the text of pyrevm's exception."""
    match = _FAILURE.match(text)
    if match is None:
        raise EngineError("the EVM's error text is not as measured", why=text[:200])
    if match[1] is None:
        return b"", f"halted: {match[2]}"
    output = bytes.fromhex(match[1])
    return output, revert.reason(output)


def _hex(address: Address) -> str:
    return "0x" + address.hex()


def _log(log: object) -> Log:
    topics, data = log.data  # type: ignore[attr-defined]
    return Log(
        Address(bytes.fromhex(log.address[2:])),  # type: ignore[attr-defined]
        tuple(Hash32(bytes(topic)) for topic in topics),
        bytes(data),
    )
