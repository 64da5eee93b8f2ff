"""JSON-RPC: the protocol's errors, every parser under random input, and web3.py against a real node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import transaction
from comity.ledger.chain import TABLES, Chain
from comity.ledger.executor import RevmExecutor
from comity.ledger.genesis import Genesis, Member
from comity.ledger.transaction import decode
from comity.ledger.types import SealedBlock, Seals
from comity.node import executor, hexes, rpc, wire
from comity.node.errors import BadRequest, ChildGone
from comity.node.executor import ChainClient, ChainService
from comity.node.network import installation
from comity.node.rpc import Rpc
from comity.record.digest import keccak256
from comity.record.keys import PrivateKey
from comity.record.types import Address, Hash32, Wei
from comity.store.memory import MemoryStore
from support.one_node import CHAIN_ID, RICH, Node, found, wait_until

VALIDATOR = PrivateKey.from_seed("validator")


class Local:
    """A channel whose other end is in this process: the real service on a real chain."""

    def __init__(self, chain: Chain) -> None:
        self.service = ChainService(chain)

    async def request(self, body: bytes) -> bytes:
        return executor.answer(self.service, body)


class Ledger:
    """A chain in memory with one validator, grown by hand."""

    def __init__(self) -> None:
        members = (Member("northfield", PrivateKey.from_seed("northfield").address, VALIDATOR.address, ""),)
        genesis = Genesis(CHAIN_ID, 1_000, members, alloc={RICH.address: Wei(10**24)})
        engine = RevmExecutor(CHAIN_ID, genesis.gas_limit)
        self.chain = Chain(MemoryStore(TABLES), engine, genesis, installation=installation(genesis))
        self.nonce = 0
        self.submitted: list[bytes] = []
        self.calls: list[str] = []
        client = ChainClient(Local(self.chain))  # type: ignore[arg-type]
        self.rpc = Rpc(client, submit=self._submit, next_nonce=self._next, chain_id=CHAIN_ID, on_call=self.calls.append)

    async def _submit(self, raw: bytes) -> Hash32:
        self.submitted.append(raw)
        return decode(raw, chain_id=CHAIN_ID).hash

    async def _next(self, _: Address) -> int:
        return self.nonce + len(self.submitted)

    def send(self, to: Address | None, data: bytes = b"", value: int = 0) -> bytes:
        """One transaction in a block of its own."""
        payload = transaction.signing_payload(
            chain_id=CHAIN_ID, nonce=self.nonce, to=to, gas=500_000, data=data, value=value
        )
        raw = transaction.assemble(payload, RICH.sign(keccak256(payload)))
        self.nonce += 1
        decoded = decode(raw, chain_id=CHAIN_ID)
        block, refused = self.chain.build(2_000 + self.nonce, VALIDATOR.address, [decoded])
        assert not refused
        from comity.ledger.block import header_hash, seal_hash

        seal = VALIDATOR.sign(seal_hash(CHAIN_ID, block.header.height, 0, header_hash(block.header)))
        self.chain.commit(SealedBlock(block, Seals(0, (seal,))))
        return decoded.hash

    def raw(self, body: bytes) -> Any:
        answer = asyncio.run(self.rpc.handle(body))
        return json.loads(answer) if answer else None

    def ask(self, method: str, *parameters: Any) -> Any:
        return self.raw(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters}).encode())

    def result(self, method: str, *parameters: Any) -> Any:
        answer = self.ask(method, *parameters)
        assert "result" in answer, answer
        return answer["result"]

    def error(self, method: str, *parameters: Any) -> Any:
        answer = self.ask(method, *parameters)
        assert "error" in answer, answer
        return answer["error"]


# ── A contract by hand: number(), set(uint256) with an event, fail() with a reason ───────────────────────────────────
def _push(value: int | bytes, size: int = 1) -> bytes:
    raw = value if isinstance(value, bytes) else value.to_bytes(size, "big")
    return bytes([0x5F + len(raw)]) + raw


TOPIC = keccak256(b"Set(uint256)")
_UINT = {"name": "to", "type": "uint256"}
ABI: list[dict[str, Any]] = [
    {"type": "function", "name": "number", "inputs": [], "outputs": [_UINT], "stateMutability": "view"},
    {"type": "function", "name": "set", "inputs": [_UINT], "outputs": [], "stateMutability": "nonpayable"},
    {"type": "function", "name": "fail", "inputs": [], "outputs": [], "stateMutability": "view"},
    {"type": "event", "name": "Set", "inputs": [{**_UINT, "indexed": False}], "anonymous": False},
]


def selector(signature: str) -> bytes:
    return keccak256(signature.encode())[:4]


def contract() -> bytes:
    """The init code."""
    store, load, jumpdest = b"\x52", b"\x35", b"\x5b"
    number = jumpdest + _push(0) + b"\x54" + _push(0) + store + _push(32) + _push(0) + b"\xf3"
    keep = jumpdest + _push(4) + load + b"\x80" + _push(0) + b"\x55" + _push(0) + store
    log = _push(TOPIC) + _push(32) + _push(0) + b"\xa1\x00"
    words = [
        (bytes.fromhex("08c379a0").ljust(32, b"\0"), 0),
        (b"\x20", 4),
        (b"\x02", 0x24),
        (b"no".ljust(32, b"\0"), 0x44),
    ]
    fail = jumpdest + b"".join(_push(word) + _push(at) + store for word, at in words) + _push(0x64) + _push(0) + b"\xfd"
    bodies = [number, keep + log, fail]
    head = _push(0) + b"\x35" + _push(0xE0) + b"\x1c"
    jumps_size = 3 * 11
    tail = _push(0) + _push(0) + b"\xfd"
    position = len(head) + jumps_size + len(tail)
    jumps = b""
    for name, body in zip(("number()", "set(uint256)", "fail()"), bodies, strict=True):
        jumps += b"\x80" + _push(selector(name)) + b"\x14" + _push(position) + b"\x57" + b"\x5b"
        position += len(body)
    assert len(jumps) == jumps_size
    code = head + jumps + tail + b"".join(bodies)
    return _push(len(code), 2) + b"\x80" + _push(12) + _push(0) + b"\x39" + _push(0) + b"\xf3" + code


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    made = Ledger()
    made.send(Address(bytes(19) + b"\x01"), value=5)
    made.send(None, contract())
    made.send(AT, selector("set(uint256)") + (42).to_bytes(32, "big"))
    return made


AT = Address(keccak256(b"\xd6\x94" + RICH.address + b"\x01")[12:])
HEX_AT = hexes.data(AT)


# ── Methods ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_node_methods(ledger: Ledger) -> None:
    assert ledger.result("web3_clientVersion").startswith("comity/")
    assert ledger.result("net_version") == "31337"
    assert ledger.result("eth_chainId") == "0x7a69"
    assert ledger.result("net_listening") is True
    assert ledger.result("net_peerCount") == "0x0"
    assert ledger.result("eth_accounts") == []
    assert ledger.result("eth_syncing") is False
    assert ledger.result("eth_gasPrice") == ledger.result("eth_maxPriorityFeePerGas") == "0x0"
    assert ledger.result("web3_sha3", "0x")[:10] == "0xc5d24601"
    history = ledger.result("eth_feeHistory", "0x2", "latest", [50])
    assert history == {
        "oldestBlock": "0x2", "baseFeePerGas": ["0x0"] * 3, "gasUsedRatio": [0.0, 0.0], "reward": [["0x0"]] * 2
    }  # fmt: skip
    assert "eth_chainId" in ledger.calls


def test_state_methods(ledger: Ledger) -> None:
    assert ledger.result("eth_getBalance", "0x" + "00" * 19 + "01", "latest") == "0x5"
    assert ledger.result("eth_getTransactionCount", "0x" + RICH.address.hex()) == "0x3"
    assert ledger.result("eth_getTransactionCount", "0x" + RICH.address.hex(), "pending") == "0x3"
    assert ledger.result("eth_getStorageAt", HEX_AT, "0x0", "latest") == "0x" + (42).to_bytes(32, "big").hex()
    assert ledger.result("eth_getStorageAt", HEX_AT, "0x" + "00" * 32) == "0x" + (42).to_bytes(32, "big").hex()
    assert len(ledger.result("eth_getCode", HEX_AT, "latest")) == 2 + 2 * (len(contract()) - 12)
    call = {"to": HEX_AT, "data": hexes.data(selector("number()"))}
    assert ledger.result("eth_call", call, "latest") == "0x" + (42).to_bytes(32, "big").hex()
    head = ledger.result("eth_getBlockByNumber", "latest", False)
    assert ledger.result("eth_call", call, {"blockHash": head["hash"]}) == ledger.result(
        "eth_call", call, head["number"]
    )
    gas = int(ledger.result("eth_estimateGas", {**call, "data": hexes.data(selector("set(uint256)") + bytes(32))}), 16)
    assert 21_000 < gas < 60_000
    proof = ledger.result("eth_getProof", HEX_AT, ["0x0"], "latest")
    assert proof["storageProof"][0]["value"] == "0x2a"
    assert proof["codeHash"] == hexes.data(keccak256(contract()[12:]))


def test_old_state_is_refused_not_guessed(ledger: Ledger) -> None:
    for block in ("earliest", "0x1", "0xff", {"blockHash": "0x" + "00" * 32}, {"blockNumber": "0x0"}):
        error = ledger.error("eth_getBalance", HEX_AT, block)
        assert error["code"] == rpc.SERVER_ERROR
        assert "not kept" in error["message"]


def test_blocks_transactions_and_logs(ledger: Ledger) -> None:
    block = ledger.result("eth_getBlockByNumber", "0x3", True)
    (found,) = block["transactions"]
    assert found["to"] == HEX_AT
    assert found["chainId"] == "0x7a69"
    assert ledger.result("eth_getBlockByHash", block["hash"], True) == block
    assert ledger.result("eth_getTransactionByHash", found["hash"]) == found
    assert ledger.result("eth_getBlockByHash", block["hash"], False)["transactions"] == [found["hash"]]
    assert ledger.result("eth_getBlockTransactionCountByNumber", "latest") == "0x1"
    assert ledger.result("eth_getBlockTransactionCountByHash", block["hash"]) == "0x1"
    assert ledger.result("eth_getBlockByNumber", "0x99", False) is None
    assert ledger.result("eth_getBlockByHash", "0x" + "00" * 32, False) is None
    assert ledger.result("eth_getTransactionByHash", "0x" + "00" * 32) is None
    assert ledger.result("eth_getTransactionReceipt", "0x" + "00" * 32) is None
    receipt = ledger.result("eth_getTransactionReceipt", found["hash"])
    assert receipt["status"] == "0x1"
    (log,) = receipt["logs"]
    assert log["topics"] == [hexes.data(TOPIC)]
    where = {"fromBlock": "earliest", "toBlock": "latest"}
    assert ledger.result("eth_getLogs", {**where, "address": HEX_AT}) == [log]
    assert ledger.result("eth_getLogs", {**where, "topics": [[hexes.data(TOPIC), "0x" + "11" * 32]]}) == [log]
    assert ledger.result("eth_getLogs", {**where, "topics": ["0x" + "11" * 32]}) == []
    assert ledger.result("eth_getLogs", {"blockHash": block["hash"], "topics": [None, None]}) == []
    assert ledger.result("eth_getLogs", {"blockHash": block["hash"]}) == [log]
    created = ledger.result("eth_getBlockByNumber", "0x2", False)["transactions"][0]
    assert ledger.result("eth_getTransactionReceipt", created)["contractAddress"] == HEX_AT


def test_reverts_carry_their_data(ledger: Ledger) -> None:
    call = {"to": HEX_AT, "data": hexes.data(selector("fail()"))}
    for method in ("eth_call", "eth_estimateGas"):
        error = ledger.error(method, call)
        assert error["code"] == 3
        assert error["message"] == "execution reverted: no"
        assert error["data"].startswith("0x08c379a0")
    assert ledger.error("eth_call", {"to": HEX_AT, "data": "0x"})["code"] == 3
    assert ledger.error("eth_call", {"data": "0xfe"})["code"] == rpc.SERVER_ERROR


# ── The protocol ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", rpc.PARSE_ERROR),
        (b"{", rpc.PARSE_ERROR),
        (b"\xff", rpc.PARSE_ERROR),
        (b"[" * 100_000, rpc.PARSE_ERROR),
        (b"[]", rpc.INVALID_REQUEST),
        (b"1", rpc.INVALID_REQUEST),
        (b"{}", rpc.INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', rpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"personal_unlockAccount"}', rpc.METHOD_NOT_FOUND),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_sign"}', rpc.METHOD_NOT_FOUND),
        (b'{"jsonrpc":"2.0","id":1,"method":"__init__"}', rpc.METHOD_NOT_FOUND),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[]}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x00"]}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["0x01", true]}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"0x3","toBlock":"0x1"}]}', rpc.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"0x0","toBlock":"0xffff"}]}', rpc.LIMIT_EXCEEDED),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0xdead"]}', rpc.SERVER_ERROR),
        (b" " * (rpc.BODY_BYTES_MAX + 1), rpc.INVALID_REQUEST),
    ],
)  # fmt: skip
def test_errors(ledger: Ledger, body: bytes, code: int) -> None:
    assert ledger.raw(body)["error"]["code"] == code


def test_batches_and_notifications(ledger: Ledger) -> None:
    one = {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"}
    silent = {"jsonrpc": "2.0", "method": "eth_chainId"}
    answers = ledger.raw(json.dumps([one, silent, 5, {**one, "id": 2, "method": "x"}]).encode())
    assert [answer["id"] for answer in answers] == ["a", None, 2]
    assert answers[0]["result"] == "0x7a69"
    assert ledger.raw(json.dumps(silent).encode()) is None
    assert ledger.raw(json.dumps([silent]).encode()) is None
    many = ledger.raw(json.dumps([{**one, "id": i} for i in range(rpc.BATCH_MAX)]).encode())
    assert [answer["id"] for answer in many] == list(range(rpc.BATCH_MAX))
    too_many = ledger.raw(json.dumps([one] * (rpc.BATCH_MAX + 1)).encode())
    assert too_many["error"]["code"] == rpc.INVALID_REQUEST


_KEYS = ["to", "data", "from", "topics", "address", "blockHash", "gas", "fromBlock", "value"]
_LEDGER: list[Ledger] = []
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.sampled_from(["latest", "0x1", "0x0", "0x", "0x" + "11" * 20, "0x" + "22" * 32, "earliest"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@given(st.data())
def test_any_parameters_get_an_answer(data: st.DataObject) -> None:
    if not _LEDGER:
        _LEDGER.append(Ledger())
    target = _LEDGER[0]
    method = data.draw(st.sampled_from(target.rpc.methods))
    parameters = data.draw(st.lists(_JSON, max_size=4))
    answer = target.ask(method, *parameters)
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        assert answer["error"]["code"] in (3, -32000, -32005, -32602)


@given(st.integers(0, 2**256 - 1), st.binary(max_size=40))
def test_encodings(number: int, raw: bytes) -> None:
    assert hexes.parse_quantity(hexes.quantity(number), "x") == number
    assert hexes.parse_data(hexes.data(raw), "x") == raw


@pytest.mark.parametrize("bad", ["", "0x", "0x00", "1", "0xg", 1, None, "0x" + "f" * 65, "0X1", "-0x1", "0x1\n"])
def test_bad_quantities(bad: object) -> None:
    with pytest.raises(BadRequest):
        hexes.parse_quantity(bad, "x")


@pytest.mark.parametrize("bad", ["", "0x0", "00", 1, None, "0xgg", "0x" + "00" * (hexes.DATA_BYTES_MAX + 1), "0x00\n"])
def test_bad_data(bad: object) -> None:
    with pytest.raises(BadRequest):
        hexes.parse_data(bad, "x")


def test_no_key_method_is_served(ledger: Ledger) -> None:
    assert not [m for m in ledger.rpc.methods if m.startswith("personal_") or "sign" in m.lower()]


def test_every_method_stands_in_the_page(ledger: Ledger) -> None:
    page = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text()
    assert [m for m in ledger.rpc.methods if f"`{m}`" not in page] == []


# ── Values between processes ─────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(-(2**300), 2**300))
def test_integers_of_any_size_cross(number: int) -> None:
    assert wire.unpack(wire.pack([number])) == [number]


def test_what_is_no_value_does_not_cross() -> None:
    with pytest.raises(TypeError):
        wire.pack(object())


# ── web3.py ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(found(tmp_path_factory.mktemp("rpc"), ["northfield"])[0])
    made.start()
    try:
        wait_until(lambda: made.height() >= 0)
        yield made
    finally:
        assert made.stop() == 0, made.log()


@pytest.mark.net
@pytest.mark.peer
def test_web3_deploys_and_calls_a_contract(node: Node) -> None:
    from eth_account import Account
    from web3 import Web3
    from web3.exceptions import ContractLogicError

    w3 = Web3(Web3.HTTPProvider(node.url))
    assert w3.is_connected()
    account = Account.from_key(RICH.to_bytes())

    def send(built: Any) -> Any:
        raw = account.sign_transaction(built).raw_transaction
        return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw), timeout=15, poll_latency=0.05)

    def options(nonce: int) -> Any:
        return {"from": account.address, "nonce": nonce}

    deploy = w3.eth.contract(abi=ABI, bytecode=contract()).constructor()
    receipt = send(deploy.build_transaction(options(w3.eth.get_transaction_count(account.address))))
    assert receipt["status"] == 1
    found_contract = w3.eth.contract(address=receipt["contractAddress"], abi=ABI)
    receipt = send(found_contract.functions.set(7).build_transaction(options(1)))
    assert found_contract.functions.number().call() == 7
    (event,) = found_contract.events.Set().process_receipt(receipt)
    assert event["args"]["to"] == 7
    (again,) = found_contract.events.Set().get_logs(from_block=0)
    assert again["transactionHash"] == receipt["transactionHash"]
    with pytest.raises(ContractLogicError, match="no"):
        found_contract.functions.fail().call()
    assert w3.eth.get_balance(account.address) == 10**24
    assert w3.eth.get_block("latest", full_transactions=True)["transactions"]
    legacy = {"to": "0x" + "00" * 19 + "77", "value": 5, "gas": 21_000, "gasPrice": 0, "nonce": 2, "chainId": CHAIN_ID}
    assert send(legacy)["status"] == 1
    with pytest.raises(Exception, match="known already"):
        w3.eth.send_raw_transaction(account.sign_transaction(legacy).raw_transaction)


def test_a_dead_executor_is_an_error_not_a_hang() -> None:
    class Dead:
        async def request(self, _: bytes) -> bytes:
            raise ChildGone("the executor is not running", hint="try again")

    target = Ledger()
    target.rpc._chain = ChainClient(Dead())  # type: ignore[arg-type]
    error = target.error("eth_blockNumber")
    assert error["code"] == rpc.SERVER_ERROR
    assert "not running" in error["message"]
