"""The Python client: `Client.connect("northfield")`, then one method a verb. Same routes, same errors as the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from comity.shell import results, tensors
from comity.shell.credentials import load
from comity.shell.errors import NodeFault, NotFound, NotReady, Refused
from comity.shell.wire import ANSWER_BYTES_MAX, Connection, segment

Source = bytes | str | Path
"""Bytes, or the path of a local file that the client reads."""

Ref = str | results.Record | results.Study | results.Task | results.Proposal
"""A digest, a prefix, `org/name@version`, or a result that has a digest."""

T = TypeVar("T")

BEHIND_S_MAX = 5.0
"""How long a vote waits for its node to hear of what another node has told us."""
BEHIND_POLL_S = 0.1
DIGEST_CHARACTERS = 64


class Client:
    """A person's view of one organisation's node. Every method raises a `ShellError` with what, why and a hint."""

    def __init__(
        self,
        connection: Connection,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self._sleep, self._now = sleep, now

    @classmethod
    def connect(cls, org: str | None = None, *, url: str = "", token: str = "", home: Path | None = None) -> Client:
        """By an organisation's folder on this machine, or by `url` and `token`. Makes no request yet."""
        if url:
            return cls(Connection(url, token))
        return cls(Connection.of(load(org, home=home)))

    def __repr__(self) -> str:
        return f"Client({self.connection.url!r})"

    def get(self, path: str, **query: str | int | Sequence[str] | None) -> Any:
        """The `data` of any GET route of docs/api.md, as plain JSON."""
        return self.connection.get(path, **query)

    def post(self, path: str, body: object = None) -> Any:
        """The `data` of any POST route of docs/api.md whose body is JSON."""
        return self.connection.post(path, body)

    # The node

    def status(self) -> results.Status:
        return _as(results.Status, self.connection.get("/api/v1/status"))

    def doctor(self) -> list[results.Check]:
        return _as(list[results.Check], self.connection.get("/api/v1/doctor")["checks"])

    def members(self) -> list[results.Member]:
        return _as(list[results.Member], self.connection.get("/api/v1/members")["members"])

    def services(self) -> list[results.Service]:
        return _as(list[results.Service], self.connection.get("/api/v1/services")["services"])

    def blocks(self, *, limit: int = 50, before: int | None = None) -> list[results.Block]:
        """Blocks, newest first; `limit` up to 200, `before` a height."""
        return _as(list[results.Block], self.connection.get("/api/v1/ledger", limit=limit, before=before)["blocks"])

    def login(self) -> str:
        """A link that opens the console once."""
        return str(self.connection.post("/api/v1/logins")["url"])

    # Records

    def records(
        self, *, kind: str | None = None, org: str | None = None, q: str | None = None, limit: int = 1000
    ) -> Iterator[results.Record]:
        """Records, newest first, page by page, at most `limit`."""
        before: str | None = None
        while limit > 0:
            page = self.connection.get("/api/v1/records", kind=kind, org=org, q=q, limit=min(limit, 200), before=before)
            found = _as(list[results.Record], page["records"])
            yield from found
            limit, before = limit - len(found), page["next"]
            if before is None or not found:
                return

    def show(self, ref: Ref) -> results.RecordPage:
        """One record with everything around it."""
        return _as(results.RecordPage, self.connection.get(f"/api/v1/records/{segment(str(ref))}"))

    def lineage(self, ref: Ref) -> results.Lineage:
        return _as(results.Lineage, self.connection.get(f"/api/v1/lineage/{segment(str(ref))}"))

    def verify(self, ref: Ref) -> results.Verification:
        """Walk a record's evidence on the node's own replica. For a bundle, offline: `comity.ledger.evidence.verify`."""
        return _as(results.Verification, self.connection.post(f"/api/v1/records/{segment(str(ref))}/verify"))

    def export(self, ref: Ref) -> bytes:
        """The evidence of a record or of a prediction's receipt, as the zip that `comity verify` reads."""
        answer = self.connection.request("GET", f"/api/v1/export/{segment(str(ref))}", bytes_max=ANSWER_BYTES_MAX)
        if answer.status != 200:
            self.connection.data(answer)
            raise NodeFault(f"the node answered {answer.status} instead of a bundle")
        return answer.body

    # Data

    def add_dataset(
        self,
        source: Source,
        *,
        name: str,
        purposes: Sequence[str],
        licence: str,
        consent: str,
        target: str | None = None,
    ) -> results.Record:
        """Give the node a table (CSV or Parquet, up to 256 MiB). Its bytes stay there; a salted commitment is anchored."""
        query = {"name": name, "purpose": list(purposes), "licence": licence, "consent": consent, "target": target}
        return _as(results.Record, self._upload("/api/v1/datasets", source, query))

    def add_blob(self, source: Source) -> str:
        """Keep bytes at the node; returns their digest."""
        return str(self._upload("/api/v1/blobs", source, {})["digest"])

    def grant(self, dataset: Ref, *, to: str, purposes: Sequence[str], until: int) -> results.Record:
        """Let `to` (an organisation, or `*`) use a dataset for `purposes` until a unix time."""
        return self._made("grants", {"dataset": str(dataset), "to": to, "purposes": list(purposes), "until": until})

    def revoke(self, about: Ref, *, because: str) -> results.Record:
        return self._made("revocations", {"about": str(about), "because": because})

    # Work

    def run(
        self, code: Source, *, inputs: Sequence[Ref] = (), purpose: str, arguments: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> results.Task:  # fmt: skip
        """Propose a task; it runs in the sandbox of the organisation that holds its inputs."""
        body = {
            "code": self.add_blob(code), "inputs": [str(ref) for ref in inputs], "purpose": purpose,
            "arguments": dict(arguments or {}), "limits": dict(limits) if limits else None,
        }  # fmt: skip
        return _as(results.Task, self.connection.post("/api/v1/tasks", body))

    def task(self, ref: Ref) -> results.Task:
        return _as(results.Task, self.connection.get(f"/api/v1/tasks/{segment(str(ref))}"))

    def train(
        self, name: str, *, code: Source, datasets: Sequence[Ref], roster: Sequence[str], purpose: str, rounds: int,
        rule: str = "mean", faulty: int = 0, quorum: int | None = None, round_timeout_s: int = 60, seed: int = 1,
    ) -> results.Study:  # fmt: skip
        """Propose a study. Nothing runs until every organisation on the roster has approved. `faulty` is the rule's f."""
        body = {
            "name": name, "code": self.add_blob(code), "datasets": [str(ref) for ref in datasets], "roster": list(roster),
            "purpose": purpose, "rule": {"name": rule, "f": faulty}, "rounds": rounds,
            "quorum": len(roster) if quorum is None else quorum, "round_timeout_s": round_timeout_s, "seed": seed,
        }  # fmt: skip
        return _as(results.Study, self.connection.post("/api/v1/studies", body))

    def study(self, ref: Ref) -> results.Study:
        return _as(results.Study, self.connection.get(f"/api/v1/studies/{segment(str(ref))}"))

    def watch(self, ref: Ref, *, every_s: float = 0.5, timeout_s: float = 3600) -> Iterator[results.Study]:
        """A study each time it changes, until it is concluded or refused. Raises `NotReady` after `timeout_s`."""
        deadline, last = self._now() + timeout_s, None
        while True:
            study = self.study(ref)
            if study != last:
                yield study
            if study.state in ("concluded", "refused"):
                return
            if self._now() >= deadline:
                raise NotReady(
                    f"the study is still {study.state} after {timeout_s:.0f} s",
                    hint=f"comity show {study.record.digest[:12]}",
                )
            last = study
            self._sleep(every_s)

    # Decisions

    def inbox(self) -> list[results.Decision]:
        return _as(list[results.Decision], self.connection.get("/api/v1/inbox")["entries"])

    def approve(self, about: Ref, *, because: str = "") -> results.Record:
        """Vote for a study or a proposal."""
        return self._vote(about, "approve", because)

    def refuse(self, about: Ref, *, because: str) -> results.Record:
        """Vote against a study or a proposal."""
        return self._vote(about, "refuse", because)

    def _vote(self, about: Ref, choice: str, because: str) -> results.Record:
        deadline = self._now() + BEHIND_S_MAX
        while True:
            try:
                return self._made("votes", {"about": str(about), "choice": choice, "because": because})
            except NotFound:
                # A whole digest was learnt somewhere: this node is then a block behind the one that told us.
                if len(str(about)) != DIGEST_CHARACTERS or self._now() >= deadline:
                    raise
                self._sleep(BEHIND_POLL_S)

    def define_service(self, name: str, *, approvals: int, time_lock_s: int) -> results.Record:
        return self._made("services", {"name": name, "approvals": approvals, "time_lock_s": time_lock_s})

    def deploy(self, model: Ref, *, service: str) -> results.Proposal:
        """Propose that a service point at a model."""
        return _as(
            results.Proposal,
            self.connection.post("/api/v1/proposals", {"action": "deploy", "service": service, "model": str(model)}),
        )

    def proposal(self, ref: Ref) -> results.Proposal:
        return _as(results.Proposal, self.connection.get(f"/api/v1/proposals/{segment(str(ref))}"))

    # Predictions

    def predict(self, service: str, inputs: object) -> results.Prediction:
        """Ask a service. `inputs`: a row or rows of numbers, named values, or a KServe v2 request. No receipt, no answer."""
        metadata = self.connection.request("GET", f"/v2/models/{segment(service)}")
        body = tensors.request(inputs, tensors.answered(metadata))
        answer = self.connection.request(
            "POST",
            f"/v2/models/{segment(service)}/infer",
            body=msgspec.json.encode(body),
            content_type="application/json",
        )
        outputs, receipt = tensors.response(tensors.answered(answer))
        return results.Prediction(outputs=outputs, receipt=receipt)

    def _made(self, collection: str, body: object) -> results.Record:
        return _as(results.Record, self.connection.post(f"/api/v1/{collection}", body))

    def _upload(self, path: str, source: Source, query: Mapping[str, str | Sequence[str] | None]) -> Any:
        if isinstance(source, bytes):
            return self.connection.upload(path, source, **query)
        try:
            with Path(source).open("rb") as file:
                return self.connection.upload(path, file, **query)
        except OSError as error:
            raise Refused(f"`{source}` cannot be read", why=(error.strerror or "").lower()) from None


def _as(kind: type[T], data: object) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise NodeFault(
            "the node answered in a shape this client does not know",
            why=str(error),
            hint="comity --version; is the node newer?",
        ) from None
