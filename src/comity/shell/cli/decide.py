"""Commands that decide: inbox, approve, refuse, admit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comity.record.types import short
from comity.shell.cli.speak import connect
from comity.shell.render import words
from comity.shell.render.talk import Talk
from comity.shell.wire import segment


def inbox(talk: Talk, org: str | None) -> None:
    connection = connect(org)
    data = connection.get("/api/v1/inbox")
    lines: list[str] = []
    for entry in data["entries"]:
        brief = entry["record"]
        what = (
            study_sentence(entry["study"], connection.org) if entry["study"] else proposal_sentence(entry["proposal"])
        )
        ref = short(brief["digest"])
        lines.append(f"{brief['kind']:8} {words.title(brief)}  from {brief['org']} · {what}")
        if entry["study"]:
            lines.append(f"         read the code: comity show {ref} --blob code")
        lines.append(f'         approve: comity approve {ref}     refuse: comity refuse {ref} --because "…"')
    talk.data(data, *lines)
    if not lines:
        talk.say("nothing waits for your decision")


def study_sentence(study: Mapping[str, Any], org: str) -> str:
    """What a study asks of `org`, in one line: code, what it reads there, how long, and what protects whom."""
    spec = study["record"]["spec"]
    mine = [words.title(brief) for brief in study["datasets"] if brief["org"] == org]
    rule = spec["rule"]
    return " · ".join([
        f"code {words.digest(spec['code'])} ({words.plural(spec['code_lines'], 'line')}, no network)",
        f"reads {words.listed(mine) if mine else 'none of your data'} for {spec['purpose']}",
        words.plural(spec["rounds"], "round"),
        f"{rule['name']}, quorum {spec['quorum']} of {len(spec['roster'])}",
        "no privacy noise" if spec["privacy"] == "none" else f"privacy {spec['privacy']}",
    ])  # fmt: skip


def proposal_sentence(proposal: Mapping[str, Any]) -> str:
    """What a proposal would change, what was measured, and who has voted."""
    spec = proposal["record"]["spec"]
    if spec["action"] == "admit":
        member = spec["member"]
        what = f"{member['name']} at {member['endpoint']} becomes a member" + (
            " and a validator" if member["validator"] else ""
        )
    else:
        what = f"{words.title(proposal['service'])} → {words.title(proposal['model'])}"
        previous = proposal["previous"]
        what += f" (now {words.title(previous)})" if previous else " (now nothing)"
    return " · ".join(part for part in (what, evaluations(proposal), _votes(proposal)) if part)


def evaluations(proposal: Mapping[str, Any]) -> str:
    """`evaluations: northfield .965, riverside .972`: the accuracy that each site measured, or its first metric."""
    found = []
    for entry in proposal["evaluations"]:
        metrics = entry["metrics"]
        name = "accuracy" if "accuracy" in metrics else next(iter(sorted(metrics)), "")
        if name:
            found.append(
                f"{entry['org']} {words.score(metrics[name]).removeprefix('0')}"
                + ("" if name == "accuracy" else f" {name}")
            )
    return f"evaluations: {', '.join(found)}" if found else ""


def _votes(proposal: Mapping[str, Any]) -> str:
    yes = [vote["org"] for vote in proposal["votes"] if vote["choice"] == "approve"]
    no = [vote["org"] for vote in proposal["votes"] if vote["choice"] == "refuse"]
    text = f"{len(yes)} of {proposal['need']} approvals" + (f" ({words.listed(yes)})" if yes else "")
    return text + (f", refused by {words.listed(no)}" if no else "")


def approve(talk: Talk, org: str | None, record: str, because: str | None) -> None:
    _vote(talk, org, record, "approve", because or "")


def refuse(talk: Talk, org: str | None, record: str, because: str) -> None:
    _vote(talk, org, record, "refuse", because)


def _vote(talk: Talk, org: str | None, record: str, choice: str, because: str) -> None:
    connection = connect(org)
    # The whole digest goes into the vote, and it is said first: a person must see what their organisation signs.
    about = connection.get(f"/api/v1/records/{segment(record)}")["record"]
    talk.say(f"{choice} {about['kind']} {words.full_title(about)} {about['digest']}")
    brief = connection.post("/api/v1/votes", {"about": about["digest"], "choice": choice, "because": because})
    word = "approved" if choice == "approve" else "refused"
    talk.data(
        brief,
        f"{word:8} {about['kind']} {words.title(about)}  vote {words.digest(brief['digest'])}   {words.anchored(brief)}",
    )


def admit(talk: Talk, org: str | None, name: str, address: str, validator: str | None, endpoint: str) -> None:
    member = {"name": name, "org": address, "validator": validator, "endpoint": endpoint}
    proposal = connect(org).post("/api/v1/proposals", {"action": "admit", "member": member})
    brief = proposal["record"]
    talk.data(
        proposal, f"proposal {short(brief['digest'])}  admit {name} · needs {proposal['need']} of {proposal['members']}"
    )
