"""JSON-RPC over one kept-alive HTTP connection, for load: bodies are bytes that were made before the clock started.

Not the SDK, and not a general client: it talks to one URL, one request at a time.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

ANSWER_BYTES_MAX = 64 << 20
TIMEOUT_S = 60.0


class RpcError(Exception):
    """The node refused or answered nonsense; the text says what."""


class Rpc:
    """A connection. `token` goes as a bearer token; anvil needs none."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise RpcError(f"a load test sends to this machine only, not to {url}")
        self._path = parts.path or "/"
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._connection.close()

    def post(self, body: bytes) -> Any:
        """Send a ready body; the parsed answer."""
        try:
            answer = self._ask(body)
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # The server closed a connection that was idle for it: once more on a fresh one, as HTTP clients do.
            self._connection.close()
            answer = self._ask(body)
        data = answer.read(ANSWER_BYTES_MAX)
        if answer.status != 200:
            raise RpcError(f"HTTP {answer.status}: {data[:300].decode(errors='replace')}")
        return json.loads(data)

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", self._path, body, self._headers)
        return self._connection.getresponse()

    def call(self, method: str, *params: Any) -> Any:
        """One call; its result."""
        answer = self.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]


def batch(raw_transactions: Sequence[bytes]) -> bytes:
    """The body that sends many signed transactions."""
    calls = [
        {"jsonrpc": "2.0", "id": index, "method": "eth_sendRawTransaction", "params": ["0x" + raw.hex()]}
        for index, raw in enumerate(raw_transactions)
    ]
    return json.dumps(calls).encode()


def hashes(answer: Any, count: int) -> list[str]:
    """The transaction hashes of a batch's answer; `RpcError` when any was refused."""
    if not isinstance(answer, list) or len(answer) != count:
        raise RpcError(f"{count} transactions sent, the answer was {str(answer)[:300]}")
    refused = [entry["error"].get("message") for entry in answer if "error" in entry]
    if refused:
        raise RpcError(f"{len(refused)} of {count} refused: {refused[0]}")
    return [entry["result"] for entry in sorted(answer, key=lambda entry: int(entry["id"]))]
