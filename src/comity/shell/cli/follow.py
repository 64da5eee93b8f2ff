"""Following a study, a proposal or a task by asking again, and saying each new thing once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from comity.record.types import short
from comity.shell.errors import NotReady, Refused
from comity.shell.render import words
from comity.shell.render.talk import Talk, bar
from comity.shell.wire import Connection

SETTLE_S = 2.0
"""How long a deployment that some nodes serve is given for the rest."""
EVERY_S = 0.25
QUIET_S_MAX = 600.0

Sleep = Callable[[float], None]


def _until(
    read: Callable[[], dict[str, Any]],
    seen: Callable[[dict[str, Any]], bool],
    what: str,
    sleep: Sleep,
    now: Callable[[], float],
) -> dict[str, Any]:
    """Ask until `seen` says that it is done. Raises `NotReady` once nothing has changed for `QUIET_S_MAX`."""
    last: dict[str, Any] | None = None
    changed = now()
    while True:
        value = read()
        if value != last:
            last, changed = value, now()
        if seen(value):
            return value
        if now() - changed > QUIET_S_MAX:
            raise NotReady(
                f"{what} has not moved for {words.span(int(QUIET_S_MAX))}", hint=f"comity doctor; comity watch {what}"
            )
        sleep(EVERY_S)


def study(
    talk: Talk,
    connection: Connection,
    digest: str,
    *,
    sleep: Sleep = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Follow a study until its model stands. Raises `Refused` when an organisation refused it."""
    waiting = ""

    def seen(data: dict[str, Any]) -> bool:
        nonlocal waiting
        state, spec = data["record"]["state"], data["record"]["spec"]
        if state == "refused":
            raise _refused(data)
        absent = waiting_for(data)
        if state == "waiting" and absent != waiting:
            talk.say(f"waiting for: {absent}")
            waiting = absent
        if data["rounds"]:
            talk.progress(len(data["rounds"]), spec["rounds"], round_line(data["rounds"][-1], spec["rounds"]))
        return state in ("concluded",)

    data = _until(lambda: connection.get(f"/api/v1/studies/{digest}"), seen, short(digest), sleep, now)
    talk.data(data, *study_lines(data))
    return data


def waiting_for(data: Mapping[str, Any]) -> str:
    """The organisations on the roster that have not voted."""
    return ", ".join(seat["org"] for seat in data["roster"] if seat["choice"] is None)


def _refused(data: Mapping[str, Any]) -> Refused:
    against = [
        f"{seat['org']}: {seat['because'] or 'no reason given'}"
        for seat in data["roster"]
        if seat["choice"] == "refuse"
    ]
    return Refused(
        f"the study `{words.title(data['record'])}` was refused",
        why="; ".join(against),
        hint="comity train with what they ask for",
    )


def round_line(entry: Mapping[str, Any], rounds: int) -> str:
    """`loss 0.081  3 of 3 took part, 0 refused  aggregate re-computed by 4 of 4 validators`."""
    invited = len(entry["took_part"]) + len(entry["refused"])
    loss = f"loss {words.score(entry['loss'])}  " if entry["loss"] is not None else ""
    return (
        f"{loss}{len(entry['took_part'])} of {invited} took part, {len(entry['refused'])} refused  "
        f"aggregate re-computed by {len(entry['attested'])} of {entry['validators']} validators"
    )


def study_lines(data: Mapping[str, Any]) -> list[str]:
    """The last round with its bar, and the model."""
    total = data["record"]["spec"]["rounds"]
    lines = []
    if data["rounds"]:
        last = data["rounds"][-1]
        lines.append(f"round {last['index']}/{total}  {bar(last['index'], total)}  {round_line(last, total)}")
    if data["model"]:
        lines.append(
            f"model    {words.title(data['model'])}  {words.digest(data['model']['digest'])}   {words.anchored(data['model'])}"
        )
    return lines


def proposal(
    talk: Talk,
    connection: Connection,
    digest: str,
    *,
    sleep: Sleep = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Follow a proposal until it is executed; a deployment until its members serve it, or some do for a while. Raises `Refused`."""
    voted: set[str] = set()
    served: list[float] = []

    def seen(data: dict[str, Any]) -> bool:
        for vote in data["votes"]:
            if vote["org"] not in voted:
                voted.add(vote["org"])
                talk.say(f"{vote['org']}: {vote['choice']}" + (f", “{vote['because']}”" if vote["because"] else ""))
        state = data["record"]["state"]
        if state == "refused":
            against = [f"{vote['org']}: {vote['because']}" for vote in data["votes"] if vote["choice"] == "refuse"]
            raise Refused("the proposal was refused", why="; ".join(against))
        if state != "executed" or data["service"] is None or not data["serving"]:
            return bool(state == "executed" and data["service"] is None)
        served.append(now())
        return len(data["serving"]) >= data["members"] or served[-1] - served[0] >= SETTLE_S

    data = _until(lambda: connection.get(f"/api/v1/proposals/{digest}"), seen, short(digest), sleep, now)
    talk.data(data, deployed_line(data))
    return data


def deployed_line(data: Mapping[str, Any]) -> str:
    """`service  triage → breast-mlp@1 (c81f…)  serving on 3 nodes`, or who was admitted."""
    if data["service"] is None:
        return f"member   {data['record']['spec']['member']['name']} admitted"
    model = data["model"]
    where = f"serving on {words.plural(len(data['serving']), 'node')}"
    return f"service  {words.title(data['service'])} → {words.title(model)} ({words.digest(model['digest'])})  {where}"


def task(
    talk: Talk,
    connection: Connection,
    digest: str,
    *,
    sleep: Sleep = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Follow a task until its receipt stands. Raises `Refused` when it failed."""
    data = _until(
        lambda: connection.get(f"/api/v1/tasks/{digest}"),
        lambda value: value["receipt"] is not None or value["record"]["state"] == "refused",
        short(digest), sleep, now,
    )  # fmt: skip
    receipt = data["receipt"]
    if receipt is None:
        raise Refused(f"the task {short(digest)} was refused", hint=f"comity show {short(digest)}")
    spec = receipt["spec"]
    usage = spec["usage"]
    cpu, wall = (f"{name} {usage[f'{name}_ms'] / 1000:.1f} s" for name in ("cpu", "wall"))
    figures = f"{cpu} · {wall} · peak {words.size(usage['memory_peak_bytes'])}"
    lines = [
        f"receipt  {words.digest(receipt['digest'])}   {spec['outcome']} at {receipt['org']} · exit {spec['exit']} · {figures}"
    ]
    lines += [f"output   {name}  {value}" for name, value in sorted(spec["outputs"].items())]
    if spec["outcome"] == "failed":
        raise Refused(
            f"the task ended with exit code {spec['exit']}", why=figures, hint=f"comity show {short(receipt['digest'])}"
        )
    talk.data(data, *lines)
    return data
