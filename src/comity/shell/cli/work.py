"""Commands that start work: train, run, watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comity.record.types import short
from comity.shell.cli import follow
from comity.shell.cli.speak import connect, opened
from comity.shell.errors import BadUsage, Conflict, NotFound, Refused
from comity.shell.render import words
from comity.shell.render.talk import Talk
from comity.shell.wire import Connection, segment

DATASETS_MAX = 1000


def train(
    talk: Talk, org: str | None, *, name: str, code: str, rule: str, faulty: int, rounds: int, quorum: int | None,
    reads: list[str] | None, roster: list[str] | None, purpose: str | None, timeout: int, seed: int, watch: bool | None,
) -> None:  # fmt: skip
    connection = connect(org)
    datasets = _read(connection, reads) if reads else _called(connection, name, roster)
    owners = list(roster) if roster else list(dict.fromkeys(brief["org"] for brief in datasets))
    body = {
        "name": name, "code": _upload(connection, code), "datasets": [brief["digest"] for brief in datasets], "roster": owners,
        "purpose": purpose or _common_purpose(datasets), "rule": {"name": rule, "f": faulty}, "rounds": rounds,
        "quorum": len(owners) if quorum is None else quorum, "round_timeout_s": timeout, "seed": seed,
    }  # fmt: skip
    study = connection.post("/api/v1/studies", body)
    brief = study["record"]
    waiting = follow.waiting_for(study)
    line = f"study    {words.title(brief)}  {short(brief['digest'])}   {f'waiting for: {waiting}' if waiting else brief['state']}"
    if talk.watches if watch is None else watch:
        talk.say(line)
        follow.study(talk, connection, brief["digest"])
    else:
        talk.data(study, line)


def run(
    talk: Talk, org: str | None, *, file: str, reads: list[str] | None, purpose: str, set: list[str] | None,  # noqa: A002
    cpu: int | None, wall: int | None, memory: int | None, watch: bool | None,
) -> None:  # fmt: skip
    connection = connect(org)
    limits = {
        name: value for name, value in (("cpu_s", cpu), ("wall_s", wall), ("memory_bytes", memory)) if value is not None
    }
    body = {
        "code": _upload(connection, file), "inputs": reads or [], "purpose": purpose, "arguments": _pairs(set or ()),
        "limits": limits or None,
    }  # fmt: skip
    task = connection.post("/api/v1/tasks", body)
    brief = task["record"]
    line = f"task     {short(brief['digest'])}   at {task['place']}"
    if watch is False:
        talk.data(task, line)
        return
    talk.say(line)
    follow.task(talk, connection, brief["digest"])


def watch(talk: Talk, org: str | None, record: str) -> None:
    connection = connect(org)
    followers = {"study": follow.study, "proposal": follow.proposal, "task": follow.task}
    try:
        # A study and its model share a name: among what can be followed, the study is meant.
        brief = connection.get(f"/api/v1/studies/{segment(record)}")["record"]
    except (Refused, NotFound, Conflict):
        brief = connection.get(f"/api/v1/records/{segment(record)}")["record"]
    if brief["kind"] not in followers:
        raise BadUsage(
            f"a {brief['kind']} does not change",
            why="studies, proposals and tasks can be followed",
            hint=f"comity show {record}",
        )
    followers[brief["kind"]](talk, connection, brief["digest"])


def _upload(connection: Connection, path: str) -> str:
    with opened(path) as body:
        return str(connection.upload("/api/v1/blobs", body)["digest"])


def _read(connection: Connection, refs: Iterable[str]) -> list[dict[str, Any]]:
    briefs = [connection.get(f"/api/v1/records/{segment(ref)}")["record"] for ref in refs]
    for brief in briefs:
        if brief["kind"] != "dataset":
            raise BadUsage(f"`{words.full_title(brief)}` is a {brief['kind']}, not a dataset", hint="comity ls dataset")
    return briefs


def _called(connection: Connection, name: str, roster: Sequence[str] | None) -> list[dict[str, Any]]:
    """Each organisation's newest dataset of that name."""
    found: list[dict[str, Any]] = connection.get("/api/v1/records", kind="dataset", q=name, limit=200)["records"]
    newest: dict[str, dict[str, Any]] = {}
    for brief in found:
        known = newest.get(brief["org"])
        wanted = (
            brief["spec"]["name"] == name and brief["state"] == "current" and (not roster or brief["org"] in roster)
        )
        if wanted and (known is None or brief["spec"]["version"] > known["spec"]["version"]):
            newest[brief["org"]] = brief
    if not newest:
        raise NotFound(
            f"no dataset called `{name}`", hint="name the data with --reads ORG/DATASET@VERSION; comity ls dataset"
        )
    return [newest[org] for org in sorted(newest)]


def _common_purpose(datasets: Sequence[Mapping[str, Any]]) -> str:
    common = set(datasets[0]["spec"]["purposes"]).intersection(*(brief["spec"]["purposes"] for brief in datasets))
    if len(common) != 1:
        shared = ", ".join(sorted(common)) or "none"
        raise BadUsage("which purpose?", why=f"these datasets have in common: {shared}", hint="--purpose PURPOSE")
    return str(common.pop())


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadUsage(f"`{text[:40]}` is not NAME=VALUE")
        pairs[name] = value
    return pairs
