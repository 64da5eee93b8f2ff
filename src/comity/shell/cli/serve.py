"""Commands about services: add service, deploy, predict."""

from __future__ import annotations

import json

from comity.record.types import short
from comity.shell import tensors
from comity.shell.cli import follow
from comity.shell.cli.decide import evaluations
from comity.shell.cli.speak import connect, opened
from comity.shell.errors import BadUsage
from comity.shell.render import words
from comity.shell.render.talk import Talk
from comity.shell.wire import segment

INPUT_BYTES_MAX = 64 * 1024 * 1024


def add_service(talk: Talk, org: str | None, name: str, approvals: int | None, time_lock: int) -> None:
    connection = connect(org)
    need = connection.get("/api/v1/status")["ledger"]["quorum"] if approvals is None else approvals
    brief = connection.post("/api/v1/services", {"name": name, "approvals": need, "time_lock_s": time_lock})
    talk.data(brief, f"service  {name}  {words.digest(brief['digest'])}   {words.summary(brief)}")


def deploy(talk: Talk, org: str | None, model: str, service: str, watch: bool | None) -> None:
    connection = connect(org)
    proposal = connection.post("/api/v1/proposals", {"action": "deploy", "service": service, "model": model})
    digest = proposal["record"]["digest"]
    lock = f"time lock {words.span(proposal['service']['spec']['time_lock_s'])}"
    parts = (f"needs {proposal['need']} of {proposal['members']}", evaluations(proposal), lock)
    line = f"proposal {short(digest)}  " + " · ".join(part for part in parts if part)
    if talk.watches if watch is None else watch:
        talk.say(line)
        follow.proposal(talk, connection, digest)
    else:
        talk.data(proposal, line)


def predict(talk: Talk, org: str | None, service: str, file: str) -> None:
    with opened(file) as body:
        data = body.read(INPUT_BYTES_MAX + 1)
    if len(data) > INPUT_BYTES_MAX:
        raise BadUsage(f"the input is larger than {words.size(INPUT_BYTES_MAX)}")
    try:
        inputs = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"`{file}` is not JSON", why=str(error)) from None
    connection = connect(org)
    path = f"/v2/models/{segment(service)}"
    request = tensors.request(inputs, tensors.answered(connection.request("GET", path)))
    payload = json.dumps(request, separators=(",", ":")).encode()
    answer = connection.request("POST", f"{path}/infer", body=payload, content_type="application/json")
    outputs, receipt = tensors.response(tensors.answered(answer))
    result = {**outputs, "receipt": receipt}
    talk.data(result, json.dumps(result, ensure_ascii=False))
