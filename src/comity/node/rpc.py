"""Ethereum JSON-RPC 2.0 over the chain: bytes in, bytes out. It reads, and takes signed transactions; it holds no key.

Not HTTP, not who may call (`web`, `auth`). Every method and its limits stand in docs/rpc.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from comity import __version__
from comity.ledger.archive import LogFilter
from comity.ledger.block import header_hash
from comity.ledger.errors import Reverted, TooMuch, UnknownBlock
from comity.ledger.executor import Message
from comity.ledger.revert import reason
from comity.ledger.transaction import TRANSACTION_GAS_MAX
from comity.ledger.types import ZERO_ADDRESS, Block, Receipt, Transaction
from comity.node import hexes
from comity.node.errors import BadRequest
from comity.node.executor import ChainClient
from comity.node.hexes import data, parse_address, parse_data, parse_quantity, quantity
from comity.record import canonical
from comity.record.digest import keccak256
from comity.record.errors import ComityError, NotCanonical
from comity.record.types import Address, Hash32

BODY_BYTES_MAX = 8 << 20
BATCH_MAX = 1000
AT_ONCE_MAX = 64
PARAMETERS_MAX = 4
FEE_HISTORY_MAX = 1024
TOPICS_MAX = 4
ALTERNATIVES_MAX = 1000
PROOF_SLOTS_MAX = 1024
BLOCKS_KEPT_MAX = 16

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
REVERTED, SERVER_ERROR, LIMIT_EXCEEDED = 3, -32000, -32005
SENDS = frozenset(("eth_sendRawTransaction",))
_HEAD_TAGS = frozenset(("latest", "pending", "safe", "finalized"))


class _Refused(Exception):
    def __init__(self, code: int, message: str, more: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.more = code, message, more


@dataclass(frozen=True, slots=True)
class _Stored:
    hash: Hash32
    block: Block
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]


class Rpc:
    """The dispatcher. Give `handle` the body of a POST; it gives the body of the answer."""

    def __init__(
        self,
        chain: ChainClient,
        *,
        submit: Callable[[bytes], Awaitable[Hash32]],
        next_nonce: Callable[[Address], Awaitable[int]],
        chain_id: int,
        pending: Callable[[Hash32], Transaction | None] = lambda hash32: None,
        peers: Callable[[], int] = lambda: 0,
        on_call: Callable[[str], None] = lambda method: None,
    ) -> None:
        """`pending`: a transaction waiting in our pool. `on_call`: told of each known method, for the metrics."""
        self._chain, self._submit, self._next_nonce = chain, submit, next_nonce
        self._chain_id, self._pending, self._peers, self._on_call = chain_id, pending, peers, on_call
        self._filling = asyncio.Lock()
        self._cache: dict[int, _Stored] = {}
        self._methods: dict[str, Callable[..., Awaitable[Any]]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    @property
    def methods(self) -> list[str]:
        """All that are served."""
        return sorted(self._methods)

    async def handle(self, body: bytes, *, may_send: bool = True) -> bytes:
        """One request, or a batch of at most BATCH_MAX, to its answer; b"" when nothing was asked for (notifications)."""
        if len(body) > BODY_BYTES_MAX:
            return _encode(_failure(None, INVALID_REQUEST, f"the body is larger than {BODY_BYTES_MAX} bytes"))
        try:
            canonical.check_depth(body, canonical.DEPTH_MAX)
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, NotCanonical):
            return _encode(_failure(None, PARSE_ERROR, "the body is not JSON"))
        if not isinstance(request, list):
            answer = await self._answer(request, may_send)
            return b"" if answer is None else _encode(answer)
        if not 0 < len(request) <= BATCH_MAX:
            return _encode(_failure(None, INVALID_REQUEST, f"a batch holds 1 to {BATCH_MAX} requests"))
        answers: list[Any] = []
        for start in range(0, len(request), AT_ONCE_MAX):
            answers += await asyncio.gather(
                *(self._answer(one, may_send) for one in request[start : start + AT_ONCE_MAX])
            )
        told = [answer for answer in answers if answer is not None]
        return _encode(told) if told else b""

    async def _answer(self, request: Any, may_send: bool) -> dict[str, Any] | None:
        if not isinstance(request, dict):
            return _failure(None, INVALID_REQUEST, "a request is an object")
        identifier, name = request.get("id"), request.get("method")
        if isinstance(identifier, dict | list | bool):
            return _failure(None, INVALID_REQUEST, "an id is a text, a number or null")
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            return _failure(identifier, INVALID_REQUEST, 'a request has "jsonrpc": "2.0" and a method')
        try:
            if name in SENDS and not may_send:
                raise _Refused(SERVER_ERROR, f"{name} needs the role `operate`")
            result = await self._call(name, request.get("params", []))
        except _Refused as refusal:
            answer = _failure(identifier, refusal.code, refusal.message, refusal.more)
        else:
            answer = {"jsonrpc": "2.0", "id": identifier, "result": result}
        return answer if "id" in request else None

    async def _call(self, name: str, parameters: Any) -> Any:
        method = self._methods.get(name)
        if method is None:
            raise _Refused(METHOD_NOT_FOUND, f"the method {name[:64]} does not exist or is not served here")
        if not isinstance(parameters, list) or len(parameters) > PARAMETERS_MAX:
            raise _Refused(INVALID_PARAMS, f"params is an array of at most {PARAMETERS_MAX}")
        self._on_call(name)
        try:
            return await method(*parameters)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise
            raise _Refused(INVALID_PARAMS, f"{name} does not take {len(parameters)} parameters") from None
        except BadRequest as error:
            raise _Refused(INVALID_PARAMS, str(error)) from None
        except Reverted as error:
            raise _reverted(error.output, error.why) from None
        except TooMuch as error:
            raise _Refused(LIMIT_EXCEEDED, f"{error}; {error.hint}") from None
        except ComityError as error:
            raise _Refused(SERVER_ERROR, f"{error}; {error.hint}" if error.hint else str(error)) from None

    # ── The node ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def do_web3_clientVersion(self) -> str:  # noqa: N802
        return f"comity/{__version__}"

    async def do_web3_sha3(self, value: Any) -> str:
        return data(keccak256(parse_data(value, "the data")))

    async def do_net_version(self) -> str:
        return str(self._chain_id)

    async def do_net_listening(self) -> bool:
        return True

    async def do_net_peerCount(self) -> str:  # noqa: N802
        return quantity(self._peers())

    async def do_eth_chainId(self) -> str:  # noqa: N802
        return quantity(self._chain_id)

    async def do_eth_syncing(self) -> bool:
        return False

    async def do_eth_accounts(self) -> list[str]:
        return []

    async def do_eth_gasPrice(self) -> str:  # noqa: N802
        return "0x0"

    async def do_eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return "0x0"

    async def do_eth_feeHistory(self, count: Any, newest: Any, percentiles: Any = None) -> dict[str, Any]:  # noqa: N802
        wanted = int(count) if isinstance(count, int) else parse_quantity(count, "the block count", 32)
        if not isinstance(percentiles, list | None) or len(percentiles or ()) > 100:
            raise BadRequest("the percentiles are a list of at most 100")
        last = await self._height(newest)
        blocks = min(max(wanted, 0), FEE_HISTORY_MAX, last + 1)
        history: dict[str, Any] = {
            "oldestBlock": quantity(last + 1 - blocks),
            "baseFeePerGas": ["0x0"] * (blocks + 1),
            "gasUsedRatio": [0.0] * blocks,
        }
        if percentiles:
            history["reward"] = [["0x0"] * len(percentiles)] * blocks
        return history

    # ── State: the head's only ───────────────────────────────────────────────────────────────────────────────────────
    async def do_eth_getBalance(self, address: Any, block: Any = "latest") -> str:  # noqa: N802
        await self._only_head(block)
        return quantity((await self._chain.account(parse_address(address))).balance)

    async def do_eth_getCode(self, address: Any, block: Any = "latest") -> str:  # noqa: N802
        await self._only_head(block)
        return data(await self._chain.code(parse_address(address)))

    async def do_eth_getStorageAt(self, address: Any, slot: Any, block: Any = "latest") -> str:  # noqa: N802
        await self._only_head(block)
        value = await self._chain.storage(parse_address(address), _slot(slot))
        return data(value.to_bytes(32, "big"))

    async def do_eth_getTransactionCount(self, address: Any, block: Any = "latest") -> str:  # noqa: N802
        where = parse_address(address)
        if block == "pending":
            return quantity(await self._next_nonce(where))
        await self._only_head(block)
        return quantity((await self._chain.account(where)).nonce)

    async def do_eth_getProof(self, address: Any, slots: Any, block: Any = "latest") -> dict[str, Any]:  # noqa: N802
        await self._only_head(block)
        if not isinstance(slots, list) or len(slots) > PROOF_SLOTS_MAX:
            raise BadRequest(f"the storage keys are a list of at most {PROOF_SLOTS_MAX}")
        proof = await self._chain.prove(parse_address(address), [_slot(slot) for slot in slots])
        return hexes.proof_json(proof)

    async def do_eth_call(self, call: Any, block: Any = "latest") -> str:
        await self._only_head(block)
        result = await self._chain.call(_message(call))
        if not result.succeeded:
            if result.output:
                raise _reverted(result.output, reason(result.output))
            raise _Refused(
                REVERTED if "revert" in result.reason else SERVER_ERROR, f"execution failed: {result.reason}", "0x"
            )
        return data(result.output)

    async def do_eth_estimateGas(self, call: Any, block: Any = "latest") -> str:  # noqa: N802
        await self._only_head(block)
        return quantity(await self._chain.estimate_gas(_message(call)))

    # ── Blocks and transactions ──────────────────────────────────────────────────────────────────────────────────────
    async def do_eth_blockNumber(self) -> str:  # noqa: N802
        return quantity(await self._height("latest"))

    async def do_eth_getBlockByNumber(self, block: Any, full: Any = False) -> dict[str, Any] | None:  # noqa: N802
        return await self._block(await self._known_height(block), full)

    async def do_eth_getBlockByHash(self, block: Any, full: Any = False) -> dict[str, Any] | None:  # noqa: N802
        return await self._block(await self._height_of_hash(block), full)

    async def do_eth_getBlockTransactionCountByNumber(self, block: Any) -> str | None:  # noqa: N802
        return await self._count(await self._known_height(block))

    async def do_eth_getBlockTransactionCountByHash(self, block: Any) -> str | None:  # noqa: N802
        return await self._count(await self._height_of_hash(block))

    async def do_eth_getTransactionByHash(self, wanted: Any) -> dict[str, Any] | None:  # noqa: N802
        hash32 = Hash32(parse_data(wanted, "the hash", 32))
        place = await self._chain.place(hash32)
        if place is None:
            waiting = self._pending(hash32)
            return None if waiting is None else self._with_chain(hexes.transaction_json(waiting, None))
        stored = await self._stored(place.height)
        where = (stored.hash, place.height, place.index)
        return self._with_chain(hexes.transaction_json(stored.transactions[place.index], where))

    async def do_eth_getTransactionReceipt(self, wanted: Any) -> dict[str, Any] | None:  # noqa: N802
        place = await self._chain.place(Hash32(parse_data(wanted, "the hash", 32)))
        if place is None:
            return None
        stored, index = await self._stored(place.height), place.index
        first_log = sum(len(receipt.logs) for receipt in stored.receipts[:index])
        where = (stored.hash, place.height, index)
        return hexes.receipt_json(stored.receipts[index], stored.transactions[index], where, first_log)

    async def do_eth_sendRawTransaction(self, raw: Any) -> str:  # noqa: N802
        return data(await self._submit(parse_data(raw, "the transaction")))

    async def do_eth_getLogs(self, wanted: Any) -> list[dict[str, Any]]:  # noqa: N802
        if not isinstance(wanted, dict):
            raise BadRequest("a filter is an object")
        if "blockHash" in wanted:
            height = await self._height_of_hash(wanted["blockHash"])
            if height is None:
                raise _Refused(SERVER_ERROR, "no such block")
            first = last = height
        else:
            first = await self._height(wanted.get("fromBlock", "latest"))
            last = await self._height(wanted.get("toBlock", "latest"))
        if first > last:
            raise BadRequest("fromBlock is after toBlock")
        return [hexes.entry_json(entry) for entry in await self._chain.logs(first, last, _filter(wanted))]

    # ── Where ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _height(self, block: Any) -> int:
        """The height that a tag or a number names, though there may be no such block yet."""
        if isinstance(block, str) and block in _HEAD_TAGS:
            return (await self._chain.head())[0].block.header.height
        return 0 if block == "earliest" else parse_quantity(block, "the block", 63)

    async def _known_height(self, block: Any) -> int | None:
        height = await self._height(block)
        return height if height <= await self._height("latest") else None

    async def _height_of_hash(self, block: Any) -> int | None:
        try:
            return await self._chain.height_of(Hash32(parse_data(block, "the block hash", 32)))
        except UnknownBlock:
            return None

    async def _only_head(self, block: Any) -> None:
        """State is kept for the head alone: an older block's is refused, never answered with the head's."""
        if isinstance(block, dict):  # EIP-1898
            found = await self._height_of_hash(block["blockHash"]) if "blockHash" in block else block.get("blockNumber")
            block = quantity(found) if isinstance(found, int) else found
        head = await self._height("latest")
        height = None if block is None else await self._height(block)
        if height != head:
            raise _Refused(SERVER_ERROR, f"the state of that block is not kept; ask for `latest` (block {head})")

    async def _block(self, height: int | None, full: Any) -> dict[str, Any] | None:
        if not isinstance(full, bool):
            raise BadRequest("the second parameter is true or false")
        if height is None:
            return None
        stored = await self._stored(height)
        shape = hexes.block_json(stored.block, stored.transactions if full else None)
        if full:
            shape["transactions"] = [self._with_chain(transaction) for transaction in shape["transactions"]]
        return shape

    async def _count(self, height: int | None) -> str | None:
        return None if height is None else quantity(len((await self._stored(height)).transactions))

    async def _stored(self, height: int) -> _Stored:
        """A committed block, which never changes; the latest few asked for are kept, since a crowd asks for the same one."""
        async with self._filling:
            found = self._cache.get(height)
            if found is None:
                block = (await self._chain.block(height)).block
                transactions, receipts = await self._chain.transactions(height), await self._chain.receipts(height)
                found = self._cache[height] = _Stored(header_hash(block.header), block, transactions, receipts)
                if len(self._cache) > BLOCKS_KEPT_MAX:
                    del self._cache[next(iter(self._cache))]
            return found

    def _with_chain(self, transaction: dict[str, Any]) -> dict[str, Any]:
        return {**transaction, "chainId": quantity(self._chain_id)}


def _message(call: Any) -> Message:
    """eth_call's first parameter. Fees are ignored: the chain's base fee is 0."""
    if not isinstance(call, dict):
        raise BadRequest("a call is an object")
    given = call.get("input", call.get("data"))
    gas = call.get("gas")
    to = call.get("to")
    return Message(
        sender=ZERO_ADDRESS if call.get("from") is None else parse_address(call["from"], "from"),
        to=None if to is None else parse_address(to, "to"),
        data=b"" if given is None else parse_data(given, "input"),
        value=0 if call.get("value") is None else parse_quantity(call["value"], "value"),
        gas=TRANSACTION_GAS_MAX if gas is None else min(parse_quantity(gas, "gas", 64), TRANSACTION_GAS_MAX),
    )


def _slot(value: Any) -> int:
    """A storage key: a quantity, or 32 bytes of data (both are in use)."""
    if isinstance(value, str) and len(value) == 66:
        return int.from_bytes(parse_data(value, "the slot", 32), "big")
    return parse_quantity(value, "the slot")


def _filter(wanted: dict[str, Any]) -> LogFilter:
    addresses = wanted.get("address") or []
    addresses = addresses if isinstance(addresses, list) else [addresses]
    topics = wanted.get("topics") or []
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX or len(addresses) > ALTERNATIVES_MAX:
        raise BadRequest(f"at most {TOPICS_MAX} topics and {ALTERNATIVES_MAX} addresses")
    return LogFilter(frozenset(map(parse_address, addresses)), tuple(map(_alternatives, topics)))


def _alternatives(topic: Any) -> frozenset[Hash32]:
    listed = [] if topic is None else topic if isinstance(topic, list) else [topic]
    if len(listed) > ALTERNATIVES_MAX:
        raise BadRequest(f"at most {ALTERNATIVES_MAX} alternatives of a topic")
    return frozenset(Hash32(parse_data(item, "a topic", 32)) for item in listed)


def _reverted(output: bytes, why: str) -> _Refused:
    return _Refused(REVERTED, f"execution reverted: {why}" if why else "execution reverted", data(output))


def _failure(identifier: Any, code: int, message: str, more: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if more is not None:
        error["data"] = more
    return {"jsonrpc": "2.0", "id": identifier, "error": error}


def _encode(answer: Any) -> bytes:
    return msgspec.json.encode(answer)
