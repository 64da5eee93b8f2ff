"""Commands that only look: status, doctor, ls, show, lineage, ledger, members, services, logs, config, login."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comity.shell.cli.speak import connect
from comity.shell.errors import BadUsage, Refused
from comity.shell.render import words
from comity.shell.render.talk import Talk, table
from comity.shell.wire import ANSWER_BYTES_MAX, Connection, segment

DEV_WARNING = "DEV KEYS, worthless in production"
_SEVERITY = {True: ("✓", "good"), False: ("✗", "bad"), None: ("·", "dim")}


def status(talk: Talk, org: str | None) -> None:
    data = connect(org).get("/api/v1/status")
    ledger, peers, served = data["ledger"], data["peers"], data["predictions"]
    state = f"halted: {ledger['halted']}" if ledger["halted"] else "catching up" if ledger["syncing"] else ""
    tone = words.tone(data["health"])
    rows = [
        (data["org"], _joined(talk.paint(f"{words.ICONS[tone]} {data['health']}", tone), DEV_WARNING if data["dev"] else "")),
        ("node", f"{data['url']} · peers at {data['peer']} · up since {words.clock(data['since'])}"),
        ("ledger", _joined(
            ledger["chain_id"], f"height {ledger['height']}, {words.span(ledger['age_s'])} ago", state,
            f"{ledger['validators']} validators, quorum {ledger['quorum']}", f"genesis {words.digest(ledger['genesis'])}",
        )),
        ("peers", f"{peers['connected']} of {peers['known']} connected"),
        ("inbox", f"{words.plural(data['inbox'], 'decision')} for you: comity inbox" if data["inbox"] else "empty"),
        *(("work", f"{work['name']} {work['title']}") for work in data["work"]),
        ("served", f"{words.plural(served['total'], 'prediction')}, {served['pending']} with a receipt not yet anchored"),
        *((talk.paint("check", "bad"), f"{c['code']} {c['name']}: {c['detail']} · {c['fix']}") for c in data["failing"]),
    ]  # fmt: skip
    talk.data(data, *table(rows))


def doctor(talk: Talk, org: str | None) -> int:
    data = connect(org).get("/api/v1/doctor")
    rows = []
    for check in data["checks"]:
        icon, colour = _SEVERITY[check["ok"]]
        after = "" if check["ok"] is not None else f"after {', '.join(check['depends_on'])}"
        rows.append((talk.paint(icon, colour), check["code"], check["name"], _joined(check["detail"], after)))
    talk.data(data, *table(rows))
    for check in data["checks"]:
        if check["ok"] is False and check["fix"]:
            talk.say(f"hint: {check['name']}: {check['fix']}")
    return 0 if data["health"] != "error" else 1


def ls(talk: Talk, org: str | None, kind: str | None, by: str | None, limit: int) -> None:
    if limit < 1:
        raise BadUsage("--limit wants at least 1")
    connection = connect(org)
    found: list[dict[str, Any]] = []
    before: str | None = None
    while len(found) < limit:
        page = connection.get("/api/v1/records", kind=kind, org=by, limit=min(200, limit - len(found)), before=before)
        found += page["records"]
        before = page["next"]
        if before is None or not page["records"]:
            break
    rows = [
        (b["kind"], words.full_title(b), words.digest(b["digest"]), _state(talk, b), words.summary(b)) for b in found
    ]
    talk.data({"records": found, "next": before}, *table(rows))
    if not found:
        talk.say(f"no {kind or 'record'} yet")
    elif before is not None:
        talk.say(f"the newest {len(found)}; more with --limit")


def show(talk: Talk, org: str | None, record: str, raw: bool | None, blob: str | None) -> None:
    connection = connect(org)
    data = connection.get(f"/api/v1/records/{segment(record)}")
    if blob:
        _show_blob(talk, connection, data, blob)
        return
    if raw:
        talk.data(data["envelope"], json.dumps(data["envelope"], separators=(",", ":"), sort_keys=True))
        return
    brief = data["record"]
    lines = [_headline(talk, brief), *table(_facts(data), indent="  ")]
    for title, briefs in (("rests on", data["refs"]), ("named by", data["referrers"])):
        if briefs:
            rows = [(b["kind"], words.full_title(b), words.digest(b["digest"]), words.summary(b)) for b in briefs]
            lines += [title, *table(rows, indent="  ")]
    more = data["referrers_total"] - len(data["referrers"])
    talk.data(data, *lines, *([f"  and {more} more"] if more > 0 else []))


def _show_blob(talk: Talk, connection: Connection, data: dict[str, Any], role: str) -> None:
    """An artefact as text on stdout: what a person reads before approving code. Control characters are shown, not obeyed."""
    found = {blob["role"]: blob for blob in data["blobs"]}
    if role not in found:
        raise Refused(f"the record names no `{role}`", why=f"it names {', '.join(found) or 'no artefact'}")
    answer = connection.request("GET", f"/api/v1/blobs/{found[role]['digest']}", bytes_max=ANSWER_BYTES_MAX)
    if answer.status != 200:
        connection.data(answer)
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        raise Refused(
            f"`{role}` is not text",
            why=words.size(len(answer.body)),
            hint="the console's record page offers it as a file",
        ) from None
    talk.data({"role": role, "digest": found[role]["digest"], "text": text}, *text.splitlines())


def lineage(talk: Talk, org: str | None, record: str) -> None:
    data = connect(org).get(f"/api/v1/lineage/{segment(record)}")
    named: dict[str, list[str]] = {}
    for edge in data["edges"]:
        named.setdefault(edge["to"], []).append(edge["from"])
    titles = {node["digest"]: f"{node['kind']} {words.title(node)}" for node in data["nodes"]}
    rows = []
    for node in data["nodes"]:
        mark = "▸" if node["digest"] == data["focus"] else " "
        sources = [titles[digest] for digest in named.get(node["digest"], ()) if digest in titles]
        rows.append(
            (
                mark,
                node["kind"],
                words.full_title(node),
                words.digest(node["digest"]),
                f"← {', '.join(sources)}" if sources else "",
            )
        )
    talk.data(data, *table(rows))
    if data["truncated"]:
        talk.say("more than 300 records: the nearest are shown")


def ledger(talk: Talk, org: str | None, height: str | None, limit: int) -> None:
    connection = connect(org)
    if height is None:
        data = connection.get("/api/v1/ledger", limit=max(1, min(limit, 200)))
        rows = [_block(block) for block in data["blocks"]]
        talk.data(data, *table(rows))
        return
    if not (height.isascii() and height.isdigit()):
        raise BadUsage(f"`{height[:40]}` is not a height", hint="comity ledger 61")
    data = connection.get(f"/api/v1/ledger/{int(height)}")
    lines = table([_block(data["block"])])
    lines += table(
        [
            ("state", data["state_root"]),
            ("sealed by", words.listed([s["org"] or s["validator"] for s in data["sealed_by"]])),
        ],
        indent="  ",
    )
    lines += table([_transaction(entry) for entry in data["transactions"]], indent="  ")
    talk.data(data, *lines)


def members(talk: Talk, org: str | None) -> None:
    data = connect(org).get("/api/v1/members")
    rows = [
        (
            member["name"], "this node" if member["self"] else "connected" if member["connected"] else "not connected",
            f"height {member['height']}" if member["height"] is not None else "", "validator" if member["validator"] else "member",
            member["endpoint"], f"organisation {words.digest(member['org'])}",
        )
        for member in data["members"]
    ]  # fmt: skip
    talk.data(data, *table(rows))


def services(talk: Talk, org: str | None) -> None:
    data = connect(org).get("/api/v1/services")
    rows = [
        (
            entry["name"],
            f"→ {words.title(entry['model'])} ({words.digest(entry['model']['digest'])})"
            if entry["model"]
            else "→ nothing yet",
            f"serving on {words.plural(len(entry['serving']), 'node')}",
            f"needs {entry['approvals']} approvals, time lock {words.span(entry['time_lock_s'])}",
        )
        for entry in data["services"]
    ]
    talk.data(data, *table(rows))
    if not rows:
        talk.say("no service yet: comity add service NAME")


def logs(talk: Talk, org: str | None, limit: int, level: str) -> None:
    data = connect(org).get("/api/v1/logs", limit=max(1, min(limit, 2000)), level=level)
    talk.data(
        data,
        *(
            f"{words.clock(line['time'])}  {line['level']:7}  {line['source']}  {line['text']}"
            for line in data["lines"]
        ),
    )


def config(talk: Talk, org: str | None, origin: bool | None) -> None:
    data = connect(org).get("/api/v1/config")
    rows = [(s["name"], s["value"], *((s["origin"], s["doc"]) if origin else ())) for s in data["settings"]]
    talk.data(data, *table(rows))


def login(talk: Talk, org: str | None) -> None:
    data = connect(org).post("/api/v1/logins")
    talk.data(data, data["url"])
    talk.say(f"opens the console once, within {words.span(data['expires_s'])}")


def _joined(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part not in ("", None))


def _state(talk: Talk, brief: Mapping[str, Any]) -> str:
    state = brief["state"]
    return talk.paint(f"{words.ICONS[words.tone(state)]} {state}", words.tone(state)) if state else ""


def _headline(talk: Talk, brief: Mapping[str, Any]) -> str:
    return "  ".join(
        part for part in (brief["kind"], words.full_title(brief), brief["digest"], _state(talk, brief)) if part
    )


def _facts(page: Mapping[str, Any]) -> list[tuple[str, str]]:
    brief = page["record"]
    anchor = brief["anchor"]
    where = f"height {anchor['height']}, {words.clock(anchor['time'])}" if anchor else "waits for a block"
    facts = [("signed by", f"{brief['org']} ({page['signer']})"), ("anchored", where)]
    facts += [(name, _value(value)) for name, value in brief["spec"].items()]
    held = {True: "held here", False: "not held here"}
    return facts + [
        ("blob", f"{b['role']} {words.digest(b['digest'])} · {words.size(b['bytes'])} · {held[b['held']]}")
        for b in page["blobs"]
    ]


def _value(value: object) -> str:
    if isinstance(value, str | int) or value is None:
        return "none" if value is None else str(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:150]}… ({len(text)} characters)"


def _block(block: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        block["height"], words.digest(block["hash"]), words.clock(block["time"]), f"by {block['proposer'] or 'genesis'}",
        f"sealed by {block['seals']} of {block['validators']}", words.plural(block["transactions"], "transaction"),
    )  # fmt: skip


def _transaction(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    record = entry["record"]
    call = f"{entry['contract']}.{entry['function']}" if entry["contract"] else f"to {words.digest(entry['to'])}"
    about = f"{record['kind']} {words.full_title(record)} {words.digest(record['digest'])}" if record else ""
    return (
        "✓" if entry["succeeded"] else "✗",
        words.digest(entry["hash"]),
        entry["org"] or words.digest(entry["sender"]),
        call,
        about,
    )
