"""One request, one answer: HTTP to a node over the standard library, because a command must start in a blink.

It knows the envelope and its errors. It follows no redirects, reads no more than its limits,
and keeps the token out of every message.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from comity.shell.credentials import Credentials
from comity.shell.errors import BadUsage, NodeFault, Unreachable, from_answer

SCHEMA = "comity/v1"
JSON_BYTES_MAX = 64 * 1024 * 1024
ANSWER_BYTES_MAX = 2 * 1024 * 1024 * 1024
TIMEOUT_S = 120.0

Body = bytes | IO[bytes] | None
Query = Mapping[str, "str | int | Sequence[str] | None"]


class Answer(NamedTuple):
    """A whole HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def segment(text: str) -> str:
    """One path segment: a reference such as `lakeside/breast@1` stays one."""
    return quote(text, safe="@")


class Connection:
    """Speaks to one node for one person."""

    def __init__(self, url: str, token: str, *, org: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """`url` is `http://host:port` (or https) without a path. Raises `BadUsage` for anything else."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if (
            host is None
            or parts.scheme not in ("http", "https")
            or parts.path not in ("", "/")
            or parts.username is not None
        ):
            raise BadUsage("a node's address is http://host:port")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.org = org
        self._secure = parts.scheme == "https"
        self._host, self._port = host, port
        self._token = token
        self._timeout_s = timeout_s

    @classmethod
    def of(cls, credentials: Credentials) -> Connection:
        return cls(credentials.url, credentials.token, org=credentials.org)

    def __repr__(self) -> str:
        return f"Connection({self.url!r}, org={self.org!r})"

    def get(self, path: str, **query: str | int | Sequence[str] | None) -> Any:
        """The `data` of a GET. Raises the `ShellError` that the envelope names."""
        return self.data(self.request("GET", path, query=query))

    def post(self, path: str, body: object = None) -> Any:
        """The `data` of a POST whose body is JSON."""
        payload = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return self.data(self.request("POST", path, body=payload, content_type="application/json"))

    def upload(self, path: str, body: Body, **query: str | int | Sequence[str] | None) -> Any:
        """The `data` of a POST whose body is bytes or an open file, streamed."""
        return self.data(self.request("POST", path, query=query, body=body, content_type="application/octet-stream"))

    def data(self, answer: Answer) -> Any:
        """What an envelope carries; raises what it reports."""
        try:
            envelope = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise NodeFault(
                f"{self.url} answered {answer.status} without our envelope", why="is it a Comity node?"
            ) from None
        if not isinstance(envelope, dict) or envelope.get("schema") != SCHEMA:
            raise NodeFault(f"{self.url} answered {answer.status} without our envelope", why="is it a Comity node?")
        if "error" in envelope:
            raise from_answer(envelope["error"])
        return envelope.get("data")

    def request(
        self, method: str, path: str, *, query: Query | None = None, body: Body = None, content_type: str = "",
        bytes_max: int = JSON_BYTES_MAX,
    ) -> Answer:  # fmt: skip
        """Send and read the whole answer, whatever its status. Raises `Unreachable`, or `NodeFault` past `bytes_max`."""
        chosen = {name: value for name, value in (query or {}).items() if value is not None}
        target = path + ("?" + urlencode(chosen, doseq=True) if chosen else "")
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        if body is not None and not isinstance(body, bytes):
            headers["Content-Length"] = str(_remaining(body))
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, target, body=body, headers=headers)
            return _read(connection.getresponse(), bytes_max)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _unreachable(self, error: Exception) -> Unreachable:
        who = f"the node of `{self.org}`" if self.org else "the node"
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(
            f"{who} does not answer at {self.url}",
            why=why.lower(),
            hint=f"comity {f'--org {self.org} ' if self.org else ''}up",
        )


def _remaining(file: IO[bytes]) -> int:
    """Bytes from here to the end of an open file."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here


def _read(response: http.client.HTTPResponse, bytes_max: int) -> Answer:
    body = response.read(bytes_max + 1)
    if len(body) > bytes_max:
        raise NodeFault(f"the answer is longer than {bytes_max} bytes")
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
